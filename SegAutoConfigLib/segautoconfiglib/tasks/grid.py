"""From an image's grid to the one a task's networks work on, and back.

That grid has TotalSegmentator's axes, towards head, front and right (NIfTI's "RAS+"), and the spacing of the task. Its
corner voxels lie where those of the image lie (``scipy.ndimage.zoom``), and its values are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from segautoconfiglib.base.machine import usable_cores
from segautoconfiglib.image.resample_axes import SplineOrder
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.catalogue import Spacing

Triple = tuple[int, int, int]

#: Head, front and right (columns) in ITK's physical space, which runs to the left (x), the back (y) and the head (z).
CANONICAL = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]], float)
#: Threads that resample at most: more would wait for the memory.
MOST_THREADS = 8


@dataclass(frozen=True)
class Turn:
    """An exchange and reversal of array axes.

    Attributes:
        axes: For each axis (z, y, x) of the result the axis of the source.
        reversed: For each axis of the result whether it runs the other way.
    """

    axes: Triple
    reversed: tuple[bool, bool, bool]

    @classmethod
    def canonical(cls, geometry: Geometry) -> Turn:
        """Brings the axes of an image as close as possible to head, front and right.

        The axis whose direction is the clearest chooses first (nibabel's rule for oblique images).
        """
        cosines = CANONICAL.T @ _directions(geometry)  # (canonical axis, array axis)
        closeness = np.abs(cosines)
        axes, backward = [0, 0, 0], [False, False, False]
        for source in np.argsort(-closeness.max(axis=0), kind="stable"):
            target = int(np.argmax(closeness[:, source]))
            closeness[target] = -1
            axes[target], backward[target] = int(source), bool(cosines[target, source] < 0)
        return cls((axes[0], axes[1], axes[2]), (backward[0], backward[1], backward[2]))

    @property
    def inverse(self) -> Turn:
        """Undoes this one."""
        z, y, x = (self.axes.index(axis) for axis in range(3))
        return Turn((z, y, x), (self.reversed[z], self.reversed[y], self.reversed[x]))

    def array(self, array: np.ndarray) -> np.ndarray:
        """A view of (..., z, y, x) with turned axes."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        z, y, x = (slice(None, None, -1 if backward else 1) for backward in self.reversed)
        return turned[..., z, y, x]

    def volume(self, volume: Volume) -> Volume:
        """The same voxels at the same places in space, in another order; a view."""
        old, directions = volume.geometry, _directions(volume.geometry)
        origin = np.array(old.origin)
        for axis, backward in zip(self.axes, self.reversed, strict=True):
            if backward:
                origin += directions[:, axis] * old.spacing_mm[axis] * (volume.shape[axis] - 1)
        signs = np.where(self.reversed, -1.0, 1.0)
        columns = (directions[:, self.axes] * signs)[:, ::-1]
        z, y, x = (old.spacing_mm[axis] for axis in self.axes)
        geometry = Geometry((z, y, x), tuple(origin.tolist()), tuple(columns.reshape(-1).tolist()))
        return Volume(self.array(volume.array), geometry)


def _directions(geometry: Geometry) -> np.ndarray:
    """Direction cosines of the array axes z, y, x (columns) in ITK's physical space."""
    return np.reshape(geometry.direction, (3, 3))[:, ::-1]


def stored_spacing(geometry: Geometry) -> Spacing:
    """Spacing (z, y, x) as a NIfTI header holds it, in single precision: what follows from it is rounded the same."""
    z, y, x = (float(np.float32(edge)) for edge in geometry.spacing_mm)
    return z, y, x


def whole_numbers(array: np.ndarray) -> np.ndarray:
    """Without fractions (cut off, not rounded), int16 where that holds all values, else int32."""
    kind = _whole_type(float(array.min()), float(array.max()))
    return array if array.dtype == kind else array.astype(kind)


def _whole_type(low: float, high: float) -> type[np.signedinteger]:
    limits = np.iinfo(np.int16)
    return np.int16 if limits.min <= low and high <= limits.max else np.int32


def resample(volume: Volume, spacing_mm: Spacing, order: SplineOrder = 1) -> Volume:
    """Bring an image to another spacing.

    Args:
        volume: (1, z, y, x) of any type.
        spacing_mm: Wanted, (z, y, x).
        order: Of the spline, 0 to 5.

    Returns:
        int16 or int32, fractions cut off; ``volume`` itself where it has that spacing.
    """
    old = np.array(stored_spacing(volume.geometry))
    factors = np.maximum(old / np.array(spacing_mm), 1 / np.array(volume.shape))  # at least one voxel
    if np.array_equal(old, spacing_mm):
        return volume
    shape = tuple(round(size * factor) for size, factor in zip(volume.shape, factors, strict=True))
    if order == 1:
        array = _linear(volume.array[0], shape)
    else:  # axes x, y, z as in NIfTI files: the order of the sums decides about fractions just below a whole number
        values = ndimage.zoom(volume.array[0].T, factors[::-1], np.float64, order=order, mode="nearest")
        array = np.ascontiguousarray(whole_numbers(values).T)
    return Volume(array[None], replace(volume.geometry, spacing_mm=spacing_mm))


def nearest(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bring labels (z, y, x) to another shape: each voxel takes the label that is nearest to it."""
    if labels.shape == tuple(shape):
        return labels
    index = [np.floor(_places(old, new) + 0.5).astype(np.intp) for old, new in zip(labels.shape, shape, strict=True)]
    found = np.empty(tuple(shape), labels.dtype)
    for target, source in zip(found, index[0], strict=True):
        target[...] = labels[source][index[1]][:, index[2]]
    return found


def _places(old: int, new: int) -> np.ndarray:
    """Where ``new`` voxels lie among ``old`` ones: corner on corner, float64 (new,)."""
    step = np.float64(old - 1) / np.float64(new - 1) if new > 1 else 1.0
    return np.minimum(np.arange(new) * step, old - 1)


@dataclass(frozen=True)
class _Axis:
    """Linear interpolation along an axis: indices (2, new) of the voxels around, and their weights (2, new)."""

    index: np.ndarray
    weight: np.ndarray

    @classmethod
    def between(cls, old: int, new: int) -> _Axis:
        places = _places(old, new)
        lower = np.floor(places)
        first = 1.0 - (places - lower)
        below = lower.astype(np.intp)
        return cls(np.stack([below, np.minimum(below + 1, old - 1)]), np.stack([first, 1.0 - first]))


def _linear(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """``ndimage.zoom`` with order 1 (the same sums in the same order, float64), slice by slice, fractions cut off."""
    z, y, x = (_Axis.between(old, new) for old, new in zip(array.shape, shape, strict=True))
    result = np.empty(tuple(shape), _whole_type(float(array.min()), float(array.max())))

    def fill(slices: range) -> None:
        planes: dict[int, list[np.ndarray]] = {}
        total, term = np.empty(result.shape[1:]), np.empty(result.shape[1:])
        for number in slices:
            around = z.index[:, number].tolist()
            planes = {at: planes[at] if at in planes else _products(array[at], y, x) for at in around}
            total.fill(0)
            for index in range(4):
                for at, weight in zip(around, z.weight[:, number], strict=True):
                    total += np.multiply(planes[at][index], weight, out=term)
            result[number] = total

    workers = min(usable_cores(), MOST_THREADS, len(result))
    bounds = np.linspace(0, len(result), workers + 1).astype(int).tolist()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(fill, map(range, bounds, bounds[1:])))
    return result


def _products(plane: np.ndarray, y: _Axis, x: _Axis) -> list[np.ndarray]:
    """A slice (y, x) at the new places: its voxels around them times their weights along x and y, float64."""
    values = plane.astype(np.float64)
    return [
        (values[:, x_index] * x_weight)[y_index] * y_weight[:, None]
        for x_index, x_weight in zip(x.index, x.weight, strict=True)
        for y_index, y_weight in zip(y.index, y.weight, strict=True)
    ]
