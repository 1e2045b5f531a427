"""The parts that U-Nets are made of. Attribute names are those of published nnU-Net weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.functional import group_norm

from segautoconfiglib.base.errors import UserError

Sizes = tuple[int, ...]


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's layer with the same weights and results, faster on a CPU (see `cpu_instance_norm`)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(batch, channels, y, x), each channel of each sample normalised, then scaled and shifted."""
        return cpu_instance_norm(self, input) if _is_simple(self, input) else super().forward(input)


class InstanceNorm3d(nn.InstanceNorm3d):
    """torch's layer with the same weights and results, faster on a CPU (see `cpu_instance_norm`)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(batch, channels, z, y, x), each channel of each sample normalised, then scaled and shifted."""
        return cpu_instance_norm(self, input) if _is_simple(self, input) else super().forward(input)


def cpu_instance_norm(layer: nn.InstanceNorm2d | nn.InstanceNorm3d, features: torch.Tensor) -> torch.Tensor:
    """Group normalisation with one channel per group: a training step of a small 3D network takes a third less time."""
    return group_norm(features, features.shape[1], layer.weight, layer.bias, layer.eps)


def _is_simple(layer: nn.InstanceNorm2d | nn.InstanceNorm3d, features: torch.Tensor) -> bool:
    return features.device.type == "cpu" and not layer.track_running_stats


#: Layers of torch with a faster equal here.
FASTER_LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.InstanceNorm2d: InstanceNorm2d,
    nn.InstanceNorm3d: InstanceNorm3d,
}


def torch_layer(name: str | None) -> type[nn.Module] | None:
    """A layer of torch.nn by its dotted name. Nothing else is imported: plans come with foreign models.

    Raises:
        UserError: it is none.
    """
    if name is None:
        return None
    known = isinstance(name, str) and name.startswith("torch.nn.")
    found = getattr(nn, name.rsplit(".", 1)[-1], None) if known else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"The plans ask for the layer {name!r}, which is no layer of torch.nn.", "Check arch_kwargs.")
    return found


@dataclass(frozen=True)
class LayerKinds:
    """Which layers a network is made of, for one number of dimensions.

    Attributes:
        dimension: 2 or 3.
        conv_bias: Convolutions have a bias (those of shortcuts never do).
        norm, norm_options: Normalisation layer, or None; called with the number of channels.
        dropout, dropout_options: Layer between convolution and normalisation, or None.
        activation, activation_options: Activation, or None.
    """

    dimension: int
    conv_bias: bool = True
    norm: Callable[..., nn.Module] | None = None
    norm_options: Mapping[str, Any] = field(default_factory=dict)
    dropout: Callable[..., nn.Module] | None = None
    dropout_options: Mapping[str, Any] = field(default_factory=dict)
    activation: Callable[..., nn.Module] | None = nn.LeakyReLU
    activation_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def conv(self) -> type[nn.Conv2d] | type[nn.Conv3d]:
        """The convolution of this dimension."""
        return nn.Conv2d if self.dimension == 2 else nn.Conv3d

    @property
    def transposed_conv(self) -> type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]:
        """The transposed convolution of this dimension."""
        return nn.ConvTranspose2d if self.dimension == 2 else nn.ConvTranspose3d

    @property
    def average_pool(self) -> type[nn.AvgPool2d] | type[nn.AvgPool3d]:
        """The average pooling of this dimension."""
        return nn.AvgPool2d if self.dimension == 2 else nn.AvgPool3d


