"""Resampling of images and label maps along the axes of their grid.

The grid convention is nnU-Net's (that of ``skimage.transform.resize``): voxels are boxes, old and new grid cover the
same box, the border voxels are repeated outside. Interpolation along grid axes is separable, so that an image is
resampled by one small matrix per axis, and a label needs only the at most eight old voxels around a new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from scipy.ndimage import zoom
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import PREPROCESSING

#: New voxels that are worked on at a time: bounds the memory beside input and output, and fits the caches.
SLAB_VOXELS = 2_000_000
#: Rows of an interpolation matrix that share one range of columns.
BAND_ROWS = 64
#: Weights below this become 0: those of a spline fall by a factor of 3.7 per voxel of distance, soon to numbers so
#: small that processors take ten times as long for them.
SMALLEST_WEIGHT = 1e-9

Shape = Sequence[int]
Spacing = Sequence[float]
SplineOrder = Literal[0, 1, 2, 3, 4, 5]


def separate_axis(spacing_mm: Spacing, new_spacing_mm: Spacing, force: bool | None = None) -> int | None:
    """The axis to be resampled by itself (nearest neighbour), because its spacing is far above that of the others.

    Args:
        spacing_mm: Spacing (z, y, x) now.
        new_spacing_mm: Spacing (z, y, x) wanted.
        force: True: the coarsest axis of ``spacing_mm``; False: never; None: where the ratio of the coarsest to the
            finest spacing, now or else wanted, exceeds ``PREPROCESSING.separate_axis_threshold`` (nnU-Net).

    Returns:
        The axis, or None: also where two axes share the coarsest spacing.
    """
    if force is False:
        return None
    candidates = [spacing_mm] if force else [spacing_mm, new_spacing_mm]
    for spacing in candidates:
        if force or max(spacing) / min(spacing) > PREPROCESSING.separate_axis_threshold:
            coarsest = [axis for axis in range(len(spacing)) if max(spacing) / spacing[axis] == 1]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def old_coordinates(old: int, new: int) -> np.ndarray:
    """Where the centres of ``new`` voxels lie among ``old`` voxels, in voxel units, kept inside the border centres."""
    return np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)


def nearest_indices(old: int, new: int) -> np.ndarray:
    """The old voxel nearest to each new one (halfway: the upper one), int64 of length ``new``."""
    return np.floor(old_coordinates(old, new) + 0.5).astype(np.int64)


def interpolation_matrix(old: int, new: int, order: SplineOrder) -> np.ndarray:
    """The spline interpolation of ``old`` values at ``new`` places as a matrix (new, old), float64.

    Its columns are the interpolated unit vectors, prefilter included; equal to ``skimage.transform.resize`` with
    mode "edge" and without anti-aliasing, along one axis.
    """
    units = np.eye(old, dtype=np.float64)
    columns = [zoom(unit, new / old, order=order, mode="nearest", grid_mode=True) for unit in units]
    matrix = np.stack(columns, axis=1)
    matrix[np.abs(matrix) < SMALLEST_WEIGHT] = 0
    return matrix


@dataclass(frozen=True)
class LinearWeights:
    """Linear interpolation along one axis: ``value = lower_weight * old[lower] + upper_weight * old[upper]``.

    Attributes:
        lower: Index of the old voxel at or before each new one, int64 (new,).
        upper: Index of the old voxel behind it; equal to ``lower`` at the border.
        lower_weight: float64 (new,).
        upper_weight: float64 (new,).
    """

    lower: np.ndarray
    upper: np.ndarray
    lower_weight: np.ndarray
    upper_weight: np.ndarray

    @classmethod
    def between(cls, old: int, new: int) -> LinearWeights:
        """Linear interpolation from ``old`` to ``new`` voxels."""
        coordinates = old_coordinates(old, new)
        lower = np.floor(coordinates).astype(np.int64)
        lower_weight = 1.0 - (coordinates - lower)
        return cls(lower, np.minimum(lower + 1, old - 1), lower_weight, 1.0 - lower_weight)

    @classmethod
    def nearest(cls, old: int, new: int) -> LinearWeights:
        """Nearest neighbour in the same form."""
        index = nearest_indices(old, new)
        return cls(index, index, np.ones(new), np.zeros(new))

    def part(self, indices: slice) -> LinearWeights:
        """The same for some of the new voxels."""
        arrays = (self.lower, self.upper, self.lower_weight, self.upper_weight)
        return LinearWeights(*(array[indices] for array in arrays))

    @property
    def single(self) -> bool:
        """True where only one old voxel counts for each new one."""
        return not self.upper_weight.any()


def resample_image(
    image: np.ndarray,
    new_shape: Shape,
    spacing_mm: Spacing,
    new_spacing_mm: Spacing,
    *,
    order: SplineOrder = 3,
    order_z: SplineOrder = 0,
    separate: bool | None = None,
) -> np.ndarray:
    """Resample every channel by spline interpolation; values stay within the range of the input (nnU-Net).

    Args:
        image: (channels, z, y, x).
        new_shape: (z, y, x).
        spacing_mm: (z, y, x) of ``image``.
        new_spacing_mm: (z, y, x) of the result; with ``spacing_mm`` it decides about a separate axis only.
        order: Of the spline, 0 to 5; within slices where an axis is separate.
        order_z: Of the spline along a separate axis.
        separate: See ``force`` of :func:`separate_axis`.

    Returns:
        (channels, z, y, x) float32; ``image`` itself where it has the shape and type already.
    """
    if tuple(image.shape[1:]) == tuple(new_shape):
        return image.astype(np.float32, copy=False)
    axis = separate_axis(spacing_mm, new_spacing_mm, separate)
    result = np.empty((image.shape[0], *new_shape), np.float32)
    with small_products():
        for channel, out in zip(image, result, strict=True):
            if axis is None:
                _resize_volume(channel, out, order)
            else:
                _resize_separately(np.moveaxis(channel, axis, 0), np.moveaxis(out, axis, 0), order, order_z)
    return result


def small_products() -> AbstractContextManager[Any]:
    """Matrix products on one thread: those of interpolation are too small to share, more would wait for each other.

    The number belongs to the whole process, and only one of its living threads can set it (threadpoolctl 3.8): who
    resamples in a thread of its own enters this before starting it.
    """
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def _resize_volume(volume: np.ndarray, out: np.ndarray, order: SplineOrder) -> None:
    """Interpolate along all three axes; along z first or last, whichever keeps the array between them small."""
    low, high = volume.min(), volume.max()
    along_z = _Interpolation.between(volume.shape[0], out.shape[0], order)
    if out.shape[0] < volume.shape[0]:
        middle = along_z.apply(np.ascontiguousarray(volume, np.float32), axis=0)
        _resize_slices(middle, out, order)
    elif out.shape[0] > volume.shape[0]:
        middle = np.empty((volume.shape[0], *out.shape[1:]), np.float32)
        _resize_slices(volume, middle, order)
        along_z.apply(middle, axis=0, out=out)
    else:
        _resize_slices(volume, out, order)
    np.clip(out, low, high, out=out)


def _resize_separately(volume: np.ndarray, out: np.ndarray, order: SplineOrder, order_z: SplineOrder) -> None:
    """Interpolate within each slice (first axis), then along the first axis with ``order_z``."""
    slices = np.empty((volume.shape[0], *out.shape[1:]), np.float32)
    _resize_slices(volume, slices, order)
    if out.shape[1:] != volume.shape[1:]:
        low, high = (extreme(volume, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
        np.clip(slices, low, high, out=slices)
    if order_z == 0:
        out[...] = slices[nearest_indices(volume.shape[0], out.shape[0])]
    else:
        out[...] = _Interpolation.between(volume.shape[0], out.shape[0], order_z).apply(slices, axis=0)


def _resize_slices(volume: np.ndarray, out: np.ndarray, order: SplineOrder) -> None:
    """Interpolate along y and x, a few slices at a time."""
    along_y, along_x = (_Interpolation.between(volume.shape[a], out.shape[a], order) for a in (1, 2))
    for start, stop in slabs(out.shape[0], max(out[0].size, volume[0].size)):
        part = np.ascontiguousarray(volume[start:stop], np.float32)
        out[start:stop] = along_y.apply(along_x.apply(part, axis=2), axis=1)


def slabs(length: int, voxels_per_slice: int) -> Iterator[tuple[int, int]]:
    """Cut ``length`` slices into ranges (start, stop) of about SLAB_VOXELS voxels, at least one slice each."""
    step = max(1, SLAB_VOXELS // max(1, voxels_per_slice))
    for start in range(0, length, step):
        yield start, min(start + step, length)


@dataclass(frozen=True)
class _Interpolation:
    """An interpolation matrix cut into bands (rows, columns, float32 block); no bands: nothing to do."""

    new: int
    bands: tuple[tuple[slice, slice, np.ndarray], ...]

    @classmethod
    def between(cls, old: int, new: int, order: SplineOrder) -> _Interpolation:
        if old == new:
            return cls(new, ())
        matrix = interpolation_matrix(old, new, order)
        bands = []
        for start in range(0, new, BAND_ROWS):
            rows = matrix[start : start + BAND_ROWS]
            used = np.flatnonzero(rows.any(axis=0))
            columns = slice(used[0], used[-1] + 1)
            bands.append((slice(start, start + len(rows)), columns, rows[:, columns].astype(np.float32)))
        return cls(new, tuple(bands))

    def apply(self, volume: np.ndarray, axis: int, out: np.ndarray | None = None) -> np.ndarray:
        """Interpolate a contiguous float32 volume along one axis."""
        if not self.bands:
            return volume
        before, after = volume.shape[:axis], volume.shape[axis + 1 :]
        if out is None:
            out = np.empty((*before, self.new, *after), np.float32)
        outer, inner = math.prod(before), math.prod(after)
        source, target = (array.reshape(outer, -1, inner) for array in (volume, out))
        for rows, columns, block in self.bands:
            if after:
                np.matmul(block, source[:, columns], out=target[:, rows])
            else:
                np.matmul(source[:, columns, 0], block.T, out=target[:, rows, 0])
        return out


def resample_labels(
    labels: np.ndarray,
    new_shape: Shape,
    spacing_mm: Spacing,
    new_spacing_mm: Spacing,
    *,
    order: int = 1,
    order_z: int = 0,
    separate: bool | None = None,
) -> np.ndarray:
    """Resample a label map: the label with the largest interpolated share of a new voxel wins.

    Shares are those of linear interpolation between the eight old voxels around the new one's centre. Of labels
    with equal shares the old voxel nearest to the centre decides if it has one of them, else the smallest wins
    (batchgenerators 0.25.5, as nnU-Net uses it).

    Args:
        labels: (z, y, x) or (1, z, y, x), integers.
        new_shape: (z, y, x).
        spacing_mm: (z, y, x) of ``labels``.
        new_spacing_mm: (z, y, x) of the result.
        order: 1, or 0 for nearest neighbour.
        order_z: Along a separate axis; only 0.
        separate: See ``force`` of :func:`separate_axis`.

    Returns:
        Like ``labels``, of the new shape; ``labels`` itself where it has that shape already.

    Raises:
        UserError: another order was asked for.
    """
    if order not in (0, 1) or order_z != 0:
        raise UserError(
            f"Label maps can't be resampled with order {order} and order_z {order_z}.",
            "Set order to 0 or 1 and order_z to 0 in resampling_fn_seg_kwargs of the plans.",
        )
    if labels.ndim == 4:
        return resample_labels(labels[0], new_shape, spacing_mm, new_spacing_mm, order=order, separate=separate)[None]
    if labels.shape == tuple(new_shape):
        return labels
    axis = separate_axis(spacing_mm, new_spacing_mm, separate)
    linear = [order == 1 and a != axis and labels.shape[a] != new_shape[a] for a in range(3)]
    weights = [
        LinearWeights.between(old, new) if is_linear else LinearWeights.nearest(old, new)
        for old, new, is_linear in zip(labels.shape, new_shape, linear, strict=True)
    ]
    nearest = [nearest_indices(old, new) for old, new in zip(labels.shape, new_shape, strict=True)]
    result = np.empty(tuple(new_shape), labels.dtype)
    for start, stop in slabs(len(result), result[0].size):
        part = slice(start, stop)
        result[part] = _vote(labels, [weights[0].part(part), *weights[1:]], [nearest[0][part], *nearest[1:]])
    return result


def _vote(labels: np.ndarray, weights: list[LinearWeights], nearest: list[np.ndarray]) -> np.ndarray:
    """The winning label of each new voxel; where all old voxels around it agree there is nothing to count."""
    agreed = labels
    mixed = np.zeros((1, 1, 1), bool)
    for axis, weight in enumerate(weights):
        lower, upper = (agreed.take(index, axis) for index in (weight.lower, weight.upper))
        if axis > 0:
            mixed = mixed.take(weight.lower, axis) | mixed.take(weight.upper, axis)
        mixed = mixed | (lower != upper)
        agreed = lower
    places = np.nonzero(mixed)
    agreed[places] = _largest_share(labels, weights, nearest, places)
    return agreed


def _largest_share(
    labels: np.ndarray, weights: list[LinearWeights], nearest: list[np.ndarray], places: tuple[np.ndarray, ...]
) -> np.ndarray:
    """The label with the largest share at some new voxels (three index arrays), ties settled."""
    corners, shares = _corners(labels, weights, places)
    middle = labels[tuple(index[place] for index, place in zip(nearest, places, strict=True))]
    lowest, highest = corners.min(axis=0), corners.max(axis=0)
    two = ((corners == lowest) | (corners == highest)).all(axis=0)
    low_share, high_share = _share_of(lowest, corners, shares), _share_of(highest, corners, shares)
    tied = low_share == high_share
    winner = np.where(high_share > low_share, highest, lowest)
    winner[tied] = middle[tied]
    more = np.flatnonzero(~two)
    winner[more] = _largest_of_many(corners[:, more], shares[:, more], middle[more])
    return winner


def _corners(
    labels: np.ndarray, weights: list[LinearWeights], places: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of the old voxels around new ones: (corners, n) each, z slowest."""
    sides = []
    for weight, place in zip(weights, places, strict=True):
        pairs = [(weight.lower[place], weight.lower_weight[place])]
        if not weight.single:
            pairs.append((weight.upper[place], weight.upper_weight[place]))
        sides.append(pairs)
    corners = [
        (labels[z, y, x], z_weight * y_weight * x_weight)
        for (z, z_weight), (y, y_weight), (x, x_weight) in product(*sides)
    ]
    return np.stack([label for label, _ in corners]), np.stack([share for _, share in corners])


def _share_of(label: np.ndarray, corners: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The share of one label per new voxel, added up in the order of the corners, so that equal shares are equal."""
    total = np.zeros(label.shape)
    for corner, share in zip(corners, shares, strict=True):
        total += share * (corner == label)
    return total


def _largest_of_many(corners: np.ndarray, shares: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The winner where three or more labels meet."""
    totals = np.stack([_share_of(corner, corners, shares) for corner in corners])
    best = totals.max(axis=0)
    smallest = np.where(totals == best, corners, np.iinfo(corners.dtype).max).min(axis=0)
    return np.where(_share_of(middle, corners, shares) == best, middle, smallest).astype(corners.dtype)
