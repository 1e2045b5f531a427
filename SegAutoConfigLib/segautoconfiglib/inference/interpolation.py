"""Logits at new grid points, block by block: the full-size array of all classes never exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.image.resample_axes import LinearWeights, separate_axis

Spacing = tuple[float, ...]


@dataclass(frozen=True)
class Span:
    """A stretch of new voxels along one axis and the old ones they are interpolated from.

    Attributes:
        new: Range of new voxels.
        old: Range of old voxels.
        matrix: (new, old) float32 weights; None where new and old voxels are the same.
    """

    new: slice
    old: slice
    matrix: torch.Tensor | None

    @property
    def length(self) -> int:
        """Number of new voxels."""
        return self.new.stop - self.new.start


def axis_weights(
    shape: tuple[int, ...],
    new_shape: tuple[int, ...],
    spacing_mm: Spacing,
    new_spacing_mm: Spacing,
    options: dict[str, Any],
) -> list[LinearWeights] | None:
    """How logits are resampled along each axis; nnU-Net's rule for a separate axis applies.

    Args:
        shape: Of the logits (z, y, x).
        new_shape: Wanted.
        spacing_mm: Of the logits, (z, y, x).
        new_spacing_mm: Wanted; decides about the separate axis only.
        options: ``order``, ``order_z`` and ``separate``, as of `resample_image`.

    Returns:
        One entry per axis, or None where the plans ask for a spline order above 1.
    """
    separate = separate_axis(spacing_mm, new_spacing_mm, options.get("separate"))
    orders = [options.get("order_z", 0) if axis == separate else options.get("order", 1) for axis in range(3)]
    if any(order > 1 and old != new for order, old, new in zip(orders, shape, new_shape, strict=True)):
        return None
    return [
        LinearWeights.nearest(old, new) if order == 0 or old == new else LinearWeights.between(old, new)
        for order, old, new in zip(orders, shape, new_shape, strict=True)
    ]


def spans(weights: LinearWeights, length: int) -> list[Span]:
    """Cut an axis into stretches of at most ``length`` new voxels."""
    return [
        _span(weights, start, min(start + length, len(weights.lower))) for start in range(0, len(weights.lower), length)
    ]


def _span(weights: LinearWeights, start: int, stop: int) -> Span:
    part = weights.part(slice(start, stop))
    first, last = int(part.lower.min()), int(part.upper.max() if part.upper_weight.any() else part.lower.max())
    rows = np.arange(stop - start)
    if last - first + 1 == len(rows) and not part.upper_weight.any() and np.array_equal(part.lower, first + rows):
        return Span(slice(start, stop), slice(first, last + 1), None)
    matrix = np.zeros((len(rows), last - first + 1), np.float32)
    matrix[rows, part.lower - first] = part.lower_weight
    matrix[rows, np.minimum(part.upper, last) - first] += part.upper_weight.astype(np.float32)
    return Span(slice(start, stop), slice(first, last + 1), torch.from_numpy(matrix))


class LogitRows:
    """Access to rows (first spatial axis) of logits that arrive as consecutive slabs; rows behind are dropped.

    Args:
        slabs: Tensors (class, depth, y, x) on the CPU, together covering the first axis in order.
    """

    def __init__(self, slabs: Iterable[torch.Tensor]) -> None:
        self._slabs = iter(slabs)
        self._held: list[torch.Tensor] = []
        self._start = 0

    def rows(self, wanted: slice) -> torch.Tensor:
        """Rows (class, depth, y, x) of the slabs' type; ``wanted.start`` must not go down from call to call."""
        self._drop_before(wanted.start)
        end = self._start + sum(slab.shape[1] for slab in self._held)
        while end < wanted.stop:
            slab = next(self._slabs)
            self._held.append(slab)
            end += slab.shape[1]
            self._drop_before(wanted.start)
        parts, position = [], self._start
        for slab in self._held:
            first, last = max(wanted.start - position, 0), min(wanted.stop - position, slab.shape[1])
            if first < last:
                parts.append(slab[:, first:last])
            position += slab.shape[1]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _drop_before(self, row: int) -> None:
        while self._held and self._start + self._held[0].shape[1] <= row:
            self._start += self._held.pop(0).shape[1]

    def exhaust(self) -> None:
        """Let the source finish (its last rows may not be needed for any new voxel)."""
        self._held.clear()
        for _ in self._slabs:
            pass


class Block:
    """A box of new voxels, with the logits around it.

    Attributes:
        box: Ranges (z, y, x) of the new voxels.
        lowest: Per class the smallest of the logits that are interpolated, float32.
        highest: Per class the largest.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        extremes: tuple[torch.Tensor, torch.Tensor],
        along: tuple[Span, Span, Span],
        scratch: _Scratch,
    ) -> None:
        self._along, self._scratch = along, scratch
        _, y, x = along
        self._logits = rows[:, :, y.old, x.old]
        lowest, highest = extremes
        self.lowest = lowest[:, y.old, x.old].amin(dim=(1, 2)).numpy()
        self.highest = highest[:, y.old, x.old].amax(dim=(1, 2)).numpy()
        self.box = tuple(span.new for span in along)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.lowest)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of :meth:`values`: new voxels along (y, z, x), so that all steps are plain matrix products."""
        z, y, x = self._along
        return y.length, z.length, x.length

    def values(self, channel: int) -> np.ndarray:
        """Interpolated logits of one class, float32, axes (y, z, x); overwritten by the next call."""
        z, y, x = self._along
        part = self._logits[channel].transpose(0, 1)  # (y, z, x)
        logits = self._scratch("old", *part.shape).copy_(part)
        old_y, _, old_x = part.shape
        if z.matrix is not None:
            logits = torch.matmul(z.matrix, logits, out=self._scratch("z", old_y, z.length, old_x))
        if y.matrix is not None:
            flat = logits.view(old_y, -1)
            logits = torch.mm(y.matrix, flat, out=self._scratch("y", y.length, flat.shape[1]))
        if x.matrix is not None:
            flat = logits.view(-1, old_x)
            logits = torch.mm(flat, x.matrix.T, out=self._scratch("x", flat.shape[0], x.length))
        return logits.view(self.shape).numpy()


class _Scratch:
    """Memory that is used again: fresh arrays of this size would cost more than the arithmetic on them."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        size = prod(shape)
        if name not in self._kept or self._kept[name].numel() < size:
            self._kept[name] = torch.empty(size)
        return self._kept[name][:size].view(shape)


def blocks(logits: LogitRows, weights: list[LinearWeights]) -> Iterator[Block]:
    """All blocks of the new grid, first axis slowest."""
    depth, edge = INFERENCE.restore_depth, INFERENCE.restore_edge
    along_y, along_x = spans(weights[1], edge), spans(weights[2], edge)
    scratch = _Scratch()
    for z in spans(weights[0], depth):
        rows = logits.rows(z.old)
        extremes = rows.amin(dim=1), rows.amax(dim=1)
        for y in along_y:
            for x in along_x:
                yield Block(rows, extremes, (z, y, x), scratch)
    logits.exhaust()
