"""Optimizers by name; plug-ins add one with ``OPTIMIZERS.register``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.planning.choices import OPTIMIZERS
from segautoconfiglib.planning.recipe import Recipe, optimizer_options
from segautoconfiglib.training.muon import Muon

__all__ = ["OPTIMIZERS", "adam", "adamw", "adamw_amsgrad", "adan", "make_optimizer", "muon", "sgd"]

Parameters = Iterable[nn.Parameter]
Betas = tuple[float, float]


def make_optimizer(recipe: Recipe, parameters: Parameters) -> torch.optim.Optimizer:
    """The recipe's optimizer.

    Raises:
        UserError: unknown name, a missing package, or an option that this optimizer does not have.
    """
    make, options = OPTIMIZERS.get(recipe.optimizer), optimizer_options(recipe)
    try:
        return make(parameters, recipe.learning_rate, **options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name} {value}" for name, value in options.items())
        raise UserError(
            f"The optimizer {recipe.optimizer} can't be made{' with ' + given if given else ''}: {error}.",
            "sgd and muon have a momentum, muon and Adam's relatives betas, all of them a weight decay.",
        ) from error


def sgd(
    parameters: Parameters,
    learning_rate: float,
    *,
    momentum: float = TRAINING.momentum,
    weight_decay: float = TRAINING.weight_decay,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov momentum; weight decay on all parameters (nnU-Net)."""
    return torch.optim.SGD(
        parameters, lr=learning_rate, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay
    )


def adam(
    parameters: Parameters,
    learning_rate: float,
    *,
    betas: Betas = TRAINING.adam_betas,
    weight_decay: float = TRAINING.weight_decay,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015); weight decay is part of the gradient."""
    return torch.optim.Adam(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay)


def adamw(
    parameters: Parameters,
    learning_rate: float,
    *,
    betas: Betas = TRAINING.adam_betas,
    weight_decay: float = TRAINING.adamw_weight_decay,
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, amsgrad=amsgrad)


def adamw_amsgrad(parameters: Parameters, learning_rate: float, **options: Any) -> torch.optim.Optimizer:
    """`adamw`, with its options, whose step sizes never grow (AMSGrad, Reddi et al. 2018)."""
    return adamw(parameters, learning_rate, amsgrad=True, **options)


def adan(
    parameters: Parameters,
    learning_rate: float,
    *,
    betas: tuple[float, float, float] = TRAINING.adan_betas,
    weight_decay: float = TRAINING.weight_decay,
) -> torch.optim.Optimizer:
    """Adan (Xie et al. 2022), of the package adan-pytorch. Raises: UserError: it is not installed."""
    try:
        from adan_pytorch import Adan
    except ImportError as error:
        raise UserError(
            "The optimizer adan needs the package adan-pytorch, which is not installed.",
            "Install it (pip install adan-pytorch), or choose another optimizer: adamw is the nearest.",
        ) from error
    return Adan(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay)


def muon(
    parameters: Parameters,
    learning_rate: float,
    *,
    momentum: float = TRAINING.muon_momentum,
    betas: Betas = TRAINING.muon_betas,
    weight_decay: float = TRAINING.adamw_weight_decay,
) -> torch.optim.Optimizer:
    """Muon for kernels, Adam for the rest; learns in fewer steps than Adam alone."""
    return Muon(parameters, learning_rate, momentum=momentum, betas=betas, weight_decay=weight_decay)
