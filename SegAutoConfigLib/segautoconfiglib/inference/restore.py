"""From logits on the network's grid to labels and probabilities on the grid of the file.

Equal to resizing all classes to full size, taking the winner and undoing the crop, but done block by block with one
class at a time. Linear interpolation never leaves the range of the values around it, so a class whose largest logit
around a block is below another's smallest can't win there and is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.image.resample_image import resample_image
from segautoconfiglib.inference.interpolation import Block, LogitRows, axis_weights, blocks
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.preprocessing.case import resampling_options
from segautoconfiglib.preprocessing.geometry import SpatialRecord


def restore(
    slabs: Iterable[torch.Tensor],
    record: SpatialRecord,
    configuration: Configuration,
    spec: LabelSpec,
    *,
    probabilities: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
) -> np.ndarray:
    """Labels in the grid of the file.

    Args:
        slabs: Logits (class, depth, y, x) on the CPU, consecutive along the first axis of the network's grid; or
            probabilities, where the configuration says so.
        record: How the case was brought to that grid.
        configuration: Says how logits are resampled.
        spec: Meaning of the channels.
        probabilities: (class, z, y, x) float32 in the grid of the file; filled if given (may be a memory map).
        uncertainty: (z, y, x) float32 in the grid of the file; filled if given, see `entropy`.

    Returns:
        (z, y, x) uint8, or uint16 for more than 255 classes.
    """
    cropped = np.zeros(record.cropped_shape, label_type(spec))
    options = resampling_options(
        configuration.resampling_fn_probabilities, configuration.resampling_fn_probabilities_kwargs
    )
    weights = axis_weights(
        record.resampled_shape, record.cropped_shape, record.network_spacing_mm, record.spacing_mm, options
    )
    rows = LogitRows(slabs)
    parts = [SplineBlock(rows, record, options)] if weights is None else blocks(rows, weights)
    target, doubt = _probability_view(probabilities, record, spec), _uncertainty_view(uncertainty, record)
    ready = configuration.average_probabilities
    threshold = 0.5 if ready else 0.0
    for block in parts:
        if target is not None or doubt is not None:
            _fill(block, spec, target, doubt, ready=ready)
        labels = (
            region_labels(block, spec.regions_class_order, threshold) if spec.has_regions else winning_labels(block)
        )
        cropped[block.box] = labels.transpose(1, 0, 2)
    return record.restore_labels(cropped)


def label_type(spec: LabelSpec) -> type[np.unsignedinteger]:
    """The smallest type that holds all labels."""
    return np.uint8 if max(spec.all_labels) < 255 else np.uint16


class SplineBlock:
    """The whole grid as one block, for plans that ask for another spline than the linear one (none of nnU-Net's do)."""

    def __init__(self, rows: LogitRows, record: SpatialRecord, options: Mapping[str, Any]) -> None:
        self._logits = rows.rows(slice(0, record.resampled_shape[0])).numpy()
        self._record, self._options = record, options
        self.classes = len(self._logits)
        self.lowest = np.full(self.classes, -np.inf)  # a spline may leave the range: nothing is certain
        self.highest = np.full(self.classes, np.inf)
        z, y, x = record.cropped_shape
        self.shape = (y, z, x)
        self.box = (slice(0, z), slice(0, y), slice(0, x))

    def values(self, channel: int) -> np.ndarray:
        """Interpolated logits of one class, float32, axes (y, z, x)."""
        resized = resample_image(
            self._logits[channel : channel + 1],
            self._record.cropped_shape,
            self._record.network_spacing_mm,
            self._record.spacing_mm,
            **self._options,
        )
        return resized[0].transpose(1, 0, 2)


def winning_labels(block: Block | SplineBlock) -> np.ndarray:
    """The class with the largest logit per voxel, the first of equal ones; axes as in :meth:`Block.values`."""
    kind = np.uint8 if block.classes <= 255 else np.uint16
    possible = np.flatnonzero(block.highest >= block.lowest.max())
    labels = np.full(block.shape, possible[0], kind)
    if len(possible) == 1:
        return labels
    best = block.values(int(possible[0])).copy()
    larger = np.empty(block.shape, bool)
    for label in possible[1:]:
        values = block.values(int(label))
        np.greater(values, best, out=larger)
        np.maximum(best, values, out=best)
        np.maximum(labels, larger.view(np.uint8) * kind(label), out=labels)  # labels ascend: the later is the larger
    return labels


def region_labels(block: Block | SplineBlock, class_order: Iterable[int], threshold: float = 0.0) -> np.ndarray:
    """Regions with a probability above 0.5 (a logit above 0) written one over the other; axes (y, z, x)."""
    labels = np.zeros(block.shape, np.uint16)
    for channel, label in enumerate(class_order):
        if block.lowest[channel] > threshold:
            labels[...] = label
        elif block.highest[channel] > threshold:
            np.copyto(labels, np.uint16(label), where=block.values(channel) > threshold)
    return labels


def entropy(probabilities: torch.Tensor, *, regions: bool) -> torch.Tensor:
    """How undecided the network is, from 0 (one class is certain) to 1 (all are equally likely).

    Args:
        probabilities: (class or region, ...) float32.
        regions: They are independent of each other: each is yes or no, and the most undecided one counts.

    Returns:
        Entropy as a share of the largest possible one, without the first axis.
    """
    if regions:
        binary = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
        return binary.amax(dim=0) / math.log(2)
    return torch.special.entr(probabilities).sum(dim=0) / math.log(max(2, len(probabilities)))


def _fill(
    block: Block | SplineBlock,
    spec: LabelSpec,
    probabilities: np.ndarray | None,
    uncertainty: np.ndarray | None,
    *,
    ready: bool,
) -> None:
    """Write a block's probabilities and their entropy into the parts of full-size arrays that the network saw."""
    logits = torch.empty((block.classes, *block.shape))
    for channel, values in enumerate(logits):
        values.copy_(torch.from_numpy(block.values(channel)))
    result = logits  # or probabilities already
    if not ready:
        result = torch.sigmoid(logits) if spec.has_regions else torch.softmax(logits, dim=0)
    if probabilities is not None:
        inside = (slice(None), *block.box)
        probabilities[inside] = result.numpy().transpose(0, 2, 1, 3)
    if uncertainty is not None:
        uncertainty[block.box] = entropy(result, regions=spec.has_regions).clamp_(0, 1).numpy().transpose(1, 0, 2)


def _probability_view(array: np.ndarray | None, record: SpatialRecord, spec: LabelSpec) -> np.ndarray | None:
    """The part of the full-size array that the network saw, axes as in the network; the rest becomes background."""
    if array is None:
        return None
    array[...] = 0
    if not spec.has_regions:
        array[0] = 1
    transposed = array.transpose(0, *(axis + 1 for axis in record.transpose))
    inside = (slice(None), *(slice(low, high) for low, high in record.box))
    return transposed[inside]


def _uncertainty_view(array: np.ndarray | None, record: SpatialRecord) -> np.ndarray | None:
    """Likewise; the rest is certain."""
    if array is None:
        return None
    array[...] = 0
    return array.transpose(record.transpose)[tuple(slice(low, high) for low, high in record.box)]
