"""The recipe's values and their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError
from segautoconfiglib.planning.recipe import Recipe, optimizer_options, usual_learning_rate, with_usual_rate


def test_standard_recipe_is_nnunets():
    recipe = Recipe()
    assert (recipe.epochs, recipe.iterations_per_epoch, recipe.validation_iterations) == (1000, 250, 50)
    assert (recipe.learning_rate, recipe.foreground_share, recipe.batch_size) == (0.01, 0.33, None)
    assert (recipe.gradient_clip, recipe.dice_smoothing, recipe.warmup_epochs) == (12, 1e-5, 0)


def test_all_wrong_values_are_named():
    with pytest.raises(ProblemsError) as caught:
        Recipe(epochs=0, learning_rate=-1, augmentation="strong", foreground_share=2, average_weights=1.0)
    found = [problem.message.split()[0] for problem in caught.value.problems]
    assert found == ["learning_rate", "epochs", "warmup_epochs", "foreground_share", "average_weights", "augmentation"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loss": "hinge"}, "loss is 'hinge', but must be dice_ce, ce, dice, topk or dice_topk"),
        ({"optimizer": "rprop"}, "optimizer is 'rprop', but must be sgd,"),
        ({"schedule": "steps"}, "schedule is 'steps'"),
        ({"mirror": "zq"}, "mirror is 'zq', but must be yes, no, or different letters of zyx"),
        ({"mirror": "zz"}, "mirror"),
        ({"mirror": ""}, "mirror"),
        ({"topk_share": 0}, "topk_share"),
        ({"label_smoothing": 1}, "label_smoothing"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"betas": (0.9,)}, "betas"),
        ({"momentum": 1}, "momentum"),
        ({"gradient_clip": 0}, "gradient_clip"),
        ({"warmup_epochs": 1000}, r"below epochs \(1000\)"),
        ({"image_order": 3}, "image_order is 3, but must be 0 or 1"),
        ({"oversampling": "first"}, "last, probabilistic or probabilistic_rounded"),
        ({"norm": "group"}, "instance or batch"),
        ({"network": "a.package.Net"}, "network is 'a.package.Net', but must be a class name"),
    ],
)
def test_limits(changes: dict[str, Any], says: str):
    with pytest.raises(ProblemsError, match=says):
        replace(Recipe(), **changes)


@pytest.mark.parametrize("name", ["a__b", "a/b", ""])
def test_trainer_name_must_fit_into_folder_names(name):
    with pytest.raises(ProblemsError, match="trainer_name"):
        Recipe(trainer_name=name)


def test_options_of_the_optimizer_are_those_that_were_given():
    assert optimizer_options(Recipe()) == {}
    assert optimizer_options(Recipe(momentum=0.9, weight_decay=0.0)) == {"momentum": 0.9, "weight_decay": 0.0}


def test_usual_learning_rates():
    names = ("sgd", "adam", "adamw", "adamw_amsgrad", "adan", "muon", "of a plug-in")
    assert [usual_learning_rate(name) for name in names] == [0.01, 1e-3, 1e-3, 1e-3, 1e-3, 8e-3, 0.01]
    assert [usual_learning_rate(name, "UMambaBot") for name in ("sgd", "adamw", "muon")] == [1e-3, 1e-3, 8e-3]


def test_the_usual_rate_goes_with_optimizer_and_network():
    plain, slow = Recipe(), Recipe(learning_rate=0.002)
    assert with_usual_rate(plain, {"network": "UMambaEnc"}) == {"network": "UMambaEnc", "learning_rate": 1e-3}
    assert with_usual_rate(plain, {"network": "PlainConvUNet"}) == {"network": "PlainConvUNet", "learning_rate": 0.01}
    assert with_usual_rate(slow, {"network": "UMambaEnc"}) == {"network": "UMambaEnc"}
    assert with_usual_rate(slow, {"optimizer": "muon"}) == {"optimizer": "muon", "learning_rate": 8e-3}
    assert with_usual_rate(plain, {"optimizer": "muon", "learning_rate": 1.0})["learning_rate"] == 1
    assert with_usual_rate(plain, {"loss": "ce"}) == {"loss": "ce"}
