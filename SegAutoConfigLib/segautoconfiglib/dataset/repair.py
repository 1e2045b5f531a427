"""Faults of a raw dataset that need no decision are put right; the old files are kept beside the new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import read_json
from segautoconfiglib.dataset.add import files_in, kept_at
from segautoconfiglib.dataset.change import PENDING, Change, carry_out, changing
from segautoconfiglib.dataset.dataset import (
    DATASET_FILE,
    IMAGES,
    LABELS,
    Case,
    channel_files,
    scan_images,
    visible_files,
)
from segautoconfiglib.dataset.description import DatasetDescription, describe, upgrade
from segautoconfiglib.dataset.labels import BACKGROUND, IGNORE
from segautoconfiglib.dataset.members import TEST_IMAGES, TEST_LABELS
from segautoconfiglib.dataset.merge import label_values
from segautoconfiglib.dataset.relabel import changed_values, numbering, on_grid
from segautoconfiglib.dataset.workers import workers_for_files
from segautoconfiglib.image.files import Header, read_header, read_stored, write_image, write_labels
from segautoconfiglib.image.formats import file_ending, stem
from segautoconfiglib.image.volume import Geometry, Volume

STAGE = "repair"
#: Folder in the dataset's raw folder; each case has a folder of its own in it, with imagesTr, labelsTr ...
REPLACED = "replaced"
#: Grids that differ by less are what rounding in a file format leaves; by more, up to `Geometry.differences`, noise.
ROUNDING = 1e-9
#: Label values this close to a whole number are rounded.
FRACTION = 1e-3
SHOWN_VALUES = 5
PARTS = ((IMAGES, LABELS), (TEST_IMAGES, TEST_LABELS))


@dataclass
class CaseRepair:
    """What is to be done about one case; travels between processes.

    Attributes:
        case: Its id.
        done: What was put right, in words.
        files: New files, relative to the folder of unfinished ones, with those that they replace.
        renamed: Files that get another name: old and new path, relative to the dataset's folder.
        left: What can't be put right without a decision.
        values: That stand in its label map as it was.
    """

    case: str
    done: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    left: list[Problem] = field(default_factory=list)
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Repairs:
    """The outcome for a dataset.

    Attributes:
        cases: Those about which there is something to say.
        description: What was put right in dataset.json, in words.
        applied: False for a rehearsal.
        kept: Old files lie in the folder `REPLACED` now.
    """

    cases: tuple[CaseRepair, ...]
    description: tuple[str, ...]
    applied: bool
    kept: bool = False


@dataclass(frozen=True)
class _Task:
    case: Case
    folder: Path
    ending: str
    values: Mapping[int, int]
    expected: frozenset[int]
    write: bool


def repair_dataset(
    folder: Path,
    *,
    values: Mapping[int, int] | None = None,
    labels: Mapping[str, tuple[int, ...]] | None = None,
    apply: bool = False,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Repairs:
    """Find what can be put right, and do it if that is wanted: all of it, or (when stopped) nothing.

    Label maps on another grid are resampled onto their image's (nearest label); small differences of origin, spacing
    and direction between the files of a case vanish; labels stored as fractions become whole numbers; files of another
    ending, and images without ``_0000``, get the form of the others; label values are renumbered without gaps.

    Args:
        folder: ``nnUNet_raw/DatasetXXX_Name``.
        values: Old to new label value, in all label maps.
        labels: Structure to its values in the label maps; they are numbered 1, 2, 3 ... in this order.
        apply: Write; else only say what would be done.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started" and "progress".
        cancel: Asked between cases.

    Raises:
        UserError: dataset.json can't be used even so, ``labels`` name other values than occur, or files can't be
            written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no dataset folder {folder}.", "Check the name and the workspace.")
    with changing(folder, report=report, cancel=cancel):
        description, renumbered, remarks = _description(folder / DATASET_FILE, labels)
        changes = dict(values or {}) or renumbered
        if values and renumbered:
            raise UserError("Label values would be changed twice.", "Give --map or --labels, not both.")
        if description.dataset:
            raise UserError(
                f"{folder / DATASET_FILE} lists files that may lie anywhere; they are not changed.",
                "Make a dataset of copies: from-csv, or from-folder.",
            )
        expected = frozenset(label_values(description.labels))
        training, test = (_members(folder, *parts, description.file_ending) for parts in PARTS)
        tasks = [_Task(case, folder, description.file_ending, changes, expected, apply) for case in training + test]
        repairs = map_cases(
            _repair,
            [(task.case.id, (task,)) for task in tasks],
            workers=_workers([task.case for task in tasks], workers),
            stage=STAGE,
            report=report,
            cancel=cancel,
        )
        if labels is not None:
            _check_named(labels, repairs)
        if description.numTraining != len(training):
            remarks.append(f"numTraining: {description.numTraining} becomes {len(training)}")
        found = tuple(repair for repair in repairs if repair.done or repair.left)
        content = {**description.to_json(), "numTraining": len(training)}
        kept = False
        if apply and (remarks or any(repair.done for repair in found)):
            change = _change(folder, found, content, new_description=bool(remarks))
            carry_out(folder, change)
            kept = bool(change.keeps)
    return Repairs(found, tuple(remarks), apply, kept)


