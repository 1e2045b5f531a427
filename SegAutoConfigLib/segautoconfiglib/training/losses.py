"""Loss functions on logits, with regions, the ignore label and deep supervision.

A loss is a function ``loss(logits, target, settings)``; plug-ins add one with ``LOSSES.register``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.planning.choices import LOSSES
from segautoconfiglib.training.distributed import ALONE, Group

__all__ = ["LOSSES", "Loss", "LossSettings", "ce", "dice", "dice_ce", "dice_topk", "topk"]


@dataclass(frozen=True)
class LossSettings:
    """What a loss must know about the labels, and what the recipe says about losses.

    Attributes:
        regions: True: the target has a boolean channel per region, and one more that is true on ignored voxels if
            there is an ignore label; outputs are independent (sigmoid). False: the target is a label map (softmax).
        ignore_label: Voxels with this label count nowhere.
        batch_dice: Sum the Dice over the batch, rather than take each sample's.
        topk_share: Of the voxels that count, those with the highest cross-entropy, for the top-k losses.
        label_smoothing: Share of each voxel's target that cross-entropies spread over all classes alike (of a region:
            over inside and outside).
        dice_smoothing: Added to numerator and denominator of the soft Dice.
        group: The processes that share each batch. A loss is the mean over the samples of this process, unless it takes
            its sums over all processes (``group.total``, ``group.mean``).
    """

    regions: bool = False
    ignore_label: int | None = None
    batch_dice: bool = False
    topk_share: float = TRAINING.topk_share
    label_smoothing: float = 0.0
    dice_smoothing: float = TRAINING.dice_smoothing
    group: Group = field(default_factory=Group)


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


def dice_topk(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """`topk` plus soft Dice loss; arguments as `dice_ce`."""
    return topk(logits, target, settings) + dice(logits, target, settings)


def ce(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy averaged over the voxels that are not ignored (0 if there are none); arguments as `dice_ce`.

    With regions the mean of the binary cross-entropies, over regions too: the scale is the same with and without an
    ignore label.
    """
    each, counted = _cross_entropies(logits, target, settings)
    if counted is None:
        return each.mean()
    count = counted.sum()
    return settings.group.mean((each * counted).sum() / count.clamp(min=1), count)


def topk(logits: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy averaged over the hardest voxels (Wu et al. 2016); arguments as `dice_ce`.

    These are the share ``settings.topk_share`` of the voxels that are not ignored, with regions of all their voxels; at
    least one (0 if all are ignored). Several processes choose each among their own samples.
    """
    each, counted = _cross_entropies(logits, target, settings)
    values = each.flatten() if counted is None else each[counted]
    kept = max(1, int(len(values) * settings.topk_share)) if len(values) else 0
    hardest = values.topk(kept, sorted=False).values.sum() / max(1, kept)
    return hardest if counted is None else settings.group.mean(hardest, kept)


def _cross_entropies(logits: Tensor, target: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor | None]:
    """The cross-entropy of each voxel, or of each region and voxel, and which of them count (None: all)."""
    if settings.regions:
        truth, mask = _split_regions(target, settings)
        soft = truth * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        each = functional.binary_cross_entropy_with_logits(logits.float(), soft.float(), reduction="none")
        return each, None if mask is None else mask.expand_as(each)
    labels = target[:, 0].long()
    ignored = -100 if settings.ignore_label is None else settings.ignore_label  # torch's number for "none"
    each = functional.cross_entropy(
        logits.float(), labels, ignore_index=ignored, reduction="none", label_smoothing=settings.label_smoothing
    )
    return each, None if settings.ignore_label is None else labels != settings.ignore_label


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
    return -soft_dice(probabilities, truth, mask, settings.batch_dice, settings.group, settings.dice_smoothing).mean()


def soft_dice(
    probabilities: Tensor,
    truth: Tensor,
    mask: Tensor | None,
    batch_dice: bool,
    group: Group = ALONE,
    smoothing: float = TRAINING.dice_smoothing,
) -> Tensor:
    """Soft Dice of each channel.

    Args:
        probabilities: (batch, channel, *size) float32.
        truth: The same shape, bool.
        mask: (batch, 1, *size) bool, true where voxels count; None: everywhere.
        batch_dice: Sum over the batch first, and over all processes that share it.
        group: Those processes.
        smoothing: Added to numerator and denominator.

    Returns:
        (channel,) if ``batch_dice``, else (batch, channel).
    """
    if mask is not None:
        probabilities = probabilities * mask
        truth = truth & mask
    axes = [0, *range(2, probabilities.ndim)] if batch_dice else list(range(2, probabilities.ndim))
    both = (probabilities * truth).sum(axes)
    volumes = probabilities.sum(axes) + truth.sum(axes)
    if batch_dice:
        both, volumes = group.total(torch.stack([both, volumes])).unbind()
    return (2 * both + smoothing) / (volumes + smoothing).clamp(min=1e-8)


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
