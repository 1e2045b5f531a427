"""Optimizers: their settings, against torch's own, and what they do not take."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.planning.trainer_names import recipe_from_trainer_name  # noqa: E402
from segautoconfiglib.training.optimizers import make_optimizer  # noqa: E402

pytestmark = pytest.mark.torch


def made(recipe: Recipe) -> Any:
    return make_optimizer(recipe, [torch.nn.Parameter(torch.ones(2))])


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("nnUNetTrainer", "SGD", {"lr": 0.01, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}),
        ("nnUNetTrainerAdam", "AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 3e-5, "betas": (0.9, 0.999)}),
        ("nnUNetTrainerAdam3en4", "AdamW", {"lr": 3e-4, "amsgrad": True, "weight_decay": 3e-5}),
        ("nnUNetTrainerVanillaAdam1en3", "Adam", {"lr": 1e-3, "amsgrad": False, "weight_decay": 3e-5}),
        ("nnUNetTrainer_adamw", "AdamW", {"lr": 1e-3, "amsgrad": False, "weight_decay": 0.01}),
        ("nnUNetTrainer_adam_betas0.8-0.9_decay0", "Adam", {"betas": (0.8, 0.9), "weight_decay": 0.0}),
        ("nnUNetTrainer_momentum0_decay0", "SGD", {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
        ("nnUNetTrainer_muon_momentum0.5", "Muon", {"lr": 8e-3, "momentum": 0.5, "betas": (0.9, 0.99)}),
    ],
)
def test_settings(name: str, kind: str, settings: dict[str, Any]) -> None:
    optimizer = made(recipe_from_trainer_name(name))
    assert type(optimizer).__name__ == kind
    assert {key: optimizer.param_groups[0][key] for key in settings} == settings


@pytest.mark.parametrize(
    "options", [{"optimizer": "adam", "momentum": 0.9}, {"optimizer": "sgd", "betas": (0.9, 0.99)}]
)
def test_an_option_that_an_optimizer_lacks(options: dict[str, Any]) -> None:
    (given,) = options.keys() - {"optimizer"}
    with pytest.raises(UserError, match=f"{options['optimizer']} can't be made with {given}.*have a momentum"):
        made(replace(Recipe(), **options))


@pytest.mark.skipif(find_spec("adan_pytorch") is not None, reason="adan-pytorch is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(UserError, match=r"adan needs the package adan-pytorch.*pip install adan-pytorch"):
        made(Recipe(optimizer="adan"))


def test_one_step_of_each_by_hand() -> None:
    """The first step of Adam and its relatives is the learning rate, whatever the gradient's size."""
    for name, expected in (("sgd", 1 - 0.1 * (1 + 0.5) * 2.0), ("adam", 0.9), ("adamw", 0.9), ("adamw_amsgrad", 0.9)):
        weight = torch.nn.Parameter(torch.ones(1))
        options = {"momentum": 0.5} if name == "sgd" else {}
        recipe = Recipe(optimizer=name, learning_rate=0.1, weight_decay=0.0, **options)
        optimizer = make_optimizer(recipe, [weight])
        weight.grad = torch.full((1,), 2.0)
        optimizer.step()
        assert weight.item() == pytest.approx(expected, abs=1e-6), name
