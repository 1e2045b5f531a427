"""Cases from a staging folder become part of a raw dataset, new or existing: all of them, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import check_writable, existing_folder
from segautoconfiglib.dataset.change import PENDING, Change, carry_out, changing
from segautoconfiglib.dataset.dataset import IMAGES, LABELS, Case
from segautoconfiglib.dataset.description import DatasetDescription, describe
from segautoconfiglib.dataset.members import TEST_IMAGES, TEST_LABELS, Members, load_members
from segautoconfiglib.dataset.merge import label_values, merge
from segautoconfiglib.dataset.splits import SPLITS_FILE, Split, load_splits, splits_content, update_splits
from segautoconfiglib.dataset.staging import CASES_FILE, StagedCase, Staging, case_problems, load_staging
from segautoconfiglib.dataset.verify import CaseFindings, bytes_to_check, check_case
from segautoconfiglib.dataset.workers import workers_for_files
from segautoconfiglib.image.files import (
    files_of,
    read_header,
    read_labels,
    read_stored,
    write_image,
    write_labels,
)
from segautoconfiglib.image.formats import PICTURE_ENDINGS

CHECK, STAGE = "check", "add-cases"
#: Folder in the dataset's raw folder; each case has a folder of its own in it, with imagesTr, labelsTr ...
REMOVED = "removed"
#: Formats in which files are not packed; others become no larger than the staged files.
UNPACKED_ENDINGS = (".nii", ".gipl")


@dataclass(frozen=True)
class Membership:
    """What became of a dataset.

    Attributes:
        cases: Ids that were added or removed.
        replaced: Ids of cases that were there before and have new files; the old ones are kept.
        training: Number of training cases now.
        test: Number of test cases now.
        splits: The user's own splits file was changed.
    """

    cases: tuple[str, ...]
    replaced: tuple[str, ...]
    training: int
    test: int
    splits: bool


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
        description = _checked(staging, source, members, folder, workers, report, cancel)
        cases = [(case.files(source), case.test) for case in staging.cases]
        ending, channels = description.file_ending, len(description.channels)
        map_cases(
            _convert,
            [(case.id, (case, folder / PENDING, ending, channels, test)) for case, test in cases],
            workers=workers_for_files(_files(cases), max(_bytes_to_check(case) for case, _ in cases), workers),
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


def _checked(
    staging: Staging,
    source: Path,
    members: Members,
    folder: Path,
    workers: int | None,
    report: Reporter,
    cancel: CancelToken | None,
) -> DatasetDescription:
    """The new dataset.json, number of cases not yet counted. Raises: ProblemsError: all that speaks against it."""
    content, problems = merge(members.description, staging)
    description = None
    try:
        description = describe(content, source / CASES_FILE)
    except ProblemsError as error:
        problems += [replace(problem, file=CASES_FILE) for problem in error.problems]
    problems += case_problems(staging, members)
    cases = [(case.files(source), case.test) for case in staging.cases if case.images]
    channels, ending = len(content.get("channel_names") or ()) or None, str(content["file_ending"])
    values = label_values(content.get("labels")) if description is not None else None
    found = map_cases(
        _check,
        [(case.id, (case, channels, values, ending)) for case, _ in cases],
        workers=workers_for_files(_files(cases), max((_bytes_to_check(case) for case, _ in cases), default=0), workers),
        stage=CHECK,
        report=report,
        cancel=cancel,
    )
    problems += [problem for findings in found for problem in findings.problems]
    problems += _place_problems(staging, members, folder, channels, ending)
    problems += _space_problems(_files(cases), folder, ending)
    if problems or description is None:
        raise ProblemsError(f"The cases can't be added to {folder.name}:", problems)
    _warn_of_empty([case for case, _ in cases], found, report)
    return description


def _check(case: Case, channels: int | None, values: tuple[int, ...] | None, ending: str) -> CaseFindings:
    """As `check_case`, and whether the images can be stored; ending: of the dataset's files."""
    findings = check_case(case, channels, values)
    if ending in PICTURE_ENDINGS:
        for file in case.images:
            with suppress(UserError):  # has been reported
                header = read_header(file)
                if header.shape[0] != 1 or header.dtype.kind not in "ui":
                    text = f"{header.shape[0]} slices of {header.dtype} can't be stored as {ending}."
                    hint = f"The dataset's files are {ending}: pictures of whole numbers from 0."
                    findings.problems.append(Problem(text, hint, str(file), case.id))
    return findings


def _warn_of_empty(cases: Sequence[Case], found: Sequence[CaseFindings], report: Reporter) -> None:
    empty = [case.id for case, findings in zip(cases, found, strict=True) if findings.label_values == (0,)]
    if empty:
        message = f"Only background in the label maps of {', '.join(empty)}."
        report("warning", message=message, hint="Are their segmentations missing? A few such cases do no harm.")


