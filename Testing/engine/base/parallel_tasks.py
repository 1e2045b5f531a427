"""What the worker processes of test_parallel.py run; a module of its own, so that they can import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.plugins import plugin_names
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.planning.choices import LOSSES


def call_loss(name: str, value: int) -> tuple[list[str], int]:
    return plugin_names(), LOSSES.get(name)(value)


def square(number: int) -> tuple[int, int]:
    time.sleep(0.05 if number == 0 else 0)
    return number * number, os.getpid()


def die(case: str, victim: str) -> str:
    if case == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return case


def leave(case: str) -> str:
    sys.exit(3) if case == "b" else None
    return case


def refuse(case: str) -> str:
    if case == "b":
        raise UserError("b is truncated.", "Copy it again.")
    return case


class OddError(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


def break_down(case: str, kind: str) -> object:
    if kind == "odd":
        raise OddError(1, 2)
    if kind == "memory":
        raise MemoryError("Unable to allocate 7 GiB")
    return lambda: None  # a result that can't travel


def threads(case: str) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def write_slowly(folder: str, case: str) -> None:
    with atomic_path(Path(folder) / f"{case}.txt") as temporary:
        temporary.write_text("half")
        if case == "bad":
            time.sleep(0.5)
            raise UserError("bad is bad.")
        time.sleep(30)


def hold(folder: str, case: str) -> None:
    (Path(folder) / case).write_text(str(os.getpid()))
    time.sleep(600)
