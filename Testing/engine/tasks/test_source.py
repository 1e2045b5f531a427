"""Images of all kinds as a task takes them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.files import write_image
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.source import opened

GRID = Geometry((3.0, 1.0, 2.0), (1.0, 2.0, 3.0))
ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def zipped(file: Path, *members: tuple[Path, str]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path, name in members:
            archive.write(path, name)
    return file


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_files(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"ct{ending}"
    write_image(ARRAY, file, GRID)
    with opened(file) as source:
        np.testing.assert_array_equal(source.volume.array[0], ARRAY)
        assert source.volume.array.dtype == np.int16
        assert (source.path, source.series, source.modality) == (file, None, "")
        assert source.header == (file if ending == ".nii.gz" else None)


def test_images_in_memory() -> None:
    with opened(sitk.GetImageFromArray(ARRAY)) as source:
        np.testing.assert_array_equal(source.volume.array[0], ARRAY)
        assert source.path is None
    volume = Volume(ARRAY[None], GRID)
    with opened(volume) as source:
        assert source.volume is volume


def test_dicom_in_folders_and_zip_files(dicom_series: Callable[..., Any], tmp_path: Path) -> None:
    series = tmp_path / "patient" / "study" / "one"
    expected = dicom_series(series)
    files = sorted(series.iterdir())
    index = tmp_path / "DICOMDIR"
    index.write_bytes(bytes(128) + b"DICM")
    file = zipped(tmp_path / "x.zip", (index, "DICOMDIR"), *((path, f"/a/../../{path.name}") for path in files))
    for place in (series, tmp_path / "patient", file):
        with opened(place) as source:
            np.testing.assert_array_equal(source.volume.array[0], expected)
            assert (source.modality, source.path, source.header) == ("CT", place, None)
            kept = source.series
        assert kept is not None
        assert kept.exists() == (place != file)
    assert {path.name for path in tmp_path.iterdir()} == {"patient", "DICOMDIR", "x.zip"}


def test_several_series_are_refused(dicom_series: Callable[..., Any], tmp_path: Path) -> None:
    for number in (1, 2):
        dicom_series(tmp_path / "scans" / f"s{number}", number=number, name=f"Phase {number}")
    with pytest.raises(UserError, match=r"DICOM in 2 folders: s1, s2\. Name one"), opened(tmp_path / "scans"):
        pass
    files = sorted((tmp_path / "scans").rglob("*.dcm"))
    file = zipped(tmp_path / "x.zip", *((path, f"{path.parent.name}/{path.name}") for path in files))
    with pytest.raises(UserError) as error, opened(file):
        pass
    assert f"{file} holds 2 DICOM series" in error.value.message
    assert "folder of one series" in error.value.hint


@pytest.mark.parametrize("value", [0, -1024])
def test_images_of_one_value_are_refused(tmp_path: Path, value: int) -> None:
    write_image(np.full((3, 3, 3), value, np.int16), tmp_path / "x.nii.gz", GRID)
    with pytest.raises(UserError, match=rf"x.nii.gz is empty: .* value {value}"), opened(tmp_path / "x.nii.gz"):
        pass


@pytest.mark.parametrize("image", [ARRAY, None, SimpleNamespace(get_fdata=None)])
def test_other_objects_are_refused_with_those_that_are_taken(image: Any) -> None:
    with pytest.raises(UserError, match=f"of the type {type(image).__module__}.{type(image).__name__}") as error:
        opened(image).__enter__()
    for form in ("path", "SimpleITK image", "Volume", "nibabel"):
        assert form in error.value.hint


def test_damaged_zip_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ct.txt").write_text("x" * 5000)
    file = zipped(tmp_path / "x.zip", (tmp_path / "ct.txt", "ct.txt"))
    with pytest.raises(UserError, match="holds no DICOM"), opened(file):
        pass
    content = bytearray(file.read_bytes())
    content[100] ^= 255
    file.write_bytes(content)
    with pytest.raises(UserError, match="can't be unpacked"), opened(file):
        pass
