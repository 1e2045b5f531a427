"""Models one over the other, and images in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from segautoconfiglib.tasks.parts import merge, pieces, too_large


def test_later_models_overwrite_earlier_ones() -> None:
    labels = np.array([[[0, 1, 2, 3]]], np.uint8)

    merge(labels, np.array([[[0, 0, 1, 2]]], np.uint8), {1: 25, 2: 26})

    assert labels.tolist() == [[[0, 1, 25, 26]]]


def test_labels_without_a_number_are_left_out() -> None:
    labels = np.array([[[4, 4, 4]]], np.uint8)

    merge(labels, np.array([[[1, 2, 300]]], np.uint16), {1: 10})

    assert labels.tolist() == [[[10, 4, 4]]]


@pytest.mark.parametrize("depth", [60, 61, 62, 100, 301])
def test_pieces_are_thirds_with_20_slices_more_on_both_sides(depth: int) -> None:
    image = np.arange(depth)
    third = depth // 3

    parts = pieces((depth, 5, 5), split=True)

    assert [image[piece.read].tolist() for piece in parts] == [
        list(range(third + 20)),
        list(range(third + 1 - 20, 2 * third + 20)),
        list(range(2 * third + 1 - 20, depth)),
    ]
    glued = np.full(depth, -1)
    for piece in parts:
        glued[piece.written] = image[piece.read][piece.kept]
    assert np.array_equal(glued, image)


@pytest.mark.parametrize(("depth", "split"), [(59, True), (300, False)])
def test_whole_images(depth: int, split: bool) -> None:
    assert [piece.read for piece in pieces((depth, 5, 5), split=split)] == [slice(0, depth)]


def test_size_from_which_images_are_split() -> None:
    assert not too_large((900, 512, 512))
    assert too_large((901, 512, 512))
    assert not too_large((200, 2000, 2000))
