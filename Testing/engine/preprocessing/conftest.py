"""Plans and a raw dataset for preprocessing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.dataset.dataset import Dataset, load_dataset
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.planning.plans import Plans

GRID = Geometry((2.0, 1.0, 1.0))


@pytest.fixture(scope="session")
def make_plans() -> Callable[..., Plans]:
    """``make_plans(spacing=(1, 1, 1), channels=1, scheme=..., mask=False, transpose=(0, 1, 2), **configuration)``."""

    def make(
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        channels: int = 1,
        scheme: str = "ZScoreNormalization",
        mask: bool = False,
        transpose: tuple[int, ...] = (0, 1, 2),
        **configuration: Any,
    ) -> Plans:
        content = {
            "data_identifier": "plans_3d",
            "batch_size": 2,
            "patch_size": [4] * len(spacing),
            "spacing": spacing,
            "normalization_schemes": [scheme] * channels,
            "use_mask_for_norm": [mask] * channels,
            "architecture": {"network_class_name": "x", "arch_kwargs": {}},
            "batch_dice": False,
            **configuration,
        }
        return Plans.from_json(
            {
                "dataset_name": "Dataset001_Test",
                "plans_name": "test",
                "transpose_forward": transpose,
                "transpose_backward": np.argsort(transpose).tolist(),
                "configurations": {"3d": content},
            },
            "plans.json",
        )

    return make


@pytest.fixture
def raw_dataset(tmp_path: Path) -> Dataset:
    """Three cases of (4, 6, 5) voxels with two labels."""
    folder = tmp_path / "raw" / "Dataset001_Test"
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        image = random.normal(100, 20, (4, 6, 5)).astype(np.float32)
        labels = np.zeros((4, 6, 5), np.uint8)
        labels[1:3, 1:4, 1:4], labels[2, 2, 2] = 1, 2
        write_image(image, folder / "imagesTr" / f"{name}_0000.nrrd", GRID)
        write_labels(labels, folder / "labelsTr" / f"{name}.nrrd", GRID)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1, "tumour": 2},
        "numTraining": 3,
        "file_ending": ".nrrd",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return load_dataset(folder)
