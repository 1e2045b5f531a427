"""A list of files (CSV) as cases: columns for images, label map or masks, id, patient and part."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.dataset.case_names import CHANNEL
from segautoconfiglib.dataset.source_cases import SourceCase
from segautoconfiglib.image import dicom
from segautoconfiglib.image.formats import stem

DELIMITERS = ",;\t"
#: What a column may be called (upper and lower case, spaces and underscores do not count), by what it means.
COLUMNS = {
    "image": ("image", "images", "img", "scan", "volume", "imagepath", "imagefile"),
    "label": ("label", "labels", "labelmap", "seg", "segmentation", "annotation", "groundtruth", "gt", "labelpath",
              "mask", "maskpath"),
    "id": ("id", "case", "caseid", "casename", "name", "imageid", "imagename"),
    "split": ("split", "set", "part", "partition", "subset"),
    "patient": ("patient", "patientid", "subject", "subjectid", "group"),
}  # fmt: skip
#: "image_0", "image T1", "image:FLAIR" are channels; "mask_liver", "mask:liver" masks of structures.
CHANNEL_COLUMN = re.compile(r"(?:image|img|channel)(?:[\s_:.-]+(?=\S)|(?=\d))(?P<name>.+)", re.IGNORECASE)
MASK_COLUMN = re.compile(r"(?:mask|structure)[\s_:.-]+(?P<name>.+)", re.IGNORECASE)
PARTS = {
    "train": ("", "train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "ts"),
}
NO_FILE = "there is no such file."
FORM = 'Columns: "image" (or "image_T1" ...), "label" (or "mask_liver" ...); where wanted "id", "split", "patient".'


@dataclass
class _Columns:
    """What the columns mean: their names in the file."""

    images: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)  # names of the channels; empty where columns are numbered
    masks: dict[str, str] = field(default_factory=dict)  # structure to column
    others: dict[str, str] = field(default_factory=dict)  # label, id, split, patient
    unknown: list[str] = field(default_factory=list)


def cases_from_csv(file: Path, *, report: Reporter = silent) -> tuple[list[SourceCase], tuple[str, ...]]:
    """Read a list of cases.

    Args:
        file: With a line of column names first; columns divided by comma, semicolon or tab. Paths are relative to its
            folder.
        report: Gets a "log" with what the columns were taken for.

    Returns:
        The cases in the order of the list, and names of channels where columns tell them.

    Raises:
        UserError: the file can't be read or has no usable columns.
        ProblemsError: with all that is wrong with its lines.
    """
    file = Path(file).expanduser()
    rows, names = _rows(file)
    columns = _columns(names)
    if not columns.images:
        raise UserError(f"{file} has no column for images, but {', '.join(names)}.", FORM)
    _tell(file, columns, report)
    problems: list[Problem] = []
    cases = [_case(row, columns, file, line, problems) for line, row in rows]
    lines: dict[str, int] = {}
    for case, (line, _) in zip(cases, rows, strict=True):
        if case.id in lines:
            text = f"line {line}: the name stands in line {lines[case.id]} as well."
            problems.append(Problem(text, 'Give each case its own name (column "id").', str(file), case.id))
        lines.setdefault(case.id, line)
    if not cases:
        problems.append(Problem("there is no line below the names of the columns.", FORM, str(file)))
    if problems:
        lost = any(problem.message.endswith(NO_FILE) for problem in problems)
        start = f"Paths start at {file.parent.resolve()}." if lost else ""
        raise ProblemsError(f"{file} can't be used:", problems, start)
    return cases, tuple(columns.channels)


def groups_from_csv(file: Path) -> dict[str, str]:
    """Case to patient, from the columns "id" and "patient". Raises: UserError: one is missing."""
    rows, names = _rows(Path(file).expanduser())
    others = _columns(names).others
    if "id" not in others or "patient" not in others:
        raise UserError(f'{file} lacks a column "id" or "patient"; it has {", ".join(names)}.', FORM)
    found = {row[others["id"]].strip(): row[others["patient"]].strip() for _, row in rows}
    return {case: patient for case, patient in found.items() if case and patient}


def _rows(file: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Lines that are not empty, with their numbers, and the names of the columns."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Can't read {file}: {error}.", "Check the path; save the list as CSV in UTF-8.") from error
    head = next(iter(text.splitlines()), "")
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, restval="", restkey="")
    names = [name for name in reader.fieldnames or () if name.strip()]
    rows = [(reader.line_num, {name: row[name] or "" for name in names}) for row in reader]
    return [(line, row) for line, row in rows if any(value.strip() for value in row.values())], names


def _columns(names: Sequence[str]) -> _Columns:
    found, channels = _Columns(), []
    for name in names:
        plain = re.sub(r"[\s_.-]+", "", name).casefold()
        meaning = next((key for key, words in COLUMNS.items() if plain in words), None)
        if meaning == "image":
            found.images.append(name)
            channels.append("")
        elif meaning is not None and meaning not in found.others:
            found.others[meaning] = name
        elif meaning is None and (mask := MASK_COLUMN.fullmatch(name.strip())):
            found.masks[mask["name"].strip()] = name
        elif meaning is None and (channel := CHANNEL_COLUMN.fullmatch(name.strip())):
            found.images.append(name)
            channels.append(channel["name"].strip())
        else:
            found.unknown.append(name)
    if channels and not any(text.isdecimal() or not text for text in channels):
        found.channels = channels
    elif all(text.isdecimal() for text in channels):
        found.images = [name for _, name in sorted(zip(map(int, channels), found.images, strict=True))]
    return found


def _tell(file: Path, columns: _Columns, report: Reporter) -> None:
    parts = [f"images: {', '.join(columns.images)}"]
    parts += [f"{meaning}: {name}" for meaning, name in columns.others.items()]
    parts += [f"masks: {', '.join(columns.masks)}"] if columns.masks else []
    parts += [f"not used: {', '.join(columns.unknown)}"] if columns.unknown else []
    report("log", message=f"Columns of {file.name}: {'; '.join(parts)}.")


def _case(row: Mapping[str, str], columns: _Columns, file: Path, line: int, problems: list[Problem]) -> SourceCase:
    """A line as a case; what is wrong with it is added to the problems."""

    def value(meaning: str) -> str:
        return row[columns.others[meaning]].strip() if meaning in columns.others else ""

    def paths(names: Sequence[str]) -> list[Path]:
        texts = [row[name].strip() for name in names]
        found = [file.parent / Path(text).expanduser() for text in texts if text]
        for path in found:
            if not path.is_file() and not dicom.is_dicom(path):
                problems.append(Problem(f"line {line}: {NO_FILE}", "Correct the path.", str(path)))
        return found

    images = paths(columns.images)
    if len(images) < len(columns.images):
        problems.append(Problem(f"line {line}: an image is not named.", "Name one file per channel.", str(file)))
    label = paths([columns.others["label"]]) if "label" in columns.others else []
    masks = {name: tuple(paths([column])) for name, column in columns.masks.items()}
    masks = {name: files for name, files in masks.items() if files}
    part = next((key for key, words in PARTS.items() if value("split").casefold() in words), None)
    if part is None:
        text = f"line {line}: {value('split')!r} is no part."
        problems.append(Problem(text, "Write train, val or test.", str(file)))
    if part != "test" and not label and not masks:
        problems.append(Problem(f"line {line}: there is no label.", "Only test cases may lack one.", str(file)))
    if label and masks:
        problems.append(Problem(f"line {line}: a label map and masks.", "Name one or the other.", str(file)))
    return SourceCase(
        value("id") or (_name(images) if images else f"line {line}"),
        tuple(images),
        label[0] if label else None,
        masks,
        test=part == "test",
        validation=part == "val",
        patient=value("patient"),
    )


def _name(images: Sequence[Path]) -> str:
    """A case's name from that of its first image, without its channel number; of several files what they share."""
    name = images[0].name if images[0].is_dir() else stem(images[0])
    match = CHANNEL.fullmatch(name)
    return match["case"] if match else name
