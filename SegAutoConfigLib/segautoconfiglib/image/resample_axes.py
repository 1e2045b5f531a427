"""Resampling along one axis: where new voxels lie among the old ones, and what these weigh.

The grid convention is nnU-Net's (that of ``skimage.transform.resize``): voxels are boxes, old and new grid cover the
same box, the border voxels are repeated outside. Interpolation along grid axes is separable: what is here for one axis
serves all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import zoom

from segautoconfiglib.defaults import PREPROCESSING

#: New voxels that are worked on at a time: bounds the memory beside input and output, and fits the caches.
SLAB_VOXELS = 2_000_000
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


def slabs(length: int, voxels_per_slice: int) -> Iterator[tuple[int, int]]:
    """Cut ``length`` slices into ranges (start, stop) of about SLAB_VOXELS voxels, at least one slice each."""
    step = max(1, SLAB_VOXELS // max(1, voxels_per_slice))
    for start in range(0, length, step):
        yield start, min(start + step, length)
