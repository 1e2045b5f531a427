"""Runs a command and measures what its whole process tree used."""

from __future__ import annotations

import math
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Memory is looked at this often (seconds) until so many seconds after the start: short runs are watched closely.
SAMPLES = ((0.01, 2.0), (0.1, 20.0), (0.5, math.inf))


@dataclass(frozen=True)
class Measurement:
    """One run.

    Attributes:
        exit_code: Of the command.
        cpu_s: User and system time of the command and all its children that were waited for.
        wall_s: From start to end.
        peak_mib: Highest sum over the processes of their memory, pages shared by n processes counted as 1/n each
            (PSS; where the system has none, resident memory).
        load: Average number of running processes on the machine before the start.
        output: What the command wrote, both streams.
    """

    exit_code: int
    cpu_s: float
    wall_s: float
    peak_mib: int
    load: float
    output: str


def measure(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Measurement:
    """Run ``command`` once.

    Args:
        command: Program and arguments.
        environment: The variables it gets.
        log: Its output is kept here.
    """
    load = os.getloadavg()[0]
    peak = [0]
    stop = threading.Event()
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, stop))
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    stop.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Measurement(
        process.returncode,
        round(cpu, 2),
        round(wall, 2),
        peak[0] >> 20,
        round(load, 1),
        log.read_text(errors="replace"),
    )


def best(runs: Sequence[Measurement]) -> Measurement:
    """The run with the least CPU time: what disturbs a run only ever adds."""
    return min(runs, key=lambda run: (run.exit_code != 0, run.cpu_s))


def _watch(pid: int, peak: list[int], stop: threading.Event) -> None:
    start = time.perf_counter()
    while not stop.is_set():
        peak[0] = max(peak[0], _tree_bytes(pid))
        running = time.perf_counter() - start
        stop.wait(next(pause for pause, until in SAMPLES if running < until))


def _tree_bytes(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_process_bytes(process) for process in processes)


def _process_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    return getattr(memory, "pss", 0) or memory.rss
