"""Tasks of nnU-Net v1 (TaskXXX_Name in nnUNet_raw_data) become raw datasets (DatasetXXX_Name)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import read_json
from segautoconfiglib.base.words import command, counted, first_of
from segautoconfiglib.dataset.case_names import CHANNEL
from segautoconfiglib.dataset.convert import (
    ENDING,
    FileJob,
    check_space,
    check_target,
    files_by_case,
    listed_cases,
    with_background,
    write_dataset,
)
from segautoconfiglib.dataset.dataset import DATASET_FILE, IMAGES, LABELS
from segautoconfiglib.dataset.description import describe, upgrade
from segautoconfiglib.dataset.members import TEST_IMAGES, TEST_LABELS
from segautoconfiglib.image.files import read_header

STAGE = "convert-v1"
#: Folders of images with those of their labels; only the first two must exist.
FOLDERS = {IMAGES: LABELS, TEST_IMAGES: TEST_LABELS, "imagesVal": "labelsVal"}
#: Keys that have no meaning in v2.
DROPPED = ("tensorImageSize", "numTest", "training", "test")
MISSPELT = {"relase": "release", "liscence": "licence", "modalities": "modality"}
#: Texts in quotes, or commas before a closing bracket.
TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
SHOWN = 5


def convert_v1(
    source: Path,
    target: Path,
    *,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Copy a task's files and bring its dataset.json to v2's form.

    Every file appears only when it is whole, and dataset.json comes last: what an interrupted conversion has left is
    no dataset yet, and the same call completes it.

    Args:
        source: ``TaskXXX_Name`` with dataset.json, imagesTr, labelsTr and maybe those of tests and validation.
        target: ``nnUNet_raw/DatasetXXX_Name``.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started", "progress" per file, "warning" for what was accepted although it is untidy, and a
            "log" where value 0 had another name than background.
        cancel: Asked between files.

    Returns:
        The new folder.

    Raises:
        ProblemsError: the task can't be converted, with all reasons; nothing was written.
        UserError: the target exists, or the disk is too small.
    """
    source, target = Path(source).expanduser().absolute(), Path(target)
    if not source.is_dir():
        raise UserError(f"There is no folder {source}.", "Give the folder TaskXXX_Name that holds dataset.json.")
    content, remarks = read_task(source / DATASET_FILE)
    content, renamed = with_background(content)
    problems: list[Problem] = []
    channels = len(_upgraded(content).get("channel_names") or ())
    jobs, cases = _jobs(source, target, channels, content, problems, remarks)
    description = _description(content, cases, source, problems, remarks)
    if problems:
        raise ProblemsError(f"{source} can't be converted:", problems)
    check_target(target, jobs)
    check_space(target.parent, jobs)
    for remark in remarks:
        report("warning", message=remark, hint="")
    for message in renamed:
        report("log", message=message)
    return write_dataset(target, jobs, description, stage=STAGE, workers=workers, report=report, cancel=cancel)


def read_task(file: Path) -> tuple[dict[str, Any], list[str]]:
    """A dataset.json of v1, as people write them: commas too many and known misspellings are put right and told.

    Raises:
        UserError: missing, or no JSON object even so.
    """
    remarks = []
    try:
        content = read_json(file)
    except UserError:
        if not file.is_file():
            raise
        text = file.read_bytes().decode("utf-8-sig", "replace")
        try:
            content = json.loads(TRAILING_COMMA.sub(lambda match: match[1] or "", text))
        except json.JSONDecodeError:
            content = None
        if content is None:
            raise
        remarks.append(f"{file} has commas after the last entry of a list or object; they were passed over.")
    if not isinstance(content, dict):
        raise UserError(f"{file} is no dataset.json.", "Expected an object with keys and values.")
    renamed = {old: new for old, new in MISSPELT.items() if old in content and new not in content}
    remarks += [f"The key {old} was read as {new}." for old, new in renamed.items()]
    return {str(renamed.get(key, key)): value for key, value in content.items()}, remarks


def v1_name(source: Path) -> str:
    """DatasetXXX_Name for TaskXXX_Name. Raises: UserError: another form."""
    match = re.fullmatch(r"Task(\d+)_(.+)", source.name)
    if match is None:
        raise UserError(
            f"{source.name!r} is no name of a v1 task (TaskXXX_Name).",
            f"Give the new name: {command('convert-v1', 'FOLDER', 'Dataset005_X')}",
        )
    return f"Dataset{int(match[1]):03d}_{match[2]}"


