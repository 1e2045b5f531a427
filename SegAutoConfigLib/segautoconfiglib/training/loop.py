"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.words import command
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.batches import Batch, Batches
from segautoconfiglib.training.benchmark import SameBatch
from segautoconfiglib.training.hooks import EpochResult, Hook
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.state import TrainingState
from segautoconfiglib.training.step import Objective, ValidationSums, mean_dice, train_step, validate


@dataclass(frozen=True)
class Course:
    """What a run works with and does not change (batches move on).

    Attributes:
        recipe: Length of the run.
        objective: What is minimised.
        training, validation: Endless batches, at the state's position.
        pace: Learning rate and time limit.
        cancel: Asked before every step.
    """

    recipe: Recipe
    objective: Objective
    training: Batches | SameBatch
    validation: Batches | SameBatch
    pace: Pace
    cancel: CancelToken

    def raise_if_cancelled(self) -> None:
        """Raises: Cancelled: if one of the processes was asked to stop; all of them do at the same place."""
        if self.objective.group.any(self.cancel.cancelled):
            raise Cancelled("Stopped on request.")


def fit(state: TrainingState, course: Course, hooks: Sequence[Hook]) -> None:
    """Train until the deadline if there is one, else until the recipe's last epoch.

    Raises:
        Cancelled: on request, between two steps; hooks have been told, and the state can be continued exactly.
        UserError: the loss or its gradient stayed NaN or infinite.
    """
    try:
        while _goes_on(state, course):
            _train_epoch(state, course, hooks)
            _end_epoch(state, course, hooks)
    except Cancelled:
        for hook in hooks:
            hook.stopped(state)
        raise
    for hook in hooks:
        hook.finished(state)


def _goes_on(state: TrainingState, course: Course) -> bool:
    """Whether there is another epoch, or one to be ended: a run with a deadline is as long as its time."""
    if not course.pace.has_deadline:
        return state.position.epoch < course.recipe.epochs
    return state.position.train_batches == 0 or state.position.step > 0 or not course.pace.time_is_up


def _train_epoch(state: TrainingState, course: Course, hooks: Sequence[Hook]) -> None:
    """The rest of the epoch's steps; fewer if time is up."""
    position, pace = state.position, course.pace
    while position.step < course.recipe.iterations_per_epoch and not (position.train_batches and pace.time_is_up):
        course.raise_if_cancelled()
        begin = time.monotonic()
        learning_rate = pace.learning_rate(position.epoch, position.step)
        loss = train_step(state, course.objective, next(course.training), learning_rate)
        position.step += 1
        position.train_batches += 1
        _note_loss(state, loss, course.objective)
        seconds = time.monotonic() - begin
        position.epoch_seconds += seconds
        pace.note_step(seconds)
        for hook in hooks:
            hook.step_done(state, loss)


def _note_loss(state: TrainingState, loss: float | None, objective: Objective) -> None:
    position = state.position
    if loss is not None:
        position.bad_steps = 0
        position.losses.append(loss)
        return
    position.bad_steps += 1
    if position.bad_steps > TRAINING.max_bad_steps:
        rate = float(state.optimizer.param_groups[0]["lr"])
        mixed = objective.mixed_precision and objective.device.type == "cuda"
        raise UserError(
            f"The loss or its gradient was NaN or infinite in {position.bad_steps} steps in a row, the last one step "
            f"{position.step} of epoch {position.epoch}.",
            f"Lower the learning rate ({rate:.2g} now), {'train without mixed precision (AMP), ' if mixed else ''}"
            f"check the images for extreme values ({command('verify', 'DATASET')}), or start from other weights. "
            "The last checkpoint is from before the trouble.",
        )


def _end_epoch(state: TrainingState, course: Course, hooks: Sequence[Hook]) -> None:
    """Validate, note the epoch's result, move on to the next epoch."""
    begin = time.monotonic()
    with state.best_weights() as network:
        sums = validate(network, course.objective, _validation_batches(course))
    state.position.epoch_seconds += time.monotonic() - begin
    result = _note_epoch(state, sums)
    state.position.validation_batches += course.recipe.validation_iterations
    for hook in hooks:
        hook.epoch_done(state, result)
    course.pace.note_epoch_end(time.monotonic() - begin)


def _validation_batches(course: Course) -> Iterator[Batch]:
    for _ in range(course.recipe.validation_iterations):
        course.raise_if_cancelled()
        yield next(course.validation)


def _note_epoch(state: TrainingState, sums: ValidationSums) -> EpochResult:
    """Write the epoch into the history and set the position to the next one's start."""
    position, history = state.position, state.history
    mean = mean_dice(sums.dice)
    before = history["ema_fg_dice"][-1] if history["ema_fg_dice"] else math.nan
    momentum = TRAINING.pseudo_dice_momentum
    ema = mean if math.isnan(before) else before if math.isnan(mean) else momentum * before + (1 - momentum) * mean
    is_best = not math.isnan(ema) and (position.best_ema is None or ema > position.best_ema)
    result = EpochResult(
        epoch=position.epoch,
        train_loss=sum(position.losses) / len(position.losses) if position.losses else math.nan,
        val_loss=sums.loss,
        dice=sums.dice,
        mean_dice=mean,
        ema_dice=ema,
        learning_rate=float(state.optimizer.param_groups[0]["lr"]),
        seconds=position.epoch_seconds,
        is_best=is_best,
    )
    result.append_to(history)
    position.best_ema = ema if is_best else position.best_ema
    position.epoch, position.step = position.epoch + 1, 0
    position.losses, position.epoch_seconds = [], 0.0
    return result
