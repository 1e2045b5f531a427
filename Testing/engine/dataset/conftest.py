"""A small raw dataset on disk, for tests to damage."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 1.0))


@pytest.fixture
def raw_dataset(tmp_path: Path) -> Callable[..., Path]:
    """``raw_dataset(cases=3, channels=1, ending=".nii.gz", **dataset_json)`` writes a faultless dataset."""

    def write(cases: int = 3, channels: int = 1, ending: str = ".nii.gz", **changes: Any) -> Path:
        folder = tmp_path / "Dataset007_Test"
        folder.mkdir(parents=True)
        for index in range(cases):
            for channel in range(channels):
                image = np.arange(24, dtype=np.int16).reshape(2, 3, 4) + channel
                write_image(image, folder / "imagesTr" / f"c{index}_{channel:04d}{ending}", GRID)
            labels = np.zeros((2, 3, 4), int)
            labels[0, 0, :3] = [0, 1, 2]
            write_labels(labels, folder / "labelsTr" / f"c{index}{ending}", GRID)
        content = {
            "channel_names": {str(channel): f"MR{channel}" for channel in range(channels)},
            "labels": {"background": 0, "organ": 1, "tumour": 2},
            "numTraining": cases,
            "file_ending": ending,
            **changes,
        }
        (folder / "dataset.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
        return folder

    return write


@pytest.fixture(scope="session")
def staging() -> ModuleType:
    """The module staging.py beside this file: ``staging.stage(folder, *ids)`` writes cases that are to be added."""
    spec = importlib.util.spec_from_file_location("staging", Path(__file__).with_name("staging.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
