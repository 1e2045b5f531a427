"""Networks of plug-ins: made as nnU-Net makes a network, and tried once before they are used."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.networks.blocks import torch_layer
from segautoconfiglib.planning.architectures import Architecture

#: What plans say about a U-Net in ``arch_kwargs``; further options are a network's own.
USUAL_OPTIONS = frozenset(
    (
        *("n_stages", "features_per_stage", "kernel_sizes", "strides"),
        *("n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder"),
        *("conv_op", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs"),
        *("nonlin", "nonlin_kwargs"),
    )
)


def build_own(
    network_class: type[nn.Module],
    architecture: Architecture,
    input_channels: int,
    output_channels: int,
    deep_supervision: bool,
) -> nn.Module:
    """A network of any class, with its own fresh weights.

    It gets ``input_channels``, ``num_classes``, ``deep_supervision`` and ``arch_kwargs`` as keyword arguments, as from
    nnU-Net. Those that describe a U-Net, and ``deep_supervision``, are left out where the constructor does not take
    them.

    Raises:
        UserError: it can't be made from these arguments, or ``arch_kwargs`` name a layer that is not torch's.
    """
    options = dict(architecture.arch_kwargs)
    options |= {key: torch_layer(options[key]) for key in architecture.kw_requires_import if key in options}
    options["deep_supervision"] = deep_supervision
    parameters = inspect.signature(network_class).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        usual = {*USUAL_OPTIONS, "deep_supervision"}
        options = {key: value for key, value in options.items() if key in parameters or key not in usual}
    try:
        inspect.signature(network_class).bind(input_channels=input_channels, num_classes=output_channels, **options)
    except TypeError as error:
        raise UserError(
            f"The network {architecture.network_class_name} can't be made from arch_kwargs of the plans: {error}.",
            "Its constructor gets input_channels, num_classes, deep_supervision and arch_kwargs by these names.",
        ) from error
    network = network_class(input_channels=input_channels, num_classes=output_channels, **options)
    if hasattr(network, "initialize"):  # nnU-Net's networks have it
        network.apply(network.initialize)  # type: ignore[arg-type]
    return network


@torch.inference_mode()
def check_outputs(network: nn.Module, image_shape: Sequence[int], output_channels: int, *, single: bool) -> None:
    """Send a patch of zeros through a network of a plug-in and look at what comes out.

    Args:
        network: On any device; its mode is kept.
        image_shape: (channel, *patch size).
        output_channels: That the labels need.
        single: Only logits at full resolution will do; else also a list of logits, finest first.

    Raises:
        UserError: it is of another form.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    training = network.training
    outputs: Any = network.eval()(torch.zeros(1, *image_shape, device=device))
    network.train(training)
    rows = [outputs] if isinstance(outputs, torch.Tensor) or single else outputs
    channels, *size = image_shape
    wanted = (1, output_channels, *size)
    tensors = isinstance(rows, (list, tuple)) and rows and all(isinstance(row, torch.Tensor) for row in rows)
    if not tensors or tuple(rows[0].shape) != wanted or any(row.shape[1] != output_channels for row in rows):
        found = [tuple(row.shape) for row in rows] if tensors else type(outputs).__name__
        more = "" if single else ", or a list of such logits, each coarser than the one before"
        raise UserError(
            f"The network {type(network).__name__} gives {found} for a patch of shape {(1, channels, *size)}.",
            f"It must give logits of shape {wanted}{more}"
            f"{' (deep_supervision is False in prediction)' if single else ''}.",
        )
