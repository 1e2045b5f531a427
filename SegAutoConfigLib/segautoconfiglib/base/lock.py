"""One process at a time: a lock that the operating system takes back when its owner ends, however it ends."""

from __future__ import annotations

import errno
import math
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent

#: Between two attempts (seconds).
POLL_SECONDS = 0.2
#: Byte of the lock file that is locked on Windows, where locked bytes can't be read: behind the owner's name.
LOCKED_BYTE = 4096
#: In a folder of `own_folder`: its owner keeps it locked.
IN_USE = "in-use"


@contextmanager
def alone(
    file: Path,
    work: str,
    *,
    patience_s: float = math.inf,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Iterator[None]:
    """Do a work that no other process does at the same time; waits for the one that does.

    Args:
        file: Stands for the work; holds the name of its owner, who removes it at the end, with the folders made for it
            if they are empty.
        work: What is done, for the message to the user ("Preprocessing 3d_fullres").
        patience_s: How long to wait at most (seconds).
        report: Gets one "log" if another process is at work.
        cancel: Ends the waiting.

    Raises:
        UserError: the file can't be written, or another process is still at work after ``patience_s``.
        Cancelled: on request, while waiting.
    """
    cancel = cancel or CancelToken()
    told, until = False, time.monotonic() + patience_s
    made = [folder for folder in file.parents if not folder.exists()]
    while (stream := _locked_file(file)) is None:
        cancel.raise_if_cancelled()
        if time.monotonic() >= until:
            raise UserError(f"{work}: another process is at it ({_owner(file)}).", "Wait for its end, or stop it.")
        if not told:
            report("log", message=f"{work}: waiting for another process that is at it ({_owner(file)}).")
            told = True
        time.sleep(POLL_SECONDS)
    with stream:
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        try:
            yield
        finally:
            _remove(file, made)
    _remove_closed(file, made)


def is_taken(file: Path) -> bool | None:
    """Whether a process is at the work that a lock file stands for; a file whose owner was killed is removed.

    Returns:
        None where nobody can tell, as the file system knows no locks (some network drives): the file stays, and its
        owner may be at work or have been killed.

    Raises:
        UserError: the file can't be opened.
    """
    if not file.exists():
        return False
    with _taken_over(file) as ours:
        return None if ours is None else not ours


@contextmanager
def own_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A folder that is not given by :func:`left_folders` until the end. It stays then, unless it is empty.

    Args:
        place: Gets the folder; made if missing.
        prefix: Of its name, such as ".unfinished-".

    Raises:
        UserError: it can't be made.
    """
    folder = place / f"{prefix}{secrets.token_hex(4)}"
    with alone(folder / IN_USE, f"Work in {folder}"):
        yield folder


def left_folders(place: Path, prefix: str) -> Iterator[Path]:
    """Folders of :func:`own_folder` whose owners were killed or left them; each is kept locked until the next one.

    Those that are emptied meanwhile are removed; those that can't be opened, or where the file system knows no locks,
    are not given.
    """
    for folder in sorted(place.glob(f"{prefix}{'[0-9a-f]' * 8}")):
        with suppress(UserError, OSError):
            with _taken_over(folder / IN_USE) as ours:
                if ours:
                    yield folder
            if ours:
                folder.rmdir()


@contextmanager
def scratch_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A folder for what lies in between, removed at the end. Those that killed processes have left there go, too.

    See :func:`own_folder`.
    """
    for left in left_folders(place, prefix):
        shutil.rmtree(left, ignore_errors=True)
    folder: Path | None = None
    try:
        with own_folder(place, prefix) as folder:
            yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _taken_over(file: Path) -> Iterator[bool | None]:
    """Lock a file, if nobody else has, until it is removed at the end.

    Yields:
        Whether that could be done; None where the file system knows no locks.

    Raises:
        UserError: the file can't be opened.
    """
    stream = _opened(file)
    if stream is None:
        yield False
        return
    with stream:
        locked = _locked(stream)
        ours = _is_there(stream, file) if locked else locked
        yield ours
        if ours:
            _remove(file)
    if ours:
        _remove_closed(file)


def _remove(file: Path, folders: Sequence[Path] = ()) -> None:
    """Away with a lock file while it is locked, and with folders that were made for it unless they are in use."""
    with suppress(OSError):
        file.unlink()
        for folder in folders:
            folder.rmdir()


def _remove_closed(file: Path, folders: Sequence[Path] = ()) -> None:
    """The same on Windows, which keeps files that are open, also those that another process has opened since."""
    if sys.platform == "win32":
        _remove(file, folders)


def _locked_file(file: Path) -> TextIO | None:
    """The file, locked until it is closed; None while another process has it, or where one has just removed it.

    Where the file system knows no locks everybody gets it.
    """
    stream = _opened(file)
    if stream is None:
        return None
    if _locked(stream) is not False and _is_there(stream, file):
        return stream
    stream.close()
    return None


def _opened(file: Path) -> TextIO | None:
    """The file, made if missing; None where its folder was just removed."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return file.open("a+", encoding="utf-8")
        except FileNotFoundError:
            return None
    except OSError as error:
        if isinstance(error, FileExistsError) and (file.parent.is_dir() or not file.parent.exists()):
            return None  # mkdir found it, and it was gone when it looked what it is
        hint = "Check the folder's permissions and the free space."
        raise UserError(f"Can't write {file}: {error.strerror or error}.", hint) from error


def _is_there(stream: TextIO, file: Path) -> bool:
    """Whether the open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), file.stat())
    return False


def _owner(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(encoding="utf-8") or "unknown"
    return "unknown"


def _locked(stream: TextIO) -> bool | None:
    """Try to lock an open file until it is closed; None where the file system knows no locks."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(stream.fileno(), LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            return False if error.errno in (errno.EACCES, errno.EDEADLK) else None
        return True
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on SMB drives
        return False
    except OSError:
        return None
    return True
