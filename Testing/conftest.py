"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
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


@pytest.fixture(scope="session", autouse=True)
def few_samples() -> Iterator[None]:
    """Fingerprints in this process draw a hundredth of nnU-Net's intensities: all of them take a second."""
    from segautoconfiglib.fingerprint import extract

    whole = extract.FINGERPRINT
    extract.FINGERPRINT = replace(whole, foreground_samples=whole.foreground_samples // 100)
    yield
    extract.FINGERPRINT = whole


@pytest.fixture
def all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints as users and nnU-Net make them."""
    from segautoconfiglib.defaults import FINGERPRINT
    from segautoconfiglib.fingerprint import extract

    monkeypatch.setattr(extract, "FINGERPRINT", FINGERPRINT)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def dicom_seg() -> Callable[..., None]:
    """``dicom_seg(file, segments, frames)`` writes a DICOM SEG of 3 rows and 4 columns, entry by entry.

    ``segments``: number to name; ``frames``: (number, position, columns that belong to the segment: slice(0, 2)).
    """
    import struct

    def entry(group: int, element: int, kind: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2) if kind in (b"UI", b"OB") else b" " * (len(value) % 2)
        long = kind in (b"OB", b"SQ")
        return struct.pack("<HH2s", group, element, kind) + struct.pack("<2xI" if long else "<H", len(value)) + value

    def items(group: int, element: int, *contents: bytes) -> bytes:
        framed = (struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content for content in contents)
        return entry(group, element, b"SQ", b"".join(framed))

    def short(group: int, element: int, value: int) -> bytes:
        return entry(group, element, b"US", struct.pack("<H", value))

    def write(
        file: Path,
        segments: dict[int, str],
        frames: Sequence[Sequence[Any]],
        fractions: bool = False,
        step_mm: float | None = None,
    ) -> None:
        meta = entry(2, 2, b"UI", b"1.2.840.10008.5.1.4.1.1.66.4") + entry(2, 3, b"UI", b"1.2.3.4")
        meta += entry(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
        voxels, groups = bytearray(), []
        for number, position, *columns in frames:
            inside = range(4)[columns[0] if columns else slice(0, 2)]
            voxels += bytes([(127 + 32 * x if fractions else 255) * (x in inside) for x in range(4)] * 3)
            place = "\\".join(map(str, position)).encode()
            groups.append(
                items(0x20, 0x9113, entry(0x20, 0x32, b"DS", place)) + items(0x62, 0xA, short(0x62, 0xB, number))
            )
        shared = items(0x20, 0x9116, entry(0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0"))
        between = entry(0x18, 0x88, b"DS", str(step_mm).encode()) if step_mm else b""
        shared += items(0x28, 0x9110, between + entry(0x28, 0x30, b"DS", b"0.75\\0.5"))
        body = entry(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.66.4") + entry(8, 0x18, b"UI", b"1.2.3.4")
        body += entry(8, 0x60, b"CS", b"SEG") + short(0x28, 2, 1) + entry(0x28, 4, b"CS", b"MONOCHROME2")
        body += entry(0x28, 8, b"IS", str(len(frames)).encode()) + short(0x28, 0x10, 3) + short(0x28, 0x11, 4)
        body += short(0x28, 0x100, 8) + short(0x28, 0x101, 8) + short(0x28, 0x102, 7) + short(0x28, 0x103, 0)
        named = (short(0x62, 4, number) + entry(0x62, 5, b"LO", name.encode()) for number, name in segments.items())
        body += items(0x62, 2, *named) + items(0x5200, 0x9229, shared) + items(0x5200, 0x9230, *groups)
        body += entry(0x7FE0, 0x10, b"OB", bytes(voxels))
        length = entry(2, 0, b"UL", struct.pack("<I", len(meta)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(128) + b"DICM" + length + meta + body)

    return write


@pytest.fixture
def dicom_series() -> Callable[..., Any]:
    """``dicom_series(folder, positions, ...)`` writes a slice per position (mm along the normal).

    ``slant`` is how far slices lie along their columns besides, as a share of the position: a tilted gantry.
    """
    import numpy as np  # after the variables above
    import SimpleITK as sitk

    def write(
        folder: Path,
        positions: Sequence[float] = (0, 2.5, 5),
        number: int = 1,
        name: str = "Chest",
        axes: str = "plain",
        slant: float = 0.0,
    ) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        rows = np.array([[0.0, 1.0, 0.0], [0.6, 0.0, -0.8]]) if axes == "tilted" else np.eye(3)[:2]
        normal = np.cross(*rows)
        volume = np.arange(len(positions) * 12, dtype=np.int16).reshape(-1, 3, 4) - 20 + 100 * number
        for index, (slice_, position) in enumerate(zip(volume, positions, strict=True)):
            image = sitk.GetImageFromArray(slice_[None])
            image.SetSpacing((0.5, 0.75, 1.0))
            place = np.array([10.0, -20.0, 30.0]) + position * (normal + slant * rows[1])
            tags = {
                "0008|0060": "CT",
                "0008|103e": name,
                "0020|000d": "1.2.3",
                "0020|000e": f"1.2.3.{number}",
                "0020|0011": str(number),
                "0020|0013": str(index + 1),
                "0020|0032": "\\".join(f"{value:.8g}" for value in place),
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
