"""Where patches are taken from: nnU-Net's rules for choosing cases and places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segautoconfiglib.training.patch import PatchGeometry

#: Voxels per class: label or region (annotated voxels: a tuple that starts with -1) to (n, 4): (0, z, y, x).
ClassLocations = Mapping[Any, np.ndarray]


def is_forced_foreground(sample: int, batch_size: int, share: float) -> bool:
    """True for the last samples of a batch, which are centred on foreground; at least the rounded ``share`` of them."""
    return sample >= round(batch_size * (1 - share))


def foreground_probability(kind: str, sample: int, batch_size: int, share: float) -> float:
    """With which probability a sample of a batch is centred on foreground.

    Args:
        kind: See `Recipe.oversampling`.
        sample: Its index.
        batch_size: Samples in the batch.
        share: See `Recipe.foreground_share`.
    """
    if kind == "probabilistic":
        return share
    forced = [is_forced_foreground(index, batch_size, share) for index in range(batch_size)]
    return sum(forced) / batch_size if kind == "probabilistic_rounded" else float(forced[sample])


def draws_foreground(rng: np.random.Generator, probability: float) -> bool:
    """True with a probability; nothing is drawn where it is certain."""
    return probability >= 1 or (probability > 0 and rng.random() < probability)


def start_bounds(shape: Sequence[int], geometry: PatchGeometry) -> list[tuple[int, int]]:
    """First and last place of the loaded box along each axis; it may reach outside the case, evenly on both sides.

    Args:
        shape: Of the case, (z, y, x).
        geometry: Sizes of the loaded box and of the patch.
    """
    bounds = []
    for size, loaded, patch in zip(shape, geometry.loaded, geometry.patch, strict=True):
        padding = max(loaded - patch, loaded - size)
        bounds.append((-padding // 2, size + padding // 2 + padding % 2 - loaded))
    return bounds


def draw_start(
    rng: np.random.Generator, bounds: Sequence[tuple[int, int]], geometry: PatchGeometry, voxel: Iterable[int] | None
) -> list[int]:
    """Where the loaded box starts.

    Args:
        rng: Source of randomness.
        bounds: Of the start, both included.
        geometry: Sizes.
        voxel: (z, y, x) to centre the box on, as far as the bounds allow; None: any place, all alike.
    """
    if voxel is None:
        return [int(rng.integers(low, high, endpoint=True)) for low, high in bounds]
    return [
        min(max(low, int(centre) - loaded // 2), high)
        for (low, high), centre, loaded in zip(bounds, voxel, geometry.loaded, strict=True)
    ]


def draw_voxel(rng: np.random.Generator, locations: ClassLocations, *, foreground: bool) -> np.ndarray | None:
    """A voxel to centre a patch on.

    Args:
        rng: Source of randomness.
        locations: Of the case.
        foreground: True: a class that occurs is drawn first, all alike, then one of its voxels. False: any annotated
            voxel, if the dataset has an ignore label (then these are listed), else None.

    Returns:
        (z, y, x), or None where there is none.
    """
    annotated = [key for key in locations if _is_annotated(key) and len(locations[key])]
    keys = [key for key in locations if not _is_annotated(key) and len(locations[key])] if foreground else []
    keys = keys or annotated
    if not keys:
        return None
    voxels = locations[keys[int(rng.integers(len(keys)))]]
    return voxels[int(rng.integers(len(voxels)))][1:]


def _is_annotated(key: Any) -> bool:
    return isinstance(key, tuple) and -1 in key