def _files(cases: Sequence[tuple[Case, bool]]) -> list[Path]:
    files = [file for case, _ in cases for file in (*case.images, case.label) if file is not None]
    return [part for file in files for part in (sorted(file.iterdir()) if file.is_dir() else [file]) if part.is_file()]


def _bytes_to_check(case: Case) -> int:
    return max(map(bytes_to_check, (*case.images, *([case.label] if case.label else []))), default=0)


def _place_problems(
    staging: Staging, members: Members, folder: Path, channels: int | None, ending: str
) -> list[Problem]:
    """Files that would be overwritten although they belong to other cases, or to none."""
    owners = {
        file: case.id
        for case in (*members.training.values(), *members.test.values())
        for file in files_in(folder, case)
    }
    problems = []
    for case in staging.cases:
        images, labels = (folder / place for place in _places(case.test))
        names = [images / f"{case.id}_{index:04d}{ending}" for index in range(channels or 0)]
        for file in [*names, labels / f"{case.id}{ending}"]:
            owner = owners.get(file)
            if owner not in (None, case.id) or (owner is None and not case.replace and file.exists()):
                text = f"there is such a file, {f'of case {owner}' if owner else 'which belongs to no case'}."
                problems.append(Problem(text, "Remove or rename it, or rename the case.", str(file), case.id))
    return problems


def _space_problems(files: Sequence[Path], folder: Path, ending: str) -> list[Problem]:
    needed = sum(map(_voxel_bytes if ending in UNPACKED_ENDINGS else _file_bytes, files))
    free = shutil.disk_usage(existing_folder(folder)).free
    if needed <= free:
        return []
    text = f"the new files need up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free."
    return [Problem(text, "Make room, or choose another workspace (--workspace).", str(folder), action="room")]


def _file_bytes(file: Path) -> int:
    return file.stat().st_size


def _voxel_bytes(file: Path) -> int:
    try:
        return read_header(file).bytes
    except UserError:  # has been reported
        return 0


def _places(test: bool) -> tuple[str, str]:
    return (TEST_IMAGES, TEST_LABELS) if test else (IMAGES, LABELS)


def _convert(case: Case, target: Path, ending: str, channels: int, test: bool) -> None:
    """Write the case's files in the dataset's format: one per channel, all on the grid of the first."""
    images, labels = _places(test)
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
    places = (LABELS, IMAGES, TEST_LABELS, TEST_IMAGES)  # a case is there when its images are
    files = [file for place in places for file in sorted((folder / PENDING / place).glob("*"))]
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


def counted_content(description: DatasetDescription, training: int, test: int) -> dict[str, Any]:
    """The content of dataset.json with these numbers of cases."""
    content = {**description.to_json(), "numTraining": training}
    return content | ({"numTest": test} if test or "numTest" in content else {})


def files_in(folder: Path, case: Case) -> list[Path]:
    """The files of a case that lie in a folder; those elsewhere (files that dataset.json lists) are left alone."""
    found: dict[Path, None] = {}
    for file in (*case.images, *([case.label] if case.label else [])):
        found[file] = None
        with suppress(UserError):  # unreadable: has no other file
            found.update(dict.fromkeys(files_of(file)))
    plain = [Path(os.path.normpath(file)) for file in found if file.is_file()]
    return [file for file in plain if file.is_relative_to(folder)]


def kept_at(folder: Path, case: str, files: Sequence[Path], root: str = REMOVED) -> list[tuple[str, str]]:
    """Where the files of a case that leaves or is replaced are kept; what was kept before of this name stays.

    Args:
        folder: Of the dataset.
        case: Its id.
        files: In the folder.
        root: Name of the folder in which the case gets a folder of its own.

    Returns:
        Pairs of paths relative to the dataset's folder: now, and then.
    """
    target, number = folder / root / case, 2
    while target.exists():
        target, number = target.with_name(f"{case}_{number}"), number + 1
    names = [file.relative_to(folder) for file in files]
    return [(str(name), str((target / name).relative_to(folder))) for name in names]


def new_splits(
    folder: Path, training: Sequence[str], *, gone: set[str], before: Mapping[str, Case]
) -> list[Split] | None:
    """The user's own splits (in the raw folder) for the changed dataset; None where there are none, or no change."""
    file = folder / SPLITS_FILE
    if not file.is_file():
        return None
    splits = load_splits(file)
    updated = update_splits(splits, new=set(training) - set(before), gone=gone)
    return None if updated == splits else updated


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
