"""DICOM series as volumes. The series are written by GDCM itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image import dicom
from segautoconfiglib.image.files import read_header, read_image, read_stored

#: Row and column directions of the tilted patient of ``dicom_series``, x y z each.
TILTED = np.array([[0.0, 1.0, 0.0], [0.6, 0.0, -0.8]])
Writer = Callable[..., np.ndarray]


@pytest.mark.parametrize("axes", ["plain", "tilted"])
def test_slices_are_sorted_by_position(dicom_series: Writer, tmp_path: Path, axes: str) -> None:
    volume = dicom_series(tmp_path / "scan", axes=axes)
    read = read_stored(tmp_path / "scan")
    np.testing.assert_array_equal(read.array[0], volume)
    np.testing.assert_allclose(read.geometry.spacing_mm, (2.5, 0.75, 0.5))
    np.testing.assert_allclose(read.geometry.origin, (10, -20, 30))
    if axes == "tilted":
        columns = np.reshape(read.geometry.direction, (3, 3)).T
        np.testing.assert_allclose(columns, [*TILTED, np.cross(*TILTED)], atol=1e-6)
    header = read_header(tmp_path / "scan")
    assert (header.shape, header.channels, header.dtype) == ((3, 3, 4), 1, read.array.dtype)
    assert header.geometry.differences(read.geometry, 1e-6) == []
    assert dicom.findings(tmp_path / "scan") == []
    assert dicom.modality(tmp_path / "scan") == "CT"


def test_a_missing_slice_is_told(dicom_series: Writer, tmp_path: Path) -> None:
    dicom_series(tmp_path, (0, 2, 6, 8))
    (problem,) = dicom.findings(tmp_path)
    assert problem.message == "1 slice missing, it seems (slices are 2 mm apart, once 4 mm)."


def test_unequal_distances_are_told(dicom_series: Writer, tmp_path: Path) -> None:
    dicom_series(tmp_path, (0, 2, 4, 7))
    (problem,) = dicom.findings(tmp_path)
    assert problem.message == "the slices are 2 to 3 mm apart."


@pytest.mark.parametrize("axes", ["plain", "tilted"])
@pytest.mark.parametrize(("degrees", "told"), [(0.05, []), (0.5, ["0.5"]), (-20, ["20"])])
def test_a_tilted_gantry_is_told(
    dicom_series: Writer, tmp_path: Path, axes: str, degrees: float, told: list[str]
) -> None:
    slant = float(np.tan(np.deg2rad(degrees)))
    dicom_series(tmp_path, (0, 2.5, 5, 7.5), axes=axes, slant=slant)
    says = [f"the slices are stacked obliquely, by {angle} degrees (a tilted gantry, it seems)." for angle in told]
    assert [problem.message for problem in dicom.findings(tmp_path)] == says
    geometry = read_stored(tmp_path).geometry  # what is told of: at right angles, at the distances of the corners
    rows = TILTED if axes == "tilted" else np.eye(3)[:2]
    np.testing.assert_allclose(np.reshape(geometry.direction, (3, 3)).T[2], np.cross(*rows), atol=1e-6)
    np.testing.assert_allclose(geometry.spacing_mm, (2.5 * np.hypot(1, slant), 0.75, 0.5), rtol=1e-6)


def test_slices_that_lie_aside_in_the_middle_are_told(dicom_series: Writer, tmp_path: Path) -> None:
    for number, (position, slant) in enumerate([(0, 0), (4, 0.5), (8, 0)]):
        dicom_series(tmp_path / "part", (position,), slant=slant)
        next((tmp_path / "part").iterdir()).rename(tmp_path / f"{number}.dcm")
    (problem,) = dicom.findings(tmp_path)
    assert problem.message.startswith("the slices are stacked obliquely, by 14 degrees")  # 2 mm aside of 8
    assert "dcm2niix" in problem.hint


def test_one_of_several_series_is_named(dicom_series: Writer, tmp_path: Path) -> None:
    dicom_series(tmp_path, number=1, name="Scout")
    volume = dicom_series(tmp_path, (0, 1), number=2, name="Lung 1/2")
    with pytest.raises(UserError, match="holds 2 DICOM series") as caught:
        read_image([tmp_path])
    assert "Scout (3 files), Lung 1_2 (2 files)" in caught.value.hint
    for name in ("lung 1_2", "2", "1.2.3.2"):
        np.testing.assert_array_equal(read_image([tmp_path / name]).array[0], volume)
    with pytest.raises(UserError, match="has 0 series 'heart'"):
        read_image([tmp_path / "heart"])


def test_results_beside_a_series_are_no_other_image(dicom_series: Writer, tmp_path: Path) -> None:
    volume = dicom_series(tmp_path, number=1)
    dicom_series(tmp_path / "result", (0,), number=2)
    (file,) = (tmp_path / "result").iterdir()
    kind = b"\x08\x00\x60\x00\x02\x00\x00\x00"  # Modality
    assert file.read_bytes().count(kind + b"CT") == 1
    (tmp_path / "result.dcm").write_bytes(file.read_bytes().replace(kind + b"CT", kind + b"SR"))
    np.testing.assert_array_equal(read_image([tmp_path]).array[0], volume)


def test_slices_at_one_place_are_refused(dicom_series: Writer, tmp_path: Path) -> None:
    dicom_series(tmp_path, (0, 2, 2, 4))
    with pytest.raises(UserError, match=r"several slices at one position \([03]_1.dcm, [03]_1.dcm\)"):
        read_header(tmp_path)


def test_other_paths_are_no_dicom(dicom_series: Writer, tmp_path: Path) -> None:
    dicom_series(tmp_path / "scan", (0.0,))
    (tmp_path / "notes.txt").write_text("x" * 200)
    paths = [tmp_path, tmp_path / "notes.txt", tmp_path / "none", tmp_path / "scan" / "a.nii.gz"]
    assert [dicom.is_dicom(path) for path in paths] == [False] * 4
    single = next((tmp_path / "scan").iterdir())
    assert read_image([single]).shape == (1, 3, 4)


def test_the_order_of_the_files_does_not_count(
    dicom_series: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = dicom_series(tmp_path)
    mixed = sorted(str(path) for path in tmp_path.iterdir())
    monkeypatch.setattr(dicom.sitk.ImageSeriesReader, "GetGDCMSeriesFileNames", lambda *words: mixed)
    np.testing.assert_array_equal(read_stored(tmp_path).array[0], volume)
