"""Medical Segmentation Decathlon folders (TaskXX_Name) become raw datasets (DatasetXXX_Name)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import atomic_path, existing_folder, read_json, write_json
from segautoconfiglib.base.workspace import DATASET_NAME, dataset_id
from segautoconfiglib.dataset.dataset import DATASET_FILE, IMAGES, LABELS
from segautoconfiglib.dataset.description import describe, upgrade
from segautoconfiglib.dataset.labels import BACKGROUND
from segautoconfiglib.dataset.workers import workers_for_files
from segautoconfiglib.image import medical
from segautoconfiglib.image.files import read_header, write_image
from segautoconfiglib.image.formats import MEDICAL_ENDINGS, file_ending, stem

STAGE = "convert-msd"
TEST_IMAGES = "imagesTs"
ENDING = ".nii.gz"
TASK_NAME = re.compile(r"Task(\d+)_(.+)")
#: Keys of the Decathlon's dataset.json that list files; the new folder's content replaces them.
FILE_LISTS = ("training", "test")
SHOWN = 5


@dataclass(frozen=True)
class FileJob:
    """One source file and the files it becomes, one per channel (labels: one)."""

    source: Path
    targets: tuple[Path, ...]
    bytes_in_memory: int

    @property
    def is_copy(self) -> bool:
        """True where the file is taken over byte for byte."""
        return len(self.targets) == 1 and file_ending(self.source) == ENDING


@dataclass(frozen=True)
class _Source:
    """A Decathlon folder's files by case id."""

    images: dict[str, Path]
    labels: dict[str, Path]
    test: dict[str, Path]


