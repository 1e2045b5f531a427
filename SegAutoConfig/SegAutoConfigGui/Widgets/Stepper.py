"""Long work in the window's own thread, one step per turn of the event loop."""

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Cancelled, UserProblem

#: Between two steps that only look whether a process has got further (milliseconds).
WAIT_MS = 100


class Stepper:
    """Makes the steps of a generator until it ends, or until `stop` is called.

    Args:
        steps: The generator. What it yields may have an attribute ``waiting``: the next step has time then.
        onStep: Gets what it yields.
        onEnd: Called once with None, or with the UserProblem or Cancelled that ended it (mistakes of the program as
            UserProblem).
    """

    def __init__(
        self, steps: Iterator[Any], onStep: Callable[[Any], None], onEnd: Callable[[BaseException | None], None]
    ) -> None:
        self._steps = steps
        self._onStep = onStep
        self._onEnd = onEnd
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._turn)
        self._timer.start(0)

    @property
    def running(self) -> bool:
        """True until its end."""
        return self._timer is not None

    def stop(self) -> None:
        """End now, without calling back; the generator is closed."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.deleteLater()
            self._steps.close()

    def _turn(self) -> None:
        if self._timer is None:
            return
        error: BaseException | None = None
        try:
            step = next(self._steps)
        except StopIteration:
            self.stop()
        except Exception as raised:
            error = raised
            if not isinstance(raised, (UserProblem, Cancelled)):
                logging.exception("SegAutoConfig: an unexpected error")
                message = _("An unexpected error occurred ({error}).").format(error=type(raised).__name__)
                error = UserProblem(message, _("Please report it with the details."), traceback.format_exc())
            self.stop()
        else:
            self._onStep(step)
            if self._timer is not None:
                self._timer.start(WAIT_MS if getattr(step, "waiting", False) else 0)
            return
        self._onEnd(error)
