"""How the learning rate falls."""

from __future__ import annotations

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "done", "factor"),
    [
        ("poly", 0.0, 1.0),
        ("poly", 0.5, 0.5**0.9),
        ("poly", 1.0, 0.0),
        ("cosine", 0.0, 1.0),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
        ("poly_warmup", 0.0, 0.0),
        ("poly_warmup", 0.01, 0.5),
        ("poly_warmup", 0.02, 1.0),
        ("poly_warmup", 0.51, 0.5**0.9),
        ("poly_warmup", 1.0, 0.0),
        ("cosine_warmup", 0.51, 0.5),
        ("cosine_warmup", 1.0, 0.0),
    ],
)
def test_factors(name: str, done: float, factor: float):
    assert SCHEDULES.get(name).factor(done) == pytest.approx(factor)


@pytest.mark.parametrize("name", ["poly", "cosine", "poly_steps", "cosine_steps", "poly_warmup", "cosine_warmup"])
def test_only_nnunets_own_ones_wait_for_the_epochs_end(name: str):
    assert SCHEDULES.get(name).every_step == (name not in ("poly", "cosine"))


@pytest.mark.parametrize("name", ["poly_steps", "cosine_steps"])
def test_stepwise_ones_have_the_same_factors(name: str):
    assert SCHEDULES.get(name).factor(0.3) == SCHEDULES.get(name.removesuffix("_steps")).factor(0.3)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"(?s)learning-rate schedule.*linear.*cosine_warmup"):
        SCHEDULES.get("linear")


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {0: 0.01, 1: 0.00999099955, 499: 0.00536851231, 999: 1.9952623e-05}),
        ({"schedule": "cosine"}, {0: 0.01, 1: 0.009999975326, 499: 0.005015707937, 999: 2.4674e-08}),
        (
            {"warmup_epochs": 50},
            {0: 2e-4, 1: 4e-4, 25: 0.0052, 49: 0.01, 50: 0.01, 51: 0.009990525817, 500: 0.005612052939,
             999: 2.0895307e-05},
        ),
    ],
)  # fmt: skip
def test_rates_of_epochs_equal_nnunets(changes: dict, rates: dict[int, float]):
    """Those of its schedulers for 1000 epochs (nnunetv2 2.8.1); within an epoch the rate stays."""
    pace = Pace(Recipe(**changes))
    for epoch, rate in rates.items():
        assert pace.learning_rate(epoch, 0) == pace.learning_rate(epoch, 249) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "cosine_steps"}, [1.0, 0.9829629, 0.9330127, 0.8535534, 0.75, 0.6294095]),
        ({"schedule": "poly_steps"}, [((12 - step) / 12) ** 0.9 for step in range(6)]),
        ({"schedule": "poly_steps", "warmup_epochs": 1}, [1 / 3, 2 / 3, 1, 1, (8 / 9) ** 0.9, (7 / 9) ** 0.9]),
        ({"schedule": "poly", "warmup_epochs": 2}, [0.5, 0.5, 0.5, 1, 1, 1]),
    ],
)
def test_rates_of_steps(changes: dict, rates: list[float]):
    """Four epochs of three steps."""
    pace = Pace(Recipe(epochs=4, iterations_per_epoch=3, learning_rate=1, **changes))
    found = [pace.learning_rate(step // 3, step % 3) for step in range(6)]
    assert found == pytest.approx(rates, rel=1e-6)


def test_a_function_is_a_schedule_of_epochs():
    SCHEDULES.register("half", lambda done: 1 - done / 2)
    try:
        pace = Pace(Recipe(epochs=10, schedule="half", learning_rate=1))
        assert [pace.learning_rate(epoch, 7) for epoch in (0, 5)] == [1, 0.75]
    finally:
        SCHEDULES.remove("half")
