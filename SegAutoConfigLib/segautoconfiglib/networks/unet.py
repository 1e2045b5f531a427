"""The U-Net (Ronneberger et al. 2015; Isensee et al. 2021): strided convolutions down, transposed convolutions up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from segautoconfiglib.defaults import NETWORK
from segautoconfiglib.networks.blocks import ConvStack, LayerKinds, Sizes, initialize


@dataclass(frozen=True)
class Stages:
    """The shape of a U-Net, one entry per resolution, finest first.

    Attributes:
        features: Channels.
        kernels: Edges of the convolution kernels, as many as there are dimensions.
        strides: Strides of the first convolution of the stage.
        blocks: Convolutions (or residual blocks) of the encoder.
        decoder_blocks: Convolutions of the decoder, one entry less than stages, coarsest first (the order of plans).
        decoder_kernels: Edges of the decoder's kernels in the same order; empty: those of the encoder at the same
            resolution.
    """

    features: tuple[int, ...]
    kernels: tuple[Sizes, ...]
    strides: tuple[Sizes, ...]
    blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    decoder_kernels: tuple[Sizes, ...] = ()

    def rows(self, input_channels: int) -> Iterator[tuple[int, int, int, Sizes, Sizes]]:
        """Blocks, channels in, channels out, kernel and stride of every encoder stage."""
        channels_in = (input_channels, *self.features[:-1])
        yield from zip(self.blocks, channels_in, self.features, self.kernels, self.strides, strict=True)


class Encoder(nn.Module):
    """Stages from fine to coarse, each a module that is made from a row of the shape."""

    def __init__(self, stages: Iterable[nn.Module], stem: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = stem  # before the stages, as in nnU-Net: see Decoder
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The output of every stage, finest first, for an image (batch, channel, *size)."""
        outputs = []
        for stage in self.stages:
            image = stage(image)
            outputs.append(image)
        return outputs


class Decoder(nn.Module):
    """Goes up from the coarsest stage, joining the encoder's output of each resolution; one head per resolution."""

    def __init__(self, kinds: LayerKinds, stages: Stages, output_channels: int) -> None:
        super().__init__()
        ones = (1,) * kinds.dimension
        # nnU-Net's order: an optimizer's state in a checkpoint is numbered by it
        self.stages = nn.ModuleList()
        self.transpconvs = nn.ModuleList()
        self.seg_layers = nn.ModuleList()
        kernels = stages.decoder_kernels or stages.kernels[-2::-1]
        levels = reversed(range(len(stages.features) - 1))
        for blocks, kernel, level in zip(stages.decoder_blocks, kernels, levels, strict=True):
            fine, coarse, stride = stages.features[level], stages.features[level + 1], stages.strides[level + 1]
            self.transpconvs.append(
                kinds.transposed_conv(coarse, fine, stride, stride, bias=kinds.conv_bias)  # type: ignore[arg-type]
            )
            self.stages.append(ConvStack(kinds, blocks, 2 * fine, fine, kernel, ones))
            self.seg_layers.append(kinds.conv(fine, output_channels, 1))

    def forward(self, skips: Sequence[torch.Tensor], every_resolution: bool) -> torch.Tensor | list[torch.Tensor]:
        """Logits (batch, output channel, *size); with ``every_resolution`` a list of them, finest first."""
        features = skips[-1]
        outputs: list[torch.Tensor] = []
        finest = len(self.stages) - 1
        for step, (upsample, stage, head) in enumerate(
            zip(self.transpconvs, self.stages, self.seg_layers, strict=True)
        ):
            features = stage(torch.cat((upsample(features), skips[-2 - step]), dim=1))
            if every_resolution or step == finest:
                outputs.insert(0, head(features))
        return outputs if every_resolution else outputs[0]


class UNet(nn.Module):
    """An encoder and a decoder.

    Attributes:
        deep_supervision: True gives logits at every resolution (a list, finest first), False only the finest;
            may be changed at any time.
        own_options: Names of further ``arch_kwargs``, a number or None per stage, that the constructor takes.
        compilable: False keeps torch.compile away from it.
    """

    own_options: ClassVar[tuple[str, ...]] = ()
    compilable: ClassVar[bool] = True

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, deep_supervision: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.deep_supervision = deep_supervision
        initialize(self, NETWORK.negative_slope)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits for an image (batch, channel, *size) whose edges are multiples of the product of strides."""
        return self.decoder(self.encoder(image), self.deep_supervision)


class PlainConvUNet(UNet):
    """The standard network of nnU-Net."""

    def __init__(
        self, kinds: LayerKinds, stages: Stages, input_channels: int, output_channels: int, *, deep_supervision: bool
    ) -> None:
        encoder = Encoder(nn.Sequential(ConvStack(kinds, *row)) for row in stages.rows(input_channels))
        super().__init__(encoder, Decoder(kinds, stages, output_channels), deep_supervision=deep_supervision)
