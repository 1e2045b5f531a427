"""Stopping a long run cleanly: Ctrl-C, SIGTERM, stop files, or the line ``cancel`` on standard input."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from segautoconfiglib.base.errors import Cancelled

#: Between two looks for a stop file (seconds).
LOOK_EVERY_S = 0.5


class CancelToken:
    """Asked by long loops between two steps; set from a signal, another thread or a file."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._stop_files: list[Path] = []
        self._next_look = 0.0

    @property
    def cancelled(self) -> bool:
        """True once a stop was requested."""
        if self._stop_files and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_EVERY_S
            for file in self._stop_files:
                if file.exists():
                    self._event.set()
                    with suppress(OSError):
                        file.unlink()
        return self._event.is_set()

    @contextmanager
    def watching(self, stop_file: Path, *, earlier_counts: bool = False) -> Iterator[None]:
        """Inside the block, making ``stop_file`` is a request too; it is removed when seen. Blocks may be nested.

        Args:
            stop_file: Any path; its folder need not exist.
            earlier_counts: Whether one that is there already is a request; else it is removed.
        """
        if not earlier_counts:
            with suppress(OSError):
                stop_file.unlink()
        self._stop_files.append(stop_file)
        self._next_look = 0.0
        try:
            yield
        finally:
            self._stop_files.remove(stop_file)

    def cancel(self) -> None:
        """Request a stop."""
        self._event.set()

    def raise_if_cancelled(self) -> None:
        """Raises: Cancelled: if a stop was requested."""
        if self.cancelled:
            raise Cancelled("Stopped on request.")

    def listen(self, stream: TextIO) -> None:
        """Cancel when a line ``cancel`` arrives on ``stream``; the end of the stream is not a request.

        Its descriptor is read, not the stream itself: that would stay locked while it waits for a line, and a process
        forked meanwhile, which closes its copy of standard input, would wait for the lock forever.
        """

        def read_lines() -> None:
            with (
                suppress(OSError, ValueError),  # closed or unreadable: the same as its end
                open(stream.fileno(), "rb", buffering=0, closefd=False) as lines,
            ):
                for line in lines:
                    if line.strip() == b"cancel":
                        self.cancel()
                        return

        threading.Thread(target=read_lines, name="cancel-listener", daemon=True).start()

    def install_signal_handlers(self, echo_s: float = 0.0) -> Callable[[], None]:
        """Make the first SIGINT or SIGTERM a clean stop; a second one interrupts at once.

        Args:
            echo_s: Signals that follow the first one within this time are the same request (seconds).

        Returns:
            A function that puts the previous handlers back.
        """
        watched = [signal.SIGINT, signal.SIGTERM]
        previous = {number: signal.getsignal(number) for number in watched}
        first = math.inf

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal first
            if self._event.is_set():
                if time.monotonic() - first < echo_s:
                    return
                raise KeyboardInterrupt
            first = time.monotonic()
            self._event.set()
            with suppress(RuntimeError, OSError, ValueError):  # just being written to, or closed
                sys.stderr.write("Stopping after the current step (press Ctrl-C again to stop at once) ...\n")

        for number in watched:
            signal.signal(number, handle)

        def restore() -> None:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

        return restore
