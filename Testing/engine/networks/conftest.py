"""Architectures as plans describe them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from segautoconfiglib.planning.architectures import PLAIN_UNET, RESIDUAL_UNET, Architecture


@pytest.fixture
def architecture() -> Callable[..., Architecture]:
    """``architecture(residual=False, dimension=3, **arch_kwargs)``: the example of 3 stages, with changes."""

    def make(residual: bool = False, dimension: int = 3, **changes: Any) -> Architecture:
        kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]] if dimension == 3 else [[3, 3]] * 3
        strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]] if dimension == 3 else [[1, 1], [2, 2], [2, 2]]
        depth = (
            {"n_blocks_per_stage": [1, 3, 4], "n_conv_per_stage_decoder": [1, 1]}
            if residual
            else {"n_conv_per_stage": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2]}
        )
        options = {
            "n_stages": 3,
            "features_per_stage": [32, 64, 128],
            "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
            "kernel_sizes": kernels,
            "strides": strides,
            **depth,
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
            **changes,
        }
        return Architecture(network_class_name=RESIDUAL_UNET if residual else PLAIN_UNET, arch_kwargs=options)

    return make
