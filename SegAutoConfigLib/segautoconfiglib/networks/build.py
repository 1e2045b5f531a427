"""From the architecture in plans.json to a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.networks.blocks import FASTER_LAYERS, LayerKinds, Sizes
from segautoconfiglib.networks.unet import Stages, UNet
from segautoconfiglib.planning.architectures import Architecture, architecture_spec

#: Options of plans that this version builds; others must be absent or "off" (None, False, 0).
KNOWN_OPTIONS = frozenset(
    (
        *("n_stages", "features_per_stage", "kernel_sizes", "strides"),
        *("n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder"),
        *("conv_op", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs"),
        *("nonlin", "nonlin_kwargs"),
    )
)


def build_network(
    architecture: Architecture, input_channels: int, output_channels: int, *, deep_supervision: bool
) -> UNet:
    """The network that a configuration asks for, with fresh weights, in training mode, on the CPU.

    Args:
        architecture: From plans.json.
        input_channels: Image channels (a cascade adds one per foreground label).
        output_channels: Logits per voxel.
        deep_supervision: Start value of the network's attribute of this name.

    Raises:
        UserError: an unknown class, an option that can't be built, or lists of different length.
    """
    module, name = architecture_spec(architecture.network_class_name).target.split(":")
    options = architecture.arch_kwargs
    try:
        kinds, stages = layer_kinds(options), stage_shapes(options)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The architecture {architecture.network_class_name} in the plans can't be built: {error!r}.",
            "Check arch_kwargs in plans.json.",
        ) from error
    return getattr(import_module(module), name)(
        kinds, stages, input_channels, output_channels, deep_supervision=deep_supervision
    )


def layer_kinds(options: Mapping[str, Any]) -> LayerKinds:
    """The layers named in ``arch_kwargs``. Raises: UserError: for a name that is no layer of torch."""
    unknown = [key for key, value in options.items() if key not in KNOWN_OPTIONS and value]
    if unknown:
        raise UserError(
            f"The plans ask for network options that are not known here: {', '.join(unknown)}.",
            f"Known: {', '.join(sorted(KNOWN_OPTIONS))}.",
        )
    conv = _layer(options["conv_op"])
    if conv not in (nn.Conv2d, nn.Conv3d):
        raise UserError(
            f"conv_op is {options['conv_op']!r} in the plans.", "Conv2d and Conv3d of torch.nn are supported."
        )
    return LayerKinds(
        dimension=2 if conv is nn.Conv2d else 3,
        conv_bias=bool(options.get("conv_bias", False)),
        norm=_layer(options.get("norm_op")),
        norm_options=options.get("norm_op_kwargs") or {},
        dropout=_layer(options.get("dropout_op")),
        dropout_options=options.get("dropout_op_kwargs") or {},
        activation=_layer(options.get("nonlin")),
        activation_options=options.get("nonlin_kwargs") or {},
    )


def _layer(name: str | None) -> type[nn.Module] | None:
    """A layer of torch.nn by its dotted name. Nothing else is imported: plans come with foreign models."""
    if name is None:
        return None
    found = getattr(nn, name.rsplit(".", 1)[-1], None) if name.startswith("torch.nn.") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"The plans ask for the layer {name!r}, which is no layer of torch.nn.", "Check arch_kwargs.")
    return FASTER_LAYERS.get(found, found)


def stage_shapes(options: Mapping[str, Any]) -> Stages:
    """The lists in ``arch_kwargs``, single numbers repeated for every stage.

    Raises:
        ValueError: a list has the wrong length, or there are fewer than two stages.
    """
    count = int(options["n_stages"])
    if count < 2:
        raise ValueError(f"n_stages is {count}; a U-Net needs 2 or more")
    dimension = 2 if _layer(options["conv_op"]) is nn.Conv2d else 3
    blocks_key = "n_blocks_per_stage" if "n_blocks_per_stage" in options else "n_conv_per_stage"
    return Stages(
        features=_per_stage(options, "features_per_stage", count),
        kernels=_sizes(options, "kernel_sizes", count, dimension),
        strides=_sizes(options, "strides", count, dimension),
        blocks=_per_stage(options, blocks_key, count),
        decoder_blocks=_per_stage(options, "n_conv_per_stage_decoder", count - 1),
    )


def _per_stage(options: Mapping[str, Any], key: str, count: int) -> tuple[int, ...]:
    value = options[key]
    values = (value,) * count if isinstance(value, int) else tuple(int(item) for item in value)
    if len(values) != count:
        raise ValueError(f"{key} has {len(values)} entries, expected {count}")
    return values


def _sizes(options: Mapping[str, Any], key: str, count: int, dimension: int) -> tuple[Sizes, ...]:
    value = options[key]
    entries = [value] * count if isinstance(value, int) else list(value)
    sizes = tuple((item,) * dimension if isinstance(item, int) else tuple(map(int, item)) for item in entries)
    if len(sizes) != count or any(len(size) != dimension for size in sizes):
        raise ValueError(f"{key} is {value}, expected {count} entries of {dimension} numbers")
    return sizes
