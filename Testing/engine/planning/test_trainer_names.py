"""nnU-Net's trainer names as recipes, and names for recipes."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.planning.choices import AUGMENTATIONS, LOSSES, OPTIMIZERS, RECIPES, SCHEDULES
from segautoconfiglib.planning.recipe import OVERSAMPLING_KINDS, Recipe
from segautoconfiglib.planning.topology import plan_network
from segautoconfiglib.planning.trainer_names import (
    NNUNET_NAMES,
    as_trained,
    named_fields,
    recipe_from_trainer_name,
    recipe_name,
)

LENGTHS = (5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000)
ADAM = {"optimizer": "adamw_amsgrad", "weight_decay": 3e-5}
VANILLA = {"optimizer": "adam", "weight_decay": 3e-5}
ADAN = {"optimizer": "adan", "weight_decay": 3e-5}
SHIPPED: dict[str, dict[str, Any]] = {
    "nnUNetTrainer": {},
    "nnUNetTrainer_1epoch": {"epochs": 1},
    **{f"nnUNetTrainer_{count}epochs": {"epochs": count} for count in LENGTHS},
    **{
        f"nnUNetTrainer_{count}epochs_NoMirroring": {"epochs": count, "mirror": False}
        for count in (250, 2000, 4000, 8000)
    },
    "nnUNetTrainerBenchmark_5epochs": {"epochs": 5, "benchmark": True},
    "nnUNetTrainerBenchmark_5epochs_noDataLoading": {"epochs": 5, "benchmark": True, "synthetic_batch": True},
    "nnUNetTrainerNoMirroring": {"mirror": False},
    "nnUNetTrainer_onlyMirror01": {"mirror": "zy"},
    "nnUNetTrainer_onlyMirror01_1500ep": {"mirror": "zy", "epochs": 1500},
    "nnUNetTrainer_onlyMirror01_DASegOrd0": {"mirror": "zy", "label_order": 0},
    "nnUNetTrainer_onlyMirror01_DA5": {"mirror": "zy", "augmentation": "da5"},
    "nnUNetTrainer_DASegOrd0": {"label_order": 0},
    "nnUNetTrainer_DASegOrd0_NoMirroring": {"label_order": 0, "mirror": False},
    "nnUNetTrainerNoDA": {"augmentation": "none", "mirror": False},
    "nnUNetTrainer_noDummy2DDA": {"dummy_2d": False},
    "nnUNetTrainerDA5": {"augmentation": "da5"},
    "nnUNetTrainerDA5ord0": {"augmentation": "da5", "image_order": 0, "label_order": 0},
    "nnUNetTrainerDA5Segord0": {"augmentation": "da5", "label_order": 0},
    "nnUNetTrainerDA5_10epochs": {"augmentation": "da5", "epochs": 10},
    "nnUNetTrainerCELoss": {"loss": "ce"},
    "nnUNetTrainerCELoss_5epochs": {"loss": "ce", "epochs": 5},
    "nnUNetTrainerDiceLoss": {"loss": "dice"},
    "nnUNetTrainerDiceCELoss_noSmooth": {"dice_smoothing": 0},
    "nnUNetTrainerTopk10Loss": {"loss": "topk", "topk_share": 0.1},
    "nnUNetTrainerTopk10LossLS01": {"loss": "topk", "topk_share": 0.1, "label_smoothing": 0.1},
    "nnUNetTrainerDiceTopK10Loss": {"loss": "dice_topk", "topk_share": 0.1},
    "nnUNetTrainerCosAnneal": {"schedule": "cosine"},
    "nnUNetTrainer_warmup": {"warmup_epochs": 50},
    "nnUNetTrainerBN": {"norm": "batch"},
    "nnUNetTrainerNoDeepSupervision": {"deep_supervision": False},
    "nnUNetTrainerUMambaBot": {"network": "UMambaBot", "learning_rate": 1e-3},
    "nnUNetTrainerUMambaEnc": {"network": "UMambaEnc", "learning_rate": 1e-3},
    "nnUNetTrainerUMambaEncNoAMP": {"network": "UMambaEnc", "learning_rate": 1e-3, "mixed_precision": False},
    "nnUNetTrainerAdam": {**ADAM, "learning_rate": 0.01},
    "nnUNetTrainerAdam1en3": {**ADAM, "learning_rate": 1e-3},
    "nnUNetTrainerAdam3en4": {**ADAM, "learning_rate": 3e-4},
    "nnUNetTrainerVanillaAdam": {**VANILLA, "learning_rate": 0.01},
    "nnUNetTrainerVanillaAdam1en3": {**VANILLA, "learning_rate": 1e-3},
    "nnUNetTrainerVanillaAdam3en4": {**VANILLA, "learning_rate": 3e-4},
    "nnUNetTrainerAdan": {**ADAN, "learning_rate": 0.01},
    "nnUNetTrainerAdan1en3": {**ADAN, "learning_rate": 1e-3},
    "nnUNetTrainerAdan3en4": {**ADAN, "learning_rate": 3e-4},
    "nnUNetTrainerAdan1en1": {**ADAN, "learning_rate": 0.1},
    "nnUNetTrainerAdanCosAnneal": {**ADAN, "learning_rate": 0.01, "schedule": "cosine"},
    "nnUNetTrainer_probabilisticOversampling": {"oversampling": "probabilistic_rounded"},
    "nnUNetTrainer_probabilisticOversampling_033": {"oversampling": "probabilistic", "foreground_share": 0.33},
    "nnUNetTrainer_probabilisticOversampling_010": {"oversampling": "probabilistic", "foreground_share": 0.1},
    "nnUNet_Trainer_BS8": {"batch_size": 8},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_trainer_is_a_recipe(name: str) -> None:
    assert recipe_from_trainer_name(name) == replace(Recipe(), **SHIPPED[name], trainer_name=name)


def test_all_shipped_trainers_are_in_the_table() -> None:
    assert sorted(NNUNET_NAMES) == sorted(SHIPPED)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nnUNetTrainerDA5_77epochs_NoMirroring", {"augmentation": "da5", "epochs": 77, "mirror": False}),
        ("nnUNetTrainerNoDeepSupervision_20epochs", {"deep_supervision": False, "epochs": 20}),
        ("nnUNetTrainer_CosAnneal_Topk10LossLS01_BN", {**SHIPPED["nnUNetTrainerTopk10LossLS01"], "schedule": "cosine",
                                                       "norm": "batch"}),
        ("nnUNetTrainer_adamw_cosine_steps", {"optimizer": "adamw", "learning_rate": 1e-3, "schedule": "cosine_steps"}),
        ("nnUNetTrainer_lr0.003_warmup7_noClip", {"learning_rate": 0.003, "warmup_epochs": 7, "gradient_clip": None}),
        ("nnUNetTrainer_dice_topk_hardest0.2_BS3", {"loss": "dice_topk", "topk_share": 0.2, "batch_size": 3}),
        ("nnUNet_Trainer_BS8", {"batch_size": 8}),
        ("nnUNetTrainerUMambaBot_100epochs_NoMirroring_BN",
         {"network": "UMambaBot", "learning_rate": 1e-3, "epochs": 100, "mirror": False, "norm": "batch"}),
        ("nnUNetTrainerDA5_UMambaBot_NoAMP",
         {"augmentation": "da5", "network": "UMambaBot", "learning_rate": 1e-3, "mixed_precision": False}),
        ("nnUNetTrainer_UMambaBot_lr0.01", {"network": "UMambaBot", "learning_rate": 0.01}),
        ("nnUNetTrainer_lr0.002_UMambaBot", {"network": "UMambaBot", "learning_rate": 0.002}),
        ("nnUNetTrainer_UMambaBot_muon", {"network": "UMambaBot", "optimizer": "muon", "learning_rate": 8e-3}),
        ("nnUNetTrainer_UMambaEnc_sgd", {"network": "UMambaEnc", "learning_rate": 1e-3}),
        ("nnUNetTrainer_networkResidualEncoderUNet", {"network": "ResidualEncoderUNet"}),
    ],
)  # fmt: skip
def test_words_combine(name: str, changes: dict[str, Any]) -> None:
    assert recipe_from_trainer_name(name) == replace(Recipe(), **changes, trainer_name=name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nnUNetTrainerAdm1en3", r"Similar: nnUNetTrainerAdam1en3"),
        ("nnunettrainer", r"Similar: nnUNetTrainer[,.]"),
        ("", "Known: nnUNetTrainer"),
        ("Trainer", "Known: nnUNetTrainer"),
        ("xnnUNetTrainer", "Similar: nnUNetTrainer"),
        ("nnUNetTrainer_", "<N>epochs, NoMirroring"),
        ("nnUNetTrainer_0epochs", "<N>epochs"),
        ("nnUNetTrainer_epochs", "<N>epochs"),
        ("nnUNetTrainer_NoMirroringX", "NoMirroring"),
        ("nnUNetTrainerNoMirroring250epochs", "NoMirroring"),
        ("nnUNetTrainer__NoMirroring", "NoMirroring"),
        ("nnUNetTrainer_lrfast", "Known"),
        ("nnUNetTrainer_BS2.5", "Known"),
    ],
)
def test_an_unknown_trainer_names_what_is_near(name: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)^Unknown trainer '{name}'\..*{says}"):
        recipe_from_trainer_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((f"nnUNet_Primus{version}{size}_Trainer", "transformer") for version in ("_", "V2", "V3") for size in "SBML"),
        ("nnUNet_Primus_M_Trainer_BS8_2e4", "transformer"),
        ("_Primus_S_96_BS1", "transformer"),
        ("_Primus_L_48_BS1", "transformer"),
        ("PretrainedTrainer", "pre-trained without labels"),
        ("PretrainedTrainer_Primus_150ep", "pre-trained without labels"),
        ("DynamicPretrainedTrainer", "pre-trained without labels"),
    ],
)
def test_what_is_not_applicable_says_why(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"{name} is not applicable: .*{reason}"):
        recipe_from_trainer_name(name)


def test_words_that_contradict_each_other() -> None:
    with pytest.raises(ProblemsError, match=r"warmup_epochs is 50, but must be at least 0 and below epochs \(10\)"):
        recipe_from_trainer_name("nnUNetTrainer_warmup_10epochs")


@pytest.mark.parametrize(
    ("base", "changes", "name"),
    [
        ("nnUNetTrainer", {}, "nnUNetTrainer"),
        ("nnUNetTrainer", {"epochs": 3, "seed": 5}, "nnUNetTrainer"),
        ("nnUNetTrainer", {"mirror": False}, "nnUNetTrainerNoMirroring"),
        ("nnUNetTrainer", {"norm": "batch"}, "nnUNetTrainerBN"),
        ("nnUNetTrainer_250epochs", {"mirror": False}, "nnUNetTrainer_250epochs_NoMirroring"),
        (
            "nnUNetTrainer",
            {"optimizer": "adamw", "learning_rate": 1e-3, "schedule": "cosine"},
            "nnUNetTrainer_adamw_cosine",
        ),
        ("nnUNetTrainer", {"optimizer": "adamw", "learning_rate": 3e-4}, "nnUNetTrainer_adamw_lr0.0003"),
        ("nnUNetTrainerDA5", {"loss": "topk", "label_smoothing": 0.05}, "nnUNetTrainerDA5_Topk10Loss_smooth0.05"),
        (
            "nnUNetTrainer",
            {"betas": (0.9, 0.98), "momentum": 0.8, "weight_decay": 0.05, "gradient_clip": None, "dice_smoothing": 0.5},
            "nnUNetTrainer_dicesmooth0.5_momentum0.8_betas0.9-0.98_decay0.05_noClip",
        ),
        (
            "nnUNetTrainer",
            {"mirror": "x", "image_order": 0, "foreground_share": 0.5, "oversampling": "probabilistic"},
            "nnUNetTrainer_mirrorx_imageOrd0_foreground0.5_probabilistic",
        ),
        ("nnUNetTrainer", {"network": "UMambaBot", "learning_rate": 1e-3}, "nnUNetTrainerUMambaBot"),
        ("nnUNetTrainer", {"network": "UMambaBot"}, "nnUNetTrainer_UMambaBot_lr0.01"),
        (
            "nnUNetTrainerDA5",
            {"network": "UMambaEnc", "learning_rate": 1e-3, "mixed_precision": False},
            "nnUNetTrainerDA5_UMambaEncNoAMP",
        ),
        ("nnUNetTrainer", {"augmentation": "fast", "average_weights": 0.99}, "nnUNetTrainer_augfast_average0.99"),
    ],
)
def test_every_recipe_has_a_name_that_can_be_read(base: str, changes: dict[str, Any], name: str) -> None:
    recipe = replace(recipe_from_trainer_name(base), **changes)
    assert recipe_name(base, recipe) == name
    read = recipe_from_trainer_name(name)
    assert replace(read, epochs=recipe.epochs, seed=recipe.seed) == replace(recipe, trainer_name=name)


def test_fields_that_a_name_decides_about() -> None:
    assert named_fields("nnUNetTrainer") == set()
    assert named_fields("nnUNetTrainer_sgd_5epochs") == {"optimizer", "learning_rate", "epochs"}


def test_the_learning_rate_of_a_network_was_not_decided_about() -> None:
    """In a given time another optimizer is taken, with its own."""
    assert named_fields("nnUNetTrainerUMambaEncNoAMP") == {"network", "mixed_precision"}
    assert named_fields("nnUNetTrainerUMambaBot_lr0.001") == {"network", "learning_rate"}
    assert named_fields("nnUNetTrainerUMambaBot_adamw") == {"network", "optimizer", "learning_rate"}
    RECIPES.register("MyBot", like="nnUNetTrainerUMambaBot", batch_size=3)
    try:
        assert recipe_from_trainer_name("MyBot").learning_rate == 1e-3
        assert named_fields("MyBot") == {"network", "batch_size"}
    finally:
        RECIPES.remove("MyBot")


PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


@pytest.mark.parametrize(
    ("trainer", "network", "norm"),
    [
        ("nnUNetTrainer", PLAIN, "InstanceNorm3d"),
        ("nnUNetTrainerBN", PLAIN, "BatchNorm3d"),
        ("nnUNetTrainer_BN_5epochs", PLAIN, "BatchNorm3d"),
        ("nnUNetTrainerUMambaBot", "UMambaBot", "InstanceNorm3d"),
        ("nnUNetTrainerUMambaEncNoAMP", "UMambaEnc", "InstanceNorm3d"),
        ("nnUNetTrainer_networkPlainConvUNet", PLAIN, "InstanceNorm3d"),
        ("TrainerOfSomebody", PLAIN, "InstanceNorm3d"),
    ],
)
def test_the_network_that_a_trainer_makes_of_the_planned_one(trainer: str, network: str, norm: str) -> None:
    planned = plan_network((1.0, 1.0, 1.0), (16, 16, 16))
    found = as_trained(planned, trainer)
    assert (found.network_class_name, found.arch_kwargs["norm_op"].rpartition(".")[2]) == (network, norm)
    assert found.features_per_stage == planned.features_per_stage


def test_a_trainer_of_a_plug_in_takes_words_too() -> None:
    RECIPES.register("MyTrainer", Recipe(loss="ce", batch_size=3))
    try:
        recipe = recipe_from_trainer_name("MyTrainer_NoMirroring")
        assert (recipe.loss, recipe.batch_size, recipe.mirror) == ("ce", 3, False)
        assert named_fields("MyTrainer_NoMirroring") == {"loss", "batch_size", "mirror"}
        assert recipe_name("MyTrainer", replace(recipe, norm="batch")) == "MyTrainer_NoMirroring_BN"
        with pytest.raises(UserError, match="Unknown trainer 'MyTrainerX'"):
            recipe_from_trainer_name("MyTrainerX")
    finally:
        RECIPES.remove("MyTrainer")


VALUES: dict[str, tuple[Any, ...]] = {
    "network": (None, "UMambaBot", "UMambaEnc", "PlainConvUNet"),
    "loss": tuple(LOSSES),
    "topk_share": (0.1, 1 / 3),
    "label_smoothing": (0.0, 0.1),
    "dice_smoothing": (0.0, 1e-5, 2.0),
    "optimizer": tuple(OPTIMIZERS),
    "learning_rate": (0.012345678901234567, 1e-5, 1.0),
    "momentum": (None, 0.0, 0.9),
    "betas": (None, (0.9, 1e-5)),
    "weight_decay": (None, 0.0, 3e-5),
    "schedule": tuple(SCHEDULES),
    "warmup_epochs": (0, 50, 70),
    "gradient_clip": (None, 12.0, 1.5),
    "augmentation": tuple(AUGMENTATIONS),
    "mirror": (True, False, "zy", "x", (0,), (1, 2)),
    "dummy_2d": (True, False),
    "image_order": (0, 1),
    "label_order": (0, 1),
    "deep_supervision": (True, False),
    "mixed_precision": (True, False),
    "norm": (None, "instance", "batch"),
    "foreground_share": (0.0, 0.33, 1.0),
    "oversampling": OVERSAMPLING_KINDS,
    "batch_size": (None, 1, 8),
    "average_weights": (None, 0.999),
    "benchmark": (True, False),
    "synthetic_batch": (True, False),
}
OWN_NAMES = (
    "nnUNetTrainer_5epochs_dice",
    "nnUNetTrainer_momentum0.9_betas0.9-0.98_decay0.1_norminstance_BS3_average0.99_noClip_mirrorx_dice_ce",
)


def test_all_fields_that_a_name_tells_have_values_here() -> None:
    unnamed = {"epochs", "iterations_per_epoch", "validation_iterations", "seed", "trainer_name"}
    assert set(VALUES) == {field.name for field in fields(Recipe)} - unnamed


@pytest.mark.parametrize(
    "base",
    [
        *("nnUNetTrainer", *(name for name in SHIPPED if "epoch" in name), *OWN_NAMES, "nnUNetTrainerNoMirroring"),
        *("nnUNetTrainerDA5ord0", "nnUNetTrainerBN", "nnUNetTrainer_noDummy2DDA", "nnUNetTrainerNoDeepSupervision"),
        *("nnUNet_Trainer_BS8", "nnUNetTrainerTopk10LossLS01", "nnUNetTrainerAdan3en4", "nnUNetTrainer_warmup"),
        *("nnUNetTrainerUMambaBot", "nnUNetTrainerUMambaEncNoAMP", "nnUNetTrainer_lr0.01_UMambaBot_5epochs"),
    ],
)
def test_every_change_of_every_base_can_be_read_back(base: str) -> None:
    start = replace(recipe_from_trainer_name(base), epochs=1000)
    for field, values in VALUES.items():
        for value in values:
            recipe = replace(start, **{field: value})
            name = recipe_name(base, recipe)
            read = recipe_from_trainer_name(name)
            assert replace(read, epochs=1000) == replace(recipe, trainer_name=name), name


@pytest.mark.parametrize(
    ("base", "changes", "name"),
    [
        ("nnUNetTrainerNoMirroring", {"mirror": True, "norm": "batch"}, "nnUNetTrainerBN"),
        ("nnUNetTrainer_5epochs_NoMirroring", {"mirror": True}, "nnUNetTrainer_5epochs_NoMirroring_Mirroring"),
        ("nnUNetTrainer_5epochs_BS8", {"batch_size": None}, "nnUNetTrainer_5epochs_BS8_BSNone"),
        ("nnUNet_Trainer_BS8", {"epochs": 3, "norm": "batch"}, "nnUNetTrainer_BS8_BN"),
        ("nnUNetTrainer_5epochs_dice", {"loss": "ce"}, "nnUNetTrainer_5epochs_dice_lossce"),
        ("nnUNetTrainer_5epochs", {"epochs": 99, "warmup_epochs": 50}, "nnUNetTrainer_5epochs_99epochs_warmup"),
    ],
)
def test_what_a_name_took_away_can_be_given_back(base: str, changes: dict[str, Any], name: str) -> None:
    assert recipe_name(base, replace(recipe_from_trainer_name(base), **changes)) == name
