"""Model folders as training leaves them, with files of a few bytes for checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.workspace import Workspace

DATASET = "Dataset005_Tiny"
SUMMARY = {
    "foreground_mean": {"Dice": 0.75},
    "mean": {"1": {"Dice": 0.5, "HD95": 2.0, "NSD": None}, "2": {"Dice": 1.0}},
    "metric_per_case": [
        {
            "prediction_file": "/home/somebody/results/c0.nii.gz",
            "reference_file": "C:\\Users\\somebody\\c0.nii.gz",
            "metrics": {"1": {"Dice": 0.5}, "2": {"Dice": 1.0}},
        },
        {"prediction_file": "c1.nii.gz", "metrics": {"1": {"Dice": None}}},
    ],
}
LOG = """2026-01-02 10:00:00.0: Epoch 0
2026-01-02 10:00:00.0: Epoch time: 1.00 s
2026-01-02 10:00:00.0: Epoch 1
2026-01-02 10:00:00.0: Epoch time: 1.00 s
2026-01-02 10:00:00.0: Epoch 2
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def make_model(workspace: Workspace, network_json: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """``make_model(name=..., dataset=..., folds=(0,), checkpoint=...)`` writes a model folder."""

    def make(
        name: str = "nnUNetTrainer__nnUNetPlans__3d_fullres",
        dataset: str = DATASET,
        folds: tuple[int | str, ...] = (0,),
        checkpoint: str = "checkpoint_final.pth",
    ) -> Path:
        folder = workspace.results / dataset / name
        configuration = {
            "data_identifier": "nnUNetPlans_3d_fullres",
            "batch_size": 2,
            "patch_size": [8, 16, 16],
            "spacing": [2.0, 1.0, 1.0],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "architecture": network_json(3, (2, 4)),
            "batch_dice": False,
        }
        plans = {
            "dataset_name": dataset,
            "plans_name": "nnUNetPlans",
            "configurations": {"3d_fullres": configuration},
            "experiment_planner_used": "ExperimentPlanner",
        }
        description = {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "ball": 1, "core": 2},
            "numTraining": 2,
            "file_ending": ".nii.gz",
            "segments": {"ball": {"color": [1, 0, 0], "terminology": "T"}},
        }
        for fold in folds:
            place = folder / f"fold_{fold}"
            (place / "validation").mkdir(parents=True)
            (place / checkpoint).write_bytes(b"weights" * 1000)
            (place / "validation" / "summary.json").write_text(json.dumps(SUMMARY))
            (place / "validation" / "c0.nii.gz").write_bytes(b"labels")
            (place / "progress.png").write_bytes(b"picture")
            (place / "training_log_2026_1_2_10_00_00.txt").write_text(LOG)
            (place / "debug.json").write_text(json.dumps({"job": {}, "recipe": {}, "hostname": "here"}))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(description))
        (folder / "dataset_fingerprint.json").write_text("{}")
        return folder

    return make
