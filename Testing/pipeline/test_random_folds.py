"""Folds beyond the splits, whose cases nnU-Net draws at random: used where they are asked for, and only there."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.models.folder import ModelFolder

TRAIN = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "--epochs", 1, "--iterations", 1, "--device", "cpu")

pytestmark = pytest.mark.torch


@pytest.fixture
def model(trained: Path, cli: Callable[..., Any]) -> ModelFolder:
    """Fold 0 of the splits, fold 7 beyond them, each with a mean Dice of its own."""
    outcome = cli(*TRAIN, "--fold", 7, "--workers", 0)
    assert outcome.code == 0, outcome.err
    folder = next((trained / "nnUNet_results" / "Dataset007_Test").iterdir())
    for fold, dice in ((0, 0.25), (7, 0.75)):
        summary = folder / f"fold_{fold}" / "validation" / "summary.json"
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "foreground_mean": {"Dice": dice}}))
    return ModelFolder(folder)


def test_only_where_they_are_asked_for(
    model: ModelFolder, trained: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    assert model.folds() == [0, 7]
    assert (model.chosen_folds(None), model.chosen_folds([7])) == ([0], [7])
    assert model.validation_dice() == 0.25
    given = ("predict", "-d", 7, "-i", trained / "nnUNet_raw" / "Dataset007_Test" / "imagesTr", "--disable_tta")
    for words, says in (((), "fold 0"), (("-f", 7), "fold 7"), (("-f", 0, 7), "folds 0, 7")):
        outcome = cli(*given, *words, "-o", tmp_path / says, "--device", "cpu")
        assert f"Predicting with {says} of" in outcome.err
        assert ("drawn at random: fold 7" in outcome.err) is not bool(words)
    shown = cli("info", model.path).out
    assert "7 (random split)" in shown
    assert "0.250" in cli("info", 7).out
    outcome = cli("cross-validation", 7)
    assert outcome.code == 0, outcome.err
    assert [path.name for path in model.path.glob("crossval*")] == ["crossval_results_folds_0"]
    for words, folds in (((), {"fold_0"}), (("--folds", 7), {"fold_7"})):
        assert cli("export-model", model.path, tmp_path / "m.zip", "--overwrite", *words).code == 0
        with zipfile.ZipFile(tmp_path / "m.zip") as archive:
            assert {part for name in archive.namelist() for part in name.split("/") if "fold_" in part} == folds


def test_alone_they_are_all_there_is(model: ModelFolder) -> None:
    shutil.rmtree(model.fold_folder(0))
    assert model.chosen_folds(None) == [7]
    assert model.validation_dice() == 0.75
