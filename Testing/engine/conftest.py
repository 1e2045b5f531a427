"""Fixtures for the engine's stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest


@pytest.fixture(scope="session")
def network_json() -> Callable[..., dict[str, Any]]:
    """``network_json(dimension, features, **arch_kwargs)``: "architecture" of plans.json, a plain U-Net.

    Its kernels have 3 voxels, its strides 2, and its stages one convolution, unless ``arch_kwargs`` say otherwise.
    """

    def make(dimension: int, features: Sequence[int], **changes: Any) -> dict[str, Any]:
        stages = len(features)
        options = {
            "n_stages": stages,
            "features_per_stage": list(features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
            "kernel_sizes": [[3] * dimension] * stages,
            "strides": [[1] * dimension, *[[2] * dimension] * (stages - 1)],
            "n_conv_per_stage": [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
            **changes,
        }
        return {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": options,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    return make
