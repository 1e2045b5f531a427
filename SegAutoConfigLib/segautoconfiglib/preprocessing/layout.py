"""Blocks and chunks of stored arrays, so that reading a patch unpacks little else (nnU-Net's rule)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from segautoconfiglib.defaults import STORE


def block_and_chunk(
    shape: Sequence[int], patch_size: Sequence[int], item_bytes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes in which an array is compressed (block) and stored (chunk).

    A block is a power of two near the patch, halved until it fits the cache; a chunk grows by whole blocks towards
    :attr:`StoreDefaults.chunk_per_patch` patches.

    Args:
        shape: Of the array (channels, z, y, x).
        patch_size: (z, y, x) or (y, x) voxels that are read at a time.
        item_bytes: Of one value.

    Returns:
        Block and chunk, (1, z, y, x) each.
    """
    sizes = list(shape[1:])
    patch = [1] * (3 - len(patch_size)) + list(patch_size)
    limits = [math.floor(STORE.chunk_per_patch * edge) for edge in patch]
    targets = [max(1, min(size, limit)) for size, limit in zip(sizes, limits, strict=True)]
    block = _block(sizes, patch, targets, item_bytes)
    chunk = list(block)
    while grown := _grown(chunk, block, sizes, patch, targets, item_bytes):
        chunk = grown
    return (1, *block), (1, *chunk)


def _block(sizes: list[int], patch: list[int], targets: list[int], item_bytes: int) -> list[int]:
    block = [min(1 << (edge - 1).bit_length(), size) for edge, size in zip(patch, sizes, strict=True)]
    while math.prod(block) * item_bytes > STORE.block_bytes:
        axis = max((a for a in range(3) if block[a] > 1), key=lambda a: (block[a] / targets[a], a))
        block[axis] = 1 << (block[axis] - 1).bit_length() - 1  # the next smaller power of two
    return block


def _grown(
    chunk: list[int], block: list[int], sizes: list[int], patch: list[int], targets: list[int], item_bytes: int
) -> list[int] | None:
    """The chunk one block longer along the axis that is furthest from its target; None where nothing fits."""
    options = []
    for axis in range(3):
        longer = [*chunk]
        longer[axis] = min(chunk[axis] + block[axis], targets[axis])
        fits = math.prod(longer) * item_bytes <= STORE.chunk_bytes
        if patch[axis] > 1 and chunk[axis] < targets[axis] and fits:
            options.append((chunk[axis] / targets[axis], -sizes[axis], axis, longer))
    return min(options)[-1] if options else None