class ConvBlock(nn.Module):
    """Convolution, [dropout], [normalisation], [activation]; ``linear`` leaves out dropout and activation."""

    def __init__(
        self,
        kinds: LayerKinds,
        channels_in: int,
        channels_out: int,
        kernel: Sizes,
        stride: Sizes,
        *,
        bias: bool | None = None,
        linear: bool = False,
    ) -> None:
        super().__init__()
        padding = tuple((edge - 1) // 2 for edge in kernel)
        self.conv = kinds.conv(
            channels_in,
            channels_out,
            kernel,  # type: ignore[arg-type]
            stride,  # type: ignore[arg-type]
            padding,  # type: ignore[arg-type]
            bias=kinds.conv_bias if bias is None else bias,
        )
        self.dropout = kinds.dropout(**kinds.dropout_options) if kinds.dropout and not linear else None
        self.norm = kinds.norm(channels_out, **kinds.norm_options) if kinds.norm else None
        self.activation = kinds.activation(**kinds.activation_options) if kinds.activation and not linear else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, *size) to (batch, channels_out, *size / stride)."""
        features = self.conv(features)
        for layer in (self.dropout, self.norm, self.activation):
            if layer is not None:
                features = layer(features)
        return features


class ConvStack(nn.Module):
    """Several convolution blocks in a row; the first one has the stride and changes the channels."""

    def __init__(
        self, kinds: LayerKinds, blocks: int, channels_in: int, channels_out: int, kernel: Sizes, stride: Sizes
    ) -> None:
        super().__init__()
        ones = (1,) * kinds.dimension
        self.convs = nn.Sequential(
            ConvBlock(kinds, channels_in, channels_out, kernel, stride),
            *(ConvBlock(kinds, channels_out, channels_out, kernel, ones) for _ in range(blocks - 1)),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, *size) to (batch, channels_out, *size / stride)."""
        return self.convs(features)


class ResidualBlock(nn.Module):
    """Two convolutions added to a shortcut, which pools and projects where the shape changes (ResNet-D)."""

    def __init__(self, kinds: LayerKinds, channels_in: int, channels_out: int, kernel: Sizes, stride: Sizes) -> None:
        super().__init__()
        ones = (1,) * kinds.dimension
        self.conv1 = ConvBlock(kinds, channels_in, channels_out, kernel, stride)
        self.conv2 = ConvBlock(kinds, channels_out, channels_out, kernel, ones, linear=True)
        shortcut: list[nn.Module] = []
        if prod(stride) != 1:
            shortcut.append(kinds.average_pool(stride, stride))  # type: ignore[arg-type]
        if channels_in != channels_out:
            shortcut.append(ConvBlock(kinds, channels_in, channels_out, ones, ones, bias=False, linear=True))
        self.skip = nn.Sequential(*shortcut)
        self.activation = kinds.activation(**kinds.activation_options) if kinds.activation else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, *size) to (batch, channels_out, *size / stride)."""
        return self.activation(self.conv2(self.conv1(features)) + self.skip(features))


class ResidualStack(nn.Module):
    """Several residual blocks in a row; the first one has the stride and changes the channels."""

    def __init__(
        self, kinds: LayerKinds, blocks: int, channels_in: int, channels_out: int, kernel: Sizes, stride: Sizes
    ) -> None:
        super().__init__()
        ones = (1,) * kinds.dimension
        self.blocks = nn.Sequential(
            ResidualBlock(kinds, channels_in, channels_out, kernel, stride),
            *(ResidualBlock(kinds, channels_out, channels_out, kernel, ones) for _ in range(blocks - 1)),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, *size) to (batch, channels_out, *size / stride)."""
        return self.blocks(features)


def initialize(network: nn.Module, negative_slope: float) -> None:
    """Kaiming-normal weights for a leaky ReLU (He et al. 2015) and zero biases, in every (transposed) convolution."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(module.weight, a=negative_slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def silence_residuals(network: nn.Module) -> None:
    """Let every residual block start as its shortcut: the last normalisation's weight and bias become zero."""
    for module in network.modules():
        if isinstance(module, ResidualBlock) and module.conv2.norm is not None:
            nn.init.zeros_(module.conv2.norm.weight)  # type: ignore[arg-type]
            nn.init.zeros_(module.conv2.norm.bias)  # type: ignore[arg-type]
