"""Resampling of images: one small matrix per axis, because interpolation along the axes of a grid is separable."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from segautoconfiglib.image.resample_axes import (
    Shape,
    Spacing,
    SplineOrder,
    interpolation_matrix,
    nearest_indices,
    separate_axis,
    slabs,
)

#: Rows of an interpolation matrix that share one range of columns.
BAND_ROWS = 64


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
