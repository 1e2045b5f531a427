"""What TotalSegmentator does to label maps after the networks. Connected means over faces; sizes are in mm³."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from scipy import ndimage

from segautoconfiglib.image.crop import bounding_box, crop
from segautoconfiglib.tasks.catalogue import Spacing

#: Parts of arms and legs up to this size are removed (task "body").
SMALLEST_EXTREMITY_MM3 = 50_000
#: Smaller bodies of vertebrae are removed where labels were mixed up; what the training labels lack on all sides.
SMALLEST_VERTEBRA_MM3, VERTEBRA_MARGIN_MM = 100, 3.0
#: Bodies of vertebrae grow by this much before they are limited to those of the other model.
REFINED_MARGIN_MM = 2.0


def relabel(labels: np.ndarray, mapping: Mapping[int, int]) -> np.ndarray:
    """Labels (z, y, x) uint8 under other numbers; those that are not in ``mapping`` become 0."""
    table = np.zeros(256, np.uint8)
    table[list(mapping)] = list(mapping.values())
    return table[labels]


def keep(labels: np.ndarray, wanted: Collection[int]) -> np.ndarray:
    """Only these labels; all others become 0."""
    return relabel(labels, {label: label for label in wanted})


def remove_small(
    labels: np.ndarray, spacing_mm: Spacing, largest_mm3: float, only: Collection[int] | None = None
) -> np.ndarray:
    """Remove connected parts of each label up to a size.

    Args:
        labels: (z, y, x) uint8.
        spacing_mm: (z, y, x).
        largest_mm3: Of the parts that are removed.
        only: The labels to look at; None: all.

    Returns:
        A changed copy.
    """
    limit = largest_mm3 / np.prod(np.array(spacing_mm, np.float32))
    cleaned = labels.copy()
    for mask, target in _structures(labels, cleaned, only):
        parts, _ = ndimage.label(mask)
        small = np.bincount(parts.reshape(-1)) <= limit
        small[0] = False
        target[small[parts]] = 0

    return cleaned


def clean_body(labels: np.ndarray, spacing_mm: Spacing, trunk: int, extremities: int) -> np.ndarray:
    """Only the largest part of the trunk, no small parts of arms and legs; a changed copy."""
    cleaned = labels.copy()
    for mask, target in _structures(labels, cleaned, [trunk]):
        parts, _ = ndimage.label(mask)
        sizes = np.bincount(parts.reshape(-1))
        sizes[0] = 0
        target[mask & (parts != np.argmax(sizes))] = 0
    return remove_small(cleaned, spacing_mm, SMALLEST_EXTREMITY_MM3, [extremities])


def _structures(
    labels: np.ndarray, target: np.ndarray, only: Collection[int] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The mask of each label and the same part of ``target``, in the smallest box around it."""
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and (only is None or label in only):
            yield labels[box] == label, target[box]


def clean_vertebrae(labels: np.ndarray, spacing_mm: Spacing, names: Mapping[int, str]) -> np.ndarray:
    """Bodies of vertebrae in their right order and at full size.

    Bodies never touch: where two labels do, they were mixed up, and all connected bodies are numbered anew.

    Args:
        labels: (z, y, x) uint8, z from foot to head.
        spacing_mm: (z, y, x).
        names: Of the labels, which count from the head to the foot.
    """
    if _different_labels_touch(labels):
        labels = _renumbered(labels, spacing_mm, names)
    return grow(labels, spacing_mm, VERTEBRA_MARGIN_MM)


def refine_vertebrae(labels: np.ndarray, spacing_mm: Spacing, bodies: np.ndarray) -> np.ndarray:
    """Bodies of vertebrae, grown a little, where another model found them too (``bodies``, bool, same grid)."""
    grown = grow(labels, spacing_mm, REFINED_MARGIN_MM)
    grown[~bodies] = 0
    return grown


