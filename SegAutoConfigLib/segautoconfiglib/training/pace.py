"""Time and learning rate of a run: how much is done, how much is left, when to stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import fmean, median

from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.schedules import Schedule, chosen_schedule

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
        seconds_before: That were trained before a stop; with a deadline, the learning rate then goes on from that
            share of the whole time.
        clock: Seconds.
    """

    def __init__(
        self,
        recipe: Recipe,
        deadline: float | None = None,
        seconds_before: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recipe = recipe
        self._schedule: Schedule = chosen_schedule(recipe)
        self._deadline = deadline
        self._clock = clock
        self._start = clock()
        self._seconds_before = seconds_before
        self._steps: deque[float] = deque(maxlen=_STEPS_REMEMBERED)
        self._ends: list[float] = []

    def done(self, epoch: int, step: int) -> float:
        """Share of the run that is done before a step: by time if there is a deadline, else by count."""
        if self._deadline is None:
            steps = self._recipe.iterations_per_epoch
            return min(1.0, (epoch * steps + step) / (self._recipe.epochs * steps))
        total = self._seconds_before + self._deadline - self.reserve_seconds - self._start
        return min(1.0, (self._seconds_before + self._clock() - self._start) / max(1e-9, total))

    def learning_rate(self, epoch: int, step: int) -> float:
        """For a step: anew for every one if there is a deadline or the schedule says so, else at an epoch's start."""
        every_step = self._schedule.every_step or self._deadline is not None
        return self._recipe.learning_rate * self._schedule.factor(self.done(epoch, step if every_step else 0))

    @property
    def reserve_seconds(self) -> float:
        """What the end of an epoch may take: validation, checkpoints, pictures."""
        share, extra = _RESERVE
        return extra + (share * max(self._ends) if self._ends else self._end_seconds)

    @property
    def _end_seconds(self) -> float:
        """What the end of an epoch takes on average."""
        return fmean(self._ends or [self._recipe.validation_iterations * _VALIDATION_SHARE * self.step_seconds])

    @property
    def step_seconds(self) -> float:
        """A training step, its batch included; 0 before the first."""
        return median(self._steps) if self._steps else 0.0

    @property
    def has_deadline(self) -> bool:
        """True if time ends the run, False if the number of epochs does."""
        return self._deadline is not None

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
        """Take in the duration of what follows an epoch's last step."""
        self._ends.append(seconds)

    def seconds_left(self, epoch: int, step: int) -> float | None:
        """Until the run's end; None before the first step."""
        if not self._steps:
            return None
        steps = self._recipe.iterations_per_epoch
        epochs = self._recipe.epochs - epoch
        if self._deadline is not None:
            return max(0.0, self._deadline - self._clock())
        return (epochs * steps - step) * self.step_seconds + epochs * self._end_seconds
