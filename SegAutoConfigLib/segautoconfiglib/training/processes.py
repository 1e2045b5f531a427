"""Starts several processes on this machine that do one task together; one that fails ends them all."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, cast

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError, as_user_error, merged, reworded
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import (
    cause_of_death,
    end_with_parent,
    interrupts_held_back,
    limit_threads,
    main_script_left_out,
    usable_cores,
)
from segautoconfiglib.base.plugins import AlsoThere, blaming
from segautoconfiglib.base.torchrun import Place

#: Between two looks at whether to stop (seconds).
_POLL_S = 0.2
#: After the first failure the others are waited for so long: what they say may be the cause of it (seconds).
_GRACE_S = 3.0
#: Processes that have answered may take so long to end (seconds).
_END_S = 10.0

_EVENT, _DONE, _CANCELLED, _DIED, _ERROR, _BUG, _LOST = "event", "done", "cancelled", "died", "error", "bug", "lost"
#: Failures; where processes fail in different ways, the first of these is the cause of the others.
_FAILURES = (_DIED, _ERROR, _BUG, _LOST)


class _Message(NamedTuple):
    """What a process tells: an event, or how it has ended."""

    kind: str
    value: Any


def run_processes(
    task: Callable[..., Any],
    arguments: Sequence[Any],
    devices: Sequence[str],
    *,
    report: Reporter,
    cancel: CancelToken,
) -> Any:
    """Call ``task(*arguments, report=, cancel=, group=)`` in several processes at the same time.

    Args:
        task: A module-level function, not of the main script. In the first process its reporter leads here.
        arguments: What can be pickled.
        devices: Of each process.
        report: Gets the first process's events.
        cancel: Passed on to all of them.

    Returns:
        What the first process returned.

    Raises:
        UserError: of one of them; or one died: its number and the likely cause are named.
        Cancelled: they stopped on request.
    """
    with tempfile.TemporaryDirectory(prefix="segautoconfig-", ignore_cleanup_errors=True) as folder:
        processes = _Processes(pickle.dumps((AlsoThere(), task, tuple(arguments))), devices, Path(folder) / "store")
        try:
            return processes.result(report, cancel)
        finally:
            processes.end()


class _Processes:
    """The started processes, with a pipe to each."""

    def __init__(self, pickled: bytes, devices: Sequence[str], store_file: Path) -> None:
        self._devices = devices
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._answers: dict[int, _Message] = {}
        self._told = False
        context = multiprocessing.get_context("spawn")
        try:
            for rank in range(len(devices)):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there, rank, tuple(devices), store_file, pickled))
                with interrupts_held_back(), main_script_left_out():
                    process.start()
                there.close()
                self._pipes.append(here)
                self._processes.append(process)
        except BaseException:
            self.end()
            raise

    def result(self, report: Reporter, cancel: CancelToken) -> Any:
        """Follow them to their end."""
        until = float("inf")
        while len(self._answers) < len(self._pipes) and time.monotonic() < until:
            waiting = [pipe for rank, pipe in enumerate(self._pipes) if rank not in self._answers]
            for pipe in cast("list[Connection]", wait(waiting, timeout=_POLL_S)):
                rank = self._pipes.index(pipe)
                message = self._receive(rank)
                if message.kind == _EVENT:
                    kind, data = message.value
                    report(kind, **data)
                else:
                    self._answers[rank] = message
            if cancel.cancelled:
                self._tell_to_stop()
            if until == float("inf") and any(answer.kind in _FAILURES for answer in self._answers.values()):
                until = time.monotonic() + _GRACE_S
        return self._outcome()

    def _receive(self, rank: int) -> _Message:
        try:
            return cast("_Message", self._pipes[rank].recv())
        except (EOFError, OSError):
            process = self._processes[rank]
            process.join(timeout=_END_S)
            return _Message(_DIED, process.exitcode)

    def _tell_to_stop(self) -> None:
        if not self._told:
            self._told = True
            for pipe in self._pipes:
                try:
                    pipe.send(None)
                except OSError:  # it has ended
                    continue

    def _outcome(self) -> Any:
        kinds = {answer.kind for answer in self._answers.values()}
        if _CANCELLED in kinds and not kinds & {_DIED, _ERROR, _BUG}:  # who lost the others lost those that stopped
            raise Cancelled("Stopped on request.")
        answers = sorted(self._answers.items())
        if _ERROR in kinds and _DIED not in kinds:
            raise self._error([(rank, value) for rank, (kind, value) in answers if kind == _ERROR])
        for failure in _FAILURES:
            for rank, (kind, value) in answers:
                if kind == failure:
                    raise self._failure(rank, kind, value)
        return self._answers[0].value

    def _error(self, errors: Sequence[tuple[int, UserError]]) -> UserError:
        """What went wrong in one or more of the processes."""
        (rank, error), *others = errors
        if not others:
            return error if rank == 0 else reworded(error, f"{self._name(rank)}: {error.message}")
        message = f"{len(errors)} of {len(self._devices)} processes failed:"
        return merged([each for _, each in errors], message)

    def _failure(self, rank: int, kind: str, value: Any) -> Exception:
        name = self._name(rank)
        if kind == _DIED:
            return UserError(
                f"{name} died, and the others were ended. {cause_of_death(value)}",
                "Close other programs, or use fewer processes and --workers. The last checkpoint is kept; continue "
                "with --resume.",
                "free-memory-then-resume",
            )
        if kind == _BUG:
            bug = RuntimeError(f"{name} failed: {value.splitlines()[-1]}")
            bug.__cause__ = RuntimeError(value)
            return bug
        lost: UserError = value
        return lost

    def _name(self, rank: int) -> str:
        return f"Process {rank} of {len(self._devices)} ({self._devices[rank]})"

    def end(self) -> None:
        """End them all: at once, unless they have come to their end by themselves."""
        finished = bool(self._pipes) and all(
            rank in self._answers and self._answers[rank].kind in (_DONE, _CANCELLED)
            for rank in range(len(self._pipes))
        )
        for process in self._processes:
            if finished:
                process.join(_END_S)
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes:
            pipe.close()


def _serve(pipe: Connection, rank: int, devices: Sequence[str], store_file: Path, pickled: bytes) -> None:
    """A started process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the process that started this one, which decides
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    limit_threads(max(1, usable_cores() // len(devices)))
    cancel, sending = CancelToken(), threading.Lock()

    def send(message: _Message) -> None:
        with sending:
            pipe.send(message)

    def report(kind: str, **data: Any) -> None:
        send(_Message(_EVENT, (kind, data)))

    def listen() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            return
        cancel.cancel()

    threading.Thread(target=listen, name="cancel-listener", daemon=True).start()
    place = Place(rank, len(devices), rank, len(devices))
    send(_attempt(place, devices[rank], store_file, pickled, report if rank == 0 else silent, cancel))


def _attempt(
    place: Place, device: str, store_file: Path, pickled: bytes, report: Reporter, cancel: CancelToken
) -> _Message:
    """Do the task in one of the processes."""
    from segautoconfiglib.training.distributed import PeerLostError, join, leave

    try:
        _, task, arguments = pickle.loads(pickled)
        with blaming(report):
            group = join(place, device, store_file)
            result = task(*arguments, report=report, cancel=cancel, group=group)
            group.barrier()
            leave()
    except Cancelled:
        return _Message(_CANCELLED, None)
    except PeerLostError as error:
        return _Message(_LOST, error)
    except UserError as error:
        return _Message(_ERROR, error)
    except Exception as error:  # noqa: BLE001 - the process that started this one raises it
        known = as_user_error(error)
        return _Message(_BUG, traceback.format_exc()) if known is None else _Message(_ERROR, known)
    return _Message(_DONE, result if group.is_first else None)
