"""U-Mamba (Ma, Li & Wang 2024, arXiv:2401.04722): a residual U-Net with Mamba layers in its encoder.

The networks are those of the published code, which differs from the paper in places: upsampling is to the nearest
voxel, and in 2D the last step of the decoder does not see the encoder. Attribute names, and the order of parameters,
are those of published weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.networks.blocks import LayerKinds, ResidualBlock, Sizes
from segautoconfiglib.networks.checkpoint import canonical_weights
from segautoconfiglib.networks.mamba import MambaLayer
from segautoconfiglib.networks.unet import Stages, UNet
from segautoconfiglib.planning.architectures import UMAMBA_ENC, Architecture, as_umamba
from segautoconfiglib.planning.umamba import TOKEN_WIDTHS, fewer_blocks, mamba_stages


class ShortcutBlock(nn.Module):
    """Two convolutions added to a shortcut, which always is a convolution of its own."""

    def __init__(self, kinds: LayerKinds, channels_in: int, channels_out: int, kernel: Sizes, stride: Sizes) -> None:
        super().__init__()
        padding = tuple(edge // 2 for edge in kernel)
        bias = kinds.conv_bias
        self.conv1 = kinds.conv(channels_in, channels_out, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]
        self.norm1 = _norm(kinds, channels_out)
        self.conv2 = kinds.conv(channels_out, channels_out, kernel, 1, padding, bias=bias)  # type: ignore[arg-type]
        self.norm2 = _norm(kinds, channels_out)
        self.conv3 = kinds.conv(channels_in, channels_out, 1, bias=bias)
        self._every = tuple(slice(None, None, step) for step in (1, 1, *stride))
        self.dropout = kinds.dropout(**kinds.dropout_options) if kinds.dropout else nn.Identity()
        self.activation = kinds.activation(**kinds.activation_options) if kinds.activation else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, *size) to (batch, channels_out, *size / stride)."""
        inner = self.activation(self.norm1(self.dropout(self.conv1(features))))
        seen = features[self._every]  # a convolution with this stride ends torch 2.13 on a CPU, channels last
        return self.activation(self.norm2(self.conv2(inner)) + self.conv3(seen))


def _norm(kinds: LayerKinds, channels: int) -> nn.Module:
    return kinds.norm(channels, **kinds.norm_options) if kinds.norm else nn.Identity()


def _blocks(
    kinds: LayerKinds, count: int, channels_in: int, channels_out: int, kernel: Sizes, stride: Sizes
) -> nn.Sequential:
    """Residual blocks in a row; the first has the stride and changes the channels."""
    ones = (1,) * kinds.dimension
    return nn.Sequential(
        ShortcutBlock(kinds, channels_in, channels_out, kernel, stride),
        *(ResidualBlock(kinds, channels_out, channels_out, kernel, ones) for _ in range(count - 1)),
    )


class UMambaEncoder(nn.Module):
    """A stem, then stages of residual blocks, each with a layer behind it whose output also is the skip's."""

    def __init__(
        self, kinds: LayerKinds, stages: Stages, input_channels: int, layers: Iterable[nn.Module] = ()
    ) -> None:
        super().__init__()
        width, ones = stages.features[0], (1,) * kinds.dimension
        self.stem = _blocks(kinds, stages.blocks[0], input_channels, width, stages.kernels[0], ones)
        self.mamba_layers = nn.ModuleList(layers)
        self.stages = nn.ModuleList(_blocks(kinds, *row) for row in stages.rows(width))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The output of every stage, finest first, for an image (batch, channel, *size)."""
        features, outputs = self.stem(image), []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if self.mamba_layers:
                features = self.mamba_layers[index](features)
            outputs.append(features)
        return outputs


class Upsampling(nn.Module):
    """Other channels, then more voxels: the same as the other way round, for less work."""

    def __init__(self, kinds: LayerKinds, channels_in: int, channels_out: int, stride: Sizes) -> None:
        super().__init__()
        self.conv = kinds.conv(channels_in, channels_out, 1, bias=kinds.conv_bias)
        self.factors = tuple(float(step) for step in stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels_in, *size) to (batch, channels_out, *size * stride), to the nearest voxel."""
        return interpolate(self.conv(features), scale_factor=self.factors, mode="nearest")


