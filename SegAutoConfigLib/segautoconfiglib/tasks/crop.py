"""Cutting an image down to the surroundings of a structure that a rough model found, and putting labels back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segautoconfiglib.image.crop import Box, bounding_box, crop
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.grid import stored_spacing, whole_numbers


def crop_box(mask: np.ndarray, geometry: Geometry, addon_mm: float) -> Box | None:
    """The box around a mask with a margin, within the image.

    Args:
        mask: (z, y, x) bool.
        geometry: Of the image.
        addon_mm: Margin on every side; fractions of voxels are cut off.

    Returns:
        (first, one past the last) per axis; None for an empty mask.
    """
    if not mask.any():
        return None
    grown = []
    for (start, stop), edge, size in zip(bounding_box(mask), stored_spacing(geometry), mask.shape, strict=True):
        margin = int(addon_mm / edge)
        grown.append((max(0, start - margin), min(size, stop + margin)))
    return grown[0], grown[1], grown[2]


def cropped(volume: Volume, box: Box) -> Volume:
    """The part of an image in a box, in whole numbers, at its place in space."""
    old = volume.geometry
    steps = np.reshape(old.direction, (3, 3)) * old.spacing_mm[::-1]
    origin = np.array(old.origin) + steps @ [start for start, _ in box[::-1]]
    return Volume(whole_numbers(crop(volume.array, box)), replace(old, origin=tuple(origin.tolist())))


def cut_labels(labels: np.ndarray, box: Box, shape: tuple[int, int, int]) -> list[int]:
    """Labels that reach a side of the box which is no side of the image: structures that may have been cut.

    Args:
        labels: (z, y, x) in the box.
        box: Where they lie.
        shape: Of the image.
    """
    found: set[int] = set()
    for axis, ((start, stop), size) in enumerate(zip(box, shape, strict=True)):
        for inside, index in ((start > 0, 0), (stop < size, -1)):
            if inside:
                found.update(np.unique(labels.take(index, axis)).tolist())
    return sorted(found - {0})
