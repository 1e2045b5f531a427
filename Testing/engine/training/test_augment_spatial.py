"""Cutting, rotating and scaling patches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.training.augment_spatial import (
    CutPatch,
    SpatialParameters,
    SpatialRanges,
    centred_start,
    cut,
    draw_spatial,
    sample_case,
)
from segautoconfiglib.training.patch import PatchGeometry, patch_geometry

NUMBERS = np.load(Path(__file__).with_name("nnunet_numbers.npz"))


@dataclass
class Arrays:
    data: np.ndarray
    labels: np.ndarray


def random_case(shape: tuple[int, int, int]) -> Arrays:
    rng = np.random.default_rng(3)
    return Arrays(rng.standard_normal((2, *shape), dtype=np.float32), rng.integers(0, 4, (1, *shape)).astype(np.int16))


def test_cut_inside():
    case = random_case((5, 6, 7))
    image, labels = cut(case, (1, 2, 3), (2, 3, 4))
    np.testing.assert_array_equal(image, case.data[:, 1:3, 2:5, 3:7])
    np.testing.assert_array_equal(labels, case.labels[:, 1:3, 2:5, 3:7])


def test_cut_across_the_border():
    case = random_case((3, 3, 3))
    image, labels = cut(case, (-1, 2, 0), (3, 3, 3))
    expected = np.full((3, 3, 3), -1)
    expected[1:, 0] = case.labels[0, :2, 2]
    np.testing.assert_array_equal(labels[0], expected)
    assert (image[:, labels[0] == -1] == 0).all()
    np.testing.assert_array_equal(image[:, 1:, 0], case.data[:, :2, 2])


def test_cut_outside_is_empty():
    image, labels = cut(random_case((3, 3, 3)), (5, 0, 0), (2, 2, 2))
    assert not image.any()
    assert (labels == -1).all()


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.0,)])
def test_identity_changes_nothing(angles: tuple[float, ...]):
    case = random_case((7, 8, 9))
    image, labels = sample_case(case, (3.0, 3.5, 4.0), SpatialParameters(angles).matrix, (7, 8, 9))
    np.testing.assert_allclose(image, case.data, atol=1e-6)
    np.testing.assert_array_equal(labels, case.labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quarter_turn_about_each_axis(axis: int):
    case = random_case((5, 5, 5))
    angles = tuple(math.pi / 2 if index == axis else 0.0 for index in range(3))
    image, labels = sample_case(case, (2.0, 2.0, 2.0), SpatialParameters(angles).matrix, (5, 5, 5))
    plane = [(1, 2), (0, 2), (0, 1)][axis]
    turns = 1 if axis == 1 else -1
    np.testing.assert_allclose(image, np.rot90(case.data, turns, [p + 1 for p in plane]), atol=1e-5)
    np.testing.assert_array_equal(labels, np.rot90(case.labels, turns, [p + 1 for p in plane]))


def test_scale_above_one_makes_objects_smaller():
    case = Arrays(np.zeros((1, 1, 9, 9), np.float32), np.zeros((1, 1, 9, 9), np.int16))
    case.labels[0, 0, 2:7, 2:7] = 1
    _, small = sample_case(case, (0, 4, 4), SpatialParameters((0.0,), 5 / 3).matrix, (1, 9, 9))
    assert (small == 1).sum() == 9  # 5 voxels wide becomes 3
    assert (small == -1).sum() > 0  # and the surroundings of the case come into view


def test_labels_stay_labels():
    """No values in between, and no label that is not there."""
    case = random_case((9, 9, 9))
    case.labels[case.labels == 2] = 77
    _, labels = sample_case(case, (4, 4, 4), SpatialParameters((0.3, 0.2, 0.1), 1.1).matrix, (5, 5, 5))
    assert set(np.unique(labels)) <= {-1, 0, 1, 3, 77}


def test_ties_give_the_lowest_label():
    case = Arrays(np.zeros((1, 1, 1, 2), np.float32), np.array([[[[3, 1]]]], np.int16))
    _, labels = sample_case(case, (0, 0, 0.5), np.eye(3), (1, 1, 1))
    assert labels.item() == 1


def test_many_labels_equal_argmax_of_interpolated_channels():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 6, (1, 8, 9, 10)).astype(np.int16)
    case = Arrays(np.zeros((1, 8, 9, 10), np.float32), labels)
    matrix = SpatialParameters((0.5, -0.3, 0.2), 1.2).matrix
    size, centre = (6, 5, 7), np.array((3.5, 4.0, 4.5))
    _, found = sample_case(case, centre, matrix, size)
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in size], indexing="ij"), -1)
    grid = ((offsets @ matrix.T + centre + 0.5) * 2 / np.array(labels.shape[1:]) - 1)[..., ::-1].copy()
    scores = [
        torch.nn.functional.grid_sample(
            torch.from_numpy((labels == label).astype(np.float32))[None] - float(label == -1),
            torch.from_numpy(grid).float()[None],
            align_corners=False,
        )[0, 0]
        + float(label == -1)
        for label in range(-1, 6)
    ]
    np.testing.assert_array_equal(found[0], torch.stack(scores).argmax(0).numpy() - 1)


@pytest.mark.parametrize(
    ("name", "centre", "angles", "size"),
    [("3d", (5, 5.5, 6), (0.4, 0.4, 0.4), (8, 7, 9)), ("2d", (4, 5.5, 6), (0.4,), (1, 7, 9))],
)
def test_equals_nnunet(name: str, centre: tuple, angles: tuple, size: tuple):
    case = Arrays(NUMBERS["case_image"], NUMBERS["case_labels"])
    image, labels = sample_case(case, centre, SpatialParameters(angles, 1.3).matrix, size)
    np.testing.assert_allclose(
        image.reshape(NUMBERS[f"patch_image_{name}"].shape), NUMBERS[f"patch_image_{name}"], atol=2e-5
    )
    np.testing.assert_array_equal(
        labels.reshape(NUMBERS[f"patch_labels_{name}"].shape), NUMBERS[f"patch_labels_{name}"]
    )


def test_patch_far_outside_is_empty():
    case = random_case((4, 4, 4))
    for centre in ((40.0, 2.0, 2.0), (-40.0, 2.0, 2.0)):
        image, labels = sample_case(case, centre, SpatialParameters((0.3, 0, 0)).matrix, (3, 3, 3))
        assert not image.any()
        assert (labels == -1).all()


def test_centred_start_is_the_middle_of_the_loaded_box():
    geometry = PatchGeometry((4, 5, 1), (7, 9, 1), False, (0.0,) * 3, (), 3)
    assert centred_start((10, -2, 0), geometry) == [11, 0, 0]


def test_draws_have_nnunets_frequencies_and_ranges():
    rng = np.random.default_rng(0)
    geometry = patch_geometry((32, 32, 32), augment=True, mirror=True)
    drawn = [draw_spatial(rng, geometry, SpatialRanges()) for _ in range(3000)]
    some = [each for each in drawn if each is not None]
    assert len(some) / len(drawn) == pytest.approx(1 - 0.8 * 0.8, abs=0.03)
    scales = [each.scale for each in some if each.scale != 1]
    angles = np.array([each.angles for each in some if any(each.angles)])
    assert len(scales) / len(drawn) == pytest.approx(0.2, abs=0.03)
    assert len(angles) / len(drawn) == pytest.approx(0.2, abs=0.03)
    assert 0.7 <= min(scales) < 0.72
    assert 1.38 < max(scales) <= 1.4
    assert np.abs(angles).max() <= math.radians(30)
    assert np.ptp(angles, axis=0).min() > math.radians(58)


def test_same_numbers_same_patch():
    case = random_case((12, 12, 12))
    transform = CutPatch(patch_geometry((8, 8, 8), augment=True, mirror=True), SpatialRanges())
    for seed in range(6):
        first, second = (transform(case=case, start=(0, 0, 0), rng=np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first["image"], second["image"])
        np.testing.assert_array_equal(first["labels"], second["labels"])


@pytest.mark.parametrize(("image_order", "label_order"), [(0, 0), (0, 1), (1, 0)])
def test_nearest_voxels(image_order: int, label_order: int):
    """Against a loop over all voxels; outside the case as ever."""
    case = random_case((7, 8, 9))
    matrix, centre, size = SpatialParameters((0.4, -0.3, 0.2), 1.3).matrix, (3.1, 4.2, 4.4), (6, 7, 8)
    linear = sample_case(case, centre, matrix, size)
    image, labels = sample_case(case, centre, matrix, size, (image_order, label_order))
    found = (np.full((len(case.data), *size), 0, np.float32), np.full((1, *size), -1, np.int16))
    for index in np.ndindex(*size):
        position = np.array(centre) + matrix @ (np.array(index) - (np.array(size) - 1) / 2)
        voxel = np.rint(position).astype(int)
        if (voxel >= 0).all() and (voxel < case.data.shape[1:]).all():
            found[0][(slice(None), *index)] = case.data[(slice(None), *voxel)]
            found[1][(slice(None), *index)] = case.labels[(slice(None), *voxel)]
    np.testing.assert_array_equal(labels, linear[1] if label_order else found[1])
    np.testing.assert_array_equal(image, linear[0] if image_order else found[0])
    assert (labels == -1).any()


def test_nearest_voxels_within_slices():
    case = random_case((7, 8, 9))
    image, labels = sample_case(case, (3, 4, 4), SpatialParameters((math.pi / 2,)).matrix, (3, 5, 5), (0, 0))
    np.testing.assert_array_equal(image[:, 1], np.rot90(case.data[:, 3, 2:7, 2:7], -1, (1, 2)))
    np.testing.assert_array_equal(labels[:, 1], np.rot90(case.labels[:, 3, 2:7, 2:7], -1, (1, 2)))
