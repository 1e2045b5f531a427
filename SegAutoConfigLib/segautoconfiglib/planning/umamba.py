"""How U-Mamba (arXiv:2401.04722) makes its networks from the plans of a plain U-Net, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from segautoconfiglib.defaults import MAMBA
from segautoconfiglib.planning.memory import Strides, stage_voxels

#: Option of UMambaEnc: per stage None, or the voxels of its map, if channels are the tokens of its Mamba layer.
TOKEN_WIDTHS = "token_widths"


def fewer_blocks(blocks: Sequence[int], stages: int) -> tuple[int, ...]:
    """Blocks per stage of the encoder, or per step of the decoder: one from half of all stages on.

    Args:
        blocks: As planned, encoder finest first, decoder coarsest first.
        stages: Of the encoder.
    """
    half = -(-stages // 2)
    return tuple(count if index < half else 1 for index, count in enumerate(blocks))


def mamba_stages(stages: int, dimension: int) -> range:
    """Encoder stages of UMambaEnc with a Mamba layer: in 3D all, in 2D every second, the coarsest among them."""
    return range(stages) if dimension == 3 else range((stages - 1) % 2, stages, 2)


def original_token_widths(
    features: Sequence[int], strides: Strides, patch_size: Sequence[int]
) -> list[int | None] | None:
    """Where the original UMambaEnc takes channels as tokens: stages whose map has no more voxels than channels.

    Args:
        features: Channels per stage.
        strides: Per stage (z, y, x) or (y, x).
        patch_size: (z, y, x) or (y, x), voxels.

    Returns:
        Per stage the voxels, or None; altogether None if there is no such stage.
    """
    mixing = mamba_stages(len(features), len(patch_size))
    rows = enumerate(zip(features, stage_voxels(strides, patch_size), strict=True))
    widths = [size if size <= channels and stage in mixing else None for stage, (channels, size) in rows]
    return widths if any(widths) else None


def umamba_bot_cost(
    arch_kwargs: dict[str, Any], strides: Strides, patch_size: Sequence[int], output_channels: int
) -> int:
    """Number of values in the layers' outputs of UMambaBot for one sample.

    Args:
        arch_kwargs: The plans' arguments of the network.
        strides: Per stage (z, y, x) or (y, x).
        patch_size: (z, y, x) or (y, x), voxels.
        output_channels: Classes, with the background.
    """
    voxels = stage_voxels(strides, patch_size)
    bottleneck = _mamba_values(voxels[-1], arch_kwargs["features_per_stage"][-1])
    return _convolution_values(arch_kwargs, voxels, output_channels) + bottleneck


def umamba_enc_cost(
    arch_kwargs: dict[str, Any], strides: Strides, patch_size: Sequence[int], output_channels: int
) -> int:
    """Likewise of UMambaEnc; arguments as in :func:`umamba_bot_cost`."""
    voxels, features = stage_voxels(strides, patch_size), arch_kwargs["features_per_stage"]
    widths = arch_kwargs.get(TOKEN_WIDTHS) or [None] * len(features)
    total = _convolution_values(arch_kwargs, voxels, output_channels)
    for stage in mamba_stages(len(features), len(patch_size)):
        swapped = widths[stage] is not None
        tokens, width = (features[stage], voxels[stage]) if swapped else (voxels[stage], features[stage])
        total += _mamba_values(tokens, width)
    return total


def _convolution_values(arch_kwargs: dict[str, Any], voxels: list[int], output_channels: int) -> int:
    """Two convolutions per residual block, and one in the first block's shortcut; the stem is as deep as a stage."""
    features = arch_kwargs["features_per_stage"]
    planned = arch_kwargs["n_blocks_per_stage" if "n_blocks_per_stage" in arch_kwargs else "n_conv_per_stage"]
    maps = [channels * size for channels, size in zip(features, voxels, strict=True)]
    blocks = fewer_blocks(planned, len(features))
    total = (2 * blocks[0] + 1) * maps[0] + sum(
        (2 * count + 1) * values for count, values in zip(blocks, maps, strict=True)
    )
    decoder = fewer_blocks(arch_kwargs["n_conv_per_stage_decoder"], len(features))
    for level, count in enumerate(reversed(decoder)):
        upsampled = features[level] * voxels[level + 1] + maps[level]
        total += (2 * count + 1) * maps[level] + upsampled
    return total + output_channels * voxels[0]


def _mamba_values(tokens: int, width: int) -> int:
    """Per token: both halves of the input, convolution, step sizes and what they are made of, scan, output."""
    inner, rank = MAMBA.expansion * width, math.ceil(width / MAMBA.rank_divisor)
    return tokens * (5 * inner + rank + 2 * MAMBA.states + width)
