"""Tasks for processes that tests start; a module of its own, which those processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.planning.choices import LOSSES
from segautoconfiglib.training.distributed import Group

if TYPE_CHECKING:
    from segautoconfiglib.training.job import TrainJob


class CallAfter(CancelToken):
    """Does something when it was asked a number of times; cancels if that returns True."""

    def __init__(self, asked: int, function: Callable[[], bool]) -> None:
        super().__init__()
        self._left = asked
        self._function = function

    @property
    def cancelled(self) -> bool:
        self._left -= 1
        return self._left < 0 and self._function()


def train_all(
    jobs: Sequence[TrainJob], stopped: Sequence[tuple[TrainJob, int]], *, report: Reporter, cancel: Any, group: Group
) -> list[str]:
    """Train jobs, and others that the last process alone stops after it was asked a number of times."""
    from segautoconfiglib.training.run import train_fold

    for job in jobs:
        train_fold(job, report=report, cancel=cancel, group=group)
    ends = []
    for job, asked in stopped:
        mine = CallAfter(asked, lambda: True) if group.rank == group.size - 1 else CancelToken()
        try:
            train_fold(job, report=report, cancel=mine, group=group)
        except Cancelled:
            ends.append("stopped")
    return ends


def die(job: TrainJob, asked: int, *, report: Reporter, cancel: Any, group: Group) -> None:
    """Train; the second process is killed after it was asked a number of times."""
    from segautoconfiglib.training.run import train_fold

    def kill() -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    train_fold(job, report=report, cancel=CallAfter(asked, kill) if group.rank == 1 else cancel, group=group)


def refuse(*, report: Reporter, cancel: Any, group: Group) -> None:
    """The second process does not want to."""
    report("log", message=str([group.gather(group.rank), group.any(group.rank == 1), group.first(lambda: group.rank)]))
    if group.rank == 1:
        raise UserError("I would rather not.", "Ask again.")
    group.barrier()


def end_as(errors: Sequence[Exception | None], *, report: Reporter, cancel: Any, group: Group) -> None:
    """Each process raises its error; those without one wait for the others."""
    group.barrier()
    error = errors[group.rank]
    if error is not None:
        raise error
    group.barrier()


def call_loss(name: str, *, report: Reporter, cancel: Any, group: Group) -> None:
    """Call a plug-in's loss in the second process."""
    if group.rank == 1:
        LOSSES.get(name)(object())
    group.barrier()
