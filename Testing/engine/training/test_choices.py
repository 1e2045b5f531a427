"""Tiny trainings with each of the recipe's choices."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.inference.model import load_model  # noqa: E402
from segautoconfiglib.networks.checkpoint import read_checkpoint, write_checkpoint  # noqa: E402
from segautoconfiglib.pipeline.jobs import plans_with_choices  # noqa: E402
from segautoconfiglib.planning.choices import LOSSES, OPTIMIZERS, SCHEDULES  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.planning.trainer_names import recipe_from_trainer_name  # noqa: E402
from segautoconfiglib.training import setup, step  # noqa: E402
from segautoconfiglib.training.hooks import FINAL  # noqa: E402
from segautoconfiglib.training.run import train_fold  # noqa: E402
from segautoconfiglib.training.setup import make_objective, make_state, random_batch  # noqa: E402
from segautoconfiglib.training.small_plans import small_recipe  # noqa: E402

pytestmark = pytest.mark.torch

CHOICES: list[dict[str, Any]] = [
    *({"optimizer": name, "learning_rate": 1e-3} for name in OPTIMIZERS if name != "adan"),
    *({"schedule": name} for name in SCHEDULES),
    *({"loss": name} for name in LOSSES),
    {"warmup_epochs": 1},
    {"label_smoothing": 0.1, "dice_smoothing": 0.0, "gradient_clip": None},
    {"augmentation": "da5", "image_order": 0, "label_order": 0, "mirror": "zy"},
    {"augmentation": "fast", "oversampling": "probabilistic_rounded", "batch_size": 3},
    {"oversampling": "probabilistic", "foreground_share": 0.1, "dummy_2d": False, "deep_supervision": False},
    {"network": "UMambaBot", "mixed_precision": False},
    {"network": "UMambaEnc", "norm": "batch"},
    {"network": "ResidualEncoderUNet"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())))
def test_two_steps(make_job: Any, choice: dict[str, Any]) -> None:
    recipe = Recipe(**{"epochs": 2, "iterations_per_epoch": 1, "validation_iterations": 1, "seed": 3, **choice})
    job = make_job(recipe=recipe, configuration="2d")
    result = train_fold(job)
    assert (result.finished, result.epochs_done) == (True, 2)
    content = read_checkpoint(job.fold_folder / FINAL)
    assert all(math.isfinite(loss) for loss in content["logging"]["train_losses"])
    rises = recipe.schedule.endswith("warmup")
    assert content["logging"]["lrs"][0] == (0 if rises else recipe.learning_rate)
    assert content["segautoconfig"]["recipe"]["optimizer"] == recipe.optimizer


def test_the_network_is_in_the_models_plans(make_job: Any, tiny_recipe: Recipe) -> None:
    """So that the model predicts whatever its folder is called; the plans that it is made of stay."""
    recipe, report = replace(tiny_recipe, network="UMambaEnc", epochs=1), ListReporter()
    job = make_job(recipe=recipe, plans=plans_with_choices(make_job().plans, "3d_fullres", recipe))
    train_fold(job, report=report)
    assert report.of("warning")[0]["message"].startswith("UMambaEnc is experimental")
    configurations = json.loads((job.model_folder / "plans.json").read_text())["configurations"]
    names = {name: entry["architecture"]["network_class_name"] for name, entry in configurations.items()}
    assert names == {"3d_fullres": "UMambaEnc", "2d": "dynamic_network_architectures.architectures.unet.PlainConvUNet"}
    (network,) = load_model(job.model_folder).networks
    assert type(network).__name__ == "UMambaEnc"


def test_mixed_precision_can_be_left_out(make_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number format and scaler of a CUDA device, shown with those of the CPU."""
    monkeypatch.setattr(step, "autocast", lambda device: torch.autocast(device.type, torch.bfloat16))
    monkeypatch.setattr(setup, "gradient_scaler", lambda device: torch.amp.GradScaler("cpu"))
    job = make_job(configuration="2d")
    entry, device = job.plans.configuration("2d"), torch.device("cpu")
    for mixed, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        recipe = Recipe(mixed_precision=mixed)
        state = make_state(recipe, job.description, entry, device)
        objective = make_objective(recipe, job.description, entry, device)
        outputs, _ = objective.evaluate(state.network, *objective.move(random_batch(1, entry, job.description)))
        assert (outputs[0].dtype, state.scaler is not None) == (dtype, mixed)


