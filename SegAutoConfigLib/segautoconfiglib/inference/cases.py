"""Which cases of an image folder a model can segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.case_names import CHANNEL
from segautoconfiglib.dataset.dataset import Case, channel_files, list_cases, scan_images, visible
from segautoconfiglib.image import dicom
from segautoconfiglib.image.files import read_header


def usable_cases(folder: Path, file_ending: str, channels: Sequence[str]) -> tuple[list[Case], list[Problem]]:
    """The cases whose files are there and readable, sorted by id, and what is wrong with the others.

    Args:
        folder: Holds ``CASE_0000<ending>`` and so on; folders of DICOM files (``CASE`` or ``CASE_0000``) count, too.
            Or it is such a folder itself, and so the only case.
        file_ending: Of the images.
        channels: The names of the model's channels.

    Raises:
        UserError: no such folder, or no cases in it.
        ProblemsError: not one of the cases can be used.
    """
    files = {**scan_images(folder, file_ending).files, **_series(folder)} if folder.is_dir() else {}
    files = files or _series_of([folder.absolute()])
    if not files:
        return list_cases(folder, file_ending), []  # says what is wrong
    cases, problems = [], []
    for case, found in sorted(files.items()):
        faults = _faults(case, found, channels, file_ending)
        problems += faults
        if not faults:
            cases.append(Case(case, channel_files(found)))
    if not cases:
        raise ProblemsError(f"The images in {folder} can't be used:", problems)
    return cases, problems


def oddities(cases: Sequence[Case]) -> list[Problem]:
    """What is probably wrong with images that can be used: slices that are missing in DICOM series."""
    series = [(case.id, file) for case in cases for file in case.images if dicom.is_dicom(file)]
    return [replace(problem, case=case) for case, file in series for problem in dicom.findings(file)]


def _series(folder: Path) -> dict[str, dict[int, list[Path]]]:
    """Folders of DICOM files as cases and channels, by their names."""
    return _series_of(visible(folder))


def _series_of(paths: Sequence[Path]) -> dict[str, dict[int, list[Path]]]:
    found: dict[str, dict[int, list[Path]]] = {}
    for path in paths:
        if path.is_dir() and dicom.is_dicom(path):
            match = CHANNEL.fullmatch(path.name)
            case, channel = (match["case"], int(match["channel"])) if match else (path.name, 0)
            found.setdefault(case, {}).setdefault(channel, []).append(path)
    return found


def _faults(case: str, found: dict[int, list[Path]], channels: Sequence[str], ending: str) -> list[Problem]:
    """What is wrong with the files of a case. A single file may hold all channels (4D, colour)."""
    twice = [files for files in found.values() if len(files) > 1]
    if twice:
        names = ", ".join(path.name for path in twice[0])
        return [Problem(f"the id is used twice: {names}.", "Rename or remove one.", case=case)]
    needs = f"The model needs {counted(len(channels), 'channel')}: {', '.join(channels)}"
    numbers = ", ".join(f"_{number:04d}" for number in sorted(found))
    if set(found) == {0}:
        try:
            inside = read_header(found[0][0]).channels
        except UserError as error:
            return [Problem.of(error, case=case)]
        if inside == len(channels):
            return []
        if inside > 1:
            there = f"{found[0][0].name} has {counted(inside, 'channel')}"
            return [Problem(f"{needs}; {there}.", "Give each channel as a file of its own.", case=case)]
    elif sorted(found) == list(range(len(channels))):
        return []
    missing = [f"{case}_{number:04d}{ending} ({name})" for number, name in enumerate(channels) if number not in found]
    surplus = [files[0].name for number, files in sorted(found.items()) if number >= len(channels)]
    remedy = f"Add {', '.join(missing)}." if missing else f"Remove {', '.join(surplus)}."
    return [Problem(f"{needs}; it has {'only ' if len(found) < len(channels) else ''}{numbers}.", remedy, case=case)]
