"""Float NIfTI files: the numbers that ITK reads, but NaN and infinity stay."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.files import read_image
from segautoconfiglib.image.nifti import float_voxels

CODES = {"f4": 16, "f8": 64, "i2": 4}


def nifti(
    array: np.ndarray,
    order: str = "<",
    slope: float = 0,
    intercept: float = 0,
    offset: int = 352,
    meaning: int = 0,
    named: float | None = None,
) -> bytes:
    """The content of a NIfTI file, with few entries in its header; ``named`` is the offset that stands in it."""
    kind = array.dtype.str[1:]
    header = bytearray(offset)
    entries = [
        (0, "i", [348]),
        (40, "8h", [array.ndim, *array.shape[::-1], *[1] * (7 - array.ndim)]),
        (68, "3h", [meaning, CODES[kind], 8 * array.itemsize]),
        (76, "8f", [1.0, 1.5, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0]),
        (108, "3f", [offset if named is None else named, slope, intercept]),
        (344, "4s", [b"n+1"]),
    ]
    for place, form, values in entries:
        struct.pack_into(order + form, header, place, *values)
    return bytes(header) + array.astype(order + kind).tobytes()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": ">"},
        {"offset": 400},
        {"slope": 1},
        {"slope": 0.3, "intercept": -7.1},
        {"slope": 1, "intercept": 2.5, "order": ">"},
        {"intercept": 5},
        {"slope": float("nan"), "intercept": 5},
        {"slope": 2.5, "intercept": float("inf")},
        *[{"offset": 348, "named": named} for named in (0, 1, 347.9, -5)],
    ],
)
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (4, 5), (1, 4, 5)])
def test_equal_to_itk(tmp_path: Path, ending: str, kind: str, options: dict, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(0, 100, shape).astype(kind)
    file = tmp_path / f"a{ending}"
    content = nifti(array, **options)
    file.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    found = float_voxels(file, array.size)
    assert found is not None
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected.reshape(-1))
    channels = shape[0] if len(shape) == 4 else 1
    volume = read_image([file])
    assert volume.array.shape == (channels, *(1, *shape)[-3:])
    assert np.array_equal(volume.array.reshape(-1), expected.astype(np.float32).reshape(-1))


@pytest.mark.parametrize("options", [{}, {"slope": 2, "intercept": 1}])
def test_what_is_no_number_stays(tmp_path: Path, options: dict[str, float]) -> None:
    array = np.array([[[1, np.nan], [np.inf, -np.inf]]], np.float32)
    (tmp_path / "a.nii").write_bytes(nifti(array, **options))
    found = read_image([tmp_path / "a.nii"]).array
    first = 2 * 1 + 1 if options else 1
    assert np.array_equal(found.reshape(-1), [first, np.nan, np.inf, -np.inf], equal_nan=True)
    assert not np.isnan(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii")))).any()  # why this is read here


@pytest.mark.parametrize(
    ("meaning", "shape"), [(1007, (3, 1, 2, 4, 5)), (1007, (2, 3, 2, 4, 5)), (1006, (3, 1, 2, 4, 5))]
)
def test_vectors_become_channels(tmp_path: Path, meaning: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(0, 100, shape).astype("f4")
    file = tmp_path / "a.nii"
    file.write_bytes(nifti(array, meaning=meaning))
    expected = np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), -1, 0).reshape(-1, *shape[2:])
    assert np.array_equal(read_image([file]).array, expected)


def test_vectors_that_are_no_numbers_stay(tmp_path: Path) -> None:
    array = np.ones((3, 1, 2, 4, 5), np.float32)
    array[1, 0, 1, 2, 3] = np.nan
    (tmp_path / "a.nii").write_bytes(nifti(array, meaning=1007))
    assert np.argwhere(np.isnan(read_image([tmp_path / "a.nii"]).array)).tolist() == [[1, 1, 2, 3]]


@pytest.mark.parametrize("named", [np.nan, np.inf, -np.inf, 1e30])
def test_an_offset_that_is_none_counts_as_the_header(tmp_path: Path, named: float) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(np.arange(8, dtype="f4"), offset=348, named=named))
    found = float_voxels(tmp_path / "a.nii", 8)
    assert found is not None
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_other_numbers_are_left_to_itk(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(np.arange(8, dtype=np.int16).reshape(2, 2, 2)))
    assert float_voxels(tmp_path / "a.nii", 8) is None
    (tmp_path / "b.nii").write_bytes(b"short")
    assert float_voxels(tmp_path / "b.nii", 8) is None


def test_damaged_files(tmp_path: Path) -> None:
    content = nifti(np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32))
    (tmp_path / "short.nii").write_bytes(content[:-10])
    with pytest.raises(UserError, match=r"short\.nii is damaged: it ends too early \(2906 of 2916 bytes of voxels"):
        float_voxels(tmp_path / "short.nii", 729)
    (tmp_path / "bad.nii.gz").write_bytes(gzip.compress(content)[:-200])
    with pytest.raises(UserError, match=r"bad\.nii\.gz is damaged"):
        float_voxels(tmp_path / "bad.nii.gz", 729)
