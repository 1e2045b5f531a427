"""A change of a raw dataset that is carried out whole: what was interrupted is completed by the next one.

New files are finished in a hidden folder of the dataset. Then a note of the whole change is written, and only then are
files moved and dataset.json replaced: whatever happens, the note leads to the end of it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.records import Record, copy_file, write_json
from segautoconfiglib.dataset.dataset import DATASET_FILE
from segautoconfiglib.dataset.splits import SPLITS_FILE

#: Folder in the dataset's folder for what is not finished; nothing else looks into it.
PENDING = ".changing"
NOTE = "change.json"
#: How long to wait for another process that changes the dataset (seconds).
LOCK_PATIENCE_S = 10.0


class Change(Record):
    """All that is done to a dataset; paths are relative to its folder.

    Attributes:
        cases: Ids that it is about.
        keeps: Pairs of an old file and where it is kept; it makes room for a new one at the end, not before.
        moves: Pairs of a new file and its path.
        splits: New content of splits_final.json; None leaves it as it is.
        description: New content of dataset.json.
    """

    cases: tuple[str, ...]
    keeps: tuple[tuple[str, str], ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    splits: list[Any] | None = None
    description: dict[str, Any]


@contextmanager
def changing(
    folder: Path, *, report: Reporter = silent, cancel: CancelToken | None = None
) -> Iterator[tuple[str, ...]]:
    """No other process changes the dataset inside the block; what an earlier one has left is completed or removed.

    Args:
        folder: Raw folder of the dataset; need not exist.
        report: Gets a "log" where another process is waited for.
        cancel: Ends the waiting.

    Yields:
        The ids of the cases of a change that was completed just now.

    Raises:
        UserError: another process does not come to its end, or the folder can't be written to.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    work = f"Changing the cases of {folder.name}"
    with alone(lock, work, patience_s=LOCK_PATIENCE_S, report=report, cancel=cancel):
        try:
            yield _complete(folder)
        finally:
            if not (folder / PENDING / NOTE).exists():
                shutil.rmtree(folder / PENDING, ignore_errors=True)
                with suppress(OSError):  # it has other content
                    folder.rmdir()


def carry_out(folder: Path, change: Change) -> None:
    """Change the dataset. Raises: UserError: a file can't be written; the next `changing` goes on with it."""
    change.save(folder / PENDING / NOTE)
    _complete(folder)


def _complete(folder: Path) -> tuple[str, ...]:
    note = folder / PENDING / NOTE
    if not note.is_file():
        shutil.rmtree(folder / PENDING, ignore_errors=True)
        return ()
    change = Change.load(note)
    _check_paths(note, change)
    try:
        for source, target in change.keeps:  # all of them before the first move
            if (folder / source).exists() and not (folder / target).exists():
                copy_file(folder / source, folder / target)
        for source, target in change.moves:
            if (folder / source).exists():
                _move(folder / source, folder / target)
        renewed = {DATASET_FILE, *(target for _, target in change.moves)}
        for source, _ in change.keeps:
            if source not in renewed:
                (folder / source).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"Can't change {error.filename or folder}: {error.strerror or error}.",
            "Check permissions and the free space, and start again: the change is completed then.",
        ) from error
    if change.splits is not None:
        write_json(folder / SPLITS_FILE, change.splits)
    write_json(folder / DATASET_FILE, change.description)
    note.unlink()
    shutil.rmtree(folder / PENDING, ignore_errors=True)
    return change.cases


def _check_paths(note: Path, change: Change) -> None:
    """Datasets are passed on as folders. Raises: UserError: a path of somebody's note leads out of the dataset."""
    for name in (name for pair in (*change.keeps, *change.moves) for name in pair):
        path = PureWindowsPath(name)  # reads both kinds of separators
        if path.anchor or ".." in path.parts or not path.parts:
            raise UserError(
                f"{note} names {name!r:.200}, which is no file of this dataset.",
                f"If the dataset came from somebody else, delete its folder {PENDING} and check its cases.",
            )


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_file(source, target)  # imagesTr may be a link to another disk
        source.unlink()
