"""Reading the file of events that a running process appends to."""

import os
import time
from pathlib import Path

from segautoconfiglib.base.events import Event, parse_line

#: Read at once (bytes): some milliseconds of work.
BLOCK = 256 * 1024
#: Looked at from the end, to know how a job ended without reading all of it (bytes).
TAIL = 64 * 1024
#: Near the beginning of a line of progress, as the engine writes it.
PROGRESS, PLACE_OF_KIND = b'"kind": "progress"', 80


class EventFile:
    """Reads what is new; a line counts when its end is there.

    Of progress lines in a row only the first and the last are read: a long training has millions, and a job that is
    found again is read from the beginning.

    Attributes:
        behind: True when the last reading ended before the end of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.behind = False
        self._offset = 0
        self._size = 0

    def read(self, seconds: float | None = None) -> list[Event]:
        """What was written since the last reading.

        Args:
            seconds: Stop soon after this time, see ``behind``; None: read to the end.
        """
        try:
            size = self.path.stat().st_size
            if size == self._size and not self.behind:
                return []
            if size < self._offset:  # made anew
                self._offset = 0
            until = None if seconds is None else time.monotonic() + seconds
            return self._readFrom(size, until)
        except OSError:  # not there yet, or not any more
            self.behind = False
            return []

    def _readFrom(self, size: int, until: float | None) -> list[Event]:
        events: list[Event] = []
        block = BLOCK
        with self.path.open("rb") as stream:
            while True:
                stream.seek(self._offset)
                data = stream.read(block)
                whole = data.rfind(b"\n") + 1
                events += _parsed(data[:whole])
                self._offset += whole
                self._size, self.behind = size, len(data) == block
                if not self.behind or (whole and until is not None and time.monotonic() >= until):
                    return events
                block = BLOCK if whole else 2 * block

    def last(self) -> Event | None:
        """The last event, whatever was read; None where there is none."""
        try:
            with self.path.open("rb") as stream:
                size, tail = stream.seek(0, os.SEEK_END), TAIL
                while True:
                    stream.seek(max(0, size - tail))
                    lines = stream.read(tail).split(b"\n")[:-1]
                    if tail >= size or len(lines) > 1:
                        break
                    tail *= 2
        except OSError:
            return None
        events = _parsed(b"\n".join(lines[-1:]))
        return events[-1] if events else None


def appendEvent(path: Path, line: bytes) -> None:
    """Add one line, on a line of its own also where the writer died in the middle of one."""
    with path.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        stream.write((b"" if stream.read(1) in (b"", b"\n") else b"\n") + line + b"\n")


def _parsed(data: bytes) -> list[Event]:
    lines = (line.strip(b"\0\r ") for line in _thinned(data.split(b"\n")))
    return [parse_line(line.decode("utf-8", "replace")) for line in lines if line]


def _thinned(lines: list[bytes]) -> list[bytes]:
    """The lines without those between the first and the last of several progress lines in a row."""
    kept: list[bytes] = []
    latest = None  # of the progress lines in a row; empty after the first
    for line in lines:
        if line.find(PROGRESS, 0, PLACE_OF_KIND) >= 0:
            if latest is None:
                kept.append(line)
            latest = b"" if latest is None else line
            continue
        if latest:
            kept.append(latest)
        latest = None
        kept.append(line)
    if latest:
        kept.append(latest)
    return kept
