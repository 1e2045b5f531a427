"""Learning rates and time."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.optimizers import OPTIMIZERS
from segautoconfiglib.training.pace import Pace

pytestmark = pytest.mark.torch
RECIPE = Recipe(epochs=10, iterations_per_epoch=20, validation_iterations=5)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_poly_falls_with_the_epoch():
    pace = Pace(RECIPE, None)
    assert pace.learning_rate(0, 0) == 0.01
    assert pace.learning_rate(5, 0) == pytest.approx(0.01 * 0.5**0.9)
    assert pace.learning_rate(5, 19) == pace.learning_rate(5, 0)
    assert Pace(replace(RECIPE, epochs=1000), None).learning_rate(999, 0) == pytest.approx(0.01 * 0.001**0.9)


def test_stepwise_schedule_falls_with_every_step():
    pace = Pace(replace(RECIPE, schedule="poly_steps"), None)
    assert pace.learning_rate(5, 10) == pytest.approx(0.01 * 0.45**0.9)


def test_deadline_anneals_to_the_end_exactly():
    """The rate follows time, reaching zero when only the end of the epoch is left."""
    clock = Clock()
    pace = Pace(replace(RECIPE, epochs=1000), 1100.0, clock=clock)
    pace.note_epoch_end(90.0)  # reserve: 1.1 * 90 + 0.5 = 99.5 s of the 1000 s
    assert pace.done(0, 0) == 0.0
    clock.now += 900.5 / 2
    assert pace.done(0, 1) == pytest.approx(0.5)
    assert pace.learning_rate(0, 1) == pytest.approx(0.01 * 0.5**0.9)
    clock.now = 1000.5
    assert pace.done(0, 2) == 1.0
    assert pace.learning_rate(0, 2) == 0.0


def test_time_is_up_when_another_step_would_not_fit():
    clock = Clock()
    pace = Pace(RECIPE, 200.0, clock=clock)
    for _ in range(3):
        pace.note_step(2.0)
    pace.note_epoch_end(10.0)  # 11.5 s
    clock.now = 186.0
    assert not pace.time_is_up
    clock.now = 187.0
    assert pace.time_is_up
    assert not Pace(RECIPE, None, clock=clock).time_is_up


def test_one_slow_step_does_not_count():
    pace = Pace(RECIPE, None)
    for seconds in (60.0, 0.3, 0.2, 0.3, 0.4):
        pace.note_step(seconds)
    assert pace.step_seconds == 0.3


def test_resumed_deadline_counts_the_time_before():
    """300 s were trained, 100 s are given now (0.5 s of them for the end): 0.5 of the rest is 0.875 of the whole."""
    clock = Clock()
    pace = Pace(RECIPE, 200.5, 300.0, clock)
    pace.note_epoch_end(0.0)
    assert pace.done(0, 0) == pytest.approx(0.75)
    clock.now = 150.0
    assert pace.done(0, 0) == pytest.approx(0.875)
    clock.now = 200.0
    assert pace.done(0, 0) == 1.0


def test_time_alone_ends_a_run_with_a_deadline():
    """Steps that are faster than foreseen do not end the schedule early."""
    clock = Clock()
    pace = Pace(RECIPE, 200.0, clock=clock)
    pace.note_epoch_end(0.0)
    assert pace.done(30, 5) == 0.0
    pace.note_step(1.0)
    assert pace.seconds_left(30, 5) == 100.0


def test_seconds_left():
    pace = Pace(RECIPE, None)
    assert pace.seconds_left(0, 0) is None
    pace.note_step(2.0)
    assert pace.seconds_left(9, 10) == pytest.approx(10 * 2.0 + 5 * 0.4 * 2.0)  # validation as guessed
    pace.note_epoch_end(10.0)
    assert pace.seconds_left(9, 10) == pytest.approx(10 * 2.0 + 10.0)


def test_short_epochs_leave_as_much_time_as_they_take():
    """No reserve is added: a thousand times a little would be minutes."""
    pace = Pace(replace(RECIPE, epochs=1000, iterations_per_epoch=1))
    for seconds in (0.05, 0.01, 0.03):
        pace.note_step(0.1)
        pace.note_epoch_end(seconds)
    assert pace.seconds_left(0, 0) == pytest.approx(1000 * 0.13)
    assert pace.reserve_seconds == pytest.approx(1.1 * 0.05 + 0.5)


def test_sgd_is_nnunets():
    import torch

    parameter = torch.nn.Parameter(torch.ones(2))
    group = OPTIMIZERS.get("sgd")([parameter], 0.01).param_groups[0]
    assert {key: group[key] for key in ("lr", "momentum", "nesterov", "weight_decay")} == {
        "lr": 0.01,
        "momentum": 0.99,
        "nesterov": True,
        "weight_decay": 3e-5,
    }
    assert isinstance(OPTIMIZERS.get("adamw")([parameter], 0.003), torch.optim.AdamW)
