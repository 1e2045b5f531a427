"""Loss functions on logits, with regions, the ignore label and deep supervision.

A loss is a function ``loss(logits, target, settings)``; plug-ins add one with ``LOSSES.register``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from segautoconfiglib.base.registry import Registry
from segautoconfiglib.defaults import TRAINING

LOSSES = Registry(
    "loss",
    {name: f"{__name__}:{name}" for name in ("dice_ce", "dice", "ce")},
)


@dataclass(frozen=True)
class LossSettings:
    """What a loss must know about the labels.

    Attributes:
        regions: True: the target has a boolean channel per region, and one more that is true on ignored voxels if
            there is an ignore label; outputs are independent (sigmoid). False: the target is a label map (softmax).
        ignore_label: Voxels with this label count nowhere.
        batch_dice: Sum the Dice over the batch, rather than take each sample's.
    """

    regions: bool = False
    ignore_label: int | None = None
    batch_dice: bool = False


Loss = Callable[[Tensor, Tensor, LossSettings], Tensor]


def dice_ce(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy plus soft Dice loss; between -1 and infinity.

    Args:
        logits: (batch, channel, *size).
        target: (batch, 1, *size) integer labels, or (batch, region [+ ignore], *size) bool.
        settings: Meaning of the channels.

    Returns:
        A scalar, float32.
    """
    return ce(logits, target, settings) + dice(logits, target, settings)


def ce(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy averaged over the voxels that are not ignored (0 if there are none); arguments as `dice_ce`.

    With regions the mean of the binary cross-entropies, over regions too: the scale is the same with and without an
    ignore label.
    """
    if settings.regions:
        return _binary_cross_entropy(logits, target, settings)
    labels = target[:, 0].long()
    if settings.ignore_label is None:
        return functional.cross_entropy(logits.float(), labels)
    total = functional.cross_entropy(logits.float(), labels, ignore_index=settings.ignore_label, reduction="sum")
    return total / (labels != settings.ignore_label).sum().clamp(min=1)


def _binary_cross_entropy(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    truth, mask = _split_regions(target, settings)
    if mask is None:
        return functional.binary_cross_entropy_with_logits(logits.float(), truth.float())
    each = functional.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return (each * mask).sum() / (mask.sum() * logits.shape[1]).clamp(min=1)


def dice(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Minus the mean soft Dice of the foreground classes, or of all regions; arguments as `dice_ce`.

    Source: Drozdzal et al. 2016 and nnU-Net; the smoothing stands in the numerator and in the denominator.
    """
    if settings.regions:
        probabilities = torch.sigmoid(logits.float())
        truth, mask = _split_regions(target, settings)
    else:
        probabilities = torch.softmax(logits.float(), dim=1)[:, 1:]
        truth, mask = _foreground_channels(target, logits.shape[1], settings)
    return -soft_dice(probabilities, truth, mask, settings.batch_dice).mean()


def soft_dice(probabilities: Tensor, truth: Tensor, mask: Tensor | None, batch_dice: bool) -> Tensor:
    """Soft Dice of each channel.

    Args:
        probabilities: (batch, channel, *size) float32.
        truth: The same shape, bool.
        mask: (batch, 1, *size) bool, true where voxels count; None: everywhere.
        batch_dice: Sum over the batch first.

    Returns:
        (channel,) if ``batch_dice``, else (batch, channel).
    """
    if mask is not None:
        probabilities = probabilities * mask
        truth = truth & mask
    axes = [0, *range(2, probabilities.ndim)] if batch_dice else list(range(2, probabilities.ndim))
    both = (probabilities * truth).sum(axes)
    volumes = probabilities.sum(axes) + truth.sum(axes)
    return (2 * both + TRAINING.dice_smoothing) / (volumes + TRAINING.dice_smoothing).clamp(min=1e-8)


def _foreground_channels(target: Tensor, channels: int, settings: LossSettings) -> tuple[Tensor, Tensor | None]:
    """Boolean channels of the classes 1.. (the ignore label is none of them), and the mask of voxels that count."""
    mask = None if settings.ignore_label is None else target != settings.ignore_label
    return target == class_numbers(channels, target), mask


def class_numbers(channels: int, like: Tensor) -> Tensor:
    """1 to ``channels`` - 1 along axis 1, to compare with a label map ``like`` (batch, 1, *size)."""
    return torch.arange(1, channels, device=like.device, dtype=like.dtype).view(1, -1, *[1] * (like.ndim - 2))


def _split_regions(target: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor | None]:
    target = target.bool()
    if settings.ignore_label is None:
        return target, None
    return target[:, :-1], ~target[:, -1:]


def deep_supervision_weights(outputs: int) -> list[float]:
    """Weights of the outputs, finest first: halved from each to the next, none for the coarsest, sum 1.

    A single output has the weight 1 (it is the finest and the coarsest).
    """
    if outputs == 1:
        return [1.0]
    weights = [0.5**index for index in range(outputs - 1)]
    return [weight / sum(weights) for weight in weights] + [0.0]


def supervised_loss(loss: Loss, settings: LossSettings, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
    """The loss of a network's output, or the weighted sum over its outputs at several resolutions.

    Args:
        loss: The loss at one resolution.
        settings: Meaning of the channels.
        outputs: Logits (batch, channel, *size), or a list of them, finest first.
        target: At the finest resolution; it is resized to each output with `resize_nearest`.
    """
    if isinstance(outputs, Tensor):
        return loss(outputs, target, settings)
    weights = deep_supervision_weights(len(outputs))
    terms = [
        weight * loss(output, resize_nearest(target, output.shape[2:]), settings)
        for weight, output in zip(weights, outputs, strict=True)
        if weight > 0
    ]
    return torch.stack(terms).sum()


def resize_nearest(target: Tensor, size: Sequence[int]) -> Tensor:
    """``target`` (batch, channel, *old) at ``size``: each voxel takes the old voxel its centre lies in.

    The same as torch's "nearest-exact" mode, for every type of number.
    """
    for axis, (old, new) in enumerate(zip(target.shape[2:], size, strict=True), start=2):
        if old != new:
            index = ((torch.arange(new, device=target.device) + 0.5) * (old / new)).long()
            target = target.index_select(axis, index)
    return target
