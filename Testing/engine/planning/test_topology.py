from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.architectures import PLAIN_UNET
from segautoconfiglib.planning.topology import initial_patch, plan_network, shrink_patch, unet_topology


def test_isotropic():
    topology = unet_topology((1, 1, 1), (128, 128, 128))
    assert topology.strides == ((1, 1, 1), *[(2, 2, 2)] * 5)
    assert topology.kernel_sizes == ((3, 3, 3),) * 6
    assert topology.divisor == (32, 32, 32)
    assert topology.patch_size == (128, 128, 128)


def test_anisotropic_axis_waits():
    topology = unet_topology((3.6, 0.625, 0.625), (20, 320, 256))
    strides = [(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)]
    assert topology.strides == tuple(strides)
    assert topology.kernel_sizes == ((1, 3, 3), (1, 3, 3), *[(3, 3, 3)] * 5)


def test_kernels_do_not_shrink_again():
    """The long axis becomes coarser than the short one, which is too short to be halved."""
    topology = unet_topology((1, 1), (64, 8))
    assert topology.strides == ((1, 1), (2, 2), (2, 1), (2, 1))
    assert topology.kernel_sizes == ((3, 3),) * 4


def test_patch_is_padded():
    topology = unet_topology((1, 1), (100.5, 64))
    assert topology.divisor == (16, 16)
    assert topology.patch_size == (112, 64)


def test_one_short_axis_ends_it():
    """A lone axis is halved from 12 voxels on, two axes from 8 on."""
    assert unet_topology((1, 10), (11, 4)).strides == ((1, 1),)
    assert unet_topology((1, 10), (12, 4)).strides == ((1, 1), (2, 1))
    assert unet_topology((1, 1), (8, 8)).strides == ((1, 1), (2, 2))
    assert unet_topology((1, 1), (7, 7)).strides == ((1, 1),)


def test_limit_of_stages():
    assert len(unet_topology((1, 1, 1), (128, 128, 128), max_stages=3).strides) == 3


@given(
    spacing=st.lists(st.floats(0.1, 10), min_size=2, max_size=3),
    edges=st.lists(st.integers(1, 300), min_size=3, max_size=3),
)
def test_patch_fits_the_strides(spacing, edges):
    wanted = edges[: len(spacing)]
    topology = unet_topology(spacing, wanted)
    assert all(edge % step == 0 for edge, step in zip(topology.patch_size, topology.divisor, strict=True))
    assert all(0 <= a - b < step for a, b, step in zip(topology.patch_size, wanted, topology.divisor, strict=True))
    assert len(topology.strides) == len(topology.kernel_sizes)


def test_initial_patch_is_a_cube_in_millimetres():
    assert initial_patch((1, 1, 1), (900, 900, 900)) == (256, 256, 256)
    assert initial_patch((2, 1, 1), (900, 900, 900)) == (161, 323, 323)
    assert initial_patch((1, 1), (9000, 9000)) == (2048, 2048)
    assert initial_patch((1, 1, 1), (20.5, 300, 90)) == (20.5, 256, 90)


def test_shrinks_the_axis_that_covers_most():
    topology = unet_topology((1, 1, 1), (128, 128, 128))
    assert shrink_patch(topology, (1, 1, 1), (128, 500, 500)).patch_size == (112, 128, 128)
    assert shrink_patch(topology, (1, 1, 1), (200, 200, 200)).patch_size == (128, 128, 112)  # ties: the last axis


def test_axes_of_one_voxel_are_left_alone():
    topology = unet_topology((5, 1, 1), (1, 64, 64))
    assert shrink_patch(topology, (5, 1, 1), (1, 900, 900)).patch_size == (1, 64, 56)


def test_smallest_patch():
    with pytest.raises(UserError, match=r"\(1, 1\) voxels.*memory target"):
        shrink_patch(unet_topology((1, 1), (1, 1)), (1, 1), (1, 1))


class TestPlanNetwork:
    def test_small_network(self):
        network = plan_network(
            (1, 1, 1), (32, 32, 16), base_features=8, max_features=24, convs_per_stage=1, max_stages=3
        )
        assert network.network_class_name == PLAIN_UNET
        assert network.features_per_stage == (8, 16, 24)
        assert network.arch_kwargs["n_conv_per_stage"] == [1, 1, 1]
        assert network.arch_kwargs["n_conv_per_stage_decoder"] == [1, 1]
        assert network.arch_kwargs["conv_op"] == "torch.nn.modules.conv.Conv3d"
        assert network.patch_divisor == (4, 4, 4)

    def test_standard_width(self):
        assert plan_network((1, 1), (512, 512)).features_per_stage == (32, 64, 128, 256, 512, 512, 512, 512)
        assert max(plan_network((1, 1, 1), (128, 128, 128)).features_per_stage) == 320

    def test_patch_that_does_not_fit(self):
        with pytest.raises(UserError, match=r"Use \(40, 40\)"):
            plan_network((1, 1), (37, 40))


def test_divisor_is_the_product_of_strides():
    topology = unet_topology((5, 1, 1), (40, 224, 192))
    assert topology.divisor == tuple(math.prod(stride[axis] for stride in topology.strides) for axis in range(3))
