"""The Mamba layer of U-Mamba (Gu & Dao 2023, arXiv:2312.00752). Attribute names are those of published weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus
from torch.utils.checkpoint import checkpoint

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import MAMBA
from segautoconfiglib.networks.scan import selective_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Mamba(nn.Module):
    """Mixes every token with those before it, as much as their content asks for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, rank = MAMBA.expansion * width, math.ceil(width / MAMBA.rank_divisor)
        self.sizes = (rank, MAMBA.states, MAMBA.states)
        self.A_log = nn.Parameter(torch.arange(1.0, MAMBA.states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, MAMBA.kernel, groups=inner, padding=MAMBA.kernel - 1)
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._scan: tuple[torch.device, torch.dtype, Scan] | None = None
        self._set_first_steps(rank)

    @torch.no_grad()
    def _set_first_steps(self, rank: int) -> None:
        """Step sizes start between the limits: the bias is what softplus makes them of."""
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = math.log(MAMBA.min_step), math.log(MAMBA.max_step)
        steps = torch.empty_like(self.dt_proj.bias).uniform_(low, high).exp().clamp(min=MAMBA.step_floor)
        self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length, width) to the same shape; float32, or float64 where the weights are.

        Of many tokens the insides, a multiple of the input, are not kept for the gradient but computed again.
        """
        if torch.is_grad_enabled() and tokens.numel() > MAMBA.recomputed_numbers:
            mixed: Tensor = checkpoint(self._mix, tokens, use_reentrant=False, preserve_rng_state=False)
            return mixed
        return self._mix(tokens)

    def _mix(self, tokens: Tensor) -> Tensor:
        x, gate = self.in_proj(tokens).chunk(2, dim=-1)
        x = silu(self.conv1d(x.transpose(1, 2))[..., : x.shape[1]])
        steps, b, c = self.x_proj(x.transpose(1, 2)).split(self.sizes, dim=-1)
        dt = softplus(self.dt_proj(steps)).transpose(1, 2)
        scan = self._fastest_scan(tokens.device, tokens.dtype)
        y = scan(x, dt, -self.A_log.exp(), b.transpose(1, 2), c.transpose(1, 2), self.D)
        mixed: Tensor = self.out_proj(y.transpose(1, 2) * silu(gate))
        return mixed

    def _fastest_scan(self, device: torch.device, dtype: torch.dtype) -> Scan:
        if self._scan is None or self._scan[:2] != (device, dtype):
            self._scan = (device, dtype, fastest_scan(device, dtype))
        return self._scan[2]


def fastest_scan(device: torch.device, dtype: torch.dtype = torch.float32) -> Scan:
    """The scan of the package mamba_ssm where it is installed and works on this device; else ours."""
    if device.type != "cuda" or dtype != torch.float32:
        return selective_scan
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn  # type: ignore[import-not-found]

        return selective_scan_fn if _works(selective_scan_fn, device) else selective_scan
    except (ImportError, OSError, RuntimeError, AttributeError, NameError, TypeError, ValueError):
        return selective_scan  # the package exists in many builds: without this kernel, for another GPU or torch


@torch.inference_mode(False)
@torch.enable_grad()
def _works(scan: Scan, device: torch.device, tolerance: float = 1e-4) -> bool:
    """Whether a tiny scan gives what ours gives, and its gradients too: to this share of the largest value of each."""
    pairs = zip(*(_tiny(candidate, device) for candidate in (scan, selective_scan)), strict=True)
    return all((found - true).abs().max() <= tolerance * true.abs().max() for found, true in pairs)


def _tiny(scan: Scan, device: torch.device) -> tuple[Tensor, ...]:
    """What a scan makes of few tokens, and the gradients of its inputs; no two numbers of these are the same."""
    batch, channels, states, length = 2, 6, 4, 10
    shapes = [(batch, channels, length)] * 2 + [(channels, states)] + [(batch, states, length)] * 2 + [(channels,)]
    numbers = torch.rand(sum(map(math.prod, shapes)), generator=torch.Generator().manual_seed(0))
    parts = numbers.split([math.prod(shape) for shape in shapes])
    x, dt, a, b, c, d = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
    inputs = [each.to(device) for each in (x - 0.5, dt, -2 * a, b - 0.5, c - 0.5, d)]
    y = scan(*(tensor.requires_grad_() for tensor in inputs))
    return y.detach(), *torch.autograd.grad(y.square().sum(), inputs)


class MambaLayer(nn.Module):
    """Normalises the tokens of a feature map and mixes them; its output takes the features' place.

    Tokens are voxels, z, then y, then x; or, in stages of published UMambaEnc weights, channels.
    """

    def __init__(self, channels: int, token_width: int | None = None) -> None:
        """
        Args:
            channels: Of the feature map.
            token_width: Voxels of the map, if channels are the tokens.
        """
        super().__init__()
        self.token_width = token_width
        width = channels if token_width is None else token_width
        self.norm = nn.LayerNorm(width)
        self.mamba = Mamba(width)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channel, *size) to the same shape in float32, also within mixed precision.

        Raises:
            UserError: channels are the tokens, and the map has not as many voxels as in training.
        """
        with torch.autocast(features.device.type, enabled=False):
            flat = features.to(self.norm.weight.dtype).flatten(2)
            if self.token_width is None:
                mixed = self.mamba(self.norm(flat.transpose(1, 2))).transpose(1, 2)
            else:
                self._check(features.shape[2:])
                mixed = self.mamba(self.norm(flat))
            return mixed.unflatten(2, features.shape[2:])

    def _check(self, size: torch.Size) -> None:
        if size.numel() != self.token_width:
            found = "x".join(map(str, size))
            raise UserError(
                f"A Mamba layer of this network works on maps of {self.token_width} voxels only; this patch leads to "
                f"one of {found}.",
                "UMambaEnc networks of the original U-Mamba are tied to the patch size of their training: use that.",
            )
