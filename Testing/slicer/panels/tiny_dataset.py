"""A raw dataset small enough to train on within seconds: volumes of 16 x 24 x 24 voxels with two nested balls."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

LABELS = {"background": 0, "capsule": 1, "core": 2}
COLORS = {"capsule": [0.86, 0.51, 0.40], "core": [0.30, 0.70, 0.40]}
SPACING_MM = (1.0, 1.0, 1.5)


def makeTinyDataset(workspace: Path, name: str = "Dataset007_Tiny", cases: int = 6) -> Path:
    """Write it into a workspace; returns its folder."""
    raw = workspace / "nnUNet_raw" / name
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    z, y, x = np.mgrid[:16, :24, :24]
    for number in range(cases):
        random = np.random.default_rng(number)
        middle = np.array([8, 12, 12]) + random.uniform(-2, 2, 3)
        distance = np.sqrt(((z - middle[0]) * 1.5) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2)
        labels = (distance < 8).astype(np.uint8) + (distance < 4)
        image = (100 * labels + random.normal(0, 20, labels.shape)).astype(np.int16)
        _write(image, raw / "imagesTr" / f"tiny_{number}_0000.nrrd")
        _write(labels, raw / "labelsTr" / f"tiny_{number}.nrrd")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nrrd",
        "segments": {name: {"color": color, "terminology": ""} for name, color in COLORS.items()},
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    return raw


def _write(array: np.ndarray, file: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM)
    sitk.WriteImage(image, str(file))
