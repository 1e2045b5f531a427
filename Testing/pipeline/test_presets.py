"""Planners at work: residual networks and our own presets are trained and predict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

NAME = "Dataset007_Test"
SHORT = ("--epochs", 1, "--iterations", 2, "--workers", 0, "--device", "cpu")

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("planner", "plans_name", "network"),
    [
        ("resenc_m", "nnUNetResEncUNetMPlans", "ResidualEncoderUNet"),
        ("nnUNetPlannerResEncL", "nnUNetResEncUNetLPlans", "ResidualEncoderUNet"),
        ("resenc_xl", "nnUNetResEncUNetXLPlans", "ResidualEncoderUNet"),
        ("cpu", "CpuPlans", "PlainConvUNet"),
    ],
)
def test_train_and_predict(planner: str, plans_name: str, network: str, raw: Path, cli: Cli, tmp_path: Path) -> None:
    outcome = cli("train", 7, "--planner", planner, "-c", "3d_fullres", *SHORT)
    assert outcome.code == 0, outcome.err
    model = raw.parents[1] / "nnUNet_results" / NAME / f"nnUNetTrainer__{plans_name}__3d_fullres"
    plans = json.loads((model / "plans.json").read_text())
    entry = plans["configurations"]["3d_fullres"]
    assert entry["architecture"]["network_class_name"].endswith(network)
    assert entry["batch_size"] <= 16
    shared = tmp_path / "workspace" / "nnUNet_preprocessed" / NAME / "nnUNetPlans_3d_fullres"
    assert len(list(shared.glob("c*.pkl"))) == 5  # the default planner's data
    images = one_image(raw, tmp_path)
    words = ("-p", plans_name, "-i", images, "-o", tmp_path / "out", "--device", "cpu", "--save_probabilities")
    outcome = cli("predict", "-d", 7, *words)
    assert outcome.code == 0, outcome.err
    ours = np.load(tmp_path / "out" / "c0.npz")["probabilities"]
    assert ours.shape == (3, 8, 20, 22)
    if planner == "resenc_m" and "PEER_VENV" in os.environ:
        theirs = probabilities_of_nnunetv2(model, images, tmp_path / "theirs")
        inner = (slice(None), slice(2, -2), slice(5, -5), slice(5, -5))  # its weights of a tile's corners underflow
        np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-3)


def one_image(raw: Path, folder: Path) -> Path:
    (folder / "images").mkdir()
    shutil.copy(raw / "imagesTr" / "c0_0000.nii.gz", folder / "images")
    return folder / "images"


def probabilities_of_nnunetv2(model: Path, images: Path, output: Path) -> np.ndarray:
    """Probabilities (class, z, y, x) of case c0 that nnunetv2 in PEER_VENV predicts with a model of ours."""
    command = Path(os.environ["PEER_VENV"]) / "bin" / "nnUNetv2_predict_from_modelfolder"
    words = ["-i", images, "-o", output, "-m", model, "-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1"]
    roots = {f"nnUNet_{name}": str(output.parent / name) for name in ("raw", "preprocessed", "results")}
    subprocess.run([command, *words, "--save_probabilities"], check=True, env={**os.environ, **roots}, timeout=300)
    found: np.ndarray = np.load(output / "c0.npz")["probabilities"]
    return found
