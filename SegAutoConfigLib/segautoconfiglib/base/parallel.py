"""Work over cases in a few processes: results in order, a dead worker names its case."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, TypeVar, cast

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.machine import free_memory, usable_cores
from segautoconfiglib.base.plugins import load_plugins, loaded

__all__ = ["cause_of_death", "choose_workers", "end_with_parent", "main_script_left_out", "map_cases", "usable_cores"]

Result = TypeVar("Result")

#: A worker process that has imported numpy, scipy and SimpleITK (bytes, measured on Linux, Python 3.11).
WORKER_BASE_BYTES = 150 * 2**20

#: What the numerical libraries read when they are loaded, to know how many threads to start.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

#: How long a worker that is told to stop may take to clear away its unfinished file (seconds).
STOP_SECONDS = 10.0


def choose_workers(bytes_per_case: int, requested: int | None = None) -> int:
    """How many cases fit side by side into the memory that is free now.

    Args:
        bytes_per_case: Peak memory of one worker on the largest case.
        requested: The user's wish; never exceeded, and lowered when the memory does not suffice.

    Returns:
        At least 1; at most the number of usable cores where nothing was requested.
    """
    by_memory = int(free_memory() * 0.8) // (bytes_per_case + WORKER_BASE_BYTES)
    wanted = requested if requested is not None else usable_cores()
    return max(1, min(wanted, by_memory))


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
    everything runs in this process. Several workers share the cores: each gets its part of the threads.

    Args:
        function: A module-level function, not of the main script.
        cases: Case names with their arguments.
        workers: Number of processes.
        stage: Name of the stage, for events and errors.
        report: Gets "started", one "progress" per finished case, nothing at the end; nothing at all without cases.
        cancel: Asked between cases.

    Returns:
        The results in the order of ``cases``.

    Raises:
        UserError: from ``function``; or a worker process died or its memory ran out (the case and the likely cause
            are named).
        Cancelled: on request; cases that are under way are finished first.
    """
    cancel = cancel or CancelToken()
    if not cases:
        return []
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
        try:
            results.append(function(*arguments))
        except MemoryError as error:
            raise _memory_error(stage, case, error) from error
        report("progress", stage=stage, done=done, total=len(cases), case=case)
    return results


def _memory_error(stage: str, case: str, error: object) -> UserError:
    return UserError(
        f"The memory did not suffice during {stage} of case {case} ({error}).",
        "Use fewer workers (--workers 1) or close other programs. "
        "Cases that were finished are kept; start again to continue.",
        "free-memory",
    )


def cause_of_death(exit_code: int | None) -> str:
    """What a process's exit code tells about its end, for people."""
    if exit_code == -getattr(signal, "SIGKILL", 9):
        free = free_memory() / 2**30
        return f"It was killed, most likely because the memory ran out ({free:.1f} GB are free now)."
    if exit_code is not None and exit_code < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"It crashed with signal {known.get(-exit_code, -exit_code)}; the file may be damaged."
    return f"It ended with exit code {exit_code}."


class _Pool:
    """Worker processes, one pipe each, so that it is always known which case a process works on."""

    def __init__(self, function: Callable[..., Any], workers: int, stage: str) -> None:
        self._stage = stage
        self._processes: dict[Connection, Any] = {}
        context = multiprocessing.get_context("spawn")
        threads = max(1, usable_cores() // workers)
        try:
            for _ in range(workers):
                here, there = context.Pipe()
                arguments = (there, threads, loaded(), pickle.dumps(function))
                process = context.Process(target=_work, args=arguments, daemon=True)
                with interrupts_held_back(), main_script_left_out():
                    process.start()
                there.close()
                self._processes[here] = process
        except BaseException:
            self.close()
            raise

    def run(self, cases: Sequence[tuple[str, tuple[Any, ...]]], report: Reporter, cancel: CancelToken) -> list[Any]:
        results: dict[int, Any] = {}
        waiting = list(enumerate(cases))[::-1]
        busy: dict[Any, int] = {}
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
            for pipe in cast("list[Connection]", wait(list(busy), timeout=0.5)):
                index = busy.pop(pipe)
                case = cases[index][0]
                results[index] = self._receive(pipe, case)
                idle.append(pipe)
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
        known, text = value
        if known is not None:
            raise known
        if text.startswith("MemoryError"):
            raise _memory_error(self._stage, case, text)
        raise RuntimeError(f"{self._stage} of case {case} failed: {text.splitlines()[-1]}") from RuntimeError(text)

    def _death(self, pipe: Connection, case: str) -> UserError:
        process = self._processes[pipe]
        process.join(timeout=5)
        return UserError(
            f"A worker process died during {self._stage} of case {case}. {cause_of_death(process.exitcode)}",
            "Use fewer workers (--workers 1), close other programs, or check this case's files. "
            "Cases that were finished are kept; start again to continue.",
            "free-memory-or-check-case",
        )

    def close(self) -> None:
        """End the workers; one that is in the middle of a case removes its unfinished file first."""
        for pipe, process in self._processes.items():
            pipe.close()
            process.terminate()
        for process in self._processes.values():
            process.join(STOP_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C reaches this process after the block; processes started in it do not see it while they import."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # unblocks the signal when it has to be started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def main_script_left_out() -> Iterator[None]:
    """Processes started in the block do not run the main script again: they need nothing from it.

    A script that calls the engine without ``if __name__ == "__main__":`` would start itself anew in each of them.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def limit_threads(count: int) -> None:
    """Let numerical libraries that this process will import use so many threads, unless the user has chosen."""
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(count))


def end_with_parent() -> None:
    """From now on this worker process ends at once when the one that started it is gone, however that came about."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, name="end-with-parent", daemon=True).start()


def _work(pipe: Connection, threads: int, plugins: Sequence[str], pickled: bytes) -> None:
    """The worker process: arguments for the pickled function in, an answer (see :func:`_answer`) out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that clean-up code runs
    end_with_parent()
    limit_threads(threads)
    load_plugins(plugins)
    function = pickle.loads(pickled)  # imports the stage, and with it the libraries that read the variables above
    try:
        while True:
            pipe.send_bytes(_answer(function, pipe.recv()))
    except (EOFError, OSError):
        return  # the parent has closed the pipe


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Pickled (True, result), or (False, (error, text)): the error itself only where it is one of ours."""
    try:
        return pickle.dumps((True, function(*arguments)))
    except (UserError, Cancelled) as error:
        return pickle.dumps((False, (error, "")))
    except MemoryError as error:
        return pickle.dumps((False, (None, f"MemoryError: {error}")))
    except Exception:  # noqa: BLE001 - the parent raises it again
        return pickle.dumps((False, (None, traceback.format_exc())))
