"""What the names of a raw dataset's files tell: missing, doubled, misnamed and superfluous files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from segautoconfiglib.base.errors import Problem
from segautoconfiglib.base.words import counted, first_of
from segautoconfiglib.dataset.dataset import (
    DATASET_FILE,
    IMAGES,
    LABELS,
    Dataset,
    ImageScan,
    channel_problems,
    scan_images,
    visible_files,
)
from segautoconfiglib.dataset.labels import PREPROCESSED_LABELS
from segautoconfiglib.image import dicom
from segautoconfiglib.image.formats import file_ending, stem

SHOWN = 5
#: Files that belong to images of another name: spacing of tif files, voxels of nhdr and mhd files.
COMPANIONS = re.compile(r".*\.(json|raw|zraw|raw\.gz)", re.IGNORECASE)

Findings = tuple[list[Problem], list[Problem]]


def check_structure(dataset: Dataset) -> Findings:
    """Problems and warnings of a dataset's file names and dataset.json; no image is opened."""
    ids = [case.id for case in dataset.cases]
    problems = _count_problems(dataset) + _similar_ids(ids) + label_file_clashes(ids)
    warnings = [Problem(text, file=DATASET_FILE) for text in dataset.description.warnings]
    if dataset.description.dataset:
        return problems + _listed_twice(dataset), warnings
    scan = scan_images(dataset.folder / IMAGES, dataset.description.file_ending)
    for more_problems, more_warnings in (_image_findings(dataset, scan), _label_findings(dataset)):
        problems += more_problems
        warnings += more_warnings
    return problems, warnings


def _count_problems(dataset: Dataset) -> list[Problem]:
    expected, found = dataset.description.numTraining, len(dataset.cases)
    if expected == found:
        return []
    hint = f'Write "numTraining": {found}, or add or remove cases (see also misnamed files below).'
    text = f"numTraining is {expected}, but {counted(found, 'case')} {'was' if found == 1 else 'were'} found."
    return [Problem(text, hint, str(dataset.folder / DATASET_FILE))]


def _similar_ids(ids: Iterable[str]) -> list[Problem]:
    groups = defaultdict(list)
    for case in ids:
        groups[case.casefold()].append(case)
    return [
        Problem(
            f"the id is used twice: {', '.join(group)} differ only in upper and lower case.",
            "Rename one; they are one file on Windows and macOS.",
            case=group[0],
        )
        for group in groups.values()
        if len(group) > 1
    ]


def label_file_clashes(ids: Iterable[str]) -> list[Problem]:
    """The ids whose preprocessed image would lie in the file of another case's labels."""
    known = set(ids)
    return [
        Problem(
            f"its preprocessed image and the labels of case {case} would be one file.",
            f"Rename it (images and label): its name is that of another case with {PREPROCESSED_LABELS} behind it.",
            case=f"{case}{PREPROCESSED_LABELS}",
        )
        for case in sorted(known)
        if f"{case}{PREPROCESSED_LABELS}" in known
    ]


def _listed_twice(dataset: Dataset) -> list[Problem]:
    users = defaultdict(list)
    for case in dataset.cases:
        for file in (*case.images, case.label):
            users[str(file)].append(case.id)
    return [
        Problem(f"the file is listed twice, for {', '.join(cases)}.", f"Correct {DATASET_FILE}.", file, cases[0])
        for file, cases in users.items()
        if len(cases) > 1
    ]


def unused_files(folder: Path, file_ending: str) -> list[Problem]:
    """Warnings about what lies beside the images of a folder and is not used; no image is opened."""
    scan = scan_images(folder, file_ending)
    if not scan.files and dicom.is_dicom(folder):  # is an image itself
        return []
    rename = f"Rename them to CASE_0000{file_ending} (0000 = first channel, also where there is only one)."
    return [
        *_grouped(scan.without_channel, f"in {folder} not used, without a channel number", rename),
        *_strays(scan.other, folder, file_ending),
        *_grouped(scan.folders, f"in {folder} not used", "Give image files in their place.", "folder"),
    ]


