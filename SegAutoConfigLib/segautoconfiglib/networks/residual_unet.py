"""The U-Net with a residual encoder (Isensee et al. 2024, arXiv:2404.09556)."""

from __future__ import annotations

import torch

from segautoconfiglib.networks.blocks import ConvStack, LayerKinds, ResidualStack, silence_residuals
from segautoconfiglib.networks.unet import Decoder, Encoder, Stages, UNet


class ResidualEncoder(Encoder):
    """A stem of one convolution block and stages of residual blocks."""

    def __init__(self, kinds: LayerKinds, stages: Stages, input_channels: int) -> None:
        width = stages.features[0]
        stem = ConvStack(kinds, 1, input_channels, width, stages.kernels[0], (1,) * kinds.dimension)
        super().__init__((ResidualStack(kinds, *row) for row in stages.rows(width)), stem)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The output of every stage, finest first, for an image (batch, channel, *size)."""
        assert self.stem is not None
        return super().forward(self.stem(image))


class ResidualEncoderUNet(UNet):
    """The network of the ResEnc presets; its residual blocks start as their shortcuts."""

    def __init__(
        self, kinds: LayerKinds, stages: Stages, input_channels: int, output_channels: int, *, deep_supervision: bool
    ) -> None:
        encoder = ResidualEncoder(kinds, stages, input_channels)
        super().__init__(encoder, Decoder(kinds, stages, output_channels), deep_supervision=deep_supervision)
        silence_residuals(self)
