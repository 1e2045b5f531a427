"""How the learning rate falls: factors of the initial one, as functions of the share of the run that is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.planning.choices import SCHEDULES
from segautoconfiglib.planning.recipe import Recipe

__all__ = ["SCHEDULES", "Schedule", "chosen_schedule", "cosine", "poly"]


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        factor: Maps the share of the run that is done (0 to 1) to a factor of the initial learning rate.
        every_step: The factor is taken anew for every step; otherwise at the start of every epoch. (A run that ends at
            a point in time takes it at every step in any case.)
    """

    factor: Callable[[float], float]
    every_step: bool = False


def poly(done: float) -> float:
    """``(1 - done)`` to the power TRAINING.schedule_power (nnU-Net)."""
    return (1 - done) ** TRAINING.schedule_power


def cosine(done: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * done))


def with_warmup(factor: Callable[[float], float]) -> Callable[[float], float]:
    """A linear rise over the first TRAINING.warmup_share of the run, then ``factor`` over the rest."""

    def warmed_up(done: float) -> float:
        share = TRAINING.warmup_share
        return done / share if done < share else factor((done - share) / (1 - share))

    return warmed_up


POLY = Schedule(poly)
COSINE = Schedule(cosine)
POLY_STEPS = Schedule(poly, every_step=True)
COSINE_STEPS = Schedule(cosine, every_step=True)
POLY_WARMUP = Schedule(with_warmup(poly), every_step=True)
COSINE_WARMUP = Schedule(with_warmup(cosine), every_step=True)


def chosen_schedule(recipe: Recipe) -> Schedule:
    """The schedule that a recipe names, after its warm-up. Raises: UserError: unknown name."""
    found = SCHEDULES.get(recipe.schedule)
    schedule = found if isinstance(found, Schedule) else Schedule(found)
    if not recipe.warmup_epochs:
        return schedule
    each = 1 / recipe.epochs if not schedule.every_step else 1 / (recipe.epochs * recipe.iterations_per_epoch)
    return Schedule(_after_rise(schedule.factor, recipe.warmup_epochs / recipe.epochs, each), schedule.every_step)


def _after_rise(factor: Callable[[float], float], share: float, each: float) -> Callable[[float], float]:
    """A linear rise over the first ``share`` of the run, in steps of ``each``, then ``factor`` over the rest (nnU-Net).

    The first step has a learning rate above 0 already, the last one of the rise the full one.
    """

    def after_rise(done: float) -> float:
        rising = done < share - each / 2  # equal steps do not add up to the share exactly
        return min(1.0, (done + each) / share) if rising else factor(max(0.0, done - share) / (1 - share))

    return after_rise
