"""Learning rates and time."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.optimizers import OPTIMIZERS
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.schedules import SCHEDULES
from segautoconfiglib.training.state import Position

pytestmark = pytest.mark.torch
RECIPE = Recipe(epochs=10, iterations_per_epoch=20, validation_iterations=5)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_poly_falls_with_the_epoch():
    pace = Pace(RECIPE, None, Position())
    assert pace.learning_rate(0, 0) == 0.01
    assert pace.learning_rate(5, 0) == pytest.approx(0.01 * 0.5**0.9)
    assert pace.learning_rate(5, 19) == pace.learning_rate(5, 0)
    assert Pace(replace(RECIPE, epochs=1000), None, Position()).learning_rate(999, 0) == pytest.approx(
        0.01 * 0.001**0.9
    )


def test_stepwise_schedule_falls_with_every_step():
    pace = Pace(replace(RECIPE, schedule="poly_steps"), None, Position())
    assert pace.learning_rate(5, 10) == pytest.approx(0.01 * 0.45**0.9)


@pytest.mark.parametrize(
    ("name", "done", "factor"),
    [
        ("cosine", 0.0, 1.0),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
        ("poly_warmup", 0.0, 0.0),
        ("poly_warmup", 0.01, 0.5),
        ("poly_warmup", 0.02, 1.0),
        ("poly_warmup", 0.51, 0.5**0.9),
        ("cosine_warmup", 0.51, 0.5),
    ],
)
def test_factors(name: str, done: float, factor: float):
    assert SCHEDULES.get(name).factor(done) == pytest.approx(factor)


def test_deadline_anneals_to_the_end_exactly():
    """The rate follows time, reaching zero when only the end of the epoch is left."""
    clock = Clock()
    pace = Pace(replace(RECIPE, epochs=1000), 1100.0, Position(), clock)
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
    pace = Pace(RECIPE, 200.0, Position(), clock)
    for _ in range(3):
        pace.note_step(2.0)
    pace.note_epoch_end(10.0)  # 11.5 s
    clock.now = 186.0
    assert not pace.time_is_up
    clock.now = 187.0
    assert pace.time_is_up
    assert not Pace(RECIPE, None, Position(), clock).time_is_up


def test_one_slow_step_does_not_count():
    pace = Pace(RECIPE, None, Position())
    for seconds in (60.0, 0.3, 0.2, 0.3, 0.4):
        pace.note_step(seconds)
    assert pace.step_seconds == 0.3


def test_resumed_deadline_goes_on_where_the_schedule_was():
    clock = Clock()
    pace = Pace(RECIPE, 200.0, Position(schedule_done=0.6), clock)
    pace.note_epoch_end(0.0)
    assert pace.done(0, 0) == 0.6
    clock.now = 100 + (100 - 0.5) / 2
    assert pace.done(0, 0) == pytest.approx(0.8)


def test_seconds_left():
    pace = Pace(RECIPE, None, Position())
    assert pace.seconds_left(0, 0) is None
    pace.note_step(2.0)
    pace.note_epoch_end(10.0)
    assert pace.seconds_left(9, 10) == pytest.approx(10 * 2.0 + 11.5)


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
