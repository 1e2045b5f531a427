"""A staging folder for tests: files of a few voxels, and cases.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

LABELS = {"background": 0, "organ": 1, "tumour": 2}
#: Direction cosines (row by row): plain, flipped along two axes, turned by 30 degrees and tilted.
DIRECTIONS = {
    "plain": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "oblique": np.array(
        [[0.8660254037844387, -0.5, 0.0], [0.4698463103929543, 0.8137976813493738, -0.3420201433256687],
         [0.17101007166283433, 0.29619813272602386, 0.9396926207859084]]
    ),
}  # fmt: skip


def image(array: np.ndarray, direction: str = "plain", spacing: tuple[float, ...] = (0.7, 0.9, 3.1)) -> sitk.Image:
    """A volume (z, y, x) somewhere in space."""
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(spacing)
    made.SetOrigin((-12.25, 7.5, 100.125))
    made.SetDirection(DIRECTIONS[direction].ravel().tolist())
    return made


def voxels(seed: int, dtype: Any = np.int16) -> np.ndarray:
    """Image voxels (2, 3, 4), all different."""
    return (np.random.default_rng(seed).permutation(24).reshape(2, 3, 4) + 10 * seed).astype(dtype)


def labels(seed: int = 0, highest: int = 2) -> np.ndarray:
    """Label voxels (2, 3, 4) with all values."""
    return (np.random.default_rng(seed).permutation(24).reshape(2, 3, 4) % (highest + 1)).astype(np.uint8)


def stage(folder: Path, *ids: str, channels: int = 1, cases: Any = None, **content: Any) -> Path:
    """Write cases with these ids and cases.json; ``cases`` holds changes of the entries by id."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, case in enumerate(ids):
        names = [f"{case}_{channel:04d}.nrrd" for channel in range(channels)]
        for channel, name in enumerate(names):
            sitk.WriteImage(image(voxels(number + channel)), str(folder / name))
        sitk.WriteImage(image(labels(number)), str(folder / f"{case}_labels.nrrd"))
        entry = {"id": case, "images": names, "labels": f"{case}_labels.nrrd", "test": False, "replace": False}
        entries.append(entry | (cases or {}).get(case, {}))
    described = {"channel_names": {str(c): f"MR{c}" for c in range(channels)}, "labels": LABELS, **content}
    (folder / "cases.json").write_text(json.dumps({**described, "cases": entries}))
    return folder
