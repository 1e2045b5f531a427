"""One training step and one validation of a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.networks.device import autocast
from segautoconfiglib.training.batches import Batch
from segautoconfiglib.training.distributed import Group
from segautoconfiglib.training.losses import Loss, LossSettings, class_numbers, supervised_loss
from segautoconfiglib.training.state import TrainingState


@dataclass(frozen=True)
class Objective:
    """What is minimised, and where.

    Attributes:
        loss: At one resolution.
        settings: Meaning of the channels.
        device: Of the network.
        layout: Memory layout of images on this device.
        group: The processes that share each batch.
        share: Of a batch's samples, those that this process has.
        clip_norm: Longest gradient; infinite: any.
        mixed_precision: Compute with 16-bit numbers where the device is faster with them.
    """

    loss: Loss
    settings: LossSettings
    device: torch.device
    layout: torch.memory_format = torch.contiguous_format
    group: Group = field(default_factory=Group)
    share: float = 1.0
    clip_norm: float = TRAINING.gradient_clip_norm
    mixed_precision: bool = True

    def move(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Image and target of a batch on the device; a GPU fetches them from pinned memory, nobody waits for it."""
        image, target = (torch.from_numpy(batch[key]) for key in ("data", "target"))
        if self.device.type == "cuda":
            image, target = image.pin_memory(), target.pin_memory()
        image = image.to(self.device, non_blocking=True, memory_format=self.layout)
        return image, target.to(self.device, non_blocking=True)

    def evaluate(self, forward: Any, image: Tensor, target: Tensor) -> tuple[Any, Tensor]:
        """The network's outputs and the loss; of several processes its part, which add up to the loss of the batch."""
        with autocast(self.device) if self.mixed_precision else nullcontext():
            outputs = forward(image)
            return outputs, self.share * supervised_loss(self.loss, self.settings, outputs, target)


def train_step(state: TrainingState, objective: Objective, batch: Batch, learning_rate: float) -> float | None:
    """Change the weights by one step.

    Args:
        state: Network, optimizer, scaler, average; they are changed.
        objective: What is minimised.
        batch: ``data`` and ``target``.
        learning_rate: Of this step.

    Returns:
        The loss; None if it, or its gradient, was NaN or infinite: then nothing was changed. (Nor is anything changed
        while the scaler finds out how much loss scaling the gradient bears; such steps count as good ones.)
    """
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.optimizer.zero_grad(set_to_none=True)
    _, loss = objective.evaluate(state.forward, *objective.move(batch))
    value = float(objective.group.total(loss.detach()))
    if not math.isfinite(value):
        return None
    if not _descend(state, loss, objective):
        return value if _scale_is_too_high(state.scaler) else None
    if state.average is not None:
        state.average.update(state.network)
    return value


def _descend(state: TrainingState, loss: Tensor, objective: Objective) -> bool:
    """Backward pass, clipping and the optimizer's step; False if the gradient was not finite, so that none was made."""
    scaler = state.scaler
    (loss if scaler is None else scaler.scale(loss)).backward()
    objective.group.add_gradients(state.network)
    if scaler is not None:
        scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(list(state.network.parameters()), objective.clip_norm)
    finite = math.isfinite(float(norm))
    if scaler is not None:
        scaler.step(state.optimizer)  # leaves the step out, and lowers its scale, if a gradient is not finite
        scaler.update()
    elif finite:
        state.optimizer.step()
    return finite


def _scale_is_too_high(scaler: torch.amp.GradScaler | None) -> bool:
    """True while a gradient that is not finite may be the scaler's doing, which it corrects in the next steps."""
    return scaler is not None and scaler.get_scale() >= TRAINING.min_loss_scale


@dataclass
class ValidationSums:
    """What adds up over the batches of a validation.

    Attributes:
        losses: One per batch.
        overlap, predicted, true: Voxels per foreground class: in both, in the prediction, in the truth.
    """

    losses: list[float]
    overlap: Tensor | float = 0.0
    predicted: Tensor | float = 0.0
    true: Tensor | float = 0.0

    @property
    def loss(self) -> float:
        """Mean over the batches; NaN if there were none."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    def over(self, group: Group) -> ValidationSums:
        """The same with the voxels of all processes."""
        if not isinstance(self.overlap, Tensor):
            return self
        counts = torch.stack([torch.as_tensor(each) for each in (self.overlap, self.predicted, self.true)])
        return ValidationSums(self.losses, *group.total(counts).unbind())

    @property
    def dice(self) -> list[float]:
        """Per foreground class, over all patches together; NaN where a class is neither predicted nor true."""
        if not isinstance(self.overlap, Tensor):
            return []
        volumes = self.predicted + self.true
        assert isinstance(volumes, Tensor)
        return (2 * self.overlap / volumes).tolist()


@torch.no_grad()
def validate(network: nn.Module, objective: Objective, batches: Iterator[Batch]) -> ValidationSums:
    """Loss and Dice of a network on batches of patches ("pseudo Dice": patches are no whole cases)."""
    sums = ValidationSums([])
    network.eval()
    try:
        for batch in batches:
            image, target = objective.move(batch)
            outputs, loss = objective.evaluate(network, image, target)
            sums.losses.append(float(objective.group.total(loss)))
            finest = outputs if isinstance(outputs, Tensor) else outputs[0]
            overlap, predicted, true = count_voxels(finest, target, objective.settings)
            sums.overlap, sums.predicted, sums.true = (
                sums.overlap + overlap,
                sums.predicted + predicted,
                sums.true + true,
            )
    finally:
        network.train()
    return sums.over(objective.group)


def count_voxels(logits: Tensor, target: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels per foreground class: in both, in the prediction, in the truth; ignored voxels count nowhere.

    Args:
        logits: (batch, channel, *size).
        target: As for losses.
        settings: Meaning of the channels.

    Returns:
        Three tensors (class,) float64 on the CPU.
    """
    if settings.regions:
        regions = target.bool()
        valid = None if settings.ignore_label is None else ~regions[:, -1:]
        truth = regions if valid is None else regions[:, :-1]
        predicted = logits > 0  # sigmoid above 0.5
    else:
        classes = class_numbers(logits.shape[1], target)
        valid = None if settings.ignore_label is None else target != settings.ignore_label
        truth = target == classes
        predicted = logits.argmax(1, keepdim=True) == classes
    if valid is not None:
        truth, predicted = truth & valid, predicted & valid
    axes = [0, *range(2, logits.ndim)]
    overlap, in_prediction, in_truth = (
        (each.sum(axes)).cpu().double() for each in (truth & predicted, predicted, truth)
    )
    return overlap, in_prediction, in_truth


def mean_dice(dice: Sequence[float]) -> float:
    """Mean over the classes that have a value; NaN if none has."""
    known = [value for value in dice if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
