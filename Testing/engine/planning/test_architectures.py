from __future__ import annotations

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.architectures import (
    ARCHITECTURES,
    PLAIN_UNET,
    RESIDUAL_UNET,
    Architecture,
    architecture_spec,
    residual_depth,
    stage_features,
)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (PLAIN_UNET, PLAIN_UNET),
        ("PlainConvUNet", PLAIN_UNET),
        ("dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet", RESIDUAL_UNET),
    ],
)
def test_names(name, known):
    assert architecture_spec(name) is ARCHITECTURES.get(known)


@pytest.mark.parametrize(
    "name", ["nnunetv2.nets.Own.ResidualEncoderUNet", "dynamic_network_architectures.architectures.unet.Other", ""]
)
def test_unknown_network_lists_the_known(name):
    with pytest.raises(UserError, match=r"Unknown network.*Known: .*PlainConvUNet"):
        architecture_spec(name)


def test_residual_depth():
    assert residual_depth(6) == {"n_blocks_per_stage": [1, 3, 4, 6, 6, 6], "n_conv_per_stage_decoder": [1] * 5}
    assert residual_depth(2)["n_blocks_per_stage"] == [1, 3]


def test_features_double_up_to_the_limit():
    assert stage_features(6, 32, 320) == [32, 64, 128, 256, 320, 320]


def test_plain_numbers_stand_for_all_axes():
    arguments = {"conv_op": "torch.nn.modules.conv.Conv3d", "strides": [1, 2, [1, 2, 2]], "kernel_sizes": [3, 3, 3]}
    architecture = Architecture(network_class_name=PLAIN_UNET, arch_kwargs=arguments)
    assert architecture.strides == ((1, 1, 1), (2, 2, 2), (1, 2, 2))
    assert architecture.kernel_sizes == ((3, 3, 3),) * 3
    assert architecture.patch_divisor == (2, 4, 4)
