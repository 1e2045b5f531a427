"""Faults of one case that need no decision: found, and put right in new files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segautoconfiglib.base.errors import Problem, UserError
from segautoconfiglib.dataset.add_check import storing_problems
from segautoconfiglib.dataset.case_names import CHANNEL
from segautoconfiglib.dataset.change import PENDING
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.dataset.relabel import changed_values, changes_for, on_grid, shown
from segautoconfiglib.image.files import Header, read_header, read_stored, write_image, write_labels
from segautoconfiglib.image.formats import stem
from segautoconfiglib.image.volume import Geometry, Volume

#: Grids that differ by less are what rounding in a file format leaves; by more, up to `Geometry.differences`, noise.
ROUNDING = 1e-9
#: Label values this close to a whole number are rounded.
FRACTION = 1e-3


@dataclass
class CaseRepair:
    """What is to be done about one case, or was; travels between processes.

    Attributes:
        case: Its id.
        done: What was put right, in words.
        files: New files, relative to the folder of unfinished ones, with those that they replace.
        renamed: Files that get another name: old and new path, relative to the dataset's folder.
        left: What can't be put right without a decision.
        values: That stand in its label map as it was.
        unreadable: An image can't be read, or not be stored as the others are.
    """

    case: str
    done: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    left: list[Problem] = field(default_factory=list)
    values: tuple[int, ...] = ()
    unreadable: bool = False


@dataclass(frozen=True)
class RepairTask:
    """What to do about one case; travels between processes.

    Attributes:
        case: Its files.
        folder: Of the dataset.
        ending: Of the dataset's files.
        values: Old to new label value.
        expected: The values that dataset.json declares.
        write: Make the new files, in the folder of unfinished ones.
    """

    case: Case
    folder: Path
    ending: str
    values: Mapping[int, int]
    expected: frozenset[int]
    write: bool


def repair_case(task: RepairTask) -> CaseRepair:
    """Find what can be put right; what can not be is left, with the reason."""
    case, result = task.case, CaseRepair(task.case.id)
    try:
        headers = [read_header(file) for file in case.images]
    except UserError as error:
        result.left.append(Problem(error.message, error.hint, case=case.id))
        result.unreadable = True
        return result
    first, pending = headers[0], task.folder / PENDING
    if stem(case.images[0]) == case.id and has_ending(case.images[0], task.ending):
        target = case.images[0].with_name(f"{case.id}_0000{task.ending}")
        result.renamed.append((str(case.images[0].relative_to(task.folder)), str(target.relative_to(task.folder))))
        result.done.append(f"{case.images[0].name} becomes {target.name}")
    for file, header in zip(case.images, headers, strict=True):
        differences = _differences(first, header)
        if differences:
            hint = "Resample the channels onto one grid."
            text = f"does not lie on the grid of {case.images[0].name}: {'; '.join(differences)}."
            result.left.append(Problem(text, hint, str(file), case.id))
        elif not has_ending(file, task.ending):
            _convert_image(task, file, header, first.geometry, result)
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


def has_ending(file: Path, ending: str) -> bool:
    """Capitals do not count."""
    return file.name.lower().endswith(ending.lower())


def _convert_image(task: RepairTask, file: Path, header: Header, geometry: Geometry, result: CaseRepair) -> None:
    """What is to be done about an image of another format: its values stay."""
    problems = storing_problems(file, header, task.ending, task.case.id)
    if header.channels != 1:
        text = f"{header.channels} channels in one file, which does not end in {task.ending}."
        problems.append(Problem(text, "Save each channel as a file of its own.", str(file), task.case.id))
    if problems:
        result.left += problems
        result.unreadable = True
        return
    match = CHANNEL.fullmatch(stem(file))
    name = f"{task.case.id}_{match['channel'] if match else '0000'}{task.ending}"
    result.done.append(f"{file.name}: saved as {name}")
    _new_file(result, task, file, name)
    if task.write:
        write_image(read_stored(file).array[0], task.folder / PENDING / result.files[-1][0], geometry)


def _repair_labels(task: RepairTask, image: Header, file: Path, result: CaseRepair) -> None:
    """What is to be done about a label map. Raises: UserError: it can't be read or put right."""
    volume = read_stored(file)
    done: list[str] = []
    labels = _whole(volume, done)
    if labels.array.shape[0] != 1:
        raise UserError(f"It has {labels.array.shape[0]} channels.", "Save it with one whole number per voxel.")
    array = labels.array[0]
    result.values = tuple(np.unique(array).tolist())
    changes = {old: new for old, new in changes_for(task.values, result.values).items() if old != new}
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
                f"label values that dataset.json does not declare: {shown(unknown)}.", hint, str(file), task.case.id
            )
        )
    if done:
        result.done.append(f"{file.name}: {'; '.join(done)}")
        _new_file(result, task, file, name if file.name.lower() != name.lower() else file.name)
        if task.write:
            write_labels(array, task.folder / PENDING / result.files[-1][0], image.geometry)


def _new_file(result: CaseRepair, task: RepairTask, old: Path, name: str) -> None:
    new = f"{old.parent.name}/{name}"
    result.files.append((new, str(old.relative_to(task.folder))))


def _whole(volume: Volume, done: list[str]) -> Volume:
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
