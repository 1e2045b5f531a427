"""Logits of a whole image from a network that sees patches of fixed size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from torch import nn

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.inference.window import AxisTiles, check_step
from segautoconfiglib.networks.device import autocast, lacks_memory

STAGE = "predict"

#: (tiles done, tiles in all)
Progress = Callable[[int, int], None]


def tile_progress(report: Reporter, case: str, done: int, total: int) -> Progress:
    """Reports progress within a case as parts of 1, not too often."""
    last = time.monotonic()

    def progress(tile: int, tiles: int) -> None:
        nonlocal last
        if tile < tiles and time.monotonic() - last >= INFERENCE.report_interval_s:
            last = time.monotonic()
            report("progress", stage=STAGE, done=round(done + tile / tiles, 3), total=total, case=case)

    return progress


@dataclass(frozen=True)
class SlidingWindow:
    """Runs networks over an image.

    Attributes:
        networks: One per fold, on ``device``, in evaluation mode; their logits are averaged.
        patch_size: (z, y, x), or (y, x) for networks that see single slices.
        output_channels: Logits per voxel.
        device: Where the networks are.
        mirror_axes: Axes of the patch along which mirrored images are predicted too, in all combinations, and
            averaged; empty for none.
        step: Distance of tiles, share of the patch.
        activation: Makes probabilities of logits (tile, class, z, y, x) before they are averaged; None: logits are.
    """

    networks: Sequence[nn.Module]
    patch_size: tuple[int, ...]
    output_channels: int
    device: torch.device
    mirror_axes: tuple[int, ...] = ()
    step: float = INFERENCE.step
    activation: Callable[[torch.Tensor], torch.Tensor] | None = None

    def slabs(
        self, image: Any, *, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> Iterator[torch.Tensor]:
        """Logits of the image, from the first slice to the last.

        Sums are float32 and hold only as many slices as one tile has; finished slices are handed out. Where a GPU's
        memory does not suffice, they go on in main memory, and tiles are predicted one at a time.

        Args:
            image: (channel, z, y, x) float32: an array, or anything that gives arrays when sliced.
            progress: Called after each batch of tiles.
            cancel: Asked before each batch of tiles.

        Yields:
            (class, depth, y, x) float32 on the CPU; the depths add up to the image's.

        Raises:
            UserError: the step is not usable, or the network returns no finite numbers.
            Cancelled: on request.
        """
        check_step(self.step)
        shape = self.sums_shape(image.shape[1:])
        image = _Padded(image, self._axes(image.shape[1:]))
        axis_z, axis_y, axis_x = image.axes
        sums = _Sums(torch.zeros(shape, device=self._sum_device(shape)))
        done, total = 0, len(axis_z.starts) * len(axis_y.starts) * len(axis_x.starts)
        for index, start in enumerate(axis_z.starts):
            for tiles in self._batches(axis_z, list(product(range(len(axis_y.starts)), range(len(axis_x.starts))))):
                if cancel is not None:
                    cancel.raise_if_cancelled()
                self._add_tiles(sums, image, index, tiles)
                done += len(tiles)
                if progress is not None:
                    progress(done, total)
            stop = axis_z.starts[index + 1] if index + 1 < len(axis_z.starts) else axis_z.padded_size
            yield from _finished(sums.values, start, stop, image.axes)

    @property
    def voxels_at_once(self) -> int:
        """Of the tiles that go through a network together."""
        return max(self._batch_voxels(), int(np.prod(self.patch_size)))

    def sums_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """Shape (class, z, y, x) of the sums for an image (z, y, x): as deep as one tile."""
        axis_z, axis_y, axis_x = self._axes(shape)
        return self.output_channels, axis_z.tile, axis_y.padded_size, axis_x.padded_size

    def _axes(self, shape: Sequence[int]) -> tuple[AxisTiles, AxisTiles, AxisTiles]:
        y, x = (AxisTiles.over(shape[a], self.patch_size[a - 3], self.step) for a in (1, 2))
        if len(self.patch_size) == 3:
            return AxisTiles.over(shape[0], self.patch_size[0], self.step), y, x
        return _single_slices(shape[0], self._slices_at_once()), y, x

    def _slices_at_once(self) -> int:
        return max(1, self._batch_voxels() // int(np.prod(self.patch_size)))

    def _batch_voxels(self) -> int:
        return INFERENCE.batch_voxels_cpu if self.device.type == "cpu" else INFERENCE.batch_voxels_gpu

    def _batches(self, axis_z: AxisTiles, places: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Tiles of one row, as many at a time as make a batch worth its memory."""
        voxels = axis_z.tile * int(np.prod(self.patch_size[-2:]))
        count = max(1, self._batch_voxels() // voxels)
        for first in range(0, len(places), count):
            yield places[first : first + count]

    def _sum_device(self, shape: tuple[int, ...]) -> torch.device:
        """The networks' device if the sums take less than half of its free memory, else the CPU."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)  # torch's own
            return self.device if 4 * int(np.prod(shape)) < free // 2 else torch.device("cpu")
        return self.device

    def _add_tiles(self, sums: _Sums, image: _Padded, index_z: int, tiles: list[tuple[int, int]]) -> None:
        """Add the logits of some tiles to the sums, which go on in main memory if the GPU's is used up."""
        weighted: torch.Tensor | None = None
        try:
            weighted = self._weighted(image, index_z, tiles).to(sums.values.device)
        except RuntimeError as error:  # goes on below: in here the error still holds the network's arrays
            if not lacks_memory(error) or (sums.values.device.type == "cpu" and len(tiles) == 1):
                raise
        if weighted is None:
            sums.values = sums.values.cpu()
            torch.cuda.empty_cache()
            for place in tiles:
                self._add_tiles(sums, image, index_z, [place])
            return
        _, axis_y, axis_x = image.axes
        for (y, x), tile in zip(tiles, weighted, strict=True):
            first_y, first_x = axis_y.starts[y], axis_x.starts[x]
            part = sums.values[:, :, first_y : first_y + axis_y.tile, first_x : first_x + axis_x.tile]
            part += tile

    @torch.inference_mode()
    def _weighted(self, image: _Padded, index_z: int, tiles: list[tuple[int, int]]) -> torch.Tensor:
        """Logits of tiles times their weights, (tile, class, z, y, x), on the networks' device."""
        axis_z, axis_y, axis_x = image.axes
        boxes = [(axis_z.starts[index_z], axis_y.starts[y], axis_x.starts[x]) for y, x in tiles]
        logits = self._logits(torch.from_numpy(np.stack([image.tile(box) for box in boxes])).to(self.device))
        for (y, x), tile in zip(tiles, logits, strict=True):
            plane = np.multiply.outer(axis_y.weights[y], axis_x.weights[x])
            tile.mul_(torch.from_numpy(np.multiply.outer(axis_z.weights[index_z], plane)).to(self.device))
        return logits

    @torch.inference_mode()
    def _logits(self, tiles: torch.Tensor) -> torch.Tensor:
        """Mean over folds and mirrorings, (tile, class, z, y, x) float32, for tiles (tile, channel, z, y, x)."""
        flat = len(self.patch_size) == 2
        if flat:  # slices become a batch
            count, _, depth = tiles.shape[:3]
            tiles = tiles.transpose(1, 2).flatten(0, 1)
        axes = [2 + axis for axis in self.mirror_axes]
        flips = [chosen for number in range(len(axes) + 1) for chosen in combinations(axes, number)]
        total: torch.Tensor | None = None
        with autocast(self.device):
            for network in self.networks:
                for chosen in flips:
                    logits = network(tiles.flip(chosen) if chosen else tiles).float()
                    logits = self.activation(logits) if self.activation else logits
                    logits = logits.flip(chosen) if chosen else logits
                    total = logits if total is None else total.add_(logits)
        assert total is not None
        total /= len(flips) * len(self.networks)
        return total.unflatten(0, (count, depth)).transpose(1, 2) if flat else total


def _single_slices(size: int, at_once: int) -> AxisTiles:
    """Groups of slices that are predicted independently: tiles side by side, the last one shorter by padding."""
    at_once = min(at_once, size)
    starts = tuple(range(0, size, at_once))
    missing = starts[-1] + at_once - size
    return AxisTiles(at_once, starts, np.ones((len(starts), at_once), np.float32), (0, missing))


@dataclass
class _Sums:
    """The sums of logits, (class, z, y, x): the only reference to them, so that moving them frees a GPU's memory."""

    values: torch.Tensor


@dataclass(frozen=True)
class _Padded:
    """An image with zeros around it, cut out tile by tile."""

    image: Any
    axes: tuple[AxisTiles, AxisTiles, AxisTiles]

    def tile(self, start: tuple[int, int, int]) -> np.ndarray:
        """(channel, z, y, x) float32 of the tiles' size."""
        channels = self.image.shape[0]
        result = np.zeros((channels, *(axis.tile for axis in self.axes)), np.float32)
        read, written = [slice(None)], [slice(None)]
        for first, axis, size in zip(start, self.axes, self.image.shape[1:], strict=True):
            low = first - axis.padding[0]
            read.append(slice(max(low, 0), min(low + axis.tile, size)))
            written.append(slice(read[-1].start - low, read[-1].stop - low))
        result[tuple(written)] = self.image[tuple(read)]
        return result


def _finished(
    sums: torch.Tensor, start: int, stop: int, axes: tuple[AxisTiles, AxisTiles, AxisTiles]
) -> Iterator[torch.Tensor]:
    """Hand out the slices [start, stop) of the padded image, without padding; the rest moves up."""
    axis_z, axis_y, axis_x = axes
    first, last = max(start, axis_z.inner.start) - start, min(stop, axis_z.inner.stop) - start
    if first < last:
        slab = sums[:, first:last, axis_y.inner, axis_x.inner]
        if not torch.isfinite(slab.sum()):
            raise UserError(
                "The network returned infinite numbers or NaN.",
                "Check the image for NaN and extreme values; on a GPU try --device cpu, which computes in float32.",
                "check-image",
            )
        yield slab.to("cpu", copy=True).contiguous()
    moved = stop - start
    kept = sums.shape[1] - moved
    for row in range(kept):  # one slice at a time: source and target overlap
        sums[:, row] = sums[:, row + moved]
    sums[:, kept:] = 0
