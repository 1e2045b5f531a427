"""Files that appear together or not at all, and never in the place of what they are made of."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import check_writable, replace_file


class Staging:
    """Files on their way: each lies in a hidden folder beside its place. Made by :func:`staged`."""

    def __init__(self) -> None:
        self._hidden: dict[Path, Path] = {}  # by the folder that files go to
        self._made: list[Path] = []

    def folder(self, target: Path) -> Path:
        """An empty folder, the same each time, whose files go to ``target``. Raises: UserError: it can't be made."""
        if target not in self._hidden:
            check_writable(target, "-o")
            self._made += [place for place in (target, *target.parents) if not place.exists()]
            target.mkdir(parents=True, exist_ok=True)
            self._hidden[target] = Path(tempfile.mkdtemp(prefix=".partial-", dir=target))
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
def staged() -> Iterator[Staging]:
    """Collects files; when the block ends well they go to their places, else nothing has changed there.

    Raises:
        UserError: a place can't be written to.
    """
    staging = Staging()
    try:
        yield staging
        staging.place()
    finally:
        staging.clear()


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
