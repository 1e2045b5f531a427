"""Positions and weights of sliding windows."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.ndimage import gaussian_filter  # noqa: E402

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.inference.window import AxisTiles, check_step, gaussian, tile_starts  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("size", "tile", "starts"),
    [
        (64, 64, [0]),
        (110, 64, [0, 23, 46]),
        (200, 64, [0, 27, 54, 82, 109, 136]),
        (250, 80, [0, 34, 68, 102, 136, 170]),
        (512, 192, [0, 80, 160, 240, 320]),
        (512, 160, [0, 70, 141, 211, 282, 352]),
    ],
)
def test_starts_are_those_of_nnunet(size, tile, starts):
    assert tile_starts(size, tile, 0.5) == starts


def test_a_step_of_the_whole_tile_puts_them_side_by_side():
    assert tile_starts(30, 10, 1.0) == [0, 10, 20]


@pytest.mark.parametrize("tile", [8, 13, 40, 128])
def test_the_profile_is_a_gaussian_filtered_impulse(tile):
    impulse = np.zeros(tile)
    impulse[tile // 2] = 1
    filtered = gaussian_filter(impulse, tile / 8, mode="constant", truncate=4)
    np.testing.assert_allclose(gaussian(tile), filtered / filtered.max(), atol=1e-12)


@pytest.mark.parametrize(("size", "tile"), [(110, 64), (33, 16), (16, 16), (5, 16)])
def test_weights_add_up_to_one_and_keep_the_gaussian_ratio(size, tile):
    tiles = AxisTiles.over(size, tile, 0.5)
    total = np.zeros(tiles.padded_size)
    for start, weights in zip(tiles.starts, tiles.weights, strict=True):
        total[start : start + tile] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    if len(tiles.starts) > 1:
        first, second = tiles.starts[:2]
        shared = slice(second - first, tile)  # covered by the first two tiles
        profile = gaussian(tile)
        ratio = tiles.weights[0][shared] / tiles.weights[1][: tile - (second - first)]
        np.testing.assert_allclose(ratio, profile[shared] / profile[: tile - (second - first)], rtol=1e-5)


def test_a_single_tile_counts_fully_up_to_its_corner():
    assert AxisTiles.over(128, 128, 0.5).weights.tolist() == [[1.0] * 128]


def test_a_small_image_is_padded_on_both_sides_the_odd_voxel_at_the_end():
    tiles = AxisTiles.over(5, 8, 0.5)
    assert tiles.padding == (1, 2)
    assert tiles.inner == slice(1, 6)
    assert tiles.padded_size == 8


@pytest.mark.parametrize("step", [0, -0.5, 1.5])
def test_impossible_steps(step):
    with pytest.raises(UserError, match="step"):
        check_step(step)