def _check_named(labels: Mapping[str, tuple[int, ...]], repairs: Sequence[CaseRepair]) -> None:
    """Raises: UserError: a value is named that no label map holds, or one that occurs is not."""
    found = {value for repair in repairs for value in repair.values} - {0}
    named = {value for values in labels.values() for value in values} - {0}
    held = f"The label maps hold the values {_shown(sorted(found)) or 'of background only'}"
    if missing := sorted(named - found):
        hint = "Give the values that stand in the label maps now; change names alone in dataset.json."
        raise UserError(f"{held}; none holds {_shown(missing)}, which --labels names.", hint)
    if unnamed := sorted(found - named):
        hint = f"Name every value: --labels ... NAME={unnamed[0]}, or background={unnamed[0]} for what is no structure."
        raise UserError(f"{held}; --labels does not say what {_shown(unnamed)} is.", hint)


def _shown(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:SHOWN_VALUES])) + (" ..." if len(values) > SHOWN_VALUES else "")


def _description(
    file: Path, wanted: Mapping[str, tuple[int, ...]] | None
) -> tuple[DatasetDescription, dict[int, int], list[str]]:
    """dataset.json as it will be, how label values change with it, and what was put right in it."""
    content, remarks = upgrade(read_json(file))
    labels, values = content.get("labels"), {}
    if wanted is not None:
        new = numbering([name for name in wanted if name != BACKGROUND], {})
        values = {old: int(np.max(new[name])) for name, numbers in wanted.items() for old in numbers}
        if content.pop("regions_class_order", None) is not None:
            raise UserError(f"{file} has regions: their numbers can't be given with --labels.", "Use --map OLD=NEW.")
    else:
        new, values = _without_gaps(labels)
    if new != labels:
        content["labels"] = new
        order = content.get("regions_class_order")
        content |= {"regions_class_order": [values.get(number, number) for number in order]} if order else {}
        remarks.append(f"labels: {', '.join(f'{name} {number}' for name, number in new.items())}")
    return describe(content, file), {old: new for old, new in values.items() if old != new}, remarks


def _without_gaps(labels: Any) -> tuple[Any, dict[int, int]]:
    """Labels numbered 0, 1, 2 ..., with the old value of each number; others than such labels come back as they are."""
    numbers = label_values(labels)
    plain = isinstance(labels, Mapping) and all(type(number) is int and number >= 0 for number in numbers)
    if not plain or 0 not in numbers:
        return labels, {}
    ignore = labels.get(IGNORE)
    ordered = sorted(numbers, key=lambda number: (number == ignore, number))
    new = {old: index for index, old in enumerate(ordered)}
    changed = {
        name: [new[number] for number in entry] if isinstance(entry, list) else new[entry]
        for name, entry in labels.items()
    }
    return changed, {old: number for old, number in new.items() if old != number}


def _members(folder: Path, images: str, labels: str, ending: str) -> list[Case]:
    """Cases as the files tell, label maps of any ending, images with or without channel number."""
    if not (folder / images).is_dir():
        return []
    scan = scan_images(folder / images, ending)
    found = {case: channel_files(channels) for case, channels in scan.files.items()}
    for file in scan.without_channel:
        found.setdefault(stem(file), (file,))
    there = visible_files(folder / labels) if (folder / labels).is_dir() else []
    label_of: dict[str, Path] = {}
    for file in sorted(there, key=lambda file: file.name.lower().endswith(ending.lower())):  # the right ending wins
        if file_ending(file):
            label_of[stem(file)] = file
    return [Case(case, files, label_of.get(case)) for case, files in sorted(found.items())]


def _repair(task: _Task) -> CaseRepair:
    case, result = task.case, CaseRepair(task.case.id)
    try:
        headers = [read_header(file) for file in case.images]
    except UserError as error:
        result.left.append(Problem(error.message, error.hint, case=case.id))
        return result
    first, pending = headers[0], task.folder / PENDING
    if stem(case.images[0]) == case.id:
        target = case.images[0].with_name(f"{case.id}_0000{task.ending}")
        result.renamed.append((str(case.images[0].relative_to(task.folder)), str(target.relative_to(task.folder))))
        result.done.append(f"{case.images[0].name} becomes {target.name}")
    for file, header in zip(case.images[1:], headers[1:], strict=True):
        differences = _differences(first, header)
        if differences:
            hint = "Resample the channels onto one grid."
            text = f"does not lie on the grid of {case.images[0].name}: {'; '.join(differences)}."
            result.left.append(Problem(text, hint, str(file), case.id))
        elif _noise(first.geometry, header.geometry):
            result.done.append(f"{file.name}: {_noise(first.geometry, header.geometry)} as in the first channel")
            _new_file(result, task, file, file.name)
            if task.write:
                write_image(read_stored(file).array[0], pending / file.parent.name / file.name, first.geometry)
    if case.label is not None:
        try:
            _repair_labels(task, first, case.label, result)
        except UserError as error:
            result.left.append(Problem(error.message, error.hint, str(case.label), case.id))
    return result


