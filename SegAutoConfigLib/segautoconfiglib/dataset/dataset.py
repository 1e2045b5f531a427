"""A raw dataset folder: its description and its cases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.image.formats import PICTURE_ENDINGS, file_ending

__all__ = ["Case", "Dataset", "DatasetDescription", "list_cases", "load_dataset", "load_description", "scan_images"]

DATASET_FILE = "dataset.json"
IMAGES, LABELS = "imagesTr", "labelsTr"
NO_ALPHA = "Save the picture without its alpha channel."
SUFFIX_HINT = "Image files are named CASE_0000{ending} (0000 = first channel, also where there is only one)."


@dataclass(frozen=True)
class Case:
    """The files of one case.

    Attributes:
        id: Its name, unique in the dataset.
        images: One file per channel in order, or a single file with all channels.
        label: The label map; None where there is none (new images, or a fault that verification reports).
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """A raw dataset.

    Attributes:
        name: Name of the folder (Dataset004_Hippocampus).
        folder: The raw folder.
        description: Its dataset.json.
        cases: The training cases, sorted by id.
    """

    name: str
    folder: Path
    description: DatasetDescription
    cases: tuple[Case, ...]

    @property
    def reader_name(self) -> str:
        """The reader class for the plans: what dataset.json asks for, else by the file ending."""
        from segautoconfiglib.image.files import reader_name

        return self.description.asked_reader or reader_name(self.description.file_ending, self.cases[0].images[0])


@dataclass
class ImageScan:
    """What an image folder holds.

    Attributes:
        files: Case id to channel number to the files found for it (more than one: a fault).
        without_channel: Files with the right ending but without ``_0000``.
        other: Everything else (wrong ending), without hidden files.
        folders: Those whose names end as images do.
    """

    files: dict[str, dict[int, list[Path]]] = field(default_factory=dict)
    without_channel: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


def load_dataset(folder: Path) -> Dataset:
    """Read dataset.json and list the training cases; voxels are not read, files are not checked (see verify).

    Raises:
        UserError: the folder or its parts are missing, it has no cases, or dataset.json can't be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no dataset folder {folder}.", "Check the path, the name and the workspace.")
    description = load_description(folder / DATASET_FILE)
    cases = _listed_cases(folder, description) if description.dataset else _found_cases(folder, description)
    return Dataset(folder.absolute().name, folder, description, tuple(sorted(cases, key=lambda case: case.id)))


def list_cases(folder: Path, file_ending: str, channels: int | None = None) -> list[Case]:
    """The cases of an image folder such as imagesTs, without labels, sorted by id.

    Args:
        folder: Holds ``CASE_0000<ending>`` and so on.
        file_ending: Of the images, with the dot.
        channels: Number of channels each case must have; None accepts any.

    Raises:
        UserError: no such folder, no cases, or cases with missing, extra or doubled channels (all are listed).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no image folder {folder}.", "Check the path.")
    scan = scan_images(folder, file_ending)
    if not scan.files:
        raise _no_cases(folder, file_ending, scan)
    problems = [
        problem for case in sorted(scan.files) for problem in channel_problems(case, scan.files[case], channels)
    ]
    cases = [Case(case, channel_files(scan.files[case])) for case in sorted(scan.files)]
    if not problems and channels is not None:
        problems = [problem for case in cases for problem in _channels_inside(case, channels)]
    if problems:
        raise ProblemsError(f"The images in {folder} can't be used:", problems)
    return cases


def scan_images(folder: Path, file_ending: str) -> ImageScan:
    """Sort the files of an image folder into cases and channels; endings in upper or lower case both count."""
    scan = ImageScan()
    pattern = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}}){re.escape(file_ending)}", re.IGNORECASE)
    for path in visible_files(folder):
        match = pattern.fullmatch(path.name)
        if match:
            scan.files.setdefault(match["case"], {}).setdefault(int(match["channel"]), []).append(path)
        elif path.name.lower().endswith(file_ending.lower()):
            scan.without_channel.append(path)
        else:
            scan.other.append(path)
    scan.folders = [path for path in visible(folder, file_ending) if path.is_dir()]
    return scan


def visible_files(folder: Path, ending: str = "") -> list[Path]:
    """The files of a folder sorted by name, without hidden ones."""
    return [path for path in visible(folder, ending) if path.is_file()]


