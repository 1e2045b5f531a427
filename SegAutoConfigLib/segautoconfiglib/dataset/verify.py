"""Check a raw dataset: every problem of every case in one run, each file read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.words import counted, first_of
from segautoconfiglib.dataset.dataset import DATASET_FILE, LABELS, Case, Dataset, channel_count_problem
from segautoconfiglib.dataset.structure import check_structure
from segautoconfiglib.dataset.workers import bytes_for, workers_for_largest
from segautoconfiglib.image.files import Header, read_image, read_labels
from segautoconfiglib.image.formats import TIFF_ENDINGS, file_ending
from segautoconfiglib.image.integrity import count_non_finite
from segautoconfiglib.image.orientation import orientation_code
from segautoconfiglib.image.tiff import side_car
from segautoconfiglib.image.volume import Geometry

STAGE = "verify"
SHOWN_VALUES = 12
SHOWN_CASES = 20
#: Up to this range of values, counting them in a table takes little memory.
COUNTED_RANGE = 2**16
RESAMPLE_HINT = "Resample the label map onto the image's grid (repair --apply does it), or export both from one scene."


@dataclass(frozen=True)
class VerificationReport:
    """The outcome of a check.

    Attributes:
        problems: What must be put right before planning and training.
        warnings: What is probably unintended.
        cases: Number of cases that were checked.
        name: Of the dataset.
    """

    problems: list[Problem]
    warnings: list[Problem]
    cases: int
    name: str = ""

    def raise_if_problems(self) -> None:
        """Raises: ProblemsError: listing all problems, if there are any."""
        if self.problems:
            raise ProblemsError(f"{self.name} has {counted(len(self.problems), 'problem')}:", self.problems)


@dataclass
class CaseFindings:
    """What the check of one case found; travels between processes."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    orientation: str = ""
    dimension: int = 0  # of the file: 2 or 3; 0 where no image could be read
    spacing_missing: bool = False
    label_values: tuple[int, ...] = ()  # empty where the label could not be read


@dataclass(frozen=True)
class _Grid:
    file: Path
    shape: tuple[int, int, int]
    geometry: Geometry


