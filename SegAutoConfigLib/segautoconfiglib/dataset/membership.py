"""What joining and leaving a raw dataset share: files that are kept, numbers of cases, the user's own splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.dataset.splits import SPLITS_FILE, Split, load_splits, update_splits
from segautoconfiglib.image.files import files_of

#: Folder in the dataset's raw folder; each case has a folder of its own in it, with imagesTr, labelsTr ...
REMOVED = "removed"


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