def convert_msd(
    source: Path,
    raw_root: Path,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Convert a Decathlon folder: 4D images are split into channels, 3D images and labels copied unchanged.

    Every file appears only when it is whole, and dataset.json comes last: what an interrupted conversion has left is
    no dataset yet, and the same call completes it.

    Args:
        source: The folder ``TaskXX_Name`` with dataset.json, imagesTr, labelsTr and maybe imagesTs.
        raw_root: The folder of raw datasets (nnUNet_raw).
        dataset_id: Id of the new dataset; by default the number of the task.
        name: Its name without the id; by default that of the task.
        workers: Number of processes; by default what cores and free memory allow.
        report: Gets "started", "progress" per file, warnings about files that are left out, and a "log" where value 0
            had another name than background.
        cancel: Asked between files.

    Returns:
        The new folder ``raw_root/DatasetXXX_Name``.

    Raises:
        ProblemsError: the source can't be converted, with all reasons; nothing was written.
        UserError: the target exists, or the disk is too small.
    """
    source, raw_root = Path(source).expanduser().absolute(), Path(raw_root)
    target = raw_root / msd_dataset_name(source, dataset_id, name)
    content, found = read_json(source / DATASET_FILE), _find_files(source)
    if not isinstance(content, Mapping):
        raise UserError(f"{source / DATASET_FILE} is no dataset.json.", "Expected an object with keys and values.")
    content, renamed = with_background(content)
    problems, warnings = _pairing_findings(found, content)
    pairs = sorted(set(found.images) & set(found.labels))
    description, more = _description(content, len(pairs), len(found.test), source)
    jobs, unreadable = _plan(found, pairs, target, _channel_count(content))
    problems += more + unreadable
    if problems:
        raise ProblemsError(f"{source} can't be converted:", problems)
    check_target(target, jobs)
    check_space(raw_root, jobs)
    for warning in warnings:
        report("warning", message=warning.message, hint=warning.hint, action=warning.action)
    for message in renamed:
        report("log", message=message)
    return write_dataset(target, jobs, description, stage=STAGE, workers=workers, report=report, cancel=cancel)


def with_background(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A dataset.json of v1 or v2 with value 0 called background, whatever its name was; and what to tell about it."""
    labels = upgrade(content)[0].get("labels")
    if not isinstance(labels, Mapping) or BACKGROUND in labels:
        return dict(content), []
    zero = [name for name, value in labels.items() if type(value) is int and value == 0]
    if len(zero) != 1:
        return dict(content), []
    renamed = {BACKGROUND if name == zero[0] else name: value for name, value in labels.items()}
    return {**content, "labels": renamed}, [f"Label 0, {zero[0]!r} so far, is called {BACKGROUND} in the dataset."]


def write_dataset(
    target: Path,
    jobs: Sequence[FileJob],
    description: Mapping[str, Any],
    *,
    stage: str,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Write the files of all jobs, and dataset.json last; returns the target."""
    splits = [job for job in jobs if not job.is_copy]
    memory = max((2 * job.bytes_in_memory for job in splits), default=0)
    processes = workers_for_files([job.source for job in splits], memory, workers)
    cases = [(job.source.name, (job,)) for job in jobs]
    map_cases(convert_file, cases, workers=processes, stage=stage, report=report, cancel=cancel)
    write_json(target / DATASET_FILE, description)
    return target


def msd_dataset_name(source: Path, number: int | None = None, name: str | None = None) -> str:
    """DatasetXXX_Name for a Decathlon folder TaskXX_Name. Raises: UserError: no such folder, or no usable name."""
    if not source.is_dir():
        raise UserError(f"There is no folder {source}.", "Give the folder TaskXX_Name that holds dataset.json.")
    match = TASK_NAME.fullmatch(source.name)
    if match is None and (number is None or name is None):
        raise UserError(
            f"{source.name!r} is not a Decathlon name (TaskXX_Name).", "Rename the folder, or give --id and --name."
        )
    number = int(match[1]) if number is None and match else number
    name = match[2] if name is None and match else name
    if number is None or number < 0 or not re.fullmatch(r"[\w.-]+", name or ""):
        raise UserError(
            f"{number} and {name!r} make no dataset name.",
            "The id is a number from 0, the name consists of letters, digits, _, - and dots.",
        )
    return f"Dataset{number:03d}_{name}"


def _find_files(source: Path) -> _Source:
    for part in (IMAGES, LABELS):
        if not (source / part).is_dir():
            raise UserError(f"{source} has no folder {part}.", f"A Decathlon folder has {IMAGES} and {LABELS}.")
    problems: list[Problem] = []
    found = [files_by_case(source / part, problems) for part in (IMAGES, LABELS, TEST_IMAGES)]
    if problems:
        raise ProblemsError(f"{source} can't be converted:", problems)
    return _Source(*found)


def files_by_case(folder: Path, problems: list[Problem]) -> dict[str, Path]:
    """Case id to file; names beginning with ``.`` or ``_`` are junk (macOS archives hold ``._name`` files)."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith((".", "_")) or file_ending(path) not in MEDICAL_ENDINGS or not path.is_file():
            continue
        if stem(path) in found:
            twin = found[stem(path)].name
            problems.append(
                Problem(f"the id is used twice: {twin} and {path.name}.", "Remove one.", str(folder), stem(path))
            )
        found[stem(path)] = path
    return found


def _pairing_findings(found: _Source, content: Mapping[str, Any]) -> tuple[list[Problem], list[Problem]]:
    """Images without label: a problem where dataset.json lists them, else (as with lone labels) a warning."""
    listed, test = listed_cases(content, "training"), listed_cases(content, "test")
    unlabelled = set(found.images) - set(found.labels)
    demanded = listed if content.get("training") else set(found.images)
    problems = [
        Problem("the image has no label.", f"Add {LABELS}/{case}{ENDING}, or remove the case.", case=case)
        for case in sorted(unlabelled & demanded)
    ]
    problems += [
        Problem(f"{DATASET_FILE} lists it, but it is not in {IMAGES}.", "Add the image or remove the entry.", case=case)
        for case in sorted(listed - set(found.images))
    ]
    if not set(found.images) & set(found.labels):
        problems.append(Problem(f"no image in {IMAGES} has a label of the same name in {LABELS}.", "Check the names."))
    warnings = [
        Problem(f"{len(cases)} {what}: {', '.join(cases[:SHOWN])}{' ...' if len(cases) > SHOWN else ''}.", "Left out.")
        for cases, what in (
            (sorted(unlabelled - demanded), "images have no label"),
            (sorted(set(found.labels) - set(found.images)), "labels have no image"),
            (sorted(test - set(found.test)), f"test images that {DATASET_FILE} lists are missing"),
        )
        if cases
    ]
    return problems, warnings


def listed_cases(content: Mapping[str, Any], key: str) -> set[str]:
    """Case ids of ``training`` or ``test``, whose entries are paths or objects with the path as ``image``."""
    entries = content.get(key)
    paths = [entry.get("image") if isinstance(entry, Mapping) else entry for entry in entries or ()]
    return {stem(PurePosixPath(path).name) for path in paths if isinstance(path, str)}


def _channel_count(content: Mapping[str, Any]) -> int:
    names = upgrade(content)[0].get("channel_names")
    return len(names) if isinstance(names, Mapping) else 0


def _description(
    content: Mapping[str, Any], training: int, test: int, source: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """The new dataset.json, or the problems of the old one."""
    kept = {key: value for key, value in content.items() if key not in FILE_LISTS}
    kept |= {"numTraining": training, "numTest": test, "file_ending": ENDING}
    try:
        return describe(kept, source / DATASET_FILE).to_json(), []
    except ProblemsError as error:
        where = str(source / DATASET_FILE)
        return {}, [replace(problem, file=where) for problem in error.problems]


def _plan(found: _Source, pairs: list[str], target: Path, channels: int) -> tuple[list[FileJob], list[Problem]]:
    """What becomes of each file; reads all headers, which also finds files that were cut off."""
    wanted = [(found.images[case], target / IMAGES, case, channels) for case in pairs]
    wanted += [(found.labels[case], target / LABELS, case, 0) for case in pairs]
    wanted += [(path, target / TEST_IMAGES, case, channels) for case, path in found.test.items()]
    jobs, problems = [], []
    for path, folder, case, count in wanted:
        try:
            header = read_header(path)
        except UserError as error:
            problems.append(Problem.of(error, case=case))
            continue
        if header.channels != max(1, count):
            message = f"the file has {header.channels} channels where {max(1, count)} are expected."
            problems.append(Problem(message, f"Correct the file, or modality in {DATASET_FILE}.", str(path), case))
        names = [f"{case}_{index:04d}" for index in range(count)] or [case]
        jobs.append(FileJob(path, tuple(folder / f"{name}{ENDING}" for name in names), header.bytes))
    return jobs, problems


def check_target(target: Path, jobs: list[FileJob]) -> None:
    """The id must be free; the remains of the same conversion (nothing else, no dataset.json) do not count."""
    root = target.parent
    number = dataset_id(target.name)
    others = [
        path
        for path in (root.iterdir() if root.is_dir() else ())
        if DATASET_NAME.fullmatch(path.name) and dataset_id(path.name) == number
    ]
    ours = {file for job in jobs for file in job.targets}
    for path in others:
        files = {file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".partial-")}
        if path != target or not files <= ours:
            raise UserError(
                f"Dataset id {number} exists already: {path}.",
                "Choose another id (--id), or remove or rename that folder.",
            )


def check_space(raw_root: Path, jobs: list[FileJob]) -> None:
    """Raises: UserError: the disk is too small for the files."""
    needed = sum(job.source.stat().st_size for job in jobs)
    free = shutil.disk_usage(existing_folder(raw_root)).free
    if needed > free:
        raise UserError(
            f"The converted dataset needs about {needed / 2**30:.1f} GB; {raw_root} has {free / 2**30:.1f} GB free.",
            "Make room, or choose another workspace (--workspace).",
            "room",
        )


def convert_file(job: FileJob) -> None:
    """Write the files of a job, each whole or not at all."""
    if job.is_copy:
        with atomic_path(job.targets[0]) as temporary:
            _copy(job.source, temporary, job.targets[0])
        return
    volume = medical.read(job.source)
    for channel, target in zip(volume.array, job.targets, strict=True):
        write_image(channel, target, volume.geometry)


def _copy(source: Path, temporary: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, temporary)
    except OSError as error:
        raise UserError(
            f"Can't copy {source} to {target}: {error.strerror or error}.", "Check permissions and the free space."
        ) from error
