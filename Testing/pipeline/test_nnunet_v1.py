"""nnU-Net v1's words in v2's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.plugins import plugged_in
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.cli.nnunet_v1.published import PUBLISHED, address
from segautoconfiglib.cli.nnunet_v1.translation import (
    dataset_of,
    names_of_model,
    v2_checkpoint,
    v2_plans,
    v2_trainer,
    words_of,
)
from segautoconfiglib.planning.trainer_names import recipe_from_trainer_name

Cli = Callable[..., Any]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("nnUNetTrainerV2", "nnUNetTrainer", {"epochs": 1000}),
        ("nnUNetTrainerV2CascadeFullRes", "nnUNetTrainer", {"epochs": 1000}),
        ("nnUNetTrainerV2_DP", "nnUNetTrainer", {}),
        ("nnUNetTrainerV2_DDP", "nnUNetTrainer", {}),
        ("nnUNetTrainerV2_noMirroring", "nnUNetTrainer_NoMirroring", {"mirror": False}),
        ("nnUNetTrainerV2CascadeFullRes_noMirroring", "nnUNetTrainer_NoMirroring", {"mirror": False}),
        ("nnUNetTrainerV2_5epochs", "nnUNetTrainer_5epochs", {"epochs": 5}),
        ("nnUNetTrainerV2_insaneDA", "nnUNetTrainer_DA5", {"augmentation": "da5"}),
        ("nnUNetTrainerV2_DA3_BN", "nnUNetTrainer_DA5_BN", {"augmentation": "da5", "norm": "batch"}),
        ("nnUNetTrainerV2BraTSRegions_BN", "nnUNetTrainer_BN", {"norm": "batch"}),
        ("nnUNetTrainerV2_Loss_CE", "nnUNetTrainer_CELoss", {"loss": "ce"}),
        ("nnUNetTrainerV2_Loss_Dice", "nnUNetTrainer_DiceLoss", {"loss": "dice"}),
        ("nnUNetTrainerV2_Loss_Dice_lr1en3", "nnUNetTrainer_DiceLoss_lr1e-3", {"learning_rate": 1e-3}),
        ("nnUNetTrainerV2_Loss_DiceTopK10", "nnUNetTrainer_DiceTopK10Loss", {"loss": "dice_topk"}),
        ("nnUNetTrainerV2_SGD_lr1en1", "nnUNetTrainer_lr1e-1", {"learning_rate": 0.1, "optimizer": "sgd"}),
        ("nnUNetTrainerV2_momentum095", "nnUNetTrainer_momentum0.95", {"momentum": 0.95}),
        ("nnUNetTrainerV2_Adam", "nnUNetTrainer_Adam", {"learning_rate": 1e-2}),
        ("nnUNetTrainer_250epochs", "nnUNetTrainer_250epochs", {"epochs": 250}),
        ("nnUNetTrainerDA5", "nnUNetTrainerDA5", {"augmentation": "da5"}),
    ],
)
def test_trainers_of_v1_are_recipes(old: str, new: str, expected: dict[str, Any]) -> None:
    assert v2_trainer(old) == new
    recipe = recipe_from_trainer_name(new)
    assert {field: getattr(recipe, field) for field in expected} == expected


def test_words_that_nobody_knows_are_kept_for_the_error() -> None:
    assert v2_trainer("nnUNetTrainerV2_softDeepSupervision4") == "nnUNetTrainer_softDeepSupervision4"
    assert v2_trainer("MyTrainer") == "MyTrainer"
    with pytest.raises(UserError, match="softDeepSupervision4"):
        recipe_from_trainer_name(v2_trainer("nnUNetTrainerV2_softDeepSupervision4"))


def test_trainers_of_plugins_keep_their_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def register(plugin):\n    plugin.trainer('nnUNetTrainerV2_mine', epochs=7)\n")
    with plugged_in([file]):
        assert v2_trainer("nnUNetTrainerV2_mine") == "nnUNetTrainerV2_mine"
        assert v2_trainer("nnUNetTrainerV2_mine_noMirroring") == "nnUNetTrainerV2_mine_NoMirroring"
        assert recipe_from_trainer_name("nnUNetTrainerV2_mine_NoMirroring").epochs == 7
        assert v2_trainer("nnUNetTrainerV2_noMirroring") == "nnUNetTrainer_NoMirroring"
    assert v2_trainer("nnUNetTrainerV2_mine") == "nnUNetTrainer_mine"


def test_plans_checkpoints_and_words() -> None:
    assert [v2_plans(name) for name in ("nnUNetPlansv2.1", "nnUNetPlansv2.1_16GB", "mine")] == [
        "nnUNetPlans",
        "nnUNetPlans_16GB",
        "mine",
    ]
    assert v2_checkpoint("model_best") == "checkpoint_best.pth"
    assert v2_checkpoint("checkpoint_latest.pth") == "checkpoint_latest.pth"
    assert words_of({"-f": [0, 1], "--npz": True, "-o": None, "--val": False, "-s": 0.5}) == [
        *("-f", "0", "1", "--npz", "-s", "0.5")
    ]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    workspace = Workspace.at(tmp_path)
    for folder in ("nnUNet_raw/Dataset005_Prostate", "nnUNet_results/Dataset017_Organs", "nnUNet_raw_data/Task099_New"):
        (tmp_path / folder).mkdir(parents=True)
    return Context(workspace)


@pytest.mark.parametrize("task", ["5", "005", "Task05_Prostate", "Task005_Prostate", "Dataset005_Prostate"])
def test_tasks_are_datasets(context: Context, task: str) -> None:
    assert dataset_of(context, task) == "Dataset005_Prostate"


def test_tasks_that_are_no_datasets(context: Context, tmp_path: Path) -> None:
    for task in ("6", "Task006_Prostate", "Task005_Other"):
        with pytest.raises(UserError, match="neither a dataset"):
            dataset_of(context, task)
    for task in ("99", "Task099_New"):
        with pytest.raises(UserError, match="Task099_New is a task of nnU-Net v1") as caught:
            dataset_of(context, task)
        assert "nnUNet_plan_and_preprocess -t 99" in caught.value.hint
    (tmp_path / "nnUNet_raw_data" / "Task099_Other").mkdir()
    with pytest.raises(UserError, match="twice: Task099_New, Task099_Other"):
        dataset_of(context, "99")


def test_imported_models_of_v1_keep_their_names(context: Context) -> None:
    names = ("nnUNetTrainerV2", "nnUNetPlansv2.1")
    assert names_of_model(context, "Dataset017_Organs", *names) == ("nnUNetTrainer", "nnUNetPlans")
    context.workspace.model_folder("Dataset017_Organs", *names, "3d_fullres").mkdir()
    assert names_of_model(context, "Dataset017_Organs", *names) == names
    assert names_of_model(context, "Dataset017_Organs", *names, "2d") == ("nnUNetTrainer", "nnUNetPlans")


def test_published_models_have_an_address() -> None:
    assert address("Task029_LiTS") == "https://zenodo.org/records/4003545/files/Task029_LITS.zip?download=1"
    assert address("Task114_heart_MNMs").startswith("https://zenodo.org/records/4288464/files/Task114")
    assert all(model.images and model.structures and model.source for model in PUBLISHED.values())


@pytest.mark.parametrize("task", ["Task04_Hippocampus", "Task004_hippocampus", "Task004_Hippocampus"])
def test_published_models_are_found_by_their_number(cli: Cli, task: str) -> None:
    outcome = cli("nnUNet_print_pretrained_model_info", task, "--events", "jsonl")
    assert outcome.code == 0, outcome.err
    done = next(data for data in outcome.of("done") if data["stage"] == "models")
    assert [model["task"] for model in done["models"]] == ["Task004_Hippocampus"]
    assert address(task).endswith("/4003545/files/Task004_Hippocampus.zip?download=1")
    with pytest.raises(UserError, match="no published model 'Task04_Heart'"):
        address("Task04_Heart")


def test_planners_of_v1(raw: Path, cli: Cli, refused: Refused, workspace: Path) -> None:
    words = ("nnUNet_plan_and_preprocess", "-t", 7, "-no_pp")
    refused(*words, "-pl3d", "ExperimentPlanner3D_v23", says=["ExperimentPlanner3D_v23", "_11GB"])
    refused(*words, "-pl3d", "None", "-pl2d", "None", says=["nothing to do"])
    folder = workspace / "nnUNet_preprocessed" / raw.name
    assert cli(*words, "-pl3d", "ExperimentPlanner3D_v21_16GB").code == 0
    assert (folder / "nnUNetPlans_16GB.json").is_file()
    assert cli("nnUNet_plan_and_preprocess", "-t", 7, "-pl3d", "None", "-tl", 1, "-tf", 1).code == 0
    assert (folder / "nnUNetPlans_2d").is_dir()
    assert not (folder / "nnUNetPlans_3d_fullres").exists()


def test_plans_of_another_dataset(raw: Path, cli: Cli, refused: Refused, workspace: Path) -> None:
    shutil.copytree(raw, raw.parent / "Dataset008_Large")
    assert cli("nnUNet_plan_and_preprocess", "-t", 8, "-no_pp").code == 0
    plans = workspace / "nnUNet_preprocessed" / "Dataset008_Large" / "nnUNetPlans.json"
    words = ("nnUNet_plan_and_preprocess", "-t", 7, "-pl3d", "ExperimentPlanner3D_v21_Pretrained", "-no_pp")
    refused(*words, "-overwrite_plans", plans, says=["-overwrite_plans_identifier"])
    refused(*words, "-overwrite_plans", raw / "dataset.json.pkl", says=["does not exist"])
    assert cli(*words, "-overwrite_plans", plans, "-overwrite_plans_identifier", "Large").code == 0
    moved = workspace / "nnUNet_preprocessed" / raw.name / "nnUNetPlans_pretrained_Large.json"
    assert moved.is_file()


@pytest.mark.parametrize(
    ("option", "says"), [("--find_lr", "learning rates"), ("--disable_validation_inference", "Ctrl-C")]
)
def test_flags_of_training_that_are_not_applicable(raw: Path, refused: Refused, option: str, says: str) -> None:
    refused("nnUNet_train", "2d", "nnUNetTrainerV2", 7, 0, option, says=[option, says])


def test_export_of_two_trainers_is_refused(raw: Path, refused: Refused) -> None:
    words = ("nnUNet_export_model_to_zip", "-t", 7, "-o", "x.zip", "-m", "2d", "3d_cascade_fullres")
    refused(*words, "-trc", "nnUNetTrainerV2CascadeFullRes_noMirroring", says=["by itself"])
