"""Logits to labels block by block, against resizing everything with scipy, taking the winner and undoing the crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.ndimage import map_coordinates, zoom  # noqa: E402

from segautoconfiglib.dataset.labels import LabelSpec  # noqa: E402
from segautoconfiglib.image.volume import Geometry  # noqa: E402
from segautoconfiglib.inference.interpolation import LogitRows  # noqa: E402
from segautoconfiglib.inference.restore import restore  # noqa: E402
from segautoconfiglib.planning.plans import RESAMPLING_FUNCTION  # noqa: E402
from segautoconfiglib.preprocessing.geometry import SpatialRecord  # noqa: E402

pytestmark = pytest.mark.torch

FIVE = LabelSpec({"background": 0, "a": 1, "b": 2, "c": 3, "d": 4})
REGIONS = LabelSpec({"background": 0, "whole": (1, 2, 3), "core": (2, 3), "hot": 3}, (1, 2, 3))
REGIONS_DOWN = LabelSpec({"background": 0, "hot": (2, 3), "all": (1, 2, 3), "rim": 1}, (3, 1, 2))


def make_record(shape, cropped, spacing=(1.0, 1.0, 1.0), network_spacing=(1.0, 1.0, 1.0), transpose=(0, 1, 2)):
    """A record of a case with ``cropped`` voxels (transposed axes) that starts at voxel (1, 2, 0) of a larger one."""
    box = tuple((low, low + size) for low, size in zip((1, 2, 0), cropped, strict=True))
    full = tuple(high + 2 for _, high in box)
    file_spacing = [0.0, 0.0, 0.0]
    for axis, edge in zip(transpose, spacing, strict=True):
        file_spacing[axis] = edge
    return SpatialRecord(Geometry(tuple(file_spacing)), transpose, full, box, shape, network_spacing)


def plain_resize(volume, new_shape, separate, order=1):
    """Linear interpolation with half-voxel centres; along ``separate`` the nearest voxel."""
    if separate is None:
        return zoom(volume, np.divide(new_shape, volume.shape), order=order, mode="nearest", grid_mode=True)
    moved = np.moveaxis(volume, separate, 0)
    plane = [size for axis, size in enumerate(new_shape) if axis != separate]
    slices = np.stack([plain_resize(s, plane, None) for s in moved])
    old, new = len(slices), new_shape[separate]
    coordinates = np.meshgrid((np.arange(new) + 0.5) * old / new - 0.5, *map(np.arange, plane), indexing="ij")
    return np.moveaxis(map_coordinates(slices, coordinates, order=0, mode="nearest"), 0, separate)


def plain_restore(logits, record, spec, separate, order=1):
    """Labels and probabilities in the file's axes, the way nnU-Net does it."""
    resized = np.stack([plain_resize(c.astype(np.float64), record.cropped_shape, separate, order) for c in logits])
    if spec.has_regions:
        probabilities = 1 / (1 + np.exp(-resized))
        labels = np.zeros(record.cropped_shape, int)
        for channel, label in zip(resized, spec.regions_class_order, strict=True):
            labels[channel > 0] = label
    else:
        probabilities = np.exp(resized) / np.exp(resized).sum(axis=0)
        labels = resized.argmax(axis=0)
    inside = tuple(slice(low, high) for low, high in record.box)
    full = np.zeros(record.full_shape, int)
    full[inside] = labels
    full_probabilities = np.zeros((len(logits), *record.full_shape))
    if not spec.has_regions:
        full_probabilities[0] = 1
    full_probabilities[(slice(None), *inside)] = probabilities
    back = np.argsort(record.transpose)
    return full.transpose(back), full_probabilities.transpose(0, *(back + 1))


