"""Cutting a patch out of a case, rotated and scaled: only the voxels that the patch needs are read.

Positions are voxel indices of the case, (z, y, x); the value of a voxel is that of its centre. Outside the case images
are 0 and labels are OUTSIDE.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from batchgenerators.transforms.abstract_transforms import AbstractTransform

from segautoconfiglib.defaults import AUGMENTATION
from segautoconfiglib.preprocessing.case import OUTSIDE
from segautoconfiglib.training.patch import PatchGeometry, Shape

#: Points sampled at a time, so that the arrays of one round stay in the processor's cache.
_POINTS_PER_ROUND = 50_000


class CaseArrays(Protocol):
    """What patches are read from: ``data[channels, z, y, x]`` and ``labels[channels, z, y, x]`` give arrays."""

    @property
    def data(self) -> Any:
        """(channel, z, y, x), with ``shape`` and slicing."""

    @property
    def labels(self) -> Any:
        """(1, z, y, x), in a cascade (2, z, y, x) with those of the previous stage; with ``shape`` and slicing."""


@dataclass(frozen=True)
class SpatialRanges:
    """How patches are rotated and scaled.

    Attributes:
        rotation_probability, scaling_probability: Per sample.
        axis_probability: Of each axis, if the sample is rotated at all.
        scaling_range: See `SpatialParameters.scale`.
        scale_axes_alike: One scale for all axes; otherwise one for each.
        margin: Smallest scale that the loaded box is enlarged for.
        image_order, label_order: Of the interpolation: 1 linear, 0 the nearest voxel.
    """

    rotation_probability: float = AUGMENTATION.rotation_probability
    axis_probability: float = 1.0
    scaling_probability: float = AUGMENTATION.scaling_probability
    scaling_range: tuple[float, float] = AUGMENTATION.scaling_range
    scale_axes_alike: bool = True
    margin: float = AUGMENTATION.patch_margin
    image_order: int = 1
    label_order: int = 1


@dataclass(frozen=True)
class SpatialParameters:
    """A rotation and scaling.

    Attributes:
        angles: About z, y, x, radians; a single angle turns within the (y, x) plane.
        scale: Distance in the case per distance in the patch: above 1, objects become smaller. One number, or one for
            each of the axes that the angles are about (y and x for a single angle).
    """

    angles: tuple[float, ...]
    scale: float | tuple[float, ...] = 1.0

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3): maps an offset from the patch's centre to one from the centre of its place in the case."""
        if len(self.angles) == 1:
            y, x = self.scale if isinstance(self.scale, tuple) else (self.scale,) * 2
            return _rotation(0, self.angles[0]) @ np.diag((1.0, y, x))
        about_z, about_y, about_x = (_rotation(axis, angle) for axis, angle in enumerate(self.angles))
        return about_x @ about_y @ about_z * np.array(self.scale)


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Rotation about one axis of the array."""
    cosine, sine = math.cos(angle), math.sin(angle)
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def draw_spatial(rng: np.random.Generator, geometry: PatchGeometry, ranges: SpatialRanges) -> SpatialParameters | None:
    """Draw a rotation and a scaling, each with its probability; None if there is neither."""
    rotate = rng.random() < ranges.rotation_probability
    scale = rng.random() < ranges.scaling_probability
    angles = tuple(float(rng.uniform(-limit, limit)) if rotate else 0.0 for limit in geometry.rotation)
    if rotate and ranges.axis_probability < 1:
        angles = tuple(angle if rng.random() < ranges.axis_probability else 0.0 for angle in angles)
    if not scale:
        return SpatialParameters(angles) if rotate else None
    if ranges.scale_axes_alike:
        return SpatialParameters(angles, float(rng.uniform(*ranges.scaling_range)))
    return SpatialParameters(angles, tuple(rng.uniform(*ranges.scaling_range, size=max(2, len(angles))).tolist()))


class CutPatch(AbstractTransform):
    """Replaces ``case`` and ``start`` (of the box ``geometry.loaded``) by ``image`` and ``labels`` of the patch.

    Args:
        geometry: Sizes and angles.
        ranges: How to rotate and scale; None: not at all.
    """

    def __init__(self, geometry: PatchGeometry, ranges: SpatialRanges | None) -> None:
        self.geometry = geometry
        self.ranges = ranges

    def __call__(self, *, case: CaseArrays, start: Sequence[int], **sample: Any) -> dict[str, Any]:
        """``image`` (channel, z, y, x) float32 and ``labels`` (1 or 2, z, y, x) int16, as ``geometry.patch``."""
        drawn = draw_spatial(sample["rng"], self.geometry, self.ranges) if self.ranges is not None else None
        if drawn is None or self.ranges is None:
            image, labels = cut(case, centred_start(start, self.geometry), self.geometry.patch)
        else:
            centre = [low + (size - 1) / 2 for low, size in zip(start, self.geometry.loaded, strict=True)]
            orders = (self.ranges.image_order, self.ranges.label_order)
            image, labels = sample_case(case, centre, drawn.matrix, self.geometry.patch, orders)
        return {**sample, "image": image, "labels": labels}


def centred_start(start: Sequence[int], geometry: PatchGeometry) -> list[int]:
    """Where the patch starts in the middle of the loaded box that starts at ``start``."""
    return [
        low + loaded // 2 - size // 2 for low, loaded, size in zip(start, geometry.loaded, geometry.patch, strict=True)
    ]


def cut(case: CaseArrays, start: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A box of a case that may reach outside it.

    Args:
        case: Image and labels.
        start: First voxel (z, y, x); may be negative.
        size: Voxels.

    Returns:
        The image (channel, *size) float32 and the labels (1 or 2, *size) int16.
    """
    image = np.zeros((case.data.shape[0], *size), dtype=np.float32)
    labels = np.full((case.labels.shape[0], *size), OUTSIDE, dtype=np.int16)
    low = [max(first, 0) for first in start]
    high = [min(first + count, edge) for first, count, edge in zip(start, size, case.data.shape[1:], strict=True)]
    if all(a < b for a, b in zip(low, high, strict=True)):
        inside = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
        place = (slice(None), *(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True)))
        image[place] = case.data[inside]
        labels[place] = case.labels[inside]
    return image, labels


