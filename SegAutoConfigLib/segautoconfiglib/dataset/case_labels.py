"""The label map of a case that is to become part of a dataset: one file, the dataset's numbers, the image's grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segautoconfiglib.base.errors import Problem, UserError
from segautoconfiglib.dataset.relabel import REST, add_mask, changed_values, changes_for, inside, on_grid, shown
from segautoconfiglib.dataset.source_cases import Making, SourceCase
from segautoconfiglib.image import dicom, dicom_seg
from segautoconfiglib.image.files import Header, read_header, read_labels, read_stored, write_labels
from segautoconfiglib.image.volume import Volume

#: In this format every geometry is kept, 2D and 3D.
SCRATCH_ENDING = ".nrrd"
OTHER_GRID = "Say --resample: the nearest label is taken for each voxel of the image. Or export both from one scene."


@dataclass
class PreparedLabels:
    """The label map of a case, and what was found on the way; travels between processes."""

    labels: Path | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    overlaps: Counter[tuple[int, int]] = field(default_factory=Counter)
    resampled: bool = False


@dataclass(frozen=True)
class LabelTask:
    case: SourceCase
    numbers: Mapping[str, int]  # of masks, and of segments that are called so
    values: Mapping[int, int]  # of label maps: old to new
    making: Making
    scratch: Path


def prepare_labels(task: LabelTask) -> PreparedLabels:
    """Make the case's label map fit: one file, the dataset's numbers, the image's grid."""
    case, result = task.case, PreparedLabels()
    image = None
    for file in case.images:
        try:
            header = read_header(file)
            image = image or header
            if dicom.is_dicom(file):
                result.warnings += [replace(problem, case=case.id) for problem in dicom.findings(file)]
        except UserError as error:
            result.problems.append(Problem(error.message, error.hint, str(file), case.id))
    if image is None or not (case.masks or case.labels):
        if not case.masks and case.labels is None and not case.test:
            result.problems.append(Problem("there are no labels.", "Only test cases may lack them.", case=case.id))
        return result
    try:
        merged = _merged(task, image, result) if case.masks else _changed(task, image, result)
    except UserError as error:
        result.problems.append(Problem(error.message, error.hint, str(case.labels or ""), case.id))
        return result
    if merged is None:
        result.labels = case.labels
    elif not result.problems:
        result.labels = task.scratch / f"{case.id}{SCRATCH_ENDING}"
        write_labels(merged, result.labels, image.geometry)
    return result


def _merged(task: LabelTask, image: Header, result: PreparedLabels) -> np.ndarray:
    """One label map (z, y, x) of all masks; of overlapping ones the later wins."""
    labels = np.zeros(image.shape, np.uint16)
    for name, files in task.case.masks.items():
        number = task.numbers[name]
        for file in files:
            try:
                volume = read_stored(file)
                opaque = volume.array[:1] if volume.array.shape[0] in (2, 4) else volume.array
                if opaque.shape[0] != 1:
                    raise UserError(f"The mask has {opaque.shape[0]} channels.", "Save it with one number per voxel.")
                mask = Volume(inside(opaque, task.making.threshold).astype(np.uint8), volume.geometry)
                on_image = _on_image(mask, image, task.making, result)
            except UserError as error:
                result.problems.append(Problem(error.message, error.hint, str(file), task.case.id))
                continue
            overwritten = add_mask(labels, (mask.array[0] if on_image is None else on_image) > 0, number)
            overwritten.pop(number, None)
            result.overlaps.update({(before, number): count for before, count in overwritten.items()})
    return labels


def _changed(task: LabelTask, image: Header, result: PreparedLabels) -> np.ndarray | None:
    """The label map (z, y, x) with the dataset's numbers on the image's grid; None where the file is so already."""
    assert task.case.labels is not None
    volume = read_labels(task.case.labels)
    on_image = _on_image(volume, image, task.making, result)
    labels = volume.array[0] if on_image is None else on_image
    segments = dicom_seg.segment_names(task.case.labels)
    values = _of_segments(segments, task) or task.values
    present = np.unique(labels).tolist()
    changes = changes_for(values, present)
    unknown = [value for value in present if value not in changes and value != 0]
    if values and unknown:
        words = [f"{value} ({segments[value]})" if value in segments else value for value in unknown]
        hint = (
            "Name them in --labels: NAME=VALUE, NAME=4-9; background=VALUE, background=rest for what is no structure."
        )
        raise UserError(f"The label map holds values that have no name: {shown(words)}.", hint)
    if on_image is None and not segments and all(old == new for old, new in changes.items()):
        return None
    return changed_values(labels, changes)


def _of_segments(segments: Mapping[int, str], task: LabelTask) -> dict[int, int]:
    """How values change where segments of a DICOM SEG file have the names of labels (capitals do not count)."""
    numbers = {name.casefold(): number for name, number in task.numbers.items()}
    found = {value: numbers[name.casefold()] for value, name in segments.items() if name.casefold() in numbers}
    return found | {REST: task.values[REST]} if found and REST in task.values else found


def _on_image(labels: Volume, image: Header, making: Making, result: PreparedLabels) -> np.ndarray | None:
    """Labels (z, y, x) resampled to the image; None where they lie there. Raises: UserError: they may not be."""
    differences = image.geometry.differences(labels.geometry)
    if image.shape != labels.shape:
        differences.insert(0, f"shape {image.shape} against {labels.shape} voxels (z, y, x)")
    if not differences:
        return None
    if not making.resample:
        raise UserError(f"It does not lie on the image's grid: {'; '.join(differences)}.", OTHER_GRID)
    result.resampled = True
    return on_grid(labels, image)
