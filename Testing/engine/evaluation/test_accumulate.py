from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.evaluation.accumulate import accumulate, held_out_files
from segautoconfiglib.evaluation.compare import evaluate_folder
from segautoconfiglib.evaluation.places import accumulated_folder
from segautoconfiglib.image.files import write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.models.folder import ModelFolder

GRID = Geometry((3.0, 1.0, 1.0))
DESCRIPTION = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1},
    "numTraining": 4,
    "file_ending": ".nii.gz",
}


def labels(width: int) -> np.ndarray:
    array = np.zeros((4, 5, 6), np.uint8)
    array[:, :, :width] = 1
    return array


@pytest.fixture
def model(tmp_path) -> ModelFolder:
    """Folds 0 (cases a, b) and 1 (c), each case predicted a little too wide."""
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (folder / "plans.json").write_text("{}")
    for number, (fold, case) in enumerate(((0, "a"), (0, "b"), (1, "c"))):
        write_labels(labels(number + 2), folder / f"fold_{fold}" / "validation" / f"{case}.nii.gz", GRID)
        write_labels(labels(number + 1), tmp_path / "truth" / f"{case}.nii.gz", GRID)
    (folder / "fold_0" / "validation" / "a.npz").write_bytes(b"x")
    (folder / "fold_0" / "validation" / "summary.json").write_text("{}")
    write_labels(labels(1), tmp_path / "truth" / "of no fold.nii.gz", GRID)
    return ModelFolder.open(folder)


@pytest.fixture
def truth(tmp_path) -> Path:
    return tmp_path / "truth"


def test_all_held_out_cases_in_one_folder(model, truth):
    summary = accumulate(model, [0, 1], truth, workers=1)
    folder = model.path / "crossval_results_folds_0_1"
    assert folder == accumulated_folder(model, [0, 1])
    names = {file.name for file in folder.iterdir()}
    assert names == {"a.nii.gz", "b.nii.gz", "c.nii.gz", "dataset.json", "plans.json", "summary.json"}
    expected = np.mean([2 * n / (2 * n + 1) for n in (1, 2, 3)])
    assert summary.mean_dice == pytest.approx(expected, abs=1e-12)
    spec = model.description.label_spec
    again = evaluate_folder(truth, folder, spec, file_ending=".nii.gz", cases=["a", "b", "c"], workers=1)
    assert again.mean == summary.mean


def test_some_folds(model, truth):
    assert accumulate(model, [1], truth, workers=1).cases == 1
    assert (model.path / "crossval_results_folds_1").is_dir()


def test_a_later_validation_does_not_change_the_copies(model, truth):
    accumulate(model, [0, 1], truth, workers=1)
    copy = model.path / "crossval_results_folds_0_1" / "a.nii.gz"
    before = copy.read_bytes()
    with (model.path / "fold_0" / "validation" / "a.nii.gz").open("rb+") as file:
        file.write(b"overwritten in place")
    assert copy.read_bytes() == before


def test_old_results_go(model, truth):
    folder = model.path / "crossval_results_folds_0_1"
    folder.mkdir()
    (folder / "gone.nii.gz").write_bytes(b"")
    (folder / "postprocessing.pkl").write_bytes(b"")
    accumulate(model, [0, 1], truth, workers=1)
    assert not (folder / "gone.nii.gz").exists()
    assert not (folder / "postprocessing.pkl").exists()


def test_kept_while_up_to_date(model, truth):
    first = accumulate(model, [0, 1], truth, workers=1)
    file = model.path / "crossval_results_folds_0_1" / "summary.json"
    stamp = file.stat().st_mtime_ns
    assert accumulate(model, [0, 1], truth, overwrite=False, workers=1).mean == first.mean
    assert file.stat().st_mtime_ns == stamp
    newer = model.path / "fold_1" / "validation" / "c.nii.gz"
    write_labels(labels(3), newer, GRID)
    os.utime(newer, ns=(stamp + 10**9,) * 2)
    assert accumulate(model, [0, 1], truth, overwrite=False, workers=1).mean_dice > first.mean_dice


def test_fold_without_predictions(model, truth):
    with pytest.raises(ProblemsError, match=r"fold 2 has no .nii.gz files"):
        accumulate(model, [0, 1, 2], truth)
    assert not list(model.path.glob("crossval*"))


def test_case_in_two_folds(model, truth):
    write_labels(labels(2), model.path / "fold_1" / "validation" / "a.nii.gz", GRID)
    with pytest.raises(ProblemsError, match="a: is held out by fold_0 and fold_1"):
        accumulate(model, [0, 1], truth)


def test_probabilities_are_missing(model):
    with pytest.raises(ProblemsError, match=r"fold 1 has no .npz files(.|\n)*--save-probabilities"):
        held_out_files(model, [0, 1], ".npz")


def test_own_folder_must_be_empty(model, truth, tmp_path):
    (tmp_path / "out").mkdir()
    accumulate(model, [0, 1], truth, output=tmp_path / "out", workers=1)
    with pytest.raises(UserError, match="is not empty"):
        accumulate(model, [0, 1], truth, output=tmp_path / "out", workers=1)
