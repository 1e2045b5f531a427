"""Time and learning rate of a run: how much is done, how much is left, when to stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.schedules import SCHEDULES, Schedule
from segautoconfiglib.training.state import Position

#: Before a validation was measured: seconds of a validation step per second of a training step (no backward pass).
_VALIDATION_SHARE = 0.4
#: Steps whose median duration is taken for the next one's (a single slow one, such as the first, does not count).
_STEPS_REMEMBERED = 25
#: The end of an epoch is given this much more time than the last one took (share, seconds): nothing must come too late.
_RESERVE = (1.1, 0.5)


class Pace:
    """Follows a run's steps and epochs.

    Args:
        recipe: Its length and schedule.
        deadline: Value of ``clock`` at which all must be done, final checkpoint included; None: no limit in time.
        position: Where the run starts.
        clock: Seconds.
    """

    def __init__(
        self, recipe: Recipe, deadline: float | None, position: Position, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._recipe = recipe
        self._schedule: Schedule = SCHEDULES.get(recipe.schedule)
        self._deadline = deadline
        self._clock = clock
        self._start = clock()
        self._done_before = position.schedule_done
        self._steps: deque[float] = deque(maxlen=_STEPS_REMEMBERED)
        self._validation_seconds: float | None = None

    def done(self, epoch: int, step: int) -> float:
        """Share of the run that is done before a step: by count, or by time where that is further."""
        steps = self._recipe.iterations_per_epoch
        by_count = (epoch * steps + step) / (self._recipe.epochs * steps)
        if self._deadline is None:
            return min(1.0, by_count)
        left = max(1e-9, self._deadline - self.reserve_seconds - self._start)
        by_time = self._done_before + (1 - self._done_before) * (self._clock() - self._start) / left
        return min(1.0, max(by_count, by_time))

    def learning_rate(self, epoch: int, step: int) -> float:
        """For a step: anew for every one if there is a deadline or the schedule says so, else at an epoch's start."""
        every_step = self._schedule.every_step or self._deadline is not None
        return self._recipe.learning_rate * self._schedule.factor(self.done(epoch, step if every_step else 0))

    @property
    def reserve_seconds(self) -> float:
        """What the end of an epoch takes: validation, checkpoints, pictures."""
        share, extra = _RESERVE
        if self._validation_seconds is not None:
            return share * self._validation_seconds + extra
        return extra + self._recipe.validation_iterations * _VALIDATION_SHARE * self.step_seconds

    @property
    def step_seconds(self) -> float:
        """A training step, its batch included; 0 before the first."""
        return median(self._steps) if self._steps else 0.0

    @property
    def time_is_up(self) -> bool:
        """True if another step and the end of the epoch would not fit in."""
        if self._deadline is None:
            return False
        return self._clock() + self.step_seconds + self.reserve_seconds >= self._deadline

    def note_step(self, seconds: float) -> None:
        """Take in the duration of a training step (its batch included)."""
        self._steps.append(seconds)

    def note_epoch_end(self, seconds: float) -> None:
        """Take in the duration of what follows an epoch's last step; the longest one counts."""
        self._validation_seconds = max(seconds, self._validation_seconds or 0.0)

    def seconds_left(self, epoch: int, step: int) -> float | None:
        """Until the run's end; None before the first step."""
        if not self._steps:
            return None
        steps = self._recipe.iterations_per_epoch
        epochs = self._recipe.epochs - epoch
        left = (epochs * steps - step) * self.step_seconds + epochs * self.reserve_seconds
        return left if self._deadline is None else max(0.0, min(left, self._deadline - self._clock()))
