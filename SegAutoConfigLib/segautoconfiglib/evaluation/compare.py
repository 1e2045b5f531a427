"""A folder of predictions against the folder of true label maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import choose_workers, map_cases, usable_cores
from segautoconfiglib.base.records import checked_folder
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import visible_files
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.verify import value_counts
from segautoconfiglib.defaults import EVALUATION
from segautoconfiglib.evaluation.metrics import class_metrics
from segautoconfiglib.evaluation.summary import CaseMetrics, Summary, summarize
from segautoconfiglib.image.files import read_header, read_labels
from segautoconfiglib.image.formats import READABLE_ENDINGS
from segautoconfiglib.image.formats import file_ending as file_ending_of
from segautoconfiglib.image.volume import Geometry

STAGE = "evaluate"
#: Named in a message, of values and of cases.
SHOWN_VALUES, SHOWN_CASES = 5, 10

#: Memory that a case takes: both label maps, a copy of each, and masks.
BYTES_PER_VOXEL = 16
#: A process costs more than a second of imports; it pays where it gets at least so many voxels to compare (measured:
#: 0.1 to 0.3 s per million). The size of files, compressed to almost nothing, does not tell.
VOXELS_PER_WORKER = 10_000_000


def evaluate_folder(
    truth: Path,
    predictions: Path,
    label_spec: LabelSpec,
    *,
    file_ending: str,
    output: Path | None = None,
    cases: Sequence[str] | None = None,
    allow_missing: bool = False,
    all_declared: bool = True,
    workers: int | None = None,
    tolerance_mm: float = EVALUATION.tolerance_mm,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Summary:
    """Compare every prediction with the truth of the same file name.

    Args:
        truth: Folder of label maps.
        predictions: Folder of label maps; files with another ending are left alone.
        label_spec: Which labels or regions to evaluate.
        file_ending: Of the label maps in both folders.
        output: Where to write summary.json; None writes nothing.
        cases: Evaluate these cases alone; None all of ``truth``.
        allow_missing: Evaluate the predictions that exist; otherwise every truth needs one.
        all_declared: Warn about values in predictions that ``label_spec`` does not know.
        workers: Processes; None as many as cores and memory allow.
        tolerance_mm: For NSD.
        report: Gets started, progress per case, warning and artifact.
        cancel: Asked between cases.

    Raises:
        UserError: a folder is missing or empty, or a file is unreadable.
        ProblemsError: predictions are missing, or have no truth; or the grids of a pair differ.
    """
    pairs = label_pairs(Path(truth), Path(predictions), file_ending, cases, allow_missing)
    _warn_of_missing(pairs, Path(truth), file_ending, cases, report)
    _check_grids(pairs)
    largest = max((reference for _, reference, _ in pairs), key=lambda file: file.stat().st_size)
    tasks = [(case, (reference, prediction, label_spec, tolerance_mm)) for case, reference, prediction in pairs]
    processes = choose_processes(len(pairs), math.prod(read_header(largest).shape), workers)
    results = map_cases(compare_case, tasks, workers=processes, stage=STAGE, report=report, cancel=cancel)
    if all_declared:
        values = {case: found for (case, *_), (_, found) in zip(pairs, results, strict=True)}
        _warn_of_values(values, label_spec, report)
    summary = summarize([metrics for metrics, _ in results], names=label_spec.names, tolerance_mm=tolerance_mm)
    if output is not None:
        summary.save(output, sort_keys=True)
        report("artifact", path=str(output), description="metrics of the predictions")
    return summary


def _warn_of_missing(
    pairs: Sequence[tuple[str, Path, Path]], truth: Path, ending: str, wanted: Sequence[str] | None, report: Reporter
) -> None:
    """Warn of cases that have no prediction and are left out."""
    required = _label_files(truth, ending).keys() if wanted is None else set(wanted)
    missing = sorted(required - {case for case, _, _ in pairs})
    if missing:
        more = f" and {len(missing) - SHOWN_CASES} more" if len(missing) > SHOWN_CASES else ""
        report(
            "warning",
            message=f"No prediction for {len(missing)} of {counted(len(required), 'case')}, left out: "
            f"{', '.join(missing[:SHOWN_CASES])}{more}.",
            hint="Predict them too, if the numbers are to say something about all cases.",
        )


def _check_grids(pairs: Sequence[tuple[str, Path, Path]]) -> None:
    """Raises: ProblemsError: naming all cases whose prediction does not lie on the grid of its truth."""
    problems = []
    for case, reference, prediction in pairs:
        expected, found = read_header(reference), read_header(prediction)
        differences = grid_differences(expected.shape, expected.geometry, found.shape, found.geometry)
        if differences:
            problems.append(Problem(f"{prediction}, truth {reference}: {'; '.join(differences)}.", case=case))
    if problems:
        raise ProblemsError(
            f"{counted(len(problems), 'prediction')} {'is' if len(problems) == 1 else 'are'} not on the same grid as "
            "the truth:",
            problems,
            "Resample the predictions onto the truth's images, or check whether the two folders belong together.",
        )


def grid_differences(
    shape: tuple[int, int, int], geometry: Geometry, other_shape: tuple[int, int, int], other: Geometry
) -> list[str]:
    """What differs between two grids, in words; empty where nothing does."""
    differences = geometry.differences(other)
    if shape != other_shape:
        differences.insert(0, f"size {shape} against {other_shape} voxels (z, y, x)")
    return differences


def _warn_of_values(values: Mapping[str, Sequence[int]], label_spec: LabelSpec, report: Reporter) -> None:
    """Warn of values in predictions, given per case, that are no labels: they count as background."""
    known = {0, *label_spec.all_labels, label_spec.ignore_label}
    wrong = {case: sorted(set(found) - known) for case, found in values.items() if set(found) - known}
    if wrong:
        case, first = next(iter(wrong.items()))
        report(
            "warning",
            message=f"{counted(len(wrong), 'prediction')} with values that are no labels ({case}: "
            f"{', '.join(map(str, first[:SHOWN_VALUES]))}{' ...' if len(first) > SHOWN_VALUES else ''}).",
            hint="They count as background. Are these predictions of this dataset?",
        )


def compare_case(
    reference: Path, prediction: Path, label_spec: LabelSpec, tolerance_mm: float = EVALUATION.tolerance_mm
) -> tuple[CaseMetrics, list[int]]:
    """Metrics of one pair of files, each read once, and the values that occur in the prediction.

    Raises:
        UserError: a file is unreadable, or the two are not on the same grid.
    """
    expected, found = read_labels(reference), read_labels(prediction)
    differences = grid_differences(expected.shape, expected.geometry, found.shape, found.geometry)
    if differences:
        raise UserError(
            f"Truth {reference} and prediction {prediction} are not on the same grid: {'; '.join(differences)}.",
            "Resample the prediction onto the truth's image, or check whether the two belong together.",
        )
    metrics = class_metrics(
        expected.array[0],
        found.array[0],
        label_spec.foreground,
        spacing_mm=expected.geometry.spacing_mm,
        ignore_label=label_spec.ignore_label,
        tolerance_mm=tolerance_mm,
    )
    named: Any = {str(entry): values for entry, values in metrics.items()}
    case = CaseMetrics(metrics=named, prediction_file=str(prediction), reference_file=str(reference))
    return case, list(value_counts(found.array))


def guess_file_ending(folder: Path) -> str:
    """The ending of the readable files in a folder. Raises: UserError: there are none, or of several kinds."""
    endings = sorted({ending for file in visible_files(checked_folder(folder)) if (ending := file_ending_of(file))})
    if len(endings) == 1:
        return endings[0]
    found = f"label maps of several kinds ({', '.join(endings)})" if endings else "no label maps"
    raise UserError(f"{folder} holds {found}.", f"Put files of one kind there: {', '.join(READABLE_ENDINGS)}.")


def labels_found(folder: Path, file_ending: str) -> LabelSpec:
    """Every value but 0 that occurs in the label maps of a folder, as a label of its own; reads all of them."""
    values = {int(value) for file in _label_files(folder, file_ending).values() for value in _values(file)}
    return LabelSpec({"background": 0} | {f"label {value}": value for value in sorted(values - {0})})


def _values(file: Path) -> np.ndarray:
    return np.unique(read_labels(file).array)


def label_pairs(
    truth: Path, predictions: Path, ending: str, wanted: Sequence[str] | None, allow_missing: bool
) -> list[tuple[str, Path, Path]]:
    """(case, truth, prediction), sorted by case.

    Args:
        truth: Folder of label maps.
        predictions: Likewise.
        ending: Of the files in both.
        wanted: These cases alone; None: all of ``truth``.
        allow_missing: A truth needs no prediction.

    Raises:
        UserError: a folder is missing or empty.
        ProblemsError: files do not belong together.
    """
    references, found = _label_files(truth, ending), _label_files(predictions, ending)
    if wanted is not None:
        found = {case: file for case, file in found.items() if case in wanted}
    without_truth = (found.keys() | set(wanted or ())) - references.keys()
    required = references.keys() if wanted is None else references.keys() & set(wanted)
    without_prediction = set() if allow_missing else required - found.keys()
    problems = [
        Problem(f"there is no {what}.", f"Expected {folder / (case + ending)}.", case=case)
        for what, folder, missing in (("truth", truth, without_truth), ("prediction", predictions, without_prediction))
        for case in sorted(missing)
    ]
    if problems:
        raise ProblemsError(
            f"The files in {predictions} and {truth} do not belong together:",
            problems,
            "Predict the missing cases (or allow that some are missing), and remove files that do not belong here.",
        )
    if not found:
        raise UserError(f"{predictions} holds no prediction of the cases asked for.", "Predict them first.")
    return [(case, references[case], found[case]) for case in sorted(found)]


def _label_files(folder: Path, ending: str) -> dict[str, Path]:
    """The label maps of a folder by case: the file name without its ending."""
    files = visible_files(checked_folder(folder), ending)
    if not files:
        raise UserError(f"There is no file ending in {ending} in {folder}.", "Check the folder and the file ending.")
    return {file.name[: -len(ending)]: file for file in files}


def choose_processes(cases: int, voxels: int, requested: int | None) -> int:
    """At most the user's wish and what cores and memory allow; fewer where there is little to do.

    Args:
        cases: Their number.
        voxels: Of the largest case.
        requested: The user's wish, or None.
    """
    worthwhile = 1 + cases * voxels // VOXELS_PER_WORKER
    return choose_workers(BYTES_PER_VOXEL * voxels, min(usable_cores() if requested is None else requested, worthwhile))