def _different_labels_touch(labels: np.ndarray) -> bool:
    """Over a face."""
    for axis in range(3):
        moved = np.moveaxis(labels, axis, 0)
        first, second = moved[:-1], moved[1:]
        if np.any((first != second) & (first > 0) & (second > 0)):
            return True
    return False


def _renumbered(labels: np.ndarray, spacing_mm: Spacing, names: Mapping[int, str]) -> np.ndarray:
    """Connected bodies numbered in their order: from the lowest one with the largest label there is upwards.

    Where the first vertebra of the neck is there and the last one of the loin is not, from the topmost one downwards.
    """
    parts, count = ndimage.label(labels > 0)
    large = np.bincount(parts.reshape(-1)) * np.prod(np.array(spacing_mm, np.float32)) >= SMALLEST_VERTEBRA_MM3
    large[0] = False
    bodies = np.flatnonzero(large)
    present = set(np.unique(labels[large[parts]]).tolist()) & set(names)
    if not present:
        return np.zeros_like(labels)
    known = {name: label for label, name in names.items()}
    from_top = known["vertebrae_C1"] in present and known["vertebrae_L5"] not in present
    heights = np.array(ndimage.center_of_mass(parts > 0, parts, bodies))[:, 0]
    order = np.argsort(-heights if from_top else heights, kind="stable")
    numbers = range(known["vertebrae_C1"], max(names) + 1) if from_top else range(max(present), min(names) - 1, -1)
    table = np.zeros(count + 1, labels.dtype)
    for body, number in zip(bodies[order], numbers, strict=False):  # bodies beyond the last number are none
        table[body] = number
    return table[parts]


def grow(labels: np.ndarray, spacing_mm: Spacing, margin_mm: float) -> np.ndarray:
    """Let each label grow in all directions into the background, the smallest number first; a changed copy."""
    ball = ellipsoid(spacing_mm, margin_mm)
    reach = [int(np.ceil(margin_mm / edge)) for edge in np.array(spacing_mm, np.float32)]
    grown = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        wide = tuple(
            slice(max(0, part.start - more), min(size, part.stop + more))
            for part, more, size in zip(box, reach, labels.shape, strict=True)
        )
        near = ndimage.binary_dilation(labels[wide] == label, structure=ball)
        target = grown[wide]
        target[near & (target == 0)] = label
    return grown


def ellipsoid(spacing_mm: Spacing, radius_mm: float) -> np.ndarray:
    """A ball in space as voxels, (z, y, x) bool.

    As in TotalSegmentator voxels are counted from the ball's edge, in single precision: where its radius is no whole
    number of voxels the centre is none either.
    """
    radii = np.float32(radius_mm) / np.array(spacing_mm, np.float32)
    z, y, x = (
        (np.arange(np.ceil((radius + np.float32(1)) + radius), dtype=np.float32) - radius) ** 2 / (radius * radius)
        for radius in radii
    )
    return np.asarray(x + y[:, None] + z[:, None, None] <= 1)


def remove_outside(labels: np.ndarray, mask: np.ndarray, spacing_mm: Spacing, margin_mm: float) -> np.ndarray:
    """Remove what is farther from a mask than a margin, in steps over faces of a voxel of mean edge; a changed copy.

    Args:
        labels: (z, y, x) uint8.
        mask: (z, y, x) bool.
        spacing_mm: (z, y, x).
        margin_mm: Around the mask.
    """
    inside = np.zeros_like(labels)
    if not mask.any():
        return inside
    steps = int(np.float32(margin_mm) / np.mean(np.array(spacing_mm, np.float32)))
    (z, z_end), (y, y_end), (x, x_end) = (
        (max(0, start - steps), min(size, stop + steps))
        for (start, stop), size in zip(bounding_box(mask), mask.shape, strict=True)
    )
    box = ((z, z_end), (y, y_end), (x, x_end))
    near = ndimage.distance_transform_cdt(~crop(mask, box), metric="taxicab") <= steps
    np.copyto(crop(inside, box), crop(labels, box), where=near)
    return inside
