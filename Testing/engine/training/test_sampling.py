"""Where patches are taken from."""

from __future__ import annotations

import numpy as np
import pytest

from segautoconfiglib.training.patch import PatchGeometry
from segautoconfiglib.training.sampling import (
    draw_start,
    draw_voxel,
    draws_foreground,
    foreground_probability,
    is_forced_foreground,
    start_bounds,
)


def sizes(loaded: int, patch: int) -> PatchGeometry:
    return PatchGeometry((patch,) * 3, (loaded,) * 3, False, (0.0,) * 3, (), 3)


@pytest.mark.parametrize(("batch", "forced"), [(1, []), (2, [1]), (3, [2]), (12, [8, 9, 10, 11])])
def test_forced_samples_are_the_last_third(batch: int, forced: list[int]):
    assert [index for index in range(batch) if is_forced_foreground(index, batch, 0.33)] == forced


@pytest.mark.parametrize(
    ("size", "loaded", "patch", "low", "high"),
    [
        (20, 8, 8, 0, 12),  # no margin: inside the case
        (20, 12, 8, -2, 10),  # margin 4: two before, two behind
        (20, 13, 8, -3, 10),  # odd margin: floor before, rounded up behind
        (5, 12, 8, -4, -3),  # the case is smaller than the box even with the margin: centred
        (8, 8, 8, 0, 0),
    ],
)
def test_start_bounds(size: int, loaded: int, patch: int, low: int, high: int):
    assert start_bounds((size,) * 3, sizes(loaded, patch)) == [(low, high)] * 3


def test_random_starts_cover_the_bounds():
    rng = np.random.default_rng(0)
    geometry = sizes(12, 8)
    starts = np.array([draw_start(rng, [(-2, 3)] * 3, geometry, None) for _ in range(200)])
    assert starts.min(0).tolist() == [-2] * 3
    assert starts.max(0).tolist() == [3] * 3


@pytest.mark.parametrize(
    ("kind", "batch", "probabilities"),
    [
        ("last", 3, [0, 0, 1]),
        ("probabilistic", 3, [0.33] * 3),
        ("probabilistic_rounded", 2, [0.5, 0.5]),
        ("probabilistic_rounded", 3, [1 / 3] * 3),
        ("probabilistic_rounded", 12, [1 / 3] * 12),
    ],
)
def test_which_samples_are_centred_on_foreground(kind: str, batch: int, probabilities: list[float]):
    found = [foreground_probability(kind, sample, batch, 0.33) for sample in range(batch)]
    assert found == pytest.approx(probabilities)


def test_what_is_certain_is_not_drawn():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    assert (draws_foreground(rng, 1.0), draws_foreground(rng, 0.0)) == (True, False)
    assert rng.bit_generator.state == state
    assert np.mean([draws_foreground(rng, 0.3) for _ in range(3000)]) == pytest.approx(0.3, abs=0.03)


def test_forced_start_is_centred_and_stays_in_the_bounds():
    rng = np.random.default_rng(0)
    assert draw_start(rng, [(-2, 10)] * 3, sizes(12, 8), (7, 0, 19)) == [1, -2, 10]


def test_classes_are_drawn_alike_and_empty_ones_never():
    rng = np.random.default_rng(0)
    locations = {
        1: np.array([[0, 1, 1, 1]]),
        2: np.array([[0, 2, z, 2] for z in range(100)]),
        3: np.empty((0, 4), int),
    }
    drawn = [draw_voxel(rng, locations, foreground=True) for _ in range(400)]
    share = np.mean([voxel[0] == 1 for voxel in drawn])
    assert 0.4 < share < 0.6
    assert {int(voxel[0]) for voxel in drawn} == {1, 2}


def test_annotated_voxels_centre_the_other_samples():
    rng = np.random.default_rng(0)
    locations = {(-1, 0, 1): np.array([[0, 5, 6, 7]]), 1: np.array([[0, 1, 2, 3]])}
    assert draw_voxel(rng, locations, foreground=True).tolist() == [1, 2, 3]
    assert draw_voxel(rng, locations, foreground=False).tolist() == [5, 6, 7]
    assert draw_voxel(rng, {(-1, 0, 1): locations[(-1, 0, 1)]}, foreground=True).tolist() == [5, 6, 7]


def test_no_voxel_without_locations():
    rng = np.random.default_rng(0)
    assert draw_voxel(rng, {}, foreground=True) is None
    assert draw_voxel(rng, {1: np.array([[0, 1, 2, 3]])}, foreground=False) is None
