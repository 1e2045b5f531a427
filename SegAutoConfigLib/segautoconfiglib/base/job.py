"""A run as a folder (``--job``): other programs follow, stop and find it again by files, also after they were closed.

``events.jsonl`` has all events of the run, and of earlier runs of the same job; ``lock`` is held while it runs; a file
``stop`` asks for a clean end; ``job.json`` says what it is. No package outside the standard library is needed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, json_line
from segautoconfiglib.base.lock import alone

JOB_FILE, EVENT_FILE, LOCK_FILE, STOP_FILE = "job.json", "events.jsonl", "lock", "stop"
#: How long to wait for the lock: a program that looks whether it is taken holds it for a moment (seconds).
LOCK_PATIENCE_S = 5.0


class EventLog:
    """Appends events to a file, each line whole and at once; a full disk costs lines, never the run.

    May be called from several threads.

    Args:
        file: Of JSON lines; what it holds stays.

    Raises:
        UserError: it can't be written.
    """

    def __init__(self, file: Path) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(file, flags, 0o666)
        except OSError as error:
            hint = "Check the folder's permissions and the free space."
            raise UserError(f"Can't write {file}: {error.strerror or error}.", hint) from error
        self._lock = threading.Lock()
        self._open = True
        self._torn = not self._ends_with_a_line()

    def _ends_with_a_line(self) -> bool:
        """False where an earlier run was killed in the middle of one."""
        if os.lseek(self._file, 0, os.SEEK_END) == 0:
            return True
        os.lseek(self._file, -1, os.SEEK_END)
        return os.read(self._file, 1) == b"\n"

    def __call__(self, kind: str, **data: Any) -> None:
        """Append one event; nothing after :meth:`close`."""
        line = json_line(kind, data).encode()
        with self._lock, suppress(OSError):
            if not self._open:
                return
            rest = b"\n" + line if self._torn else line
            while rest:
                written = os.write(self._file, rest)
                rest = rest[written:]
                self._torn = bool(rest)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._file)


@contextmanager
def job_files(folder: Path, command: Sequence[str], *, report: Reporter, cancel: CancelToken) -> Iterator[EventLog]:
    """The files of a job, around its run.

    Args:
        folder: Of the job; made if missing.
        command: Its words, for ``job.json`` where the folder has none.
        report: Hears of waiting for the lock.
        cancel: Also set by the stop file inside the block; one that is there at the beginning counts.

    Yields:
        The reporter that appends to ``events.jsonl``.

    Raises:
        UserError: the folder can't be written, or a run of this job is going on.
        Cancelled: on request, while waiting for the lock.
    """
    folder = folder.expanduser().absolute()
    stop_file = folder / STOP_FILE
    with alone(folder / LOCK_FILE, "This job", patience_s=LOCK_PATIENCE_S, report=report, cancel=cancel):
        _describe(folder / JOB_FILE, command)
        log = EventLog(folder / EVENT_FILE)
        try:
            with cancel.watching(stop_file, earlier_counts=True):
                yield log
        finally:
            log.close()
            with suppress(OSError):  # asked for at the very end: not a request to the next run
                stop_file.unlink()


def _describe(file: Path, command: Sequence[str]) -> None:
    if file.exists():
        return
    created = datetime.now().astimezone().isoformat(timespec="seconds")
    content = {"title": "", "command": list(command), "created": created, "started": int(time.time()), "details": {}}
    with suppress(OSError):  # not needed for the run
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")
