"""Model folders are found and described without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.models.folder import ModelFolder, find_model, list_models

DATASET = "Dataset005_Tiny"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


def add_model(workspace: Workspace, name: str, *checkpoints: str, time: float = 0) -> Path:
    """A model folder with empty checkpoints such as "fold_0/checkpoint_final.pth"."""
    folder = workspace.results / DATASET / name
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps({"dataset_name": DATASET, "plans_name": "P", "configurations": {}}))
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0}, "numTraining": 1, "file_ending": ".nii"}
    (folder / "dataset.json").write_text(json.dumps(description))
    for checkpoint in checkpoints:
        file = folder / checkpoint
        file.parent.mkdir(exist_ok=True)
        file.touch()
        os.utime(file, (time, time))
    return folder


def finals(*folds: int | str) -> list[str]:
    return [f"fold_{fold}/checkpoint_final.pth" for fold in folds]


def test_folds_and_their_checkpoints(workspace):
    folder = add_model(workspace, "T__P__2d", *finals("all", 10, 2), "fold_3/checkpoint_best.pth")
    model = ModelFolder.open(folder)
    assert model.folds() == [2, 10, "all"]
    assert model.folds("checkpoint_best.pth") == [3]
    assert model.folds(None) == [2, 3, 10, "all"]
    assert model.chosen_folds(None) == [2, 10]
    assert model.chosen_folds(["all", "2"]) == ["all", 2]
    assert model.chosen_folds(None, "checkpoint_best.pth") == [3]
    assert model.name_parts == ("T", "P", "2d")
    assert model.description.channels == ["CT"]
    assert model.plans.plans_name == "P"


def test_missing_folds_say_what_is_there(workspace):
    model = ModelFolder.open(add_model(workspace, "T__P__2d", *finals(0), "fold_1/checkpoint_best.pth"))
    with pytest.raises(UserError, match=r"fold_1/checkpoint_final.pth does not exist. .*fold_1/checkpoint_best.pth"):
        model.chosen_folds([0, 1])
    with pytest.raises(UserError, match=r"No fold .* has checkpoint_latest.pth"):
        model.chosen_folds(None, "checkpoint_latest.pth")
    assert ModelFolder.open(add_model(workspace, "T__P__x", *finals("all"))).chosen_folds(None) == ["all"]


def test_the_only_or_the_newest_fitting_model(workspace):
    old = add_model(workspace, "A__P__3d_fullres", *finals(0), time=1000)
    new = add_model(workspace, "A__P__2d", *finals("all"), time=2000)
    add_model(workspace, "A__P__unfinished", time=3000)
    assert find_model(workspace, 5).path == new
    assert find_model(workspace, DATASET, configuration="3d_fullres").path == old
    assert find_model(workspace, "005", folds=[0]).path == old
    assert find_model(workspace, 5, folds=["all"], plans="P", trainer="A").path == new
    assert [model.path.name for model in list_models(workspace, DATASET)] == [
        "A__P__2d",
        "A__P__3d_fullres",
        "A__P__unfinished",
    ]


def test_no_fitting_model_lists_what_exists(workspace):
    add_model(workspace, "A__P__2d", *finals(0, "all"))
    with pytest.raises(UserError, match=r"configuration 3d_fullres.*A__P__2d \(folds 0, all\)"):
        find_model(workspace, 5, configuration="3d_fullres")
    with pytest.raises(UserError, match="folds"):
        find_model(workspace, 5, folds=[3])
    (workspace.raw / "Dataset006_Empty").mkdir(parents=True)
    with pytest.raises(UserError, match="Train one first"):
        find_model(workspace, 6)


def test_a_model_is_found_by_the_checkpoint_that_is_wanted(workspace):
    done = add_model(workspace, "A__P__2d", *finals(0), time=1000)
    stopped = add_model(workspace, "A__P__3d_fullres", "fold_0/checkpoint_latest.pth", time=2000)
    assert find_model(workspace, 5).path == done
    assert find_model(workspace, 5, checkpoint="checkpoint_latest.pth").path == stopped
    for folds, says in (
        (None, r"No fold of .*3d_fullres has checkpoint_final.pth"),
        ([0], r"fold_0.checkpoint_final.pth does not exist"),
    ):
        with pytest.raises(UserError, match=says) as error:
            find_model(workspace, 5, configuration="3d_fullres", folds=folds)
        for part in ("fold_0/checkpoint_latest.pth", "-chk", "--resume"):
            assert part in error.value.hint
    with pytest.raises(UserError, match=r"No fold of .*3d_fullres has checkpoint_none.pth"):
        find_model(workspace, 5, checkpoint="checkpoint_none.pth")


def test_folders_that_are_no_models(workspace, tmp_path):
    with pytest.raises(UserError, match="no model folder"):
        ModelFolder.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"plans.json and dataset.json missing"):
        ModelFolder.open(tmp_path)
    folder = add_model(workspace, "my_own_name", *finals(0))
    assert ModelFolder.open(folder).name_parts == ("", "", "")


def test_validation_dice_is_the_mean_over_folds(workspace):
    folder = add_model(workspace, "T__P__2d", *finals(0, 1, 2))
    model = ModelFolder.open(folder)
    assert model.validation_dice() is None
    for fold, dice in ((0, 0.8), (1, 0.6), (2, None)):
        (folder / f"fold_{fold}" / "validation").mkdir()
        summary = {"foreground_mean": {"Dice": dice}}
        (folder / f"fold_{fold}" / "validation" / "summary.json").write_text(json.dumps(summary))
    assert model.validation_dice() == pytest.approx(0.7)


def test_no_torch_is_loaded():
    code = "import sys, segautoconfiglib.models.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