def visible(folder: Path, ending: str = "") -> list[Path]:
    """Files and folders sorted by name, without hidden ones (macOS puts ``._name`` beside each file)."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower().endswith(ending.lower())
    )


def channel_files(channels: dict[int, list[Path]]) -> tuple[Path, ...]:
    """One file per channel, in order."""
    return tuple(channels[index][0] for index in sorted(channels))


def channel_problems(case: str, found: dict[int, list[Path]], channels: int | None) -> list[Problem]:
    """Doubled, missing and extra channel files of a case, as far as names tell.

    A single file may hold all channels (colour, 4D), so that one is not counted here.
    """
    problems = [
        Problem(
            f"the id is used twice: {', '.join(path.name for path in files)}.",
            "Rename or remove one.",
            str(files[0]),
            case,
        )
        for files in found.values()
        if len(files) > 1
    ]
    expected = channels if channels is not None and (len(found) > 1 or 0 not in found) else max(found) + 1
    example = next(iter(found.values()))[0]
    for index in sorted(set(range(expected)) - set(found)):
        missing = example.with_name(f"{case}_{index:04d}{example.name[len(case) + len('_0000') :]}")
        problems.append(Problem(f"channel {index} is missing.", "Add the file.", str(missing), case))
    for index in sorted(set(found) - set(range(expected))):
        hint = f"dataset.json names {expected} channels: remove the file or name the channel."
        problems.append(Problem(f"channel {index} is not expected.", hint, str(found[index][0]), case))
    return problems


def _channels_inside(case: Case, channels: int) -> Iterable[Problem]:
    if len(case.images) == channels and channels > 1:
        return []
    try:
        from segautoconfiglib.image.files import read_header  # loads readers, which a list of datasets needs not

        count = read_header(case.images[0]).channels
    except UserError as error:
        return [Problem.of(error, str(case.images[0]), case.id)]
    if count == channels:
        return []
    return [channel_count_problem(case, count, channels)]


def channel_count_problem(case: Case, found: int, expected: int) -> Problem:
    """The problem of a case whose files hold another number of channels than dataset.json names."""
    files = f"{', '.join(path.name for path in case.images)}: " if len(case.images) > 1 else ""
    channels = "1 channel" if found == 1 else f"{found} channels"
    hint = "Add the missing channel files (CASE_0001 ...), or correct channel_names in dataset.json."
    if found > expected:
        hint = (
            "Split a 4D file into one file per channel (convert-msd does it), save colour pictures as grey, or name "
            "every channel in channel_names of dataset.json."
        )
        if alpha := alpha_words(case.images, found):
            channels += alpha
            hint = NO_ALPHA if found == 2 else f"{NO_ALPHA} {hint}"
    verb = "is" if expected == 1 else "are"
    return Problem(f"{files}{channels} where {expected} {verb} expected.", hint, str(case.images[0]), case.id)


def alpha_words(images: Sequence[Path], channels: int) -> str:
    """What the channels of a picture are, to stand behind their number; nothing where none is transparency."""
    if channels not in (2, 4) or len(images) != 1 or file_ending(images[0]) not in PICTURE_ENDINGS:
        return ""
    return f" ({'grey' if channels == 2 else 'red, green, blue'} and alpha, the transparency)"


def _no_cases(folder: Path, file_ending: str, scan: ImageScan) -> UserError:
    suffix = SUFFIX_HINT.format(ending=file_ending)
    if scan.without_channel:
        names = ", ".join(path.name for path in scan.without_channel[:3])
        return UserError(f"{folder} has no case: {names} lack the channel number.", suffix)
    if scan.folders:
        return UserError(f"{folder} has no case: {scan.folders[0].name} is a folder, no file.", suffix)
    if scan.other:
        names = ", ".join(path.name for path in scan.other[:3])
        return UserError(f"{folder} has no files ending in {file_ending}, but {names}.", suffix)
    return UserError(f"{folder} is empty.", suffix)


def _found_cases(folder: Path, description: DatasetDescription) -> list[Case]:
    for part in (IMAGES, LABELS):
        if not (folder / part).is_dir():
            raise UserError(
                f"{folder} has no folder {part}.",
                f"A dataset has {IMAGES}, {LABELS} and {DATASET_FILE}. A Decathlon folder is converted by convert-msd.",
            )
    scan = scan_images(folder / IMAGES, description.file_ending)
    if not scan.files:
        raise _no_cases(folder / IMAGES, description.file_ending, scan)
    ending = description.file_ending
    labels = {path.name[: -len(ending)]: path for path in visible_files(folder / LABELS, ending)}
    return [Case(case, channel_files(channels), labels.get(case)) for case, channels in scan.files.items()]


def _listed_cases(folder: Path, description: DatasetDescription) -> list[Case]:
    """The cases of the key ``dataset``: environment variables count, relative paths start at the raw folder."""
    problems: list[Problem] = []

    def path_of(text: str, case: str) -> Path:
        expanded = os.path.expandvars(text)
        if "$" in expanded:
            problems.append(
                Problem(f"{text}: an environment variable in it is not set.", "Set it, or write the path.", case=case)
            )
        return folder / Path(expanded).expanduser()

    cases = [
        Case(name, tuple(path_of(file, name) for file in entry["images"]), path_of(entry["label"], name))
        for name, entry in (description.dataset or {}).items()
    ]
    if problems:
        raise ProblemsError(f"{folder / DATASET_FILE} can't be used:", problems)
    return cases