def some_logits(channels, shape, smooth=True, seed=0):
    """Logits whose winner is certain in places and contested in others."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((channels, *(max(2, size // 4) for size in shape)))
    grown = np.stack([zoom(c, np.divide(shape, c.shape), order=1, mode="nearest", grid_mode=True) for c in coarse])
    noise = random.standard_normal((channels, *shape))
    return (20 * grown + noise if smooth else noise).astype(np.float32)


class Settings:
    """What restoring reads of a configuration."""

    average_probabilities = False

    def __init__(self, function=RESAMPLING_FUNCTION, **options):
        self.resampling_fn_probabilities = function
        self.resampling_fn_probabilities_kwargs = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
        self.resampling_fn_probabilities_kwargs.update(options)


CASES = {
    "no resampling": ((9, 20, 30), (9, 20, 30), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),
    "finer": ((9, 20, 30), (20, 35, 71), (0.5, 0.6, 0.4), (1.1, 1.0, 1.0), None),
    "coarser": ((40, 50, 30), (13, 21, 29), (3.0, 2.4, 1.1), (1.0, 1.0, 1.0), None),
    "only in slices": ((9, 20, 30), (9, 70, 66), (1.0, 0.5, 0.5), (1.0, 1.5, 1.2), None),
    "thick slices by themselves": ((9, 20, 30), (17, 33, 70), (4.0, 0.9, 0.8), (7.5, 1.5, 1.9), 0),
    "thick axis in the middle": ((9, 20, 30), (19, 7, 77), (0.5, 5.0, 0.4), (1.0, 1.8, 1.0), 1),
    "thick last axis": ((20, 30, 9), (33, 70, 17), (0.9, 0.8, 4.0), (1.5, 1.9, 7.5), 2),
}


@pytest.mark.parametrize("spec", [FIVE, REGIONS, REGIONS_DOWN], ids=["labels", "regions", "regions in another order"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("smooth", [True, False])
def test_equals_full_resizing(name, spec, smooth):
    shape, cropped, spacing, network_spacing, separate = CASES[name]
    record = make_record(shape, cropped, spacing, network_spacing)
    logits = some_logits(spec.output_channels, shape, smooth)
    expected, expected_probabilities = plain_restore(logits, record, spec, separate)
    filled = np.full(expected_probabilities.shape, np.nan, np.float32)
    found = restore([torch.from_numpy(logits)], record, Settings(), spec, probabilities=filled)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(filled, expected_probabilities, atol=1e-5)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("depth", [1, 4, 100])
def test_slabs_and_exchanged_axes(transpose, depth):
    record = make_record((9, 20, 30), (21, 17, 40), (0.4, 1.2, 0.8), (1.0, 1.0, 1.0), transpose)
    logits = some_logits(5, (9, 20, 30))
    expected, expected_probabilities = plain_restore(logits, record, FIVE, None)
    filled = np.empty(expected_probabilities.shape, np.float32)
    slabs = torch.from_numpy(logits).split(depth, dim=1)
    np.testing.assert_array_equal(restore(slabs, record, Settings(), FIVE, probabilities=filled), expected)
    np.testing.assert_allclose(filled, expected_probabilities, atol=1e-5)


def test_half_precision_is_interpolated_in_float32():
    record = make_record((9, 20, 30), (21, 37, 40))
    logits = some_logits(5, (9, 20, 30)).astype(np.float16)
    found = restore([torch.from_numpy(logits)], record, Settings(), FIVE)
    np.testing.assert_array_equal(found, plain_restore(logits, record, FIVE, None)[0])


def test_the_separate_axis_can_be_switched_off():
    shape, cropped, spacing, network_spacing, _ = CASES["thick slices by themselves"]
    record = make_record(shape, cropped, spacing, network_spacing)
    logits = some_logits(5, shape)
    found = restore([torch.from_numpy(logits)], record, Settings(force_separate_z=False), FIVE)
    np.testing.assert_array_equal(found, plain_restore(logits, record, FIVE, None)[0])


def test_another_spline_order_in_the_plans():
    record = make_record((9, 12, 14), (12, 20, 17))
    logits = some_logits(5, (9, 12, 14))
    filled = np.empty((5, *record.full_shape), np.float32)
    found = restore([torch.from_numpy(logits)], record, Settings(order=3), FIVE, probabilities=filled)
    expected = plain_restore(logits, record, FIVE, None, order=3)[0]
    assert (found == expected).mean() > 0.999  # values are clipped to the range of the input
    np.testing.assert_array_equal(filled.argmax(axis=0), found)


def test_equal_logits_give_the_first_label():
    record = make_record((4, 4, 4), (8, 8, 8))
    assert not restore([torch.zeros(5, 4, 4, 4)], record, Settings(), FIVE).any()


def test_many_labels_need_two_bytes():
    spec = LabelSpec({"background": 0, **{f"l{i}": i for i in range(1, 300)}})
    record = make_record((2, 2, 2), (2, 2, 2))
    logits = torch.zeros(300, 2, 2, 2)
    logits[299, 0, 0, 0] = logits[256, 1, 1, 1] = 1
    found = restore([logits], record, Settings(), spec)
    assert found.dtype == np.uint16
    assert (found[1, 2, 0], found[2, 3, 1], found.sum()) == (299, 256, 555)


def test_the_record_decides_about_the_grid():
    record = replace(make_record((4, 4, 4), (4, 4, 4)), full_shape=(6, 7, 5))
    logits = torch.zeros(5, 4, 4, 4)
    logits[3] = 1
    found = restore([logits], record, Settings(), FIVE)
    assert found.shape == (6, 7, 5)
    assert (found[1:5, 2:6, 0:4] == 3).all()
    assert found.sum() == 3 * 64


def test_rows_are_read_once_and_dropped():
    slabs = [torch.full((1, depth, 1, 1), float(number)) for number, depth in enumerate((2, 1, 3))]
    rows = LogitRows(slabs)
    assert rows.rows(slice(0, 2)).flatten().tolist() == [0, 0]
    assert rows.rows(slice(1, 4)).flatten().tolist() == [0, 1, 2]
    assert rows.rows(slice(4, 6)).flatten().tolist() == [2, 2]
