"""Optimizers by name; plug-ins add one with ``OPTIMIZERS.register``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from segautoconfiglib.base.registry import Registry
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.training.muon import Muon

OPTIMIZERS = Registry("optimizer", {name: f"{__name__}:{name}" for name in ("sgd", "adamw", "muon")})


def sgd(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov momentum; weight decay on all parameters (nnU-Net)."""
    return torch.optim.SGD(
        parameters,
        lr=learning_rate,
        momentum=TRAINING.momentum,
        nesterov=True,
        weight_decay=TRAINING.weight_decay,
    )


def adamw(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=TRAINING.adamw_weight_decay)


def muon(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Muon for kernels, Adam for the rest; learns in fewer steps than Adam alone."""
    return Muon(
        parameters,
        learning_rate,
        momentum=TRAINING.muon_momentum,
        betas=TRAINING.muon_betas,
        weight_decay=TRAINING.adamw_weight_decay,
    )