def sample_case(
    case: CaseArrays, centre: Sequence[float], matrix: np.ndarray, size: Shape, orders: tuple[int, int] = (1, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """A patch whose voxels lie at ``centre + matrix @ (index - centre of the patch)`` in the case.

    The image is interpolated linearly. A label is the one with the largest sum of linear weights, of several the
    lowest: what an argmax over linearly interpolated one-hot channels gives.

    Args:
        case: Image and labels.
        centre: (z, y, x), voxels.
        matrix: (3, 3).
        size: Of the patch, (z, y, x).
        orders: Of the interpolation of image and labels: 1 as above, 0 the value of the nearest voxel.

    Returns:
        The image (channel, *size) float32 and the labels (1 or 2, *size) int16.
    """
    reach = np.abs(matrix) @ ((np.array(size) - 1) / 2)
    low = np.maximum(np.floor(centre - reach), 0).astype(int) - 1  # a margin of one voxel, outside the case if need be
    high = np.minimum(np.ceil(centre + reach), np.array(case.data.shape[1:]) - 1).astype(int) + 3
    box_image, box_labels = cut(case, low, np.maximum(high - low, 3))
    axes = [np.arange(count) - (count - 1) / 2 for count in size]
    terms = [[matrix[to, of] * axes[of] for of in range(3)] for to in range(3)]
    offsets = np.asarray(centre) - low
    between_slices = bool(matrix[0, 1:].any() or np.any((terms[0][0] + offsets[0]) % 1))
    sampler = _Sampler(box_image, box_labels, (0, 1, 2) if between_slices else (1, 2), orders)
    image = np.empty((len(box_image), *size), dtype=np.float32)
    labels = np.empty((len(box_labels), *size), dtype=np.int16)
    step = max(1, _POINTS_PER_ROUND // (size[1] * size[2]))
    for first in range(0, size[0], step):
        part = slice(first, first + step)
        positions = [
            ((along_z[part, None] + along_y) + offset).astype(np.float32)[:, :, None] + along_x.astype(np.float32)
            for (along_z, along_y, along_x), offset in zip(terms, offsets, strict=True)
        ]
        sampler.sample(positions, image[:, part], labels[:, part])
    return image, labels


class _Sampler:
    """Linear interpolation in a box with a margin of one voxel before and two behind, all outside.

    Args:
        image: (channel, z, y, x).
        labels: (1 or 2, z, y, x).
        axes: Along which positions lie between voxels.
        orders: Of the interpolation of image and labels.
    """

    _MIXED = np.iinfo(np.int16).min

    def __init__(self, image: np.ndarray, labels: np.ndarray, axes: Sequence[int], orders: tuple[int, int]) -> None:
        self._orders = orders
        self._shape = labels.shape[1:]
        self._axes = axes
        self._channels = image.reshape(len(image), -1)
        self._maps = [(each.ravel(), _uniform_cells(each, axes, self._MIXED).ravel()) for each in labels]
        strides = (labels.shape[2] * labels.shape[3], labels.shape[3], 1)
        self._corners = [
            sum(step * strides[axis] for step, axis in zip(steps, axes, strict=True))
            for steps in itertools.product((0, 1), repeat=len(axes))
        ]

    def sample(self, positions: Sequence[np.ndarray], image: np.ndarray, labels: np.ndarray) -> None:
        """Fill ``image`` (channel, z, y, x) and ``labels`` (map, z, y, x) with the values at ``positions``."""
        shape = labels.shape[1:]
        image_order, label_order = self._orders
        first, fractions = self._cells_of(positions)
        nearest = self._nearest(positions) if 0 in self._orders else first
        for channel, values in enumerate(self._channels):
            linear = image_order == 1
            found = _interpolate(values, first, self._corners, fractions) if linear else values.take(nearest)
            image[channel] = found.reshape(shape)
        for out, (values, cells) in zip(labels, self._maps, strict=True):
            linear = label_order == 1
            found = self._found(values, cells, first, fractions) if linear else values.take(nearest)
            out[...] = found.reshape(shape)

    def _nearest(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        """The flat index of the voxel that is nearest to each position."""
        index = np.zeros(positions[0].size, dtype=np.intp)
        for position, count in zip(positions, self._shape, strict=True):
            index *= count
            index += np.clip(np.rint(position.ravel()), 0, count - 1).astype(np.intp)
        return index

    def _found(
        self, values: np.ndarray, cells: np.ndarray, first: np.ndarray, fractions: Sequence[np.ndarray]
    ) -> np.ndarray:
        """The labels at some positions: those of uniform cells at once, of the others the heaviest."""
        found = cells.take(first, mode="clip")
        mixed = np.flatnonzero(found == self._MIXED)
        if len(mixed):
            places = first[mixed]
            corners = [values[corner:].take(places, mode="clip") for corner in self._corners]
            found[mixed] = _heaviest(corners, _weights([fraction[mixed] for fraction in fractions]))
        return found

    def _cells_of(self, positions: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The flat index of each position's lowest corner, and how far it lies from it along ``axes`` (0 to 1)."""
        first = np.zeros(positions[0].size, dtype=np.int32)
        fractions = []
        for position, count in zip(positions, self._shape, strict=True):
            inside = np.maximum(position.ravel(), np.float32(0))
            np.minimum(inside, np.float32(count - 2), out=inside)
            corner = inside.astype(np.int32)
            inside -= corner
            fractions.append(inside)
            first *= count
            first += corner
        return first.astype(np.intp), [fractions[axis] for axis in self._axes]


def _uniform_cells(labels: np.ndarray, axes: Sequence[int], mixed: int) -> np.ndarray:
    """For each cell (two voxels along each of ``axes``) its label, or ``mixed``; stored at the cell's lowest corner."""
    low = high = labels
    for axis in axes:
        before = (*[slice(None)] * axis, slice(None, -1))
        behind = (*[slice(None)] * axis, slice(1, None))
        low, high = np.minimum(low[before], low[behind]), np.maximum(high[before], high[behind])
    cells = np.full(labels.shape, mixed, dtype=np.int16)
    cells[tuple(map(slice, low.shape))] = np.where(low == high, low, mixed)
    return cells


def _interpolate(
    values: np.ndarray, first: np.ndarray, corners: Sequence[int], fractions: Sequence[np.ndarray]
) -> np.ndarray:
    """Linear interpolation between the corners of each cell, the last axis running fastest."""
    level = [values[corner:].take(first, mode="clip") for corner in corners]
    for fraction in reversed(fractions):
        merged = []
        for low, high in zip(level[::2], level[1::2], strict=True):
            high -= low
            high *= fraction
            high += low
            merged.append(high)
        level = merged
    return level[0]


def _weights(fractions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The linear weights of a cell's corners, the last axis running fastest."""
    weights = [np.ones_like(fractions[0])]
    for fraction in fractions:
        weights = [weight * share for weight in weights for share in (1 - fraction, fraction)]
    return weights


def _heaviest(corners: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """For each point the label with the largest sum of weights; of several the lowest."""
    low: np.ndarray = np.minimum.reduce(corners)
    high: np.ndarray = np.maximum.reduce(corners)
    best = np.where(_score(high, corners, weights) > 0.5, high, low)
    more_than_two = np.flatnonzero(np.logical_or.reduce([(corner != low) & (corner != high) for corner in corners]))
    if len(more_than_two):
        some = [corner[more_than_two] for corner in corners]
        best[more_than_two] = _heaviest_of_many(some, [weight[more_than_two] for weight in weights])
    return best


def _heaviest_of_many(corners: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    present = np.flatnonzero(np.bincount(np.concatenate(corners).astype(np.intp) - OUTSIDE)) + OUTSIDE
    best = np.empty_like(corners[0])
    best_score = np.full(best.shape, -1.0, dtype=np.float32)
    for label in present.astype(best.dtype):  # ascending, so that the lowest of equals stays
        score = _score(label, corners, weights)
        better = score > best_score
        best[better] = label
        best_score[better] = score[better]
    return best


def _score(
    label: np.ndarray | np.integer[Any], corners: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> np.ndarray:
    """For each point the sum of the weights of the corners with a label."""
    score = np.zeros_like(weights[0])
    for corner, weight in zip(corners, weights, strict=True):
        score += weight * (corner == label).astype(np.float32)
    return score
