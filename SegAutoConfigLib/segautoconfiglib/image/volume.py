"""A volume in memory: an array with axes (channel, z, y, x) and its place in the patient's space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: First spacing (mm) that 2D images get, times their largest pixel edge (nnU-Net's rule: they count as thick slices).
PSEUDO_SLICE_SPACING = 999.0


@dataclass(frozen=True)
class Geometry:
    """Where voxels lie.

    Attributes:
        spacing_mm: Voxel edges (z, y, x), millimetres. For 2D files z is a stand-in (PSEUDO_SLICE_SPACING).
        origin: Centre of the first voxel in ITK's physical space (x, y[, z]), of length ``dimension``.
        direction: ITK's direction cosines, row by row, of length ``dimension`` squared.
        dimension: 2 or 3, of the file.
    """

    spacing_mm: tuple[float, float, float]
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    dimension: int = 3

    def differences(self, other: Geometry, tolerance: float = 1e-3) -> list[str]:
        """What differs by more than noise, in words with both values; empty when the grids agree.

        ``tolerance`` is relative for spacing, in voxels for the origin and absolute for direction cosines.
        """
        found = []
        if any(
            not math.isclose(a, b, rel_tol=tolerance) for a, b in zip(self.spacing_mm, other.spacing_mm, strict=True)
        ):
            found.append(f"spacing {_text(self.spacing_mm)} against {_text(other.spacing_mm)} mm (z, y, x)")
        if self.dimension != other.dimension:
            found.append(f"{self.dimension}D against {other.dimension}D")
            return found
        voxel = min(self.spacing_mm)
        if any(abs(a - b) > tolerance * voxel for a, b in zip(self.origin, other.origin, strict=True)):
            found.append(f"origin {_text(self.origin)} against {_text(other.origin)} (x, y, z)")
        if any(abs(a - b) > tolerance for a, b in zip(self.direction, other.direction, strict=True)):
            found.append(f"direction {_text(self.direction)} against {_text(other.direction)}")
        return found


@dataclass(frozen=True)
class Volume:
    """An image or label map.

    Attributes:
        array: (channel, z, y, x); 2D files have z = 1, label maps one channel.
        geometry: Common to all channels.
    """

    array: np.ndarray
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) in voxels."""
        _, z, y, x = self.array.shape
        return z, y, x


def _text(numbers: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{number:.6g}" for number in numbers) + ")"
