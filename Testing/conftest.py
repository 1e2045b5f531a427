"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(REPOSITORY / "Testing"))  # made_once

# Tiny arrays: more threads than one cost more than they bring. Set before numpy, SimpleITK and torch are imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
# Processes that tests start find the package of this checkout, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(REPOSITORY / "SegAutoConfigLib"), os.environ.get("PYTHONPATH", "")) if part
)

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("segautoconfig", deadline=None, max_examples=50)
hypothesis.settings.load_profile("segautoconfig")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data: SEGAUTOCONFIG_TEST_DATA, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("SEGAUTOCONFIG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist (set SEGAUTOCONFIG_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def dicom_series() -> Callable[..., Any]:
    """``dicom_series(folder, positions, ...)`` writes a slice per position (mm along the normal)."""
    import numpy as np  # after the variables above
    import SimpleITK as sitk

    def write(
        folder: Path,
        positions: Sequence[float] = (0, 2.5, 5),
        number: int = 1,
        name: str = "Chest",
        axes: str = "plain",
    ) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        rows = np.array([[0.0, 1.0, 0.0], [0.6, 0.0, -0.8]]) if axes == "tilted" else np.eye(3)[:2]
        normal = np.cross(*rows)
        volume = np.arange(len(positions) * 12, dtype=np.int16).reshape(-1, 3, 4) - 20 + 100 * number
        for index, (slice_, position) in enumerate(zip(volume, positions, strict=True)):
            image = sitk.GetImageFromArray(slice_[None])
            image.SetSpacing((0.5, 0.75, 1.0))
            place = np.array([10.0, -20.0, 30.0]) + position * normal
            tags = {
                "0008|0060": "CT",
                "0008|103e": name,
                "0020|000d": "1.2.3",
                "0020|000e": f"1.2.3.{number}",
                "0020|0011": str(number),
                "0020|0013": str(index + 1),
                "0020|0032": "\\".join(f"{value:g}" for value in place),
                "0020|0037": "\\".join(f"{value:g}" for value in rows.ravel()),
            }
            for key, value in tags.items():
                image.SetMetaData(key, value)
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(folder / f"{(3 * index + 2) % 5}_{number}.dcm"))
            writer.Execute(image)
        return volume

    return write