def test_batch_normalisation_is_in_the_models_plans(make_job: Any, tiny_recipe: Recipe) -> None:
    """So that nnunetv2, whose trainer in the checkpoint takes the network from there, builds the same."""
    recipe = replace(tiny_recipe, norm="batch", epochs=1)
    job = make_job(recipe=recipe, plans=plans_with_choices(make_job().plans, "3d_fullres", recipe))
    train_fold(job)
    content = read_checkpoint(job.fold_folder / FINAL)
    assert content["trainer_name"] == "nnUNetTrainer"
    assert "encoder.stages.0.0.convs.0.norm.running_mean" in content["network_weights"]
    plans = json.loads((job.model_folder / "plans.json").read_text())
    options = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert options["norm_op"] == "torch.nn.modules.batchnorm.BatchNorm3d"
    assert options["norm_op_kwargs"] == {"eps": 1e-5, "affine": True}
    assert "Instance" in plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["norm_op"]
    (network,) = load_model(job.model_folder).networks

    make_job().plans.save(job.model_folder / "plans.json")  # as nnunetv2's trainer of batch normalisation leaves them
    write_checkpoint(job.fold_folder / FINAL, {**content, "trainer_name": "nnUNetTrainerBN"})
    (theirs,) = load_model(job.model_folder).networks
    assert theirs.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_benchmark_leaves_its_result_alone(make_job: Any, synthetic: bool) -> None:
    name = "nnUNetTrainerBenchmark_5epochs" + ("_noDataLoading" if synthetic else "")
    recipe = replace(recipe_from_trainer_name(name), iterations_per_epoch=1, validation_iterations=1, epochs=2, seed=1)
    job = make_job(recipe=recipe, checkpoints=False)
    file = job.fold_folder / "benchmark_result.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"another machine": {"fastest_epoch": 1.5}}')
    train_fold(job)
    assert not list(job.fold_folder.glob("*.pth"))
    content = json.loads(file.read_text())
    assert content.pop("another machine") == {"fastest_epoch": 1.5}
    ((key, result),) = content.items()
    assert key.endswith(f"__None__{torch.__version__}__cpu__num_gpus_1")
    assert set(result) == {"torch_version", "cudnn_version", "gpu_name", "fastest_epoch", "num_gpus", "hostname"}
    assert 0 < result["fastest_epoch"] < 60


def test_the_small_recipe_leaves_choices_alone() -> None:
    asked = Recipe(optimizer="adamw", learning_rate=2e-3, augmentation="da5", mirror="zy")
    plain = small_recipe(asked)
    assert (plain.optimizer, plain.learning_rate, plain.schedule, plain.augmentation, plain.average_weights) == (
        "muon", 8e-3, "poly_warmup", "fast", 0.99,
    )  # fmt: skip
    kept = small_recipe(asked, {"optimizer", "augmentation"})
    assert (kept.optimizer, kept.learning_rate, kept.augmentation) == ("adamw", 2e-3, "da5")
    assert small_recipe(asked, {"learning_rate"}).learning_rate == 2e-3
    assert small_recipe(asked, {"schedule"}).schedule == "poly"
    assert small_recipe(replace(asked, warmup_epochs=5), {"warmup_epochs"}).schedule == "poly"
    assert small_recipe(replace(asked, average_weights=0.5), {"average_weights"}).average_weights == 0.5
