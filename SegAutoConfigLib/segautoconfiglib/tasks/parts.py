"""Tasks of several models, and images that are segmented in three pieces."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np

#: Images above this number of voxels are segmented in pieces, if they have more slices than the second number.
MOST_VOXELS, FEW_SLICES = 512 * 512 * 900, 200
#: Slices by which neighbouring pieces overlap on either side of their border.
MARGIN = 20


def merge(labels: np.ndarray, found: np.ndarray, mapping: Mapping[int, int]) -> None:
    """Write what one model found over what earlier ones did.

    Args:
        labels: (z, y, x) uint8 of the task, changed.
        found: (z, y, x) of the model.
        mapping: The task's label for each of the model's; others are left out.
    """
    table = np.zeros(max(256, int(found.max(initial=0)) + 1), labels.dtype)
    table[list(mapping)] = list(mapping.values())
    for target, source in zip(labels, found, strict=True):  # slice by slice: no copies of the whole
        new = table[source]
        np.copyto(target, new, where=new != 0)


class Piece(NamedTuple):
    """Some slices of an image, from foot to head.

    Attributes:
        read: What the networks see.
        kept: What of it is used.
        written: Where that belongs in the image.
    """

    read: slice
    kept: slice
    written: slice


def pieces(shape: tuple[int, int, int], *, split: bool) -> list[Piece]:
    """How an image (z, y, x) is segmented: whole, or (``split``) in three pieces along z where it has slices enough."""
    depth = shape[0]
    third = depth // 3
    if not split or third < MARGIN:
        return [Piece(slice(0, depth), slice(0, depth), slice(0, depth))]
    first, second = third, 2 * third
    before = MARGIN - 1
    return [
        Piece(slice(0, first + MARGIN), slice(0, first), slice(0, first)),
        Piece(slice(first - before, second + MARGIN), slice(before, before + third), slice(first, second)),
        Piece(slice(second - before, depth), slice(before, depth - second + before), slice(second, depth)),
    ]


def too_large(shape: tuple[int, int, int]) -> bool:
    """Whether an image (z, y, x) of a task with several models is split without being asked."""
    return prod(shape) > MOST_VOXELS and shape[0] > FEW_SLICES
