"""Shape of a U-Net for a patch: where it downsamples, with which kernels, and what its patch must be a multiple of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning.architectures import (
    PLAIN_UNET,
    Architecture,
    plain_depth,
    stage_features,
    unet_architecture,
)


@dataclass(frozen=True)
class Topology:
    """Strides and kernels of a U-Net. Axes are those of the patch, (z, y, x) or (y, x).

    Attributes:
        patch_size: Voxels, a multiple of ``divisor``.
        divisor: Product of the strides, per axis.
        strides: Per stage, of its first convolution; the first stage has stride 1.
        kernel_sizes: Per stage.
    """

    patch_size: tuple[int, ...]
    divisor: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]


def unet_topology(spacing_mm: Sequence[float], patch_size: Sequence[float], max_stages: int | None = None) -> Topology:
    """Downsample while the feature maps are large enough, each axis once its voxels are as fine as the others'.

    Kernels are 1 along an axis until its spacing is less than twice the finest one's (Isensee et al. 2021).

    Args:
        spacing_mm: (z, y, x) or (y, x).
        patch_size: Wanted, voxels; may be fractional. The result's patch is as large or larger.
        max_stages: Limit on the number of stages, for small networks; None as many as the patch allows.
    """
    spacing = [float(edge) for edge in spacing_mm]
    size = [float(edge) for edge in patch_size]
    axes = range(len(size))
    kernel = [1] * len(size)
    strides = [tuple(kernel)]
    kernels: list[tuple[int, ...]] = []
    while max_stages is None or len(strides) < max_stages:
        pooled = _pooled_axes(spacing, size)
        if not pooled:
            break
        finest = min(spacing)
        kernel = [3 if kernel[axis] == 3 or spacing[axis] / finest < PLANNING.axis_ratio else 1 for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in pooled else 1 for axis in axes))
        spacing = [spacing[axis] * strides[-1][axis] for axis in axes]
        size = [math.ceil(size[axis] / strides[-1][axis]) for axis in axes]
    kernels.append((3,) * len(size))
    divisor = tuple(math.prod(stride[axis] for stride in strides) for axis in axes)
    padded = tuple(math.ceil(edge / step) * step for edge, step in zip(patch_size, divisor, strict=True))
    return Topology(padded, divisor, tuple(strides), tuple(kernels))


def _pooled_axes(spacing: Sequence[float], size: Sequence[float]) -> list[int]:
    """The axes that the next stage downsamples; empty at the end."""
    large = [axis for axis, edge in enumerate(size) if edge >= 2 * PLANNING.min_bottleneck_edge]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    axes = [axis for axis in large if spacing[axis] / finest < PLANNING.axis_ratio]
    if len(axes) == 1 and size[axes[0]] < 3 * PLANNING.min_bottleneck_edge:
        return []
    return axes


def initial_patch(spacing_mm: Sequence[float], median_shape: Sequence[float]) -> tuple[float, ...]:
    """A cube in millimetres with the standard number of voxels, cut to the median image.

    Args:
        spacing_mm: (z, y, x) or (y, x).
        median_shape: Same axes, voxels; may be fractional.
    """
    dimension = len(spacing_mm)
    voxels = PLANNING.initial_patch_voxels_3d if dimension == 3 else PLANNING.initial_patch_voxels_2d
    edges = [1 / float(edge) for edge in spacing_mm]
    scale = (voxels / math.prod(edges)) ** (1 / dimension)
    return tuple(min(round(edge * scale), limit) for edge, limit in zip(edges, median_shape, strict=True))


def shrink_patch(topology: Topology, spacing_mm: Sequence[float], median_shape: Sequence[float]) -> Topology:
    """The next smaller patch: one step less along the axis that covers most of the median image.

    Args:
        topology: Of the present patch.
        spacing_mm: (z, y, x) or (y, x).
        median_shape: Same axes, voxels.

    Raises:
        UserError: the patch can't become smaller.
    """
    patch, divisor = topology.patch_size, topology.divisor
    axes = [axis for axis, edge in enumerate(patch) if edge > divisor[axis]]
    if not axes:
        raise UserError(f"Not even a patch of {patch} voxels fits into the memory.", "Raise the GPU memory target.")
    axis = max(axes, key=lambda index: (patch[index] / median_shape[index], index))
    step = unet_topology(spacing_mm, _reduced(patch, axis, divisor[axis])).divisor[axis]
    return unet_topology(spacing_mm, _reduced(patch, axis, step))


def _reduced(patch_size: Sequence[int], axis: int, step: int) -> list[int]:
    return [edge - step if index == axis else edge for index, edge in enumerate(patch_size)]


def plan_network(
    spacing_mm: Sequence[float],
    patch_size: Sequence[int],
    *,
    base_features: int = PLANNING.base_features,
    max_features: int | None = None,
    convs_per_stage: int = PLANNING.convs_per_stage,
    max_stages: int | None = None,
) -> Architecture:
    """A plain U-Net of any width for a given patch, for instance a small one for a CPU.

    Args:
        spacing_mm: (z, y, x) or (y, x).
        patch_size: Same axes, voxels; use ``unet_topology(...).patch_size`` to make it fit.
        base_features: Channels of the first stage, doubled at each further one.
        max_features: Upper limit of channels; None takes the standard of the dimension.
        convs_per_stage: Convolutions per stage, in encoder and decoder.
        max_stages: Limit on the number of stages.

    Raises:
        UserError: the patch is not a multiple of the strides it leads to.
    """
    topology = unet_topology(spacing_mm, patch_size, max_stages)
    if topology.patch_size != tuple(patch_size):
        raise UserError(
            f"A patch of {tuple(patch_size)} voxels can't be halved as often as the network needs.",
            f"Use {topology.patch_size}.",
        )
    depth = plain_depth(len(topology.strides), convs_per_stage)
    limit = standard_max_features(len(topology.patch_size)) if max_features is None else max_features
    return topology_architecture(PLAIN_UNET, topology, depth, base_features, limit)


def topology_architecture(
    network_class_name: str,
    topology: Topology,
    depth: dict[str, list[int]],
    base_features: int,
    max_features: int,
) -> Architecture:
    """The network of a class with this topology.

    Args:
        network_class_name: A key of ``ARCHITECTURES``.
        topology: Strides and kernels.
        depth: What ``ArchitectureSpec.depth`` returns.
        base_features: Channels of the first stage, doubled at each further one.
        max_features: Upper limit of channels.
    """
    return unet_architecture(
        network_class_name,
        strides=topology.strides,
        kernel_sizes=topology.kernel_sizes,
        features_per_stage=stage_features(len(topology.strides), base_features, max_features),
        depth=depth,
    )


def standard_max_features(dimension: int) -> int:
    """nnU-Net's upper limit of channels in 2D or 3D."""
    return PLANNING.max_features_3d if dimension == 3 else PLANNING.max_features_2d
