from __future__ import annotations

from dataclasses import replace

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.planning.recipe import Recipe, recipe_from_trainer_name


def test_standard_recipe_is_nnunets():
    recipe = Recipe()
    assert (recipe.epochs, recipe.iterations_per_epoch, recipe.validation_iterations) == (1000, 250, 50)
    assert (recipe.learning_rate, recipe.foreground_share, recipe.batch_size) == (0.01, 0.33, None)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nnUNetTrainer", {}),
        ("nnUNetTrainer_1epoch", {"epochs": 1}),
        ("nnUNetTrainer_250epochs", {"epochs": 250}),
        ("nnUNetTrainer_250epochs_NoMirroring", {"epochs": 250, "mirror": False}),
        ("nnUNetTrainerNoMirroring", {"mirror": False}),
        ("nnUNetTrainerNoDeepSupervision", {"deep_supervision": False}),
        ("nnUNetTrainerNoDeepSupervision_20epochs", {"deep_supervision": False, "epochs": 20}),
        ("nnUNetTrainerNoDA", {"augmentation": "none", "mirror": False}),
    ],
)
def test_trainer_names(name, changes):
    assert recipe_from_trainer_name(name) == replace(Recipe(trainer_name=name), **changes)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Trainer",
        "MyUNetTrainer",
        "xnnUNetTrainer",
        "nnUNetTrainer_",
        "nnUNetTrainer_0epochs",
        "nnUNetTrainer_epochs",
        "nnUNetTrainerAdan_5epochs",
        "nnUNetTrainer_5epochs_Adan",
    ],
)
def test_unknown_trainer_lists_the_known(name):
    with pytest.raises(UserError, match=r"Unknown trainer.*<N>epochs, NoMirroring"):
        recipe_from_trainer_name(name)


def test_variants_combine():
    recipe = replace(recipe_from_trainer_name("nnUNetTrainer_20epochs"), loss="dice_topk10", batch_size=4)
    assert (recipe.epochs, recipe.loss, recipe.batch_size) == (20, "dice_topk10", 4)


def test_all_wrong_values_are_named():
    with pytest.raises(ProblemsError) as caught:
        Recipe(epochs=0, learning_rate=-1, augmentation="strong", foreground_share=2, average_weights=1.0)  # type: ignore[arg-type]
    found = [problem.message.split()[0] for problem in caught.value.problems]
    assert found == ["learning_rate", "epochs", "augmentation", "foreground_share", "average_weights"]


@pytest.mark.parametrize("name", ["a__b", "a/b", ""])
def test_trainer_name_must_fit_into_folder_names(name):
    with pytest.raises(ProblemsError, match="trainer_name"):
        Recipe(trainer_name=name)
