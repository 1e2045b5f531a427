"""Which cases of an image folder a model can segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import Case, channel_files, list_cases, scan_images
from segautoconfiglib.image.files import read_header


def usable_cases(folder: Path, file_ending: str, channels: Sequence[str]) -> tuple[list[Case], list[Problem]]:
    """The cases whose files are there and readable, sorted by id, and what is wrong with the others.

    Args:
        folder: Holds ``CASE_0000<ending>`` and so on.
        file_ending: Of the images.
        channels: The names of the model's channels.

    Raises:
        UserError: no such folder, or no cases in it.
        ProblemsError: not one of the cases can be used.
    """
    if not folder.is_dir() or not (files := scan_images(folder, file_ending).files):
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


def _faults(case: str, found: dict[int, list[Path]], channels: Sequence[str], ending: str) -> list[Problem]:
    """What is wrong with the files of a case. A single file may hold all channels (4D, colour)."""
    twice = [files for files in found.values() if len(files) > 1]
    if twice:
        names = ", ".join(path.name for path in twice[0])
        return [Problem(f"the id is used twice: {names}.", "Rename or remove one.", case=case)]
    first, count = next(iter(found.values()))[0], len(found)
    if count == 1 and 0 in found:
        try:
            count = read_header(first).channels
        except UserError as error:
            return [Problem(error.message, error.hint, case=case)]
        if count == len(channels):
            return []
        there = f"{first.name} has {counted(count, 'channel')}" if count > 1 else "it has only _0000"
    elif sorted(found) == list(range(len(channels))):
        return []
    else:
        numbers = ", ".join(f"_{number:04d}" for number in sorted(found))
        there = f"it has {'only ' if count < len(channels) else ''}{numbers}"
    needs = f"The model needs {counted(len(channels), 'channel')}: {', '.join(channels)}"
    return [Problem(f"{needs}; {there}.", _remedy(case, found, channels, ending), case=case)]


def _remedy(case: str, found: dict[int, list[Path]], channels: Sequence[str], ending: str) -> str:
    missing = [f"{case}_{number:04d}{ending} ({name})" for number, name in enumerate(channels) if number not in found]
    if missing:
        return f"Add {', '.join(missing)}."
    surplus = [files[0].name for number, files in sorted(found.items()) if number >= len(channels)]
    return f"Remove {', '.join(surplus)}." if surplus else "Give each channel as a file of its own."