class UMambaDecoder(nn.Module):
    """Goes up from the coarsest stage, joining the encoder's outputs (in 2D all but the finest)."""

    def __init__(self, kinds: LayerKinds, stages: Stages, output_channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.upsample_layers = nn.ModuleList()
        self.seg_layers = nn.ModuleList()
        self.joined_levels = len(stages.features) - (2 if kinds.dimension == 2 else 1)
        kernels = stages.decoder_kernels or stages.kernels[-2::-1]
        for step, (blocks, kernel) in enumerate(zip(stages.decoder_blocks, kernels, strict=True)):
            level = len(stages.features) - 2 - step
            fine, coarse, stride = stages.features[level], stages.features[level + 1], stages.strides[level + 1]
            channels_in = 2 * fine if step < self.joined_levels else fine
            self.upsample_layers.append(Upsampling(kinds, coarse, fine, stride))
            self.stages.append(_blocks(kinds, blocks, channels_in, fine, kernel, (1,) * kinds.dimension))
            self.seg_layers.append(kinds.conv(fine, output_channels, 1))

    def forward(self, skips: Sequence[torch.Tensor], every_resolution: bool) -> torch.Tensor | list[torch.Tensor]:
        """Logits (batch, output channel, *size); with ``every_resolution`` a list of them, finest first."""
        features = skips[-1]
        outputs: list[torch.Tensor] = []
        for step, (upsample, stage) in enumerate(zip(self.upsample_layers, self.stages, strict=True)):
            features = upsample(features)
            if step < self.joined_levels:
                features = torch.cat((features, skips[-2 - step]), dim=1)
            features = stage(features)
            if every_resolution or step == len(self.stages) - 1:
                outputs.insert(0, self.seg_layers[step](features))
        return outputs if every_resolution else outputs[0]


class UMambaBot(UNet):
    """One Mamba layer, at the lowest resolution."""

    compilable = False  # a compiler would write out every step of the scan

    def __init__(
        self, kinds: LayerKinds, stages: Stages, input_channels: int, output_channels: int, *, deep_supervision: bool
    ) -> None:
        stages = _with_fewer_blocks(stages)
        decoder = UMambaDecoder(kinds, stages, output_channels)
        super().__init__(UMambaEncoder(kinds, stages, input_channels), decoder, deep_supervision=deep_supervision)
        del self.decoder
        self.mamba_layer = MambaLayer(stages.features[-1])
        self.decoder = decoder  # in the published order, by which an optimizer's state is numbered

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits for an image (batch, channel, *size) whose edges are multiples of the product of strides."""
        *skips, deepest = self.encoder(image)
        return self.decoder([*skips, self.mamba_layer(deepest)], self.deep_supervision)


class UMambaEnc(UNet):
    """A Mamba layer behind every stage of the encoder (in 2D every second)."""

    own_options = (TOKEN_WIDTHS,)
    compilable = False

    def __init__(
        self,
        kinds: LayerKinds,
        stages: Stages,
        input_channels: int,
        output_channels: int,
        *,
        deep_supervision: bool,
        token_widths: Sequence[int | None] | None = None,
    ) -> None:
        """
        Args:
            kinds: Layers.
            stages: As in plans.
            input_channels: Image channels.
            output_channels: Logits per voxel.
            deep_supervision: See `UNet`.
            token_widths: Per stage None, or the voxels of its map, if channels are the tokens of its Mamba layer.
        """
        stages = _with_fewer_blocks(stages)
        layers = _mamba_layers(kinds.dimension, stages.features, token_widths)
        super().__init__(
            UMambaEncoder(kinds, stages, input_channels, layers),
            UMambaDecoder(kinds, stages, output_channels),
            deep_supervision=deep_supervision,
        )


def _with_fewer_blocks(stages: Stages) -> Stages:
    count = len(stages.features)
    return replace(
        stages,
        blocks=fewer_blocks(stages.blocks, count),
        decoder_blocks=fewer_blocks(stages.decoder_blocks, count),
    )


def _mamba_layers(
    dimension: int, features: Sequence[int], token_widths: Sequence[int | None] | None
) -> Iterable[nn.Module]:
    widths = token_widths or [None] * len(features)
    mixing = mamba_stages(len(features), dimension)
    for stage, (channels, width) in enumerate(zip(features, widths, strict=True)):
        yield MambaLayer(channels, width) if stage in mixing else nn.Identity()


def with_weights_tokens(
    architecture: Architecture,
    patch_size: Sequence[int],
    weights: Mapping[str, torch.Tensor],
    source: Path | str,
    *,
    original: bool,
) -> Architecture:
    """The UMambaEnc that weights belong to: in the original one, channels are the tokens of stages with small maps.

    Args:
        architecture: Of any U-Net.
        patch_size: (z, y, x) or (y, x) of the plans.
        weights: ``network_weights`` of a checkpoint.
        source: Where they come from, for errors.
        original: Whether U-Mamba's own program wrote them; asked only where the weights do not tell.

    Raises:
        UserError: they belong to another patch size.
    """
    given = canonical_weights(weights)
    plain, published = (as_umamba(architecture, UMAMBA_ENC, patch_size=patch) for patch in (None, patch_size))
    fitting = [network for network in (plain, published) if not _other_widths(network, given)]
    if fitting:
        return fitting[-1] if original else fitting[0]
    stage, found = _other_widths(published, given)[0]
    size = "x".join(map(str, patch_size))
    raise UserError(
        f"The Mamba layer of stage {stage} in {source} works on maps of {found} voxels, which patches of {size} do not "
        "lead to.",
        "UMambaEnc networks of the original U-Mamba are tied to the patch size of their training: use its plans.json.",
    )


def _other_widths(architecture: Architecture, weights: Mapping[str, torch.Tensor]) -> list[tuple[int, int]]:
    """Stages whose Mamba layer has another width in the weights, and that width."""
    features = architecture.features_per_stage
    tokens = architecture.arch_kwargs.get(TOKEN_WIDTHS) or [None] * len(features)
    found = []
    for stage, (channels, width) in enumerate(zip(features, tokens, strict=True)):
        norm = weights.get(f"encoder.mamba_layers.{stage}.norm.weight")
        if norm is not None and norm.shape[0] != (width or channels):
            found.append((stage, norm.shape[0]))
    return found