def _repair_labels(task: _Task, image: Header, file: Path, result: CaseRepair) -> None:
    """What is to be done about a label map. Raises: UserError: it can't be read or put right."""
    volume = read_stored(file)
    done: list[str] = []
    labels = _whole(volume, file, done)
    if labels.array.shape[0] != 1:
        raise UserError(f"It has {labels.array.shape[0]} channels.", "Save it with one whole number per voxel.")
    array = labels.array[0]
    result.values = tuple(np.unique(array).tolist())
    changes = {old: new for old, new in task.values.items() if old in result.values}
    if changes:
        array = changed_values(array, changes)
        done.append("values " + ", ".join(f"{old} to {new}" for old, new in changes.items()))
    differences = _differences(image, Header(labels.shape, 1, labels.geometry, array.dtype))
    if differences:
        array = on_grid(Volume(array[None], labels.geometry), image)
        done.append(f"resampled onto the image's grid ({'; '.join(differences)})")
    elif noise := _noise(image.geometry, labels.geometry):
        done.append(f"{noise} as in the image")
    name = f"{task.case.id}{task.ending}"
    if file.name.lower() != name.lower():
        done.append(f"saved as {name}")
    unknown = sorted(set(np.unique(array).tolist()) - task.expected)
    if unknown:
        hint = f"Say what they become: --map {unknown[0]}=1. Declared are {', '.join(map(str, sorted(task.expected)))}."
        result.left.append(
            Problem(
                f"label values that dataset.json does not declare: {_shown(unknown)}.", hint, str(file), task.case.id
            )
        )
    if done:
        result.done.append(f"{file.name}: {'; '.join(done)}")
        _new_file(result, task, file, name if file.name.lower() != name.lower() else file.name)
        if task.write:
            write_labels(array, task.folder / PENDING / result.files[-1][0], image.geometry)


def _new_file(result: CaseRepair, task: _Task, old: Path, name: str) -> None:
    new = f"{old.parent.name}/{name}"
    result.files.append((new, str(old.relative_to(task.folder))))


def _whole(volume: Volume, file: Path, done: list[str]) -> Volume:
    """Labels as whole numbers. Raises: UserError: some are in between."""
    array = volume.array
    if array.dtype.kind not in "fb":
        return volume
    rounded = np.rint(array)
    if array.dtype.kind == "f" and not np.all(np.abs(array - rounded) <= FRACTION):
        raise UserError(
            "It holds numbers between labels, as interpolation leaves them.",
            "Resample the original label map with nearest neighbour, or make a mask of it (from-masks --threshold).",
        )
    done.append(f"{array.dtype} to whole numbers")
    return Volume(rounded.astype(np.int32), volume.geometry)


def _differences(image: Header, other: Header) -> list[str]:
    found = image.geometry.differences(other.geometry)
    return [f"shape {other.shape} against {image.shape}", *found] if image.shape != other.shape else found


def _noise(first: Geometry, other: Geometry) -> str:
    """Which parts of two geometries differ by more than rounding: "origin, direction"; empty for none."""
    found = first.differences(other, tolerance=ROUNDING)
    return ", ".join(text.split(" ", 1)[0] for text in found)


def _change(folder: Path, repairs: Sequence[CaseRepair], content: dict[str, Any], *, new_description: bool) -> Change:
    keeps = [(DATASET_FILE, _free_name(folder))] if new_description else []
    moves: list[tuple[str, str]] = []
    for repair in repairs:
        old = [folder / source for _, source in repair.files]
        with_parts = list(dict.fromkeys(part for file in old for part in files_in(folder, Case(repair.case, (file,)))))
        keeps += kept_at(folder, repair.case, with_parts, REPLACED)
        moves += repair.renamed
        moves += [
            (str(file.relative_to(folder)), str(file.relative_to(folder / PENDING)))
            for new, _ in repair.files
            for file in files_in(folder, Case(repair.case, (folder / PENDING / new,)))
        ]
    return Change(
        cases=tuple(repair.case for repair in repairs if repair.done),
        keeps=tuple(keeps),
        moves=tuple(moves),
        description=content,
    )


def _free_name(folder: Path) -> str:
    """Where dataset.json is kept, relative to the dataset's folder; what was kept before stays."""
    kept, number = Path(REPLACED, DATASET_FILE), 2
    while (folder / kept).exists():
        kept, number = kept.with_name(f"dataset_{number}.json"), number + 1
    return str(kept)


def _workers(cases: Sequence[Case], requested: int | None) -> int:
    files = [file for case in cases for file in (*case.images, case.label) if file is not None and file.is_file()]
    largest = 0
    for file in sorted(files, key=lambda file: -file.stat().st_size)[:SHOWN_VALUES]:
        try:
            largest = max(largest, 12 * read_header(file).bytes)
        except UserError:  # is reported by the check
            continue
    return workers_for_files(files, largest, requested)
