"""Following a job without blocking the window."""

import logging
from collections.abc import Callable
from typing import Any

import qt

from SegAutoConfigGui.Jobs.Engine import Job

#: Reading may take this long in one turn of the event loop (seconds).
TURN_SECONDS = 0.02

#: Those that follow, so that they do so also where nobody keeps them.
_ACTIVE: "set[JobFollower]" = set()


class JobFollower:
    """Polls a job from a timer and calls back, until the job has ended or :meth:`stop` is called.

    Args:
        job: The job, running or not.
        onEvents: Gets the list of new events, after the job's attributes were brought up to date. Long bursts come in
            several parts.
        onEnd: Gets the job, once, after its last events.
        interval: Between two looks (milliseconds).
    """

    def __init__(
        self,
        job: Job,
        onEvents: "Callable[[list], Any] | None" = None,
        onEnd: "Callable[[Job], Any] | None" = None,
        interval: int = 200,
    ) -> None:
        self.job = job
        self._onEvents = onEvents
        self._onEnd = onEnd
        self._interval = interval
        self._timer = None

    @property
    def active(self) -> bool:
        """True while it follows."""
        return self._timer is not None

    def start(self) -> None:
        """Begin; the first look is taken in the next turn of the event loop."""
        if self._timer is not None:
            return
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)  # so that a slow callback does not make turns pile up
        self._timer.connect("timeout()", self._turn)
        self._timer.start(0)
        _ACTIVE.add(self)

    def stop(self) -> None:
        """End without calling back; the job goes on. For panels that are taken away."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.deleteLater()
            _ACTIVE.discard(self)

    def _turn(self) -> None:
        timer = self._timer
        if timer is None:
            return
        events = self.job.poll(TURN_SECONDS)
        if events and self._onEvents is not None:
            _called(self._onEvents, events)
        if self._timer is not timer:  # stopped by the callback
            return
        if self.job.behind or self.job.running:
            timer.start(0 if self.job.behind else self._interval)
            return
        self.stop()
        if self._onEnd is not None:
            _called(self._onEnd, self.job)


def _called(callback: Callable[[Any], Any], argument: Any) -> None:
    """A mistake in a callback is logged; the job is followed all the same."""
    try:
        callback(argument)
    except Exception:
        logging.exception("SegAutoConfig: a job's news could not be shown")
