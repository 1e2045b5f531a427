"""Where the tiles of a sliding window lie, and how much each counts at a voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import INFERENCE


def tile_starts(size: int, tile: int, step: float) -> list[int]:
    """First voxels of the tiles along one axis, evenly spread from border to border (nnU-Net).

    Args:
        size: Voxels of the image, at least ``tile``.
        tile: Voxels of a tile.
        step: Largest distance of neighbouring tiles, share of the tile, 0 < step <= 1.
    """
    if size == tile:
        return [0]
    count = math.ceil((size - tile) / (tile * step)) + 1
    return [int(np.round(number * ((size - tile) / (count - 1)))) for number in range(count)]


def gaussian(tile: int) -> np.ndarray:
    """Weight of the voxels of a tile along one axis, 1 at the centre (tile // 2), float64."""
    distance = np.arange(tile) - tile // 2
    return np.exp(-0.5 * (distance / (tile * INFERENCE.gaussian_sigma)) ** 2)


@dataclass(frozen=True)
class AxisTiles:
    """The tiles along one axis of the padded image.

    Attributes:
        tile: Voxels of a tile.
        starts: First voxel of each tile.
        weights: (number of tiles, tile) float32. At each voxel the weights of all tiles that cover it add up to 1, so
            that a plain sum is the Gaussian-weighted mean: the weights of a box are products over the axes and so
            are their sums.
        padding: Voxels added before and after the image.
    """

    tile: int
    starts: tuple[int, ...]
    weights: np.ndarray
    padding: tuple[int, int]

    @classmethod
    def over(cls, size: int, tile: int, step: float) -> AxisTiles:
        """Tiles over an axis of ``size`` voxels, which is padded to at least one tile (the odd voxel at the end)."""
        missing = max(0, tile - size)
        padding = (missing // 2, missing - missing // 2)
        starts = tile_starts(size + missing, tile, step)
        profile = gaussian(tile)
        total = np.zeros(size + missing)
        for start in starts:
            total[start : start + tile] += profile
        weights = np.stack([profile / total[start : start + tile] for start in starts])
        return cls(tile, tuple(starts), weights.astype(np.float32), padding)

    @property
    def padded_size(self) -> int:
        """Voxels of the padded axis."""
        return self.starts[-1] + self.tile

    @property
    def inner(self) -> slice:
        """The image within the padded axis."""
        return slice(self.padding[0], self.padded_size - self.padding[1])


def check_step(step: float) -> None:
    """Raises: UserError: ``step`` is not in (0, 1]."""
    if not 0 < step <= 1:
        raise UserError(f"The tile step is {step}.", "Give a share of the patch above 0 and at most 1, such as 0.5.")
