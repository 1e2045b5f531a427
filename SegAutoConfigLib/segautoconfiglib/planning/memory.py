"""nnU-Net's estimate of a network's memory: the number of values in the outputs of all convolutions.

For one sample, without the auxiliary outputs of deep supervision and without the input, as in the supplement of
Isensee et al. 2021 (Nature Methods 18, 203-211). Times the batch size it is compared with the same sum of a network
that was measured on a GPU (:class:`~segautoconfiglib.planning.presets.PlannerPreset`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Strides = tuple[tuple[int, ...], ...]


def stage_voxels(strides: Strides, patch_size: Sequence[int]) -> list[int]:
    """Voxels of the feature maps at each stage of a network."""
    size = [int(edge) for edge in patch_size]
    voxels = []
    for stride in strides:
        size = [edge // step for edge, step in zip(size, stride, strict=True)]
        voxels.append(math.prod(size))
    return voxels


def plain_unet_cost(
    arch_kwargs: dict[str, Any], strides: Strides, patch_size: Sequence[int], output_channels: int
) -> int:
    """Estimate for ``PlainConvUNet``.

    Args:
        arch_kwargs: The plans' arguments of the network.
        strides: Per stage (z, y, x) or (y, x).
        patch_size: (z, y, x) or (y, x), voxels.
        output_channels: Classes, with the background.

    Returns:
        The number of values for one sample.
    """
    voxels = stage_voxels(strides, patch_size)
    features = arch_kwargs["features_per_stage"]
    stages = zip(arch_kwargs["n_conv_per_stage"], features, voxels, strict=True)
    encoder = sum(convs * channels * size for convs, channels, size in stages)
    return encoder + _decoder_cost(arch_kwargs, voxels, output_channels)


def residual_unet_cost(
    arch_kwargs: dict[str, Any], strides: Strides, patch_size: Sequence[int], output_channels: int
) -> int:
    """Estimate for ``ResidualEncoderUNet``; arguments as in :func:`plain_unet_cost`.

    Each block has two convolutions; a stage that changes the channels or the resolution has one more, in its skip.
    """
    voxels = stage_voxels(strides, patch_size)
    features = arch_kwargs["features_per_stage"]
    total = features[0] * voxels[0]  # the stem
    previous = features[0]
    for blocks, channels, size, stride in zip(
        arch_kwargs["n_blocks_per_stage"], features, voxels, strides, strict=True
    ):
        has_skip_conv = channels != previous or max(stride) > 1
        total += (2 * blocks + has_skip_conv) * channels * size
        previous = channels
    return total + _decoder_cost(arch_kwargs, voxels, output_channels)


def _decoder_cost(arch_kwargs: dict[str, Any], voxels: list[int], output_channels: int) -> int:
    """Per level one transposed convolution and the convolutions; at the end the output layer."""
    features = arch_kwargs["features_per_stage"]
    convs = reversed(arch_kwargs["n_conv_per_stage_decoder"])  # listed from the lowest resolution upwards
    levels = zip(convs, features, voxels, strict=False)  # the bottleneck has no decoder level
    return sum((1 + count) * channels * size for count, channels, size in levels) + output_channels * voxels[0]
