"""Batch normalisation over the samples of all processes, so that a process's small part of a batch suffices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from segautoconfiglib.training.distributed import Group


def share_norms(network: nn.Module, group: Group) -> int:
    """Let a network's batch normalisations, if it has any, take mean and variance over all processes.

    Args:
        network: On its device; the layers are replaced, their weights and statistics stay the same tensors.
        group: The processes; nothing is changed for one that is alone.

    Returns:
        The number of layers.
    """
    if group.size == 1:
        return 0
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, _BatchNorm) and not isinstance(layer, (SharedBatchNorm, nn.SyncBatchNorm)):
                if layer not in made:
                    made[layer] = _shared(layer, group)
                setattr(parent, name, made[layer])
    return len(made)


def _shared(layer: _BatchNorm, group: Group) -> nn.Module:
    weight = layer.weight if layer.affine else layer.running_mean
    if weight is not None and weight.device.type == "cuda":  # torch's own is for GPUs alone
        return nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    return SharedBatchNorm(layer, group)


class SharedBatchNorm(_BatchNorm):
    """Takes the place of a batch normalisation in training on a CPU.

    Args:
        layer: Its settings, weights and statistics are taken over.
        group: The processes.
    """

    def __init__(self, layer: _BatchNorm, group: Group) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self._parameters.update(layer._parameters)
        self._buffers.update(layer._buffers)
        self._group = group

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channel, *size), each channel normalised, then scaled and shifted."""
        if not self.training and self.running_mean is not None:
            statistics = (self.running_mean, self.running_var)
            return functional.batch_norm(input, *statistics, self.weight, self.bias, eps=self.eps)
        axes, shape = [0, *range(2, input.ndim)], [1, -1, *[1] * (input.ndim - 2)]
        voxels = torch.tensor(input.numel() // input.shape[1], dtype=input.dtype, device=input.device)
        count = self._group.total(voxels)
        mean = self._group.total(input.sum(axes)) / count
        centred = input - mean.view(shape)
        variance = self._group.total((centred**2).sum(axes)) / count
        if self.running_mean is not None:
            self._note(mean, variance * count / (count - 1).clamp(min=1))
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        return result if self.weight is None else result * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Take a batch into the running statistics."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = float(1 / self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
