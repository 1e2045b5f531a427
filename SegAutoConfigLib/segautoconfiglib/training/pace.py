"""Time and learning rate of a run: how much is done, how much is left, when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.schedules import SCHEDULES, Schedule
from segautoconfiglib.training.state import Position

#: Before a validation was measured: seconds of a validation step per second of a training step (no backward pass).
_VALIDATION_SHARE = 0.4
#: Weight of the newest value in running means of durations.
_NEWEST = 0.1


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
        self._step_seconds: float | None = None
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
        if self._validation_seconds is not None:
            return self._validation_seconds
        return 1.0 + self._recipe.validation_iterations * _VALIDATION_SHARE * (self._step_seconds or 0.0)

    @property
    def time_is_up(self) -> bool:
        """True if another step and the end of the epoch would not fit in."""
        if self._deadline is None:
            return False
        return self._clock() + (self._step_seconds or 0.0) + self.reserve_seconds >= self._deadline

    def note_step(self, seconds: float) -> None:
        """Take in the duration of a training step (its batch included)."""
        old = self._step_seconds
        self._step_seconds = seconds if old is None else old + _NEWEST * (seconds - old)

    def note_epoch_end(self, seconds: float) -> None:
        """Take in the duration of what follows an epoch's last step."""
        self._validation_seconds = max(seconds, 0.9 * (self._validation_seconds or 0.0))

    def seconds_left(self, epoch: int, step: int) -> float | None:
        """Until the run's end; None before the first step."""
        if self._step_seconds is None:
            return None
        steps = self._recipe.iterations_per_epoch
        epochs = self._recipe.epochs - epoch
        left = (epochs * steps - step) * self._step_seconds + epochs * self.reserve_seconds
        return left if self._deadline is None else max(0.0, min(left, self._deadline - self._clock()))