def _strays(paths: list[Path], folder: Path | str, ending: str) -> list[Problem]:
    """The warning about files of other endings, without those that belong to images."""
    strays = [path for path in paths if not COMPANIONS.fullmatch(path.name)]
    hint = f"Files there must end in {ending}; convert them, or remove them."
    return _grouped(strays, f"in {folder} not used, because of the ending", hint)


def _image_findings(dataset: Dataset, scan: ImageScan) -> Findings:
    ending, channels = dataset.description.file_ending, len(dataset.description.channels)
    problems = [
        problem for case in sorted(scan.files) for problem in channel_problems(case, scan.files[case], channels)
    ]
    for path in scan.without_channel:
        hint = f"Rename it to {stem(path)}_0000{ending} (0000 = first channel, also where there is only one)."
        problems.append(Problem("the file name has no channel number; the file is not used.", hint, str(path)))
    for path in scan.folders:
        problems.append(Problem("this is a folder, no image file.", "Replace it by the file.", str(path)))
    strays = []
    for path in scan.other:
        match = re.fullmatch(r"(.+)_(\d{4})", stem(path))
        if file_ending(path) and match and int(match[2]) in scan.files.get(match[1], {}):
            twin = scan.files[match[1]][int(match[2])][0].name
            message = f"the id is used twice: {twin} and {path.name}."
            problems.append(Problem(message, "Remove one of them.", str(path), match[1]))
        else:
            strays.append(path)
    return problems, _strays(strays, IMAGES, ending)


def _label_findings(dataset: Dataset) -> Findings:
    ending = dataset.description.file_ending
    folder = dataset.folder / LABELS
    files = visible_files(folder)
    named = defaultdict(list)
    for path in files:
        if path.name.lower().endswith(ending.lower()):
            named[path.name[: -len(ending)]].append(path)
    cases = {case.id for case in dataset.cases}
    missing = [case.id for case in dataset.cases if case.label is None]
    problems = [_missing_label(case, folder, ending, files) for case in missing]
    problems += [
        Problem(f"the label is there twice: {', '.join(p.name for p in paths)}.", "Remove one.", str(folder), case)
        for case, paths in named.items()
        if len(paths) > 1
    ]
    explained = {problem.file for problem in problems}
    orphans = [p for case, paths in named.items() if case not in cases for p in paths if str(p) not in explained]
    strays = [p for p in files if not p.name.lower().endswith(ending.lower()) and str(p) not in explained]
    hint = "Add the images or remove the labels."
    warnings = _grouped(orphans, f"in {LABELS} without an image in {IMAGES}", hint)
    return problems, warnings + _strays(strays, LABELS, ending)


def _missing_label(case: str, folder: Path, ending: str, files: list[Path]) -> Problem:
    """The problem of a case without label; names the file that was probably meant."""
    expected = folder / f"{case}{ending}"
    if expected.is_dir():
        return Problem("this is a folder, no label file.", "Replace it by the file.", str(expected), case)
    for path in files:
        if stem(path) == case and file_ending(path):
            convert = f"Convert it to {ending}, the ending of the images and of dataset.json (repair --apply does it)."
            return Problem(
                f"the label ends in {file_ending(path)}, the images in {ending}.", convert, str(path), case, "add-anew"
            )
        if re.fullmatch(rf"{re.escape(case)}_\d{{4}}", stem(path)):
            hint = f"Rename it to {expected.name}: label files have no channel number."
            return Problem("the label file has a channel number.", hint, str(path), case)
    return Problem("the label file is missing.", "Add it, or remove the case's images.", str(expected), case)


def _grouped(paths: list[Path], message: str, hint: str, what: str = "file") -> list[Problem]:
    if not paths:
        return []
    names = first_of([path.name for path in paths], SHOWN)
    return [Problem(f"{counted(len(paths), what)} {message}: {names}.", hint)]
