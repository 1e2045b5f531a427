"""The networks' grid against SimpleITK's reorientation and scipy's zoom, the functions that define it."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from segautoconfiglib.image.files import volume_from_sitk
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.grid import Turn, nearest, resample

#: All orders and directions of the axes of a right- or left-handed grid.
ALL_CODES = ["".join(code) for axes in permutations(("LR", "PA", "IS")) for code in product(*axes)]


def image_with_axes(code: str) -> sitk.Image:
    directions = {"L": (1, 0, 0), "P": (0, 1, 0), "S": (0, 0, 1), "R": (-1, 0, 0), "A": (0, -1, 0), "I": (0, 0, -1)}
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.5, 2.0, 3.0))
    image.SetOrigin((10.0, -20.0, 5.0))
    image.SetDirection(np.array([directions[letter] for letter in code], float).T.reshape(-1).tolist())
    return image


@pytest.mark.parametrize("code", ALL_CODES)
def test_canonical_axes_are_right_front_head(code: str) -> None:
    volume = volume_from_sitk(image_with_axes(code))

    turned = Turn.canonical(volume.geometry).volume(volume)

    expected = volume_from_sitk(sitk.DICOMOrient(image_with_axes(code), "RAS"))
    assert np.array_equal(turned.array, expected.array)
    assert turned.geometry.differences(expected.geometry) == []


@pytest.mark.parametrize("code", ALL_CODES)
def test_inverse_turn_gives_the_image_back(code: str) -> None:
    volume = volume_from_sitk(image_with_axes(code))
    turn = Turn.canonical(volume.geometry)

    back = turn.inverse.volume(turn.volume(volume))

    assert np.array_equal(back.array, volume.array)
    assert back.geometry.differences(volume.geometry) == []


def test_oblique_axes_are_turned_to_the_nearest() -> None:
    angle = np.deg2rad(20)
    tilted = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    geometry = Geometry((2.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(tilted.reshape(-1)))

    turn = Turn.canonical(geometry)
    turned = turn.volume(Volume(np.zeros((1, 4, 5, 6), np.int16), geometry))

    assert (turn.axes, turn.reversed) == ((0, 1, 2), (False, True, True))
    corner = tilted @ [5.0, 4.0, 0.0]  # the last voxel along x and y, mm
    assert turned.geometry.origin == pytest.approx(tuple(corner))


def zoomed(volume: Volume, spacing_mm: tuple[float, float, float], order: int) -> np.ndarray:
    """scipy's zoom of the image as NIfTI has it, axes (x, y, z), in double precision; fractions cut off."""
    image = volume.array[0].transpose(2, 1, 0).astype(np.float64)
    factors = np.array(volume.geometry.spacing_mm[::-1], np.float32) / np.array(spacing_mm[::-1])
    return ndimage.zoom(image, factors, order=order, mode="nearest").astype(np.int32).transpose(2, 1, 0)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (3.0, 0.7, 1.1), (6.0, 6.0, 6.0)])
def test_resampling_equals_zoom(spacing: tuple[float, float, float], order: int) -> None:
    array = np.random.default_rng(1).integers(-1024, 3000, (1, 17, 24, 29), np.int16)
    volume = Volume(array, Geometry((2.0, 0.8, 1.1)))

    resampled = resample(volume, spacing, order)

    assert np.array_equal(resampled.array[0], zoomed(volume, spacing, order))
    assert resampled.geometry.spacing_mm == spacing


def test_resampling_of_a_turned_float_image_equals_zoom() -> None:
    array = np.random.default_rng(2).normal(0, 500, (1, 13, 14, 15)).astype(np.float32)
    volume = Volume(array.transpose(0, 2, 3, 1)[:, ::-1], Geometry((0.9, 1.3, 2.2)))

    assert np.array_equal(resample(volume, (1.5, 1.5, 1.5)).array[0], zoomed(volume, (1.5, 1.5, 1.5), 1))


def test_values_beyond_16_bits_are_kept() -> None:
    array = np.random.default_rng(3).integers(-(2**20), 2**20, (1, 5, 6, 7), np.int32)
    volume = Volume(array, Geometry((2.0, 2.0, 2.0)))

    resampled = resample(volume, (1.5, 1.5, 1.5))

    assert resampled.array.dtype == np.int32
    assert np.array_equal(resampled.array[0], zoomed(volume, (1.5, 1.5, 1.5), 1))


def test_fractions_are_cut_off() -> None:
    volume = Volume(np.array([-3, 0, 3], np.int16).reshape(1, 3, 1, 1), Geometry((1.0, 1.0, 1.0)))

    assert resample(volume, (0.6, 1.0, 1.0)).array[0, :, 0, 0].tolist() == [-3, -1, 0, 1, 3]  # -3, -1.5, 0, 1.5, 3


def test_an_image_of_the_right_spacing_stays_as_it_is() -> None:
    volume = Volume(np.full((1, 2, 2, 2), 0.5, np.float32), Geometry((1.5, 1.5, 1.5)))

    assert resample(volume, (1.5, 1.5, 1.5)) is volume


def test_single_slices_stay_single() -> None:
    volume = Volume(np.arange(12, dtype=np.int16).reshape(1, 1, 3, 4), Geometry((1.0, 3.0, 3.0)))

    assert resample(volume, (3.0, 1.5, 1.5)).shape == (1, 6, 8)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("slices", [1, 2])
def test_at_least_one_voxel_stays_along_each_axis(order: int, slices: int) -> None:
    array = np.arange(slices * 36).reshape(1, slices, 6, 6) + 0.5  # far from whole numbers: sums are rounded

    resampled = resample(Volume(array, Geometry((1.0, 1.0, 1.0))), (6.0, 3.0, 20.0), order)

    assert resampled.array.tolist() == [[[[0], [30]]]]  # corner voxels lie on corner voxels


@pytest.mark.parametrize("shape", [(9, 8, 7), (20, 31, 12), (1, 40, 3), (5, 6, 7)])
def test_labels_go_back_as_zoom_with_order_0_takes_them(shape: tuple[int, int, int]) -> None:
    labels = np.random.default_rng(4).integers(0, 118, (9, 14, 7), np.uint8)
    factors = np.array(shape[::-1]) / np.array(labels.shape[::-1])

    expected = ndimage.zoom(labels.transpose(2, 1, 0).astype(np.float64), factors, order=0, mode="nearest")

    assert np.array_equal(nearest(labels, shape), expected.astype(np.uint8).transpose(2, 1, 0))