def _jobs(
    source: Path,
    target: Path,
    channels: int,
    content: Mapping[str, Any],
    problems: list[Problem],
    remarks: list[str],
) -> tuple[list[FileJob], list[str]]:
    """What becomes of each file, and the ids of the training cases."""
    jobs: list[FileJob] = []
    training: list[str] = []
    for images, labels in FOLDERS.items():
        if images == IMAGES:
            lacking = [name for name in (images, labels) if not (source / name).is_dir()]
            problems += [Problem(f"there is no folder {name}.", "A v1 task has one.", str(source)) for name in lacking]
        label_files = files_by_case(source / labels, problems)
        image_files = files_by_case(source / images, problems)
        names = set(label_files) | listed_cases(content, "test")
        cases, bare = _cases(image_files, names)
        if bare:
            shown = first_of(bare, SHOWN)
            remarks.append(f"{counted(len(bare), 'image')} in {images} without _0000 in the name ({shown}): added.")
        if images == IMAGES:
            training = sorted(cases)
            problems += _unpaired(cases, label_files, source)
        for case, found in sorted(cases.items()):
            jobs += _image_jobs(case, found, target / images, channels, problems)
        for case, file in label_files.items():
            jobs += _file_jobs(file, (target / labels / f"{case}{ENDING}",), case, problems)
    return jobs, training


def _cases(files: Mapping[str, Path], known: set[str]) -> tuple[dict[str, dict[int | None, Path]], list[str]]:
    """Case to channel to file; channel None where the name has none. And the ids of those."""
    cases: dict[str, dict[int | None, Path]] = {}
    bare = []
    for name, file in files.items():
        match = CHANNEL.fullmatch(name)
        if match is None or (name in known and match["case"] not in known):
            cases.setdefault(name, {})[None] = file
            bare.append(name)
        else:
            cases.setdefault(match["case"], {})[int(match["channel"])] = file
    return cases, bare


def _unpaired(cases: Mapping[str, Any], labels: Mapping[str, Path], source: Path) -> list[Problem]:
    problems = [
        Problem("the image has no label.", f"Add {LABELS}/{case}{ENDING}, or remove the image.", case=case)
        for case in sorted(set(cases) - set(labels))
    ]
    problems += [
        Problem("the label has no image.", f"Add {IMAGES}/{case}_0000{ENDING}, or remove the label.", case=case)
        for case in sorted(set(labels) - set(cases))
    ]
    if not cases and not labels:
        problems.append(Problem(f"there are no {ENDING} files in {IMAGES}.", "Check the folder.", str(source)))
    return problems


def _image_jobs(
    case: str, found: Mapping[int | None, Path], folder: Path, channels: int, problems: list[Problem]
) -> list[FileJob]:
    targets = [folder / f"{case}_{index:04d}{ENDING}" for index in range(channels)]
    if None in found:
        if len(found) > 1:
            names = ", ".join(file.name for file in found.values())
            problems.append(Problem(f"files with and without channel number: {names}.", "Remove one.", case=case))
        return _file_jobs(found[None], tuple(targets), case, problems)
    for index in sorted(set(range(channels)) - {index for index in found if index is not None}):
        problems.append(Problem(f"channel {index} is missing.", "Add the file.", targets[index].name, case))
    surplus = [file for index, file in found.items() if index is not None and index >= channels]
    hint = f"modality in {DATASET_FILE} names {channels}: remove the file or name the channel."
    problems += [Problem("this channel is not expected.", hint, str(file), case) for file in surplus]
    return [
        job
        for index, file in found.items()
        if index is not None and index < channels
        for job in _file_jobs(file, (targets[index],), case, problems)
    ]


def _file_jobs(file: Path, targets: Sequence[Path], case: str, problems: list[Problem]) -> list[FileJob]:
    """The job of one file; reads its header, which also finds files that were cut off."""
    try:
        header = read_header(file)
    except UserError as error:
        problems.append(Problem(error.message, error.hint, case=case))
        return []
    if header.channels != len(targets):
        text = f"the file has {counted(header.channels, 'channel')} where {len(targets)} are expected."
        problems.append(Problem(text, f"Correct the file, or modality in {DATASET_FILE}.", str(file), case))
    return [FileJob(file, tuple(targets), header.bytes)]


def _upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    return upgrade(content)[0]


def _description(
    content: Mapping[str, Any], cases: Sequence[str], source: Path, problems: list[Problem], remarks: list[str]
) -> dict[str, Any]:
    """The new dataset.json; what is wrong with the old one is added to the problems."""
    kept = {key: value for key, value in _upgraded(content).items() if key not in DROPPED}
    if content.get("numTraining", len(cases)) != len(cases):
        remarks.append(f"numTraining is {content['numTraining']!r}; there are {counted(len(cases), 'training case')}.")
    missing = sorted(listed_cases(content, "training") - set(cases))
    if missing:
        shown = first_of(missing, SHOWN)
        remarks.append(f"{DATASET_FILE} lists {counted(len(missing), 'training case')} without files: {shown}.")
    kept |= {"numTraining": len(cases), "file_ending": ENDING}
    try:
        return describe(kept, source / DATASET_FILE).to_json()
    except ProblemsError as error:
        where = str(source / DATASET_FILE)
        problems += [Problem(problem.message, problem.hint, where) for problem in error.problems]
        return {}
