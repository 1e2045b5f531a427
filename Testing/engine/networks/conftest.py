"""Architectures as plans describe them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from segautoconfiglib.planning.architectures import PLAIN_UNET, RESIDUAL_UNET, Architecture


@pytest.fixture
def architecture(network_json: Callable[..., dict[str, Any]]) -> Callable[..., Architecture]:
    """``architecture(residual=False, dimension=3, **arch_kwargs)``: the example of 3 stages, with changes."""

    def make(residual: bool = False, dimension: int = 3, **changes: Any) -> Architecture:
        kernels = [[1, 3, 3], [3, 3, 3], [3, 3, 3]] if dimension == 3 else [[3, 3]] * 3
        strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]] if dimension == 3 else [[1, 1], [2, 2], [2, 2]]
        depth = (
            {"n_blocks_per_stage": [1, 3, 4], "n_conv_per_stage_decoder": [1, 1]}
            if residual
            else {"n_conv_per_stage": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2]}
        )
        options = network_json(dimension, (32, 64, 128), kernel_sizes=kernels, strides=strides)["arch_kwargs"]
        if residual:
            del options["n_conv_per_stage"]
        return Architecture(
            network_class_name=RESIDUAL_UNET if residual else PLAIN_UNET, arch_kwargs={**options, **depth, **changes}
        )

    return make
