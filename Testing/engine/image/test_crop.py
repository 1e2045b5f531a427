"""Cropping, and the filling of holes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes

from segautoconfiglib.image.crop import SPARSE_BACKGROUND, bounding_box, crop, fill_holes, nonzero_mask, uncrop


def test_nonzero_mask_joins_channels_and_sees_negative_values():
    image = np.zeros((2, 1, 1, 4), np.float32)
    image[0, 0, 0, 0], image[1, 0, 0, 2] = -0.5, 3
    assert nonzero_mask(image).tolist() == [[[True, False, True, False]]]
    assert image[1, 0, 0, 0] == 0


def test_bounding_box_is_half_open():
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = mask[2, 2, 5] = True
    assert bounding_box(mask) == ((1, 3), (2, 3), (3, 6))


def test_bounding_box_of_nothing_is_everything():
    assert bounding_box(np.zeros((4, 5, 6), bool)) == ((0, 4), (0, 5), (0, 6))


def test_crop_and_uncrop_are_inverse():
    array = np.arange(2 * 4 * 5 * 6).reshape(2, 4, 5, 6)
    box = ((1, 3), (0, 4), (2, 3))
    part = crop(array, box)
    assert part.shape == (2, 2, 4, 1)
    assert part[1, 0, 3, 0] == array[1, 1, 3, 2]
    back = uncrop(part, box, (4, 5, 6), fill=-1)
    assert np.array_equal(crop(back, box), part)
    assert (back == -1).sum() == back.size - part.size


def test_a_hole_is_filled_and_a_bay_is_not():
    mask = np.ones((3, 5, 5), bool)
    mask[1, 2, 2] = False  # enclosed
    mask[1, 0, 0] = False  # on the border
    filled = fill_holes(mask)
    assert filled[1, 2, 2]
    assert not filled[1, 0, 0]
    assert not mask[1, 2, 2], "the input was changed"


def test_diagonal_gaps_do_not_let_the_outside_in():
    mask = np.ones((3, 3, 3), bool)
    mask[1, 1, 1] = mask[0, 0, 1] = False  # touch along an edge only
    assert fill_holes(mask)[1, 1, 1]


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@given(seed=st.integers(0, 10_000), background=st.sampled_from([0.01, SPARSE_BACKGROUND, 0.2, 0.5, 0.8]))
def test_equal_to_scipy_whatever_the_memory_order(transpose, seed, background):
    mask = (np.random.default_rng(seed).random((6, 7, 8)) >= background).transpose(transpose)
    assert np.array_equal(fill_holes(mask), binary_fill_holes(mask))


def test_winding_sparse_corridor_is_followed_to_its_end():
    mask = np.ones((20, 30, 30), bool)
    mask[0:11, 5, 5] = mask[10, 5, 5:20] = mask[10, 5:20, 19] = False
    assert (~mask).mean() < SPARSE_BACKGROUND
    assert np.array_equal(fill_holes(mask), mask)


def test_cropping_before_filling_changes_nothing():
    random = np.random.default_rng(3)
    mask = np.zeros((12, 12, 12), bool)
    mask[3:9, 2:11, 4:10] = random.random((6, 9, 6)) < 0.7
    box = bounding_box(mask)
    assert np.array_equal(fill_holes(crop(mask, box)), crop(binary_fill_holes(mask), box))
