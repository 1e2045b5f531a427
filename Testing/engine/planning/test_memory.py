"""Values measured on nnunetv2 2.8.1."""

from __future__ import annotations

import pytest

from segautoconfiglib.planning.architectures import PLAIN_UNET, RESIDUAL_UNET, architecture_spec, memory_cost
from segautoconfiglib.planning.memory import stage_voxels
from segautoconfiglib.planning.topology import standard_max_features, topology_architecture, unet_topology


@pytest.mark.parametrize(
    ("network", "spacing", "patch", "classes", "expected"),
    [
        (PLAIN_UNET, (1.245, 0.7852, 0.7852), (80, 192, 160), 2, 528_211_200),
        (PLAIN_UNET, (1, 1, 1), (128, 128, 128), 3, 452_796_416),
        (RESIDUAL_UNET, (1, 1, 1), (128, 128, 128), 3, 557_420_544),
        (RESIDUAL_UNET, (1, 1), (512, 512), 3, 129_531_904),
    ],
)
def test_cost(network, spacing, patch, classes, expected):
    stages = 7 if len(patch) == 2 else None  # the number in 2D was measured with six poolings
    topology = unet_topology(spacing, patch, stages)
    depth = architecture_spec(network).depth(len(topology.strides))
    architecture = topology_architecture(network, topology, depth, 32, standard_max_features(len(patch)))
    assert memory_cost(architecture, patch, classes) == expected


def test_voxels_per_stage():
    assert stage_voxels(((1, 1), (2, 2), (1, 2)), (8, 12)) == [96, 24, 12]


def test_more_classes_cost_their_output():
    topology = unet_topology((1, 1), (64, 64))
    depth = architecture_spec(PLAIN_UNET).depth(len(topology.strides))
    network = topology_architecture(PLAIN_UNET, topology, depth, 32, 512)
    assert memory_cost(network, (64, 64), 5) - memory_cost(network, (64, 64), 3) == 2 * 64 * 64
