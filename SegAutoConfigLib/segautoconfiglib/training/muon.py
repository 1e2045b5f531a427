"""Muon (Jordan et al. 2024): steps along the momentum with all its singular values made alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

#: Coefficients of an odd polynomial that, applied again and again, brings singular values between 0 and 1 close to 1.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
#: Steps of this root mean square are as large as Adam's usual ones, so that learning rates mean the same (Liu et al.
#: 2025).
ADAM_STEP = 0.2
EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """An optimizer that learns in few steps.

    A gradient's few largest directions drown the others; Muon takes all of them alike. It does so for kernels of more
    than one voxel, as matrices (output, input and place); everything else (biases, norms, 1x1x1 layers) moves as with
    Adam. Weight decay is decoupled.

    Args:
        parameters: Of the network.
        lr: Learning rate.
        momentum: Decay of the kernels' mean gradient.
        betas: Decays of Adam's mean gradient and mean squared gradient.
        weight_decay: Share of the weights, times the learning rate, that each step takes away.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        parameters = list(parameters)
        groups = [
            {
                "params": [parameter for parameter in parameters if is_kernel(parameter) is kernels],
                "orthogonal": kernels,
            }
            for kernels in (True, False)
        ]
        super().__init__(
            [group for group in groups if group["params"]],
            {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step. ``closure``, if given, is called for the loss before it, as torch's optimizers do."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                move = _orthogonal_step if group["orthogonal"] else _adam_step
                step = move(parameter.grad, self.state[parameter], group)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=group["lr"])
        return loss


def is_kernel(parameter: Tensor) -> bool:
    """Whether it is the weight of a convolution that sees more than one voxel."""
    return parameter.ndim > 3 and parameter[0, 0].numel() > 1


def _orthogonal_step(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    if not state:
        state["mean"] = torch.zeros_like(gradient)
    mean = state["mean"].lerp_(gradient, 1 - group["momentum"])
    ahead = gradient.lerp(mean, group["momentum"])  # Nesterov's
    matrix = ahead.reshape(len(ahead), -1)
    return (orthogonal(matrix) * (ADAM_STEP * max(matrix.shape) ** 0.5)).reshape(gradient.shape)


def _adam_step(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    if not state:
        state.update(step=torch.zeros(()), mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
    first, second = group["betas"]
    count = state["step"].add_(1).item()
    mean = state["mean"].lerp_(gradient, 1 - first)
    square = state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    return (mean / (1 - first**count)) / ((square / (1 - second**count)).sqrt_() + EPSILON)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, and singular values between about 0.7 and 1.2.

    Args:
        matrix: (rows, columns); zeros stay zeros.

    Returns:
        (rows, columns).
    """
    tall = matrix.shape[0] > matrix.shape[1]
    result = matrix.T if tall else matrix
    result = result / (result.norm() + EPSILON)
    a, b, c = POLYNOMIAL
    for _ in range(ROUNDS):
        square = result @ result.T
        result = a * result + (b * square + c * square @ square) @ result
    return result.T if tall else result
