"""Choices about training: options of the command line, names of models, resuming."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.cli.recipe import add_recipe, recipe_choices
from segautoconfiglib.pipeline.continuation import gentle
from segautoconfiglib.pipeline.jobs import plans_with_choices
from segautoconfiglib.pipeline.options import TrainOptions
from segautoconfiglib.planning.recipe import Recipe

SHORT = ("--epochs", 1, "--iterations", 1, "--device", "cpu", "--workers", 0, "-p", "tiny", "-c", "3d_fullres")


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_recipe(parser)
    return recipe_choices(parser.parse_args(words))


def test_every_option_is_a_field() -> None:
    assert parsed() == {}
    words = (
        "--optimizer adamw --learning-rate 0.002 --betas 0.9,0.98 --weight-decay 0.05 --momentum 0.9 --schedule cosine "
        "--warmup-epochs 3 --gradient-clip 5 --loss dice_topk --topk-share 0.2 --label-smoothing 0.1 "
        "--dice-smoothing 0 --augmentation da5 --mirror-axes zy --no-dummy-2d --image-order 0 --label-order 0 "
        "--batch-size 4 --foreground-share 0.5 --oversampling probabilistic --norm batch --no-deep-supervision "
        "--average-weights 0.99 --validation-iterations 7 --network UMambaBot --no-mixed-precision --benchmark "
        "--synthetic-batch"
    )
    choices = parsed(*words.split())
    recipe = Recipe(**choices)
    changed = {name for name in vars(recipe) if getattr(recipe, name) != getattr(Recipe(), name)}
    assert changed == set(choices)
    assert (recipe.mirror, recipe.dummy_2d, recipe.betas, recipe.gradient_clip) == ("zy", False, (0.9, 0.98), 5)
    unnamed = {"trainer_name", "epochs", "iterations_per_epoch", "seed"}  # options of their own
    assert set(choices) == set(vars(recipe)) - unnamed
    assert parsed("--no-mirroring", "--gradient-clip", "0") == {"mirror": False, "gradient_clip": None}


@pytest.mark.parametrize(
    "words",
    [
        ("--no-mirroring", "--mirror-axes", "x"),
        ("--topk-share", "2"),
        ("--betas", "0.9,x"),
        ("--learning-rate", "0"),
        ("--norm", "group"),
        ("--label-order", "3"),
    ],
)
def test_wrong_options(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)


def test_choices_change_the_trainers_recipe() -> None:
    options = TrainOptions(trainer="nnUNetTrainerDA5_20epochs", choices={"optimizer": "adamw"}, iterations=10, seed=4)
    recipe = options.recipe()
    assert (recipe.augmentation, recipe.optimizer, recipe.learning_rate) == ("da5", "adamw", 1e-3)
    assert (recipe.epochs, recipe.iterations_per_epoch, recipe.validation_iterations, recipe.seed) == (20, 10, 2, 4)
    assert options.trainer_name == recipe.trainer_name == "nnUNetTrainerDA5_20epochs_adamw"
    assert options.chosen == {
        "augmentation", "optimizer", "epochs", "iterations_per_epoch", "validation_iterations", "seed",
    }  # fmt: skip
    assert TrainOptions(trainer="of another program").trainer_name == "of another program"
    asked = TrainOptions(choices={"optimizer": "sgd", "learning_rate": 0.5}).recipe()
    assert (asked.learning_rate, asked.trainer_name) == (0.5, "nnUNetTrainer_lr0.5")
    with pytest.raises(ProblemsError, match="loss is 'hinge'"):
        TrainOptions(choices={"loss": "hinge"}).recipe()


@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(budget_s=60, epochs=3),
        TrainOptions(budget_s=60, trainer="nnUNetTrainer_1000epochs"),
        TrainOptions(budget_s=60, choices={"validation_iterations": 3}),
    ],
)
def test_time_and_length_exclude_each_other(options: TrainOptions) -> None:
    with pytest.raises(UserError, match="A time"):
        options.check()


def test_weights_that_have_learned_get_a_gentle_recipe_unless_told_otherwise() -> None:
    assert gentle(Recipe()).learning_rate == pytest.approx(0.003)
    assert gentle(gentle(Recipe(optimizer="adamw"))).learning_rate == pytest.approx(3e-4)
    assert gentle(Recipe()).schedule == "poly_warmup"
    chosen = gentle(Recipe(learning_rate=0.02, schedule="cosine"), {"learning_rate", "schedule"})
    assert (chosen.learning_rate, chosen.schedule) == (0.02, "cosine")
    assert gentle(Recipe(warmup_epochs=5), {"warmup_epochs"}).schedule == "poly"


def test_plans_stay_without_a_choice_of_layers() -> None:
    plans: Any = object()
    assert plans_with_choices(plans, "3d_fullres", Recipe()) is plans


def test_a_model_is_named_after_its_choices_and_resumed_as_it_was_begun(
    trained: Path, cli: Any, refused: Any, workspace: Path
) -> None:
    choices = ("--optimizer", "adamw", "--schedule", "cosine", "--norm", "batch", "--no-mirroring", "--seed", 5)
    first = cli("train", 7, *SHORT, *choices)
    assert first.code == 0, first.err
    (model,) = workspace.rglob("nnUNetTrainer_adamw_cosine_NoMirroring_BN__tiny__3d_fullres")
    debug = json.loads((model / "fold_0" / "debug.json").read_text())
    assert (debug["recipe"]["optimizer"], debug["recipe"]["learning_rate"], debug["recipe"]["mirror"]) == (
        "adamw", 1e-3, False,
    )  # fmt: skip
    assert (model / "fold_0" / "validation" / "summary.json").is_file()  # the network was loaded from plans.json
    name = ("--trainer", model.name.partition("__")[0])
    longer = ("--epochs", 2, *SHORT[4:])
    refused("train", 7, *longer, *name, "--seed", 6, "--resume", says=["seed is 6, was 5", "--overwrite"])
    again = cli("train", 7, *longer, *name, "--resume", "--events", "jsonl")
    assert again.code == 0, again.err
    assert [row["epoch"] for row in again.of("metric")] == [1]
    recipe = json.loads((model / "fold_0" / "debug.json").read_text())["recipe"]
    assert (recipe["seed"], recipe["iterations_per_epoch"], recipe["epochs"]) == (5, 1, 2)


def test_what_a_training_cannot_do_is_said_before_it_starts(trained: Path, refused: Any) -> None:
    refused("train", 7, *SHORT, "--loss", "hinge", says=["loss is 'hinge'", "dice_ce"])
    refused("train", 7, *SHORT, "--optimizer", "adam", "--momentum", 0.9, says=["adam can't be made with momentum"])
    refused("train", 7, *SHORT, "-tr", "nnUNetTrainerAdm", says=["Unknown trainer", "nnUNetTrainerAdam"])
    refused("train", 7, *SHORT, "-tr", "nnUNet_Primus_S_Trainer", says=["not applicable", "transformer"])
