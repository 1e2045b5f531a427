"""Images and labels that lie anywhere become cases of a raw dataset, new or existing: all of them, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import scratch_folder
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import existing_folder
from segautoconfiglib.base.words import command, counted, first_of
from segautoconfiglib.dataset.add import add_staged
from segautoconfiglib.dataset.case_labels import LabelTask, PreparedLabels, prepare_labels
from segautoconfiglib.dataset.case_names import clean_id, numbered_ids
from segautoconfiglib.dataset.labels import BACKGROUND
from segautoconfiglib.dataset.members import Members, load_members
from segautoconfiglib.dataset.membership import Membership
from segautoconfiglib.dataset.new_dataset import channel_names, dataset_ending
from segautoconfiglib.dataset.relabel import by_value, numbering
from segautoconfiglib.dataset.source_cases import Making, SourceCase
from segautoconfiglib.dataset.split import choose_test
from segautoconfiglib.dataset.splits import Split, make_splits
from segautoconfiglib.dataset.staging import CASES_FILE, NAME_TAKEN, StagedCase, Staging
from segautoconfiglib.dataset.workers import workers_for_largest
from segautoconfiglib.image import dicom_seg
from segautoconfiglib.image.files import read_labels

STAGE = "labels"
SHOWN = 5
FOLDS_COMMAND = command("split", "DATASET", "--folds", 5, "--groups", "FILE")


def make_dataset(
    cases: Sequence[SourceCase],
    folder: Path,
    making: Making | None = None,
    *,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Membership:
    """Add cases to a raw dataset; masks are merged, label values changed and label maps resampled as asked.

    Args:
        cases: Where their files lie; these stay as they are.
        folder: ``nnUNet_raw/DatasetXXX_Name``; made if it does not exist.
        making: How.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started", "progress", "log" for what was decided, "warning".
        cancel: Asked between cases.

    Raises:
        ProblemsError: all that speaks against it; nothing was written.
        UserError: the dataset can't be used.
        Cancelled: on request; nothing was changed.
    """
    folder, making, cancel = Path(folder), making or Making(), cancel or CancelToken()
    members = load_members(folder)
    cases = _named(cases, making, members, report)
    scratch_place = existing_folder(folder.parent)
    with scratch_folder(scratch_place, ".making-") as scratch:
        labels, values = _label_plan(cases, making, members, workers, report, cancel)
        names = labels or (members.description.labels if members.description else {})
        numbers = {name: entry for name, entry in names.items() if isinstance(entry, int)}
        prepared = map_cases(
            prepare_labels,
            [(case.id, (LabelTask(case, numbers, values, making, scratch),)) for case in cases],
            workers=_workers(cases, workers),
            stage=STAGE,
            report=report,
            cancel=cancel,
        )
        problems = [problem for one in prepared for problem in one.problems]
        if problems:
            raise ProblemsError(f"{folder.name} can't be made of these files:", problems)
        _tell(cases, prepared, labels or {}, report)
        new = members.description is None
        staging = Staging(
            cases=tuple(_staged(case, one) for case, one in zip(cases, prepared, strict=True)),
            channel_names=channel_names(cases[0].images, making.channels, members.description, report),
            labels=labels,
            file_ending=dataset_ending([file for case in cases for file in case.images], making.file_ending)
            if new
            else None,
        )
        splits = _splits(cases, members, report)
        try:
            return add_staged(staging, scratch, folder, splits=splits, workers=workers, report=report, cancel=cancel)
        except ProblemsError as error:
            found = _reworded(error.problems, folder.name, members, labels)
            raise ProblemsError(error.message, found, error.hint) from error


def _reworded(
    problems: Sequence[Problem], dataset: str, members: Members, labels: Mapping[str, int | list[int]] | None
) -> list[Problem]:
    """Problems in the words of commands that know no cases.json."""
    found = [replace(p, file="" if p.file.endswith(CASES_FILE) else p.file) for p in problems]
    remove = command("remove-cases", dataset, "CASE")
    taken = f"Name the new cases otherwise (--rename NAME), or first take out the old: {remove}"
    found = [replace(p, hint=taken) if p.message == NAME_TAKEN else p for p in found]
    had = [name for name in (members.description.labels if members.description else ()) if name != BACKGROUND]
    new = [name for name in labels or () if name != BACKGROUND and name not in had]
    if new and any(problem.message == NAME_TAKEN for problem in found):
        text = f"the labels {', '.join(new)} are new; those of the dataset are {', '.join(had)}."
        found.insert(0, Problem(text, "Cases with other labels may need a dataset of their own."))
    return found


def _named(cases: Sequence[SourceCase], making: Making, members: Members, report: Reporter) -> list[SourceCase]:
    """The cases with the ids they will have, and those for testing chosen."""
    if not cases:
        raise UserError("There are no cases.", "Check the folder and the names of the files.")
    if making.test:
        free = [case.id for case in cases if not case.test]
        groups = {case.id: case.patient for case in cases if case.patient}
        chosen = set(choose_test(free, making.test, seed=making.seed, groups=groups))
        cases = [replace(case, test=case.test or case.id in chosen) for case in cases]
    if making.rename is not None:
        ids = numbered_ids(clean_id(making.rename), len(cases), (*members.training, *members.test))
    else:
        ids = [clean_id(case.id) for case in cases]
    for old, new in zip(cases, ids, strict=True):
        if old.id != new:
            report("log", message=f"{old.id} becomes {new}.")
    return [replace(case, id=new) for case, new in zip(cases, ids, strict=True)]


def _label_plan(
    cases: Sequence[SourceCase],
    making: Making,
    members: Members,
    workers: int | None,
    report: Reporter,
    cancel: CancelToken,
) -> tuple[dict[str, int | list[int]] | None, dict[int, int]]:
    """The labels of dataset.json (None: as they are), and how values of label maps change."""
    known = dict(members.description.labels) if members.description else {}
    masks = list(dict.fromkeys(name for case in cases for name in case.masks))
    if masks:
        return _numbers(masks, known), {}
    if making.labels is not None:
        numbers = _numbers(list(making.labels), known)
        pairs = {value: numbers[name] for value, name in by_value(making.labels).items()}
        return numbers, {old: new for old, new in pairs.items() if isinstance(new, int)}
    if known or not any(case.labels for case in cases):
        return None, {}
    if segments := _segments(cases):
        report("log", message=f"The labels are called as the segments of the DICOM SEG files: {', '.join(segments)}.")
        return _numbers(segments, known), {}
    found = map_cases(
        _values,
        [(case.id, (case.labels,)) for case in cases if case.labels is not None],
        workers=_workers(cases, workers),
        stage=STAGE,
        report=report,
        cancel=cancel,
    )
    return _guessed_labels(sorted(set().union(*found) - {0}), report)


def _numbers(names: list[str], known: Mapping[str, int | list[int]]) -> dict[str, int | list[int]]:
    numbers = numbering(names, known)
    regions = [name for name in names if not isinstance(numbers[name], int)]
    if regions:
        hint = "Name the single labels; or leave --labels out: values of label maps are then taken as they are."
        raise UserError(f"{regions[0]} is a region of several labels in the dataset.", hint)
    return numbers


def _guessed_labels(values: list[int], report: Reporter) -> tuple[dict[str, int | list[int]], dict[int, int]]:
    """Names for the values of label maps that nobody has named."""
    names = [f"label_{number}" for number in range(1, len(values) + 1)]
    labels: dict[str, int | list[int]] = {BACKGROUND: 0, **dict(zip(names, range(1, len(values) + 1), strict=True))}
    if values == list(range(1, len(values) + 1)):
        words = " ".join(names)
        report("log", message=f"The labels are called {', '.join(names)}; name them with --labels {words}.")
        return labels, {}
    if values == [255]:
        report("log", message="The label maps are masks of 0 and 255: 255 becomes 1.")
        return labels, {255: 1}
    example = " ".join(f"name{index}={value}" for index, value in enumerate(values[:SHOWN], start=1))
    raise UserError(
        f"The label maps hold the values {', '.join(map(str, values[:20]))}{' ...' if len(values) > 20 else ''}.",
        f"Say what they are, and they are numbered 1, 2, 3 ...: --labels {example} (background=rest for all others)",
    )


def _segments(cases: Sequence[SourceCase]) -> list[str]:
    """The names of all segments, where all label maps are DICOM SEG files that name them."""
    found = [dicom_seg.segment_names(case.labels) for case in cases if case.labels is not None]
    return list(dict.fromkeys(name for names in found for name in names.values())) if all(found) else []


def _values(file: Path) -> set[int]:
    try:
        return set(np.unique(read_labels(file).array).tolist())
    except UserError:  # is reported with the others
        return set()


def _staged(case: SourceCase, prepared: PreparedLabels) -> StagedCase:
    images = tuple(str(file.absolute()) for file in case.images)
    labels = None if prepared.labels is None else str(prepared.labels.absolute())
    return StagedCase(id=case.id, images=images, labels=labels, test=case.test)


def _tell(
    cases: Sequence[SourceCase],
    prepared: Sequence[PreparedLabels],
    labels: Mapping[str, int | list[int]],
    report: Reporter,
) -> None:
    """Report what was resampled, which masks overlap or are missing, and what is odd about images."""
    for problem in (problem for one in prepared for problem in one.warnings):
        report("warning", message=str(replace(problem, hint="")), hint=problem.hint)
    resampled = [case.id for case, one in zip(cases, prepared, strict=True) if one.resampled]
    if resampled:
        report("log", message=f"Label maps resampled onto their images: {_shown(resampled)}.")
    names = {number: name for name, number in labels.items() if isinstance(number, int)}
    overlaps: Counter[tuple[int, int]] = Counter()
    for one in prepared:
        overlaps.update(one.overlaps)
    if overlaps:
        pairs = [
            f"{names[new]} over {names[old]}: {counted(count, 'voxel')}"
            for (old, new), count in overlaps.most_common(SHOWN)
        ]
        where = [case.id for case, one in zip(cases, prepared, strict=True) if one.overlaps]
        more = f" and {counted(len(overlaps) - SHOWN, 'more pair')}" if len(overlaps) > SHOWN else ""
        report(
            "warning",
            message=f"Masks overlap in {_shown(where)} ({'; '.join(pairs)}{more}).",
            hint="The later one was taken; --labels gives the order.",
        )
    masks = list(dict.fromkeys(name for case in cases for name in case.masks))
    for name in masks:
        lacking = [case.id for case in cases if case.masks and name not in case.masks]
        if lacking:
            report("warning", message=f"No mask of {name} in {_shown(lacking)}.", hint="It counts as absent there.")


def _shown(ids: Sequence[str]) -> str:
    return f"{counted(len(ids), 'case')} ({first_of(ids, SHOWN)})"


def _splits(cases: Sequence[SourceCase], members: Members, report: Reporter) -> list[Split] | None:
    """Folds that keep patients together, or hold out what the list says; None: the usual ones."""
    training = [case for case in cases if not case.test]
    held = {case.id for case in training if case.validation}
    if not held and not any(case.patient for case in training):
        return None
    if members.training:
        report(
            "warning",
            message="The dataset has cases already: its folds do not follow the list of the new ones.",
            hint=f"Make folds for all cases: {FOLDS_COMMAND}",
        )
        return None
    if held:
        ids = sorted(case.id for case in training)
        return [Split(tuple(c for c in ids if c not in held), tuple(c for c in ids if c in held))]
    groups = {case.id: case.patient for case in training if case.patient}
    if len(groups) == len(training) and len(set(groups.values())) == 1:
        report(
            "warning",
            message=f"All training cases are of patient {training[0].patient!r} (column patient): no folds written.",
            hint="Usual folds divide the patient, so that validation promises too much. Add patients, or correct the "
            f"column and make folds: {FOLDS_COMMAND}",
        )
        return None
    return make_splits([case.id for case in training], groups=groups)


def _workers(cases: Sequence[SourceCase], requested: int | None) -> int:
    """Processes: each holds a label map and one mask or label file."""
    files = [file for case in cases for file in (case.labels, *(f for many in case.masks.values() for f in many))]
    return workers_for_largest(
        files, lambda header: 3 * header.bytes + 8 * header.bytes // header.dtype.itemsize, requested
    )
