"""Cropping to what is not zero, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: Up to this share of background, following it voxel by voxel from the border is faster than labelling everything.
SPARSE_BACKGROUND = 0.05


def nonzero_mask(image: np.ndarray) -> np.ndarray:
    """Where any channel differs from zero.

    Args:
        image: (channels, z, y, x).

    Returns:
        (z, y, x) bool.
    """
    mask = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    return mask


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box around all True voxels, (first, one past the last) per axis; without any the whole extent.

    Args:
        mask: (z, y, x) bool.
    """
    ranges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        ranges.append((int(used[0]), int(used[-1]) + 1) if used.size else (0, mask.shape[axis]))
    return ranges[0], ranges[1], ranges[2]


def crop(array: np.ndarray, box: Box) -> np.ndarray:
    """A view of the box; ``array`` is (..., z, y, x)."""
    (z, z_end), (y, y_end), (x, x_end) = box
    return array[..., z:z_end, y:y_end, x:x_end]


def uncrop(array: np.ndarray, box: Box, full_shape: Sequence[int], fill: float = 0) -> np.ndarray:
    """Put (..., z, y, x) back at its box into an array of ``full_shape`` (z, y, x) filled with ``fill``."""
    full = np.full((*array.shape[:-3], *full_shape), fill, array.dtype)
    crop(full, box)[...] = array
    return full


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """``mask`` with every False region that does not reach the border of the array made True (over faces, not edges).

    Equal to ``scipy.ndimage.binary_fill_holes``; cropping the mask to its bounding box beforehand changes nothing.

    Args:
        mask: (z, y, x) bool.
    """
    background = int(mask.size - np.count_nonzero(mask))
    if background == 0:
        return mask
    if background <= SPARSE_BACKGROUND * mask.size:
        return mask | _enclosed(~mask)
    regions, count = label(~mask)
    outside = np.zeros(count + 1, bool)
    for axis in range(3):
        for side in (0, -1):
            outside[regions.take(side, axis)] = True
    outside[0] = False  # the mask itself
    return ~outside[regions]


def _enclosed(background: np.ndarray) -> np.ndarray:
    """What is left of a sparse background after removing all that is connected with the border."""
    padded = np.pad(np.ascontiguousarray(background), 1)
    left = padded.reshape(-1)
    places = np.flatnonzero(left)
    on_border = np.zeros(places.shape, bool)
    for index, size in zip(np.unravel_index(places, padded.shape), background.shape, strict=True):
        on_border |= (index == 1) | (index == size)
    steps = np.array([1, padded.shape[2], padded.shape[1] * padded.shape[2]])
    front = places[on_border]
    while front.size:
        left[front] = False
        neighbours = (front[:, None] + np.concatenate([steps, -steps])).reshape(-1)
        front = np.unique(neighbours[left[neighbours]])
    return padded[1:-1, 1:-1, 1:-1]
