"""Small model folders, as training leaves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.records import write_json
from segautoconfiglib.image.files import write_image
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((2.0, 1.0, 1.5), (3.0, -4.0, 5.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0))


def plans_json(
    network: dict[str, Any], dimension: int, channels: int, spacing: tuple[float, ...], transpose: tuple[int, ...]
) -> dict[str, Any]:
    """A plans.json with one tiny configuration, "2d" or "3d_fullres"."""
    configuration = {
        "data_identifier": "nnUNetPlans_x",
        "batch_size": 2,
        "patch_size": [8] * dimension,
        "spacing": list(spacing[-dimension:]),
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "architecture": network,
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset005_Tiny",
        "plans_name": "nnUNetPlans",
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "configurations": {"2d" if dimension == 2 else "3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {},
    }


@pytest.fixture
def make_model(tmp_path: Path, network_json: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """``make_model(dimension=3, channels=1, folds=(0,), ...)`` writes a model folder with random weights."""

    def make(
        dimension: int = 3,
        channels: int = 1,
        folds: tuple[int | str, ...] = (0,),
        ending: str = ".nii.gz",
        spacing: tuple[float, ...] = (1.5, 1.5, 1.5),
        transpose: tuple[int, ...] = (0, 1, 2),
        **description: Any,
    ) -> Path:
        import torch

        from segautoconfiglib.networks.build import build_network
        from segautoconfiglib.networks.checkpoint import nnunet_weights, write_checkpoint
        from segautoconfiglib.planning.plans import Plans

        name = "2d" if dimension == 2 else "3d_fullres"
        folder = tmp_path / "results" / "Dataset005_Tiny" / f"nnUNetTrainer__nnUNetPlans__{name}"
        plans = plans_json(network_json(dimension, (2, 4)), dimension, channels, spacing, transpose)
        content = {
            "channel_names": {str(channel): "MR" for channel in range(channels)},
            "labels": {"background": 0, "a": 1, "b": 2},
            "numTraining": 3,
            "file_ending": ending,
            **description,
        }
        write_json(folder / "plans.json", plans)
        write_json(folder / "dataset.json", content)
        classes = len(content["labels"]) - ("regions_class_order" in content)
        for number, fold in enumerate(folds):
            torch.manual_seed(number)
            architecture = Plans.load(folder / "plans.json").configuration(name).architecture
            network = build_network(architecture, channels, classes, deep_supervision=True)
            checkpoint = {
                "network_weights": nnunet_weights(network),
                "init_args": {"configuration": name, "fold": fold},
                "trainer_name": "SomebodysOwnTrainer",
                "inference_allowed_mirroring_axes": tuple(range(dimension)),
            }
            write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", checkpoint)
        return folder

    return make


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., Path]:
    """``make_images(cases=2, channels=1, ending=".nii.gz", shape=(7, 12, 10))`` writes an image folder."""

    def make(
        cases: int = 2, channels: int = 1, ending: str = ".nii.gz", shape: tuple[int, int, int] = (7, 12, 10)
    ) -> Path:
        folder = tmp_path / "images"
        random = np.random.default_rng(0)
        grid = GRID if shape[0] > 1 else Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
        for case in range(cases):
            for channel in range(channels):
                array = random.integers(1, 200, shape).astype(np.uint8)
                write_image(array, folder / f"c{case}_{channel:04d}{ending}", grid)
        return folder

    return make