def verify_dataset(
    dataset: Dataset,
    *,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> VerificationReport:
    """Check names, headers and voxels of a whole dataset.

    Args:
        dataset: As :func:`load_dataset` returns it.
        workers: Number of processes; by default what cores and free memory allow.
        report: Gets "started" and one "progress" per case.
        cancel: Asked between cases.

    Returns:
        All problems and warnings, in the order of the cases; nothing is raised for them.
    """
    problems, warnings = check_structure(dataset)
    description = dataset.description
    values = (*description.label_spec.all_labels, description.label_spec.ignore_label)
    expected = tuple(value for value in values if value is not None)
    names = len(description.channels)
    found = map_cases(
        check_case,
        [(case.id, (case, names, expected)) for case in dataset.cases],
        workers=_workers(dataset, workers),
        stage=STAGE,
        report=report,
        cancel=cancel,
    )
    for findings in found:
        problems += findings.problems
        warnings += findings.warnings
    problems += _nothing_labelled(dataset, found)
    warnings += _label_warnings(dataset, found, expected)
    warnings += _orientation_warnings(dataset.cases, found) + _spacing_warnings(dataset.cases, found)
    warnings += _dimension_warnings(dataset.cases, found)
    return VerificationReport(problems, warnings, len(dataset.cases), dataset.name)


def check_case(case: Case, channels: int | None, expected: tuple[int, ...] | None) -> CaseFindings:
    """Read and check the files of one case.

    Args:
        case: Its files.
        channels: Number of channels that dataset.json names; None: not known.
        expected: The label values that it declares, ignore included; None: not known.
    """
    findings = CaseFindings()
    grids, count = [], 0
    for file in case.images:
        try:
            volume = read_image([file])
        except UserError as error:
            findings.problems.append(Problem.of(error, str(file), case.id))
            continue
        count += volume.array.shape[0]
        grids.append(_Grid(file, volume.shape, volume.geometry))
        findings.problems += _number_problems(volume.array, file, case.id)
    read = len(grids) == len(case.images)
    if channels is not None and read and count != channels and (len(grids) == 1 or count != len(grids)):
        findings.problems.append(channel_count_problem(case, count, channels))
    for grid in grids[1:]:
        findings.problems += _grid_problems(grids[0], grid, case.id, "Resample the channels onto one grid.")
    if grids:
        findings.orientation = orientation_code(grids[0].geometry)
        findings.dimension = grids[0].geometry.dimension
        findings.spacing_missing = _lacks_spacing(grids[0])
    _check_label(case, expected, grids[0] if grids else None, findings)
    return findings


def value_counts(labels: np.ndarray) -> dict[int, int]:
    """How many voxels each value has. labels: any shape, whole numbers; worked off slice by slice."""
    counts: dict[int, int] = defaultdict(int)
    for part in labels.reshape(-1, labels.shape[-2] * labels.shape[-1]):
        low, high = int(part.min()), int(part.max())
        if high - low < COUNTED_RANGE:
            numbers = np.bincount(part.astype(np.int64) - low)
            values = np.flatnonzero(numbers)
            numbers, values = numbers[values], values + low
        else:
            values, numbers = np.unique(part, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            counts[value] += number
    return dict(sorted(counts.items()))


def _check_label(case: Case, expected: tuple[int, ...] | None, image: _Grid | None, findings: CaseFindings) -> None:
    if case.label is None:  # the structure check says so
        return
    try:
        labels = read_labels(case.label)
    except UserError as error:
        findings.problems.append(Problem.of(error, str(case.label), case.id))
        return
    if image is not None:
        grid = _Grid(case.label, labels.shape, labels.geometry)
        findings.problems += _grid_problems(image, grid, case.id, RESAMPLE_HINT)
    counts = value_counts(labels.array)
    findings.problems += _value_problems(counts, expected, case) if expected is not None else []
    findings.label_values = tuple(counts)


def _number_problems(array: np.ndarray, file: Path, case: str) -> list[Problem]:
    nan, infinite = count_non_finite(array)
    if not nan and not infinite:
        return []
    hint = "Replace them, for example by the smallest value of the image."
    return [Problem(f"{nan} voxels are NaN (no number) and {infinite} are infinite.", hint, str(file), case)]


def _grid_problems(first: _Grid, other: _Grid, case: str, hint: str) -> list[Problem]:
    differences = first.geometry.differences(other.geometry)
    if first.shape != other.shape:
        differences.insert(0, f"shape {first.shape} against {other.shape} voxels (z, y, x)")
    if not differences:
        return []
    if _lacks_spacing(other) != _lacks_spacing(first):
        hint = f'Give each tif file its spacing: {{"spacing": [z, y, x]}} in CASE.json beside it. {hint}'
    message = f"does not lie on the grid of {first.file.name}: {'; '.join(differences)}."
    return [Problem(message, hint, str(other.file), case)]


def _value_problems(counts: dict[int, int], expected: tuple[int, ...], case: Case) -> list[Problem]:
    unknown = {value: number for value, number in counts.items() if value not in expected}
    if not unknown:
        return []
    shown = ", ".join(f"{value} ({number} voxels)" for value, number in list(unknown.items())[:SHOWN_VALUES])
    more = f" and {len(unknown) - SHOWN_VALUES} more values" if len(unknown) > SHOWN_VALUES else ""
    message = f"label values that dataset.json does not declare: {shown}{more}."
    if set(unknown) == {255}:
        divide = "A mask of 0 and 255: store 1 instead of 255 (divide by 255; repair --map 255=1 does it)."
        return [Problem(message, divide, str(case.label), case.id, "add-anew")]
    hint = f"dataset.json declares {', '.join(map(str, expected))}: declare the value there, or correct the file."
    return [Problem(message, hint, str(case.label), case.id)]


def _nothing_labelled(dataset: Dataset, found: Sequence[CaseFindings]) -> list[Problem]:
    """The problem of a dataset in which all labels can be read and none holds a structure."""
    values = {value for findings in found for value in findings.label_values}
    unread = any(not findings.label_values for findings in found)
    if unread or not values <= {0, dataset.description.label_spec.ignore_label}:
        return []
    hint = "Put the segmentations there; dataset.json numbers the structures from 1."
    return [
        Problem(
            "all labels are empty (only background): there is nothing to learn.", hint, str(dataset.folder / LABELS)
        )
    ]


def _label_warnings(dataset: Dataset, found: Sequence[CaseFindings], expected: tuple[int, ...]) -> list[Problem]:
    """Cases without any structure, and structures without any case."""
    values = {value for findings in found for value in findings.label_values}
    if not values - {0, dataset.description.label_spec.ignore_label}:  # a problem, not a warning
        return []
    warnings = []
    empty = [case.id for case, findings in zip(dataset.cases, found, strict=True) if findings.label_values == (0,)]
    if empty:
        hint = "Are their segmentations missing? A few cases without any structure do no harm."
        warnings.append(
            Problem(f"empty labels (only background): {_names(empty)}.", hint, str(dataset.folder / LABELS))
        )
    absent = [
        name
        for value, name in dataset.description.label_spec.names_of_regions.items()
        if not values & set(value if isinstance(value, tuple) else (value,))
    ]
    if absent and values <= set(expected) and all(findings.label_values for findings in found):
        hint = "The network can't learn them: complete the segmentations, or remove them from dataset.json."
        warnings.append(Problem(f"structures that occur in no case: {', '.join(absent)}.", hint, DATASET_FILE))
    return warnings


def _lacks_spacing(grid: _Grid) -> bool:
    return grid.geometry.dimension == 3 and file_ending(grid.file) in TIFF_ENDINGS and side_car(grid.file) is None


def _orientation_warnings(cases: Sequence[Case], found: Sequence[CaseFindings]) -> list[Problem]:
    groups = defaultdict(list)
    for case, findings in zip(cases, found, strict=True):
        if findings.orientation:
            groups[findings.orientation].append(case.id)
    if len(groups) < 2:
        return []
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    text = "; ".join(f"{code}: {_names(members)}" for code, members in ordered)
    hint = (
        "Networks see voxels in stored order. Reorient the images and labels of the smaller groups "
        f"(SimpleITK.DICOMOrient(image, {ordered[0][0]!r}), or Orient Scalar Volume in 3D Slicer)."
    )
    return [Problem(f"the images have different orientations: {text}.", hint, action="reorient")]


def _spacing_warnings(cases: Sequence[Case], found: Sequence[CaseFindings]) -> list[Problem]:
    missing = [case.id for case, findings in zip(cases, found, strict=True) if findings.spacing_missing]
    if not missing:
        return []
    hint = 'Write {"spacing": [z, y, x]} (mm) into CASE.json beside each image and label file.'
    return [Problem(f"3D tif files without a spacing count as 1 x 1 x 1 mm: {_names(missing)}.", hint)]


def _dimension_warnings(cases: Sequence[Case], found: Sequence[CaseFindings]) -> list[Problem]:
    flat, deep = (
        [case.id for case, findings in zip(cases, found, strict=True) if findings.dimension == dimension]
        for dimension in (2, 3)
    )
    if not flat or not deep:
        return []
    hint = "Each 2D image counts as a volume of a single thick slice. Train 2D and 3D images as datasets of their own."
    return [Problem(f"the dataset mixes 2D and 3D images: {_names(flat)} 2D, {_names(deep)} 3D.", hint)]


def _names(cases: Sequence[str]) -> str:
    return f"{counted(len(cases), 'case')} ({first_of(cases, SHOWN_CASES)})"


def _workers(dataset: Dataset, requested: int | None) -> int:
    """Processes for this dataset: one where it is small, else as memory for its largest files allows."""
    files = [file for case in dataset.cases for file in (*case.images, case.label)]
    return workers_for_largest(files, _bytes_to_check, requested)


def bytes_to_check(file: Path) -> int:
    """Peak memory of reading and checking one file; 0 where that is not possible."""
    return bytes_for(file, _bytes_to_check)


def _bytes_to_check(header: Header) -> int:
    """Two copies of the file's own type, float32 and temporaries."""
    return 2 * header.bytes + 8 * header.bytes // header.dtype.itemsize
