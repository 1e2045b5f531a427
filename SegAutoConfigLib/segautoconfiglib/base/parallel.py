"""Work over cases in a few processes: results in order, a dead worker names its case."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import psutil

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import Reporter, silent

Result = TypeVar("Result")

#: A worker process that has imported numpy, scipy and SimpleITK (bytes, measured on Linux, Python 3.11).
WORKER_BASE_BYTES = 150 * 2**20


def choose_workers(bytes_per_case: int, requested: int | None = None) -> int:
    """How many cases fit side by side into the memory that is free now.

    Args:
        bytes_per_case: Peak memory of one worker on the largest case.
        requested: The user's wish; never exceeded, and lowered when the memory does not suffice.

    Returns:
        At least 1; at most the number of usable cores where nothing was requested.
    """
    by_memory = int(psutil.virtual_memory().available * 0.8) // (bytes_per_case + WORKER_BASE_BYTES)
    wanted = requested if requested is not None else usable_cores()
    return max(1, min(wanted, by_memory))


def usable_cores() -> int:
    """Cores that this process may use (respects taskset and container limits where the system tells them)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_cases(
    function: Callable[..., Result],
    cases: Sequence[tuple[str, tuple[Any, ...]]],
    *,
    workers: int,
    stage: str,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Result]:
    """Call ``function(*arguments)`` for every ``(case, arguments)``, in ``workers`` processes.

    Arguments and results travel between processes: hand over names and paths, not arrays. With one worker
    everything runs in this process.

    Args:
        function: A module-level function.
        cases: Case names with their arguments.
        workers: Number of processes.
        stage: Name of the stage, for events and errors.
        report: Gets "started", one "progress" per finished case, nothing at the end.
        cancel: Asked between cases.

    Returns:
        The results in the order of ``cases``.

    Raises:
        UserError: from ``function``; or a worker process died (the case and the likely cause are named).
        Cancelled: on request; cases that are under way are finished first.
    """
    cancel = cancel or CancelToken()
    report("started", stage=stage, total=len(cases))
    if workers <= 1 or len(cases) <= 1:
        return _map_here(function, cases, stage, report, cancel)
    pool = _Pool(function, min(workers, len(cases)), stage)
    try:
        return pool.run(cases, report, cancel)
    finally:
        pool.close()


def _map_here(
    function: Callable[..., Result],
    cases: Sequence[tuple[str, tuple[Any, ...]]],
    stage: str,
    report: Reporter,
    cancel: CancelToken,
) -> list[Result]:
    results = []
    for done, (case, arguments) in enumerate(cases, start=1):
        cancel.raise_if_cancelled()
        results.append(function(*arguments))
        report("progress", stage=stage, done=done, total=len(cases), case=case)
    return results


class _Pool:
    """Worker processes, one pipe each, so that it is always known which case a process works on."""

    def __init__(self, function: Callable[..., Any], workers: int, stage: str) -> None:
        self._stage = stage
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, Any] = {}
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(function, there), daemon=True)
            process.start()
            there.close()
            self._processes[here] = process

    def run(
        self, cases: Sequence[tuple[str, tuple[Any, ...]]], report: Reporter, cancel: CancelToken
    ) -> list[Any]:
        results: dict[int, Any] = {}
        waiting = list(enumerate(cases))[::-1]
        busy: dict[Connection, int] = {}
        idle = list(self._processes)
        while waiting or busy:
            while waiting and idle and not cancel.cancelled:
                index, (_, arguments) = waiting.pop()
                pipe = idle.pop()
                busy[pipe] = index
                try:
                    pipe.send(arguments)
                except OSError as error:
                    raise self._death(pipe, cases[index][0]) from error
            if not busy:
                break
            for pipe in wait(list(busy), timeout=0.5):
                assert isinstance(pipe, Connection) or sys.platform == "win32"
                index = busy.pop(pipe)  # type: ignore[arg-type]
                case = cases[index][0]
                results[index] = self._receive(pipe, case)  # type: ignore[arg-type]
                idle.append(pipe)  # type: ignore[arg-type]
                report("progress", stage=self._stage, done=len(results), total=len(cases), case=case)
        cancel.raise_if_cancelled()
        return [results[index] for index in range(len(cases))]

    def _receive(self, pipe: Connection, case: str) -> Any:
        try:
            ok, value = pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death(pipe, case) from error
        if ok:
            return value
        error, text = value
        if isinstance(error, (UserError, Cancelled)):
            raise error
        raise RuntimeError(f"{self._stage} of case {case} failed:\n{text}") from error

    def _death(self, pipe: Connection, case: str) -> UserError:
        process = self._processes[pipe]
        process.join(timeout=5)
        code = process.exitcode
        free = psutil.virtual_memory().available / 2**30
        if code == -getattr(signal, "SIGKILL", 9):
            cause = f"It was killed, most likely because the memory ran out ({free:.1f} GB are free now)."
        elif code is not None and code < 0:
            cause = f"It crashed with signal {signal.Signals(-code).name}; the file may be damaged."
        else:
            cause = f"It ended with exit code {code}."
        return UserError(
            f"A worker process died during {self._stage} of case {case}. {cause}",
            "Use fewer workers (--workers 1), close other programs, or check this case's files. "
            "Cases that were finished are kept; start again to continue.",
        )

    def close(self) -> None:
        for pipe, process in self._processes.items():
            pipe.close()
            process.terminate()
        for process in self._processes.values():
            process.join()


def _work(function: Callable[..., Any], pipe: Connection) -> None:
    """The worker process: arguments in, (True, result) or (False, (error, traceback text)) out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    while True:
        try:
            arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[bool, Any] = (True, function(*arguments))
        except Exception as error:  # noqa: BLE001 - the parent raises it again
            answer = (False, (error, traceback.format_exc()))
        try:
            pipe.send(answer)
        except (AttributeError, TypeError) as error:  # an exception that can't be pickled
            pipe.send((False, (RuntimeError(repr(error)), traceback.format_exc())))
