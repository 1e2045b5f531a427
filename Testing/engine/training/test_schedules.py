"""How the learning rate falls."""

from __future__ import annotations

import pytest

from segautoconfiglib.base.errors import UserError
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
