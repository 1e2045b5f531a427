from __future__ import annotations

import numpy as np
import pytest

from segautoconfiglib.planning.spacing import axis_order, coarser_spacing, resampled_shape, target_spacing


def test_median_per_axis():
    spacings = np.array([[1, 1, 2], [2, 1, 2], [3, 1.5, 2]], float)
    assert target_spacing(spacings, np.full((3, 3), 100)).tolist() == [2, 1, 2]


def test_thick_slices_take_a_low_percentile():
    spacings = np.array([[z, 0.5, 0.5] for z in range(1, 12)], float)
    shapes = np.array([[20, 300, 300]] * 11)
    assert target_spacing(spacings, shapes).tolist() == [2.0, 0.5, 0.5]  # 10th percentile of 1..11


def test_coarse_axis_stays_the_coarsest():
    spacings = np.array([[0.2, 0.5, 0.5]] * 4 + [[9, 0.5, 0.5]] * 6)
    assert target_spacing(spacings, np.array([[20, 300, 300]] * 10))[0] == 0.5 + 1e-5


@pytest.mark.parametrize("slices", [100, 101])
def test_many_slices_keep_the_median(slices):
    """The rule needs less than a third of the voxels along the coarse axis."""
    spacings = np.array([[1, 0.5, 0.5], [5, 0.5, 0.5], [5, 0.5, 0.5]])
    assert target_spacing(spacings, np.array([[slices, 300, 300]] * 3))[0] == 5


@pytest.mark.parametrize(
    ("spacing", "forward", "backward"),
    [
        ((5, 1, 1), (0, 1, 2), (0, 1, 2)),
        ((1, 5, 1), (1, 0, 2), (1, 0, 2)),
        ((1, 1, 5), (2, 0, 1), (1, 2, 0)),
        ((1, 1, 1), (0, 1, 2), (0, 1, 2)),
    ],
)
def test_axis_order(spacing, forward, backward):
    assert axis_order(spacing) == (forward, backward)
    array = np.empty((2, 3, 4))
    assert array.transpose(forward).transpose(backward).shape == array.shape


def test_resampled_shape_rounds_half_to_even():
    assert resampled_shape((5, 7, 9), (1, 1, 1), (2, 2, 2)) == (2, 4, 4)
    assert resampled_shape((10, 10, 10), (3, 1, 0.5), (1, 1, 1)) == (30, 10, 5)


def test_coarser_spacing_starts_with_the_fine_axes():
    assert coarser_spacing([5.0, 1.0, 1.0]) == [5.0, 1.03, 1.03]
    assert coarser_spacing([5.0, 2.0, 2.6]) == [5.0, 2.06, 2.6]
    assert coarser_spacing([2.0, 1.0, 1.0]) == [2.06, 1.03, 1.03]
