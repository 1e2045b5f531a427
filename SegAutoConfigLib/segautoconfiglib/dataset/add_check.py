"""What speaks against adding cases to a raw dataset: all of it is said before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import existing_folder
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.dataset.description import DatasetDescription, describe
from segautoconfiglib.dataset.members import Members, places
from segautoconfiglib.dataset.membership import files_in
from segautoconfiglib.dataset.merge import label_values, merge
from segautoconfiglib.dataset.staging import CASES_FILE, Staging, case_problems
from segautoconfiglib.dataset.verify import CaseFindings, bytes_to_check, check_case
from segautoconfiglib.dataset.workers import workers_for_files
from segautoconfiglib.image.files import Header, read_header
from segautoconfiglib.image.formats import PICTURE_ENDINGS

STAGE = "check"
#: Formats in which files are not packed; others become no larger than the staged files.
UNPACKED_ENDINGS = (".nii", ".gipl")


def checked(
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
    cases = [case.files(source) for case in staging.cases if case.images]
    channels, ending = len(content.get("channel_names") or ()) or None, str(content["file_ending"])
    values = label_values(content.get("labels")) if description is not None else None
    found = map_cases(
        _check,
        [(case.id, (case, channels, values, ending)) for case in cases],
        workers=workers_for_cases(cases, workers),
        stage=STAGE,
        report=report,
        cancel=cancel,
    )
    problems += [problem for findings in found for problem in findings.problems]
    problems += _place_problems(staging, members, folder, channels, ending)
    problems += _space_problems(_files(cases), folder, ending)
    if problems or description is None:
        raise ProblemsError(f"The cases can't be added to {folder.name}:", problems)
    _warn_of_empty(cases, found, report)
    return description


def _check(case: Case, channels: int | None, values: tuple[int, ...] | None, ending: str) -> CaseFindings:
    """As `check_case`, and whether the images can be stored; ending: of the dataset's files."""
    findings = check_case(case, channels, values)
    for file in case.images:
        with suppress(UserError):  # has been reported
            findings.problems += storing_problems(file, read_header(file), ending, case.id)
    return findings


def storing_problems(file: Path, header: Header, ending: str, case: str) -> list[Problem]:
    """Whether an image can be stored as a file of this ending."""
    if ending not in PICTURE_ENDINGS or (header.shape[0] == 1 and header.dtype.kind in "ui"):
        return []
    text = f"{header.shape[0]} slices of {header.dtype} can't be stored as {ending}."
    hint = f"The dataset's files are {ending}: pictures of whole numbers from 0."
    return [Problem(text, hint, str(file), case)]


def _warn_of_empty(cases: Sequence[Case], found: Sequence[CaseFindings], report: Reporter) -> None:
    empty = [case.id for case, findings in zip(cases, found, strict=True) if findings.label_values == (0,)]
    if empty:
        message = f"Only background in the label maps of {', '.join(empty)}."
        report("warning", message=message, hint="Are their segmentations missing? A few such cases do no harm.")


def workers_for_cases(cases: Sequence[Case], requested: int | None) -> int:
    """Processes that check or convert so many cases, `requested` at most."""
    largest = max(map(_bytes_to_check, cases), default=0)
    return workers_for_files(_files(cases), largest, requested)


def _files(cases: Sequence[Case]) -> list[Path]:
    files = [file for case in cases for file in (*case.images, case.label) if file is not None]
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
        images, labels = (folder / place for place in places(case.test))
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
