"""Files that appear together or not at all, and never in the place of what they are made of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import left_folders, own_folder
from segautoconfiglib.base.records import check_writable, replace_file
from segautoconfiglib.base.words import first_of

#: Name of hidden folders, before a random part; each holds the folders "new" and "old".
HIDDEN = ".placing-"
#: Files that a warning names, at most.
MOST_NAMED = 5


class Staging:
    """Files on their way: each lies in a hidden folder beside its place. Made by :func:`staged`."""

    def __init__(self, report: Reporter = silent) -> None:
        self._report = report
        self._hidden: dict[Path, Path] = {}  # by the folder that files go to
        self._owned = ExitStack()
        self._made: list[Path] = []

    def folder(self, target: Path) -> Path:
        """An empty folder, the same each time, whose files go to ``target``. Raises: UserError: it can't be made."""
        if target not in self._hidden:
            check_writable(target, "-o")
            tidy_up(target, self._report)
            self._made += [place for place in (target, *target.parents) if not place.exists()]
            target.mkdir(parents=True, exist_ok=True)
            self._hidden[target] = self._owned.enter_context(own_folder(target, HIDDEN))
            for name in ("new", "old"):
                (self._hidden[target] / name).mkdir()
        return self._hidden[target] / "new"

    def file(self, target: Path) -> Path:
        """Where to write what goes to ``target``. Raises: UserError: its folder can't be made."""
        return self.folder(target.parent) / target.name

    @property
    def targets(self) -> list[Path]:
        """Of all files so far."""
        return [target / file.name for target, hidden in self._hidden.items() for file in sorted(hidden.glob("new/*"))]

    def place(self) -> None:
        """Put all files in their places; on a failure what was there is put back. Raises: UserError: one can't be."""
        check_places(self.targets)
        done: list[Path] = []
        try:
            for target in self.targets:
                done.append(target)
                self._exchange(target)
        except BaseException as error:
            lost = [old for target in reversed(done) if (old := self._put_back(target)) is not None]
            if not isinstance(error, OSError):
                raise
            hint = "Close the programs that use it; check free space and permissions."
            if lost:
                hint = f"{hint} Old files could not be put back; they are {', '.join(map(str, lost))}."
            raise UserError(f"Can't write {done[-1]}: {error.strerror or error}.", hint) from error
        for hidden in self._hidden.values():
            shutil.rmtree(hidden / "old", ignore_errors=True)

    def clear(self) -> None:
        """Remove the hidden folders, unless they hold what could not be put back, and empty ones that were made."""
        self._owned.close()
        for hidden in self._hidden.values():
            if not any(hidden.glob("old/*")):
                shutil.rmtree(hidden, ignore_errors=True)
        for place in sorted(self._made, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):  # something was written
                place.rmdir()

    def _exchange(self, target: Path) -> None:
        hidden = self._hidden[target.parent]
        if os.path.lexists(target):
            replace_file(target, hidden / "old" / target.name)
        replace_file(hidden / "new" / target.name, target)

    def _put_back(self, target: Path) -> Path | None:
        """Undo an exchange, however far it came; where that fails, the old file's place."""
        new, old = (self._hidden[target.parent] / name / target.name for name in ("new", "old"))
        try:
            if os.path.lexists(old):
                replace_file(old, target)
            elif not os.path.lexists(new):  # it was put where nothing had been
                target.unlink()
        except OSError:
            return old if os.path.lexists(old) else None
        return None


@contextmanager
def staged(report: Reporter = silent) -> Iterator[Staging]:
    """Collects files; when the block ends well they go to their places, else nothing has changed there.

    Args:
        report: Warned of what killed processes have left, see :func:`tidy_up`.

    Raises:
        UserError: a place can't be written to.
    """
    staging = Staging(report)
    try:
        yield staging
        staging.place()
    finally:
        staging.clear()


def tidy_up(folder: Path, report: Reporter = silent) -> None:
    """Remove hidden folders whose processes were killed; of what stood in the folder before them nothing is lost.

    An old file that such a process had moved aside goes back where its place is empty. Where a file stands in its place
    (the new one, which is whole as it came by renaming, or one that the user or a later run has put there) that stays,
    and the hidden folder keeps the old one: a warning names it now and in every later run, until the user removes it.

    Args:
        folder: That files go to.
        report: Warned of files that were put back, and of those that were not.
    """
    for hidden in left_folders(folder, HIDDEN):
        kept: list[str] = []
        back: list[str] = []
        for old in sorted(hidden.glob("old/*")):
            (back if _returned(old, folder / old.name) else kept).append(old.name)
        shutil.rmtree(hidden / "new" if kept else hidden, ignore_errors=True)
        start = f"A run was ended while it replaced files in {folder}:"
        if back:
            names = first_of(back, MOST_NAMED)
            report("warning", message=f"{start} {names} had been moved away; back now.", hint="")
        if kept:
            names = first_of(kept, MOST_NAMED)
            message = f"{start} what stood there before as {names} is in {hidden / 'old'}."
            report("warning", message=message, hint=f"Take from there what you need, then remove {hidden}.")


def _returned(old: Path, place: Path) -> bool:
    if os.path.lexists(place):
        return False
    try:
        replace_file(old, place)
    except OSError:
        return False
    return True


def check_places(files: Iterable[Path]) -> None:
    """Raises: UserError: two files would have one place, or there is a folder in the way."""
    seen = set()
    for file in files:
        if file.is_dir():
            raise UserError(f"Can't write {file}: it is a folder.", "Remove it, or choose another output.")
        if file in seen:
            raise UserError(f"{file} is named for two results.", "Give each a name of its own.")
        seen.add(file)


def keep_inputs(written: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises: UserError: a file that will be written is one of those that are read, whatever name it goes by."""
    read = {identity for file in inputs if (identity := _identity(file)) is not None}
    for file in written:
        if _identity(file) in read:
            raise UserError(f"{file} is part of the input, and would be overwritten.", "Choose another output.")


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells files apart on this computer; None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
