"""The clean-up of label maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from segautoconfiglib.tasks.catalogue import find_task
from segautoconfiglib.tasks.cleanup import (
    clean_body,
    clean_vertebrae,
    ellipsoid,
    grow,
    keep,
    refine_vertebrae,
    relabel,
    remove_outside,
    remove_small,
)

NAMES = find_task("vertebrae_pp").classes
C1, C2, C3, T12, L4, L5 = (
    find_task("vertebrae_pp").label(f"vertebrae_{name}") for name in ("C1", "C2", "C3", "T12", "L4", "L5")
)
#: Vertebrae are looked at with voxels of 5 mm, larger than the 3 mm by which they grow: then only their labels change.
COARSE = (5.0, 5.0, 5.0)


def test_labels_get_other_numbers_or_none() -> None:
    labels = np.array([[[0, 1, 2, 3]]], np.uint8)

    assert relabel(labels, {1: 30, 3: 1}).tolist() == [[[0, 30, 0, 1]]]
    assert keep(labels, [2]).tolist() == [[[0, 0, 2, 0]]]


def test_small_parts_are_removed_up_to_the_size() -> None:
    labels = np.zeros((5, 5, 9), np.uint8)
    labels[0, 0, :2], labels[2, 2, :3], labels[4, 4, 0], labels[4, 3, 1] = 1, 1, 2, 2  # the last two touch at an edge
    before = labels.copy()

    cleaned = remove_small(labels, (2.0, 1.0, 1.0), 4.0)

    expected = np.zeros_like(labels)
    expected[2, 2, :3] = 1
    assert np.array_equal(cleaned, expected)
    assert np.array_equal(remove_small(labels, (2.0, 1.0, 1.0), 4.0, [2]), np.where(labels == 1, 1, 0))
    assert np.array_equal(labels, before)


def test_body_is_one_trunk_with_large_limbs() -> None:
    labels = np.zeros((6, 8, 20), np.uint8)
    labels[:4, :4, :4], labels[:, 6:, :3] = 1, 1  # 64 and 36 voxels
    labels[0, 0, 6:16], labels[5, 5, 5:16] = 2, 2  # 10 and 11 voxels of 5000 mm³

    cleaned = clean_body(labels, (50.0, 10.0, 10.0), 1, 2)

    expected = np.zeros_like(labels)
    expected[:4, :4, :4], expected[5, 5, 5:16] = 1, 2
    assert np.array_equal(cleaned, expected)


def column(*labels: int, gap: int = 1) -> np.ndarray:
    """Bodies of 2 x 2 x 2 voxels one above the other, from the foot; neighbours without a gap for ``gap`` 0."""
    array = np.zeros((len(labels) * (2 + gap), 4, 4), np.uint8)
    for number, label in enumerate(labels):
        array[number * (2 + gap) : number * (2 + gap) + 2, 1:3, 1:3] = label
    return array


def test_vertebrae_apart_keep_their_labels() -> None:
    labels = column(L5, T12, C1)

    assert np.array_equal(clean_vertebrae(labels, COARSE, NAMES), labels)


def test_mixed_vertebrae_are_counted_from_the_lowest() -> None:
    labels = column(T12, C3, L4)
    labels[0, 1, 1] = L4  # two labels in one body; of all labels the largest is the lowest vertebra's

    assert np.array_equal(clean_vertebrae(labels, COARSE, NAMES), column(L4, L4 - 1, L4 - 2))


def test_mixed_vertebrae_of_the_neck_are_counted_from_the_top() -> None:
    labels = column(T12, C3, C1)
    labels[0, 1, 1] = C2

    assert np.array_equal(clean_vertebrae(labels, COARSE, NAMES), column(C3, C2, C1))


def test_with_the_last_vertebra_counting_begins_there() -> None:
    labels = column(C1, C3, L5)
    labels[0, 1, 1] = C2

    assert np.array_equal(clean_vertebrae(labels, COARSE, NAMES), column(L5, L4, L4 - 1))


def test_bodies_beyond_the_first_vertebra_are_none() -> None:
    labels = column(C3, C2, C2, C2)
    labels[0, 1, 1] = C2

    assert np.array_equal(clean_vertebrae(labels, COARSE, NAMES), column(C3, C2, C1, 0))


def test_specks_of_mixed_vertebrae_are_removed() -> None:
    labels = column(L5, L4)
    labels[0, 1, 1] = L4
    labels[5, 0, 0] = C1  # 64 mm³

    cleaned = clean_vertebrae(labels, (4.0, 4.0, 4.0), NAMES)

    assert np.array_equal(cleaned, column(L5, L4))


def test_vertebrae_grow_into_the_background_only() -> None:
    labels = np.zeros((1, 1, 9), np.uint8)
    labels[0, 0, 3], labels[0, 0, 5] = C2, C1

    assert clean_vertebrae(labels, (1.5, 1.5, 1.5), NAMES).tolist() == [[[0, C2, C2, C2, C1, C1, C1, C1, 0]]]


def test_refined_vertebrae_are_where_the_other_model_found_bodies() -> None:
    labels = np.zeros((1, 1, 9), np.uint8)
    labels[0, 0, 4] = C3
    bodies = np.zeros((1, 1, 9), bool)
    bodies[0, 0, 3:8] = True

    assert refine_vertebrae(labels, (1.0, 1.0, 1.0), bodies).tolist() == [[[0, 0, 0, C3, C3, C3, C3, 0, 0]]]


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (0.7, 0.4, 1.1), (5.0, 0.8, 0.8), (2.0, 0.977, 0.3)])
def test_ball_is_the_grid_from_its_edge(spacing: tuple[float, float, float]) -> None:
    z, y, x = np.float32(3) / np.float32(spacing)
    grid_x, grid_y, grid_z = np.ogrid[-x : x + 1, -y : y + 1, -z : z + 1]
    expected = (grid_x * grid_x) / (x * x) + (grid_y * grid_y) / (y * y) + (grid_z * grid_z) / (z * z) <= 1

    assert np.array_equal(ellipsoid(spacing, 3.0), expected.transpose(2, 1, 0))


def test_growing_equals_dilation_of_each_label() -> None:
    labels = np.zeros((12, 13, 14), np.uint8)
    labels[2:4, 2:5, 2:4], labels[8:10, 8:9, 8:13], labels[0, 12, 13] = 2, 1, 3
    spacing = (1.1, 0.7, 0.9)

    expected = labels.copy()
    for label in (1, 2, 3):
        expected[ndimage.binary_dilation(labels == label, ellipsoid(spacing, 3.0)) & (expected == 0)] = label
    assert np.array_equal(grow(labels, spacing, 3.0), expected)


def test_what_is_far_from_the_mask_is_removed() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (14, 15, 16), np.uint8)
    mask = np.zeros(labels.shape, bool)
    mask[5:7, 6:8, 3], mask[0, 14, 15] = True, True
    spacing = (3.0, 1.5, 1.5)

    near = ndimage.binary_dilation(mask, iterations=5)  # 10 mm of 2 mm

    assert np.array_equal(remove_outside(labels, mask, spacing, 10.0), np.where(near, labels, 0))
    assert not remove_outside(labels, np.zeros_like(mask), spacing, 10.0).any()
