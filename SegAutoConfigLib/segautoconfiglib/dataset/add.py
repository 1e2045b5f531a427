"""Cases from a staging folder become part of a raw dataset, new or existing: all of them, or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.dataset.add_check import checked, workers_for_cases
from segautoconfiglib.dataset.change import PENDING, Change, carry_out, changing
from segautoconfiglib.dataset.dataset import IMAGES, LABELS, Case
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.dataset.members import TEST_IMAGES, TEST_LABELS, Members, load_members, places
from segautoconfiglib.dataset.membership import Membership, counted_content, files_in, kept_at, new_splits
from segautoconfiglib.dataset.splits import Split, splits_content
from segautoconfiglib.dataset.staging import StagedCase, Staging, load_staging
from segautoconfiglib.image.files import read_labels, read_stored, write_image, write_labels

STAGE = "add-cases"


def add_cases(
    source: Path,
    folder: Path,
    *,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Membership:
    """Check and convert all cases of a staging folder, then add them to a dataset.

    Everything is checked first. The files are converted to the dataset's format in a hidden folder and moved to their
    places when all are there. A run that was stopped or killed before has changed nothing; one that was killed after is
    completed by the same call.

    Args:
        source: The staging folder, with cases.json.
        folder: ``nnUNet_raw/DatasetXXX_Name``; made if it does not exist.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started", "progress", and warnings.
        cancel: Asked between cases.

    Raises:
        ProblemsError: the cases can't be added, with all reasons; nothing was written.
        UserError: cases.json or the dataset can't be used, or files can't be written.
        Cancelled: on request; nothing was changed.
    """
    source = Path(source).expanduser().absolute()
    return add_staged(load_staging(source), source, folder, workers=workers, report=report, cancel=cancel)


def add_staged(
    staging: Staging,
    source: Path,
    folder: Path,
    *,
    splits: Sequence[Split] | None = None,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Membership:
    """As `add_cases`, of cases that need no cases.json.

    Args:
        staging: The cases; names of files are relative to ``source``, or whole paths.
        source: The staging folder.
        folder: As for `add_cases`.
        splits: The user's folds for a new dataset; None: an existing file is brought up to date.
        workers: As for `add_cases`.
        report: As for `add_cases`.
        cancel: As for `add_cases`.
    """
    folder = Path(folder)
    check_writable(folder)
    with changing(folder, report=report, cancel=cancel) as completed:
        members = load_members(folder)
        staging = _may_replace(staging, completed)
        description = checked(staging, source, members, folder, workers, report, cancel)
        cases = [(case.files(source), case.test) for case in staging.cases]
        ending, channels = description.file_ending, len(description.channels)
        map_cases(
            _convert,
            [(case.id, (case, folder / PENDING, ending, channels, test)) for case, test in cases],
            workers=workers_for_cases([case for case, _ in cases], workers),
            stage=STAGE,
            report=report,
            cancel=cancel,
        )
        change, result = _change(staging, description, members, folder, splits)
        carry_out(folder, change)
    here = {*members.training, *members.test} - set(completed)
    ids = [case.id for case in staging.cases]
    return Membership(
        cases=tuple(case for case in ids if case not in here),
        replaced=tuple(case for case in ids if case in here),
        training=result.training,
        test=result.test,
        splits=splits is None and change.splits is not None,
    )


def _may_replace(staging: Staging, completed: Sequence[str]) -> Staging:
    """Cases that an interrupted run has added just now may come again."""
    cases = tuple(case.model_copy(update={"replace": True}) if case.id in completed else case for case in staging.cases)
    return staging.model_copy(update={"cases": cases})


def _convert(case: Case, target: Path, ending: str, channels: int, test: bool) -> None:
    """Write the case's files in the dataset's format: one per channel, all on the grid of the first."""
    images, labels = places(test)
    volumes = [read_stored(file) for file in case.images]
    arrays: list[np.ndarray] = [channel for volume in volumes for channel in volume.array]
    assert len(arrays) == channels, "was checked"
    for index, array in enumerate(arrays):
        write_image(array, target / images / f"{case.id}_{index:04d}{ending}", volumes[0].geometry)
    if case.label is not None:
        write_labels(read_labels(case.label).array[0], target / labels / f"{case.id}{ending}", volumes[0].geometry)


def _change(
    staging: Staging,
    description: DatasetDescription,
    members: Members,
    folder: Path,
    own: Sequence[Split] | None,
) -> tuple[Change, Membership]:
    """What is to be done, now that the files are converted."""
    new = {case.id: case for case in staging.cases}
    order = (LABELS, IMAGES, TEST_LABELS, TEST_IMAGES)  # a case is there when its images are
    files = [file for place in order for file in sorted((folder / PENDING / place).glob("*"))]
    moves = [(file, folder / file.relative_to(folder / PENDING)) for file in files]
    outdated = [case for case in (*members.training.values(), *members.test.values()) if case.id in new]
    keeps = [pair for case in outdated for pair in kept_at(folder, case.id, files_in(folder, case))]
    training = [case for case in members.training if case not in new or not new[case].test]
    training += [case.id for case in staging.cases if not case.test and case.id not in members.training]
    test = [case for case in members.test if case not in new or new[case].test]
    test += [case.id for case in staging.cases if case.test and case.id not in members.test]
    content = counted_content(description, len(training), len(test))
    if description.dataset:
        kept = {case: entry for case, entry in description.dataset.items() if case in training}
        content["dataset"] = {**kept, **_entries(staging.cases, description)}
    gone = set(members.training) - set(training)
    splits = own if own is not None else new_splits(folder, training, gone=gone, before=members.training)
    change = Change(
        cases=tuple(new),
        keeps=tuple(keeps),
        moves=tuple((str(source.relative_to(folder)), str(target.relative_to(folder))) for source, target in moves),
        splits=None if splits is None else splits_content(splits),
        description=content,
    )
    return change, Membership((), (), len(training), len(test), splits is not None)


def _entries(cases: Sequence[StagedCase], description: DatasetDescription) -> dict[str, Any]:
    """The new training cases in the file list of dataset.json, paths relative to it."""
    ending = description.file_ending
    return {
        case.id: {
            "images": [f"{IMAGES}/{case.id}_{index:04d}{ending}" for index in range(len(description.channels))],
            "label": f"{LABELS}/{case.id}{ending}",
        }
        for case in cases
        if not case.test
    }
