"""Patch size and batch size within a memory budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning.architectures import Architecture, architecture_spec, memory_cost
from segautoconfiglib.planning.presets import PlannerPreset
from segautoconfiglib.planning.topology import (
    Topology,
    initial_patch,
    shrink_patch,
    standard_max_features,
    topology_architecture,
    unet_topology,
)


@dataclass(frozen=True)
class NetworkPlan:
    """A network with the patch and batch it is trained on."""

    patch_size: tuple[int, ...]
    batch_size: int
    architecture: Architecture


@dataclass(frozen=True)
class Budget:
    """What a network may need.

    Attributes:
        preset: The planner.
        gpu_memory_target_gb: Gigabytes.
        output_channels: That are counted as the network's, see `counted_outputs`.
    """

    preset: PlannerPreset
    gpu_memory_target_gb: float
    output_channels: int

    def plan(self, spacing_mm: Sequence[float], median_shape: Sequence[float], dataset_voxels: float) -> NetworkPlan:
        """The largest patch whose smallest batch fits, then the largest batch.

        Args:
            spacing_mm: (z, y, x) or (y, x).
            median_shape: Of the resampled images, same axes; may be fractional.
            dataset_voxels: Of all training images together, after resampling.

        Raises:
            UserError: no patch fits.
        """
        dimension = len(spacing_mm)
        limit = self.preset.budget(dimension, self.gpu_memory_target_gb)
        reference = PLANNING.reference_batch_size_3d if dimension == 3 else PLANNING.reference_batch_size_2d
        topology = unet_topology(spacing_mm, initial_patch(spacing_mm, median_shape))
        network, cost = self._network(topology)
        while cost * self.preset.min_batch_size(dimension) / reference > limit:
            topology = shrink_patch(topology, spacing_mm, median_shape)
            network, cost = self._network(topology)
        by_memory = round(limit / cost * reference)
        by_dataset = round(dataset_voxels * self.preset.dataset_share / math.prod(topology.patch_size))
        most = min(by_memory, by_dataset, self.preset.max_batch_size(dimension))
        batch = max(int(most), PLANNING.min_batch_size)
        return NetworkPlan(topology.patch_size, batch, network)

    def _network(self, topology: Topology) -> tuple[Architecture, int]:
        name = self.preset.network_class_name
        depth = architecture_spec(name).depth(len(topology.strides))
        features = standard_max_features(len(topology.patch_size))
        network = topology_architecture(name, topology, depth, self.preset.base_features, features)
        return network, memory_cost(network, topology.patch_size, self.output_channels)
