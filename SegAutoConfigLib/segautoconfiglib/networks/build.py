"""From the architecture in plans.json to a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.networks.blocks import FASTER_LAYERS, LayerKinds, Sizes, torch_layer
from segautoconfiglib.networks.own import USUAL_OPTIONS, build_own
from segautoconfiglib.networks.unet import Stages, UNet
from segautoconfiglib.planning.architectures import Architecture, architecture_spec
from segautoconfiglib.planning.umamba import TOKEN_WIDTHS

#: Kernels of the decoder, coarsest first, where they are not the encoder's: networks of nnU-Net 1.
DECODER_KERNELS = "decoder_kernel_sizes"

#: Numbers that make sense in the entries of ``arch_kwargs``: far beyond any network in use, far below what ends in a
#: machine without memory. Even kernels would shift and shrink the image.
_BLOCKS, _KERNELS = range(1, 101), range(1, 32, 2)
_NUMBERS = {
    "n_stages": range(2, 21),
    "features_per_stage": range(1, 8193),
    "kernel_sizes": _KERNELS,
    DECODER_KERNELS: _KERNELS,
    "strides": range(1, 33),
    "n_blocks_per_stage": _BLOCKS,
    "n_conv_per_stage": _BLOCKS,
    "n_conv_per_stage_decoder": _BLOCKS,
    TOKEN_WIDTHS: range(1, 8193),
}
#: Of the image on which layers are tried.
_TRIED_CHANNELS = 3


def build_network(
    architecture: Architecture, input_channels: int, output_channels: int, *, deep_supervision: bool
) -> nn.Module:
    """The network that a configuration asks for, with fresh weights, in training mode, on the CPU.

    Args:
        architecture: From plans.json.
        input_channels: Image channels (a cascade adds one per foreground label).
        output_channels: Logits per voxel.
        deep_supervision: Whether it gives logits at every resolution (a U-Net's attribute, which can be changed).

    Raises:
        UserError: an unknown class, an option that can't be built, or lists of different length.
    """
    network_class = architecture_spec(architecture.network_class_name).network_class()
    if not issubclass(network_class, UNet):
        return build_own(network_class, architecture, input_channels, output_channels, deep_supervision)
    options = architecture.arch_kwargs
    try:
        kinds, stages = layer_kinds(options, network_class.own_options), stage_shapes(options)
        own = {
            key: _some_stages(options, key, len(stages.features))
            for key in network_class.own_options
            if options.get(key)
        }
        _try_layers(kinds)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"arch_kwargs lack {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"The architecture {architecture.network_class_name} in the plans can't be built: {reason}.",
            "Check arch_kwargs in plans.json.",
        ) from error
    return network_class(kinds, stages, input_channels, output_channels, deep_supervision=deep_supervision, **own)


def layer_kinds(options: Mapping[str, Any], own_options: Collection[str] = ()) -> LayerKinds:
    """The layers named in ``arch_kwargs``. Raises: UserError: for a name that is no layer of torch.

    Args:
        options: ``arch_kwargs``.
        own_options: Names of options that this network has beside the usual ones.
    """
    known = {*USUAL_OPTIONS, DECODER_KERNELS, *own_options}
    unknown = [key for key, value in options.items() if key not in known and value]
    if unknown:
        raise UserError(
            f"The plans ask for network options that are not known here: {', '.join(unknown)}.",
            f"Known: {', '.join(sorted(USUAL_OPTIONS))}.",
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
    """A layer of torch.nn by its dotted name, or its faster equal."""
    found = torch_layer(name)
    return None if found is None else FASTER_LAYERS.get(found, found)


def _try_layers(kinds: LayerKinds) -> None:
    """Raises: ValueError: a layer can't be made with its options, or does something else than its kind."""
    if getattr(kinds.norm, "__name__", "").endswith("3d" if kinds.dimension == 2 else "2d"):
        raise ValueError("norm_op and conv_op are for different numbers of dimensions")
    shape = torch.Size((1, _TRIED_CHANNELS, *(2,) * kinds.dimension))
    for entry, layer, inputs, options in (
        ("norm_op", kinds.norm, (_TRIED_CHANNELS,), kinds.norm_options),
        ("dropout_op", kinds.dropout, (), kinds.dropout_options),
        ("nonlin", kinds.activation, (), kinds.activation_options),
    ):
        if layer is None:
            continue
        try:
            with torch.inference_mode(), torch.device("cpu"):
                found = layer(*inputs, **options).eval()(torch.zeros(shape)).shape
        except Exception as error:
            raise ValueError(f"{entry} with {entry}_kwargs {options}: {error}") from error
        if found != shape:
            raise ValueError(f"{entry} is a layer of another kind")


def stage_shapes(options: Mapping[str, Any]) -> Stages:
    """The lists in ``arch_kwargs``, single numbers repeated for every stage.

    Raises:
        ValueError: a list has the wrong length, or a number is none that a U-Net can have.
    """
    count = _number("n_stages", options["n_stages"])
    dimension = 2 if _layer(options["conv_op"]) is nn.Conv2d else 3
    blocks_key = "n_blocks_per_stage" if "n_blocks_per_stage" in options else "n_conv_per_stage"
    return Stages(
        features=_per_stage(options, "features_per_stage", count),
        kernels=_sizes(options, "kernel_sizes", count, dimension),
        strides=_sizes(options, "strides", count, dimension),
        blocks=_per_stage(options, blocks_key, count),
        decoder_blocks=_per_stage(options, "n_conv_per_stage_decoder", count - 1),
        decoder_kernels=_sizes(options, DECODER_KERNELS, count - 1, dimension) if options.get(DECODER_KERNELS) else (),
    )


def _per_stage(options: Mapping[str, Any], key: str, count: int) -> tuple[int, ...]:
    value = options[key]
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * count
    if len(values) != count:
        raise ValueError(f"{key} has {len(values)} entries, expected {count}")
    return tuple(_number(key, item) for item in values)


def _some_stages(options: Mapping[str, Any], key: str, count: int) -> tuple[int | None, ...]:
    value = options[key]
    if not isinstance(value, (list, tuple)) or len(value) != count:
        raise ValueError(f"{key} is {value!r}, expected {count} entries")
    return tuple(None if item is None else _number(key, item) for item in value)


def _sizes(options: Mapping[str, Any], key: str, count: int, dimension: int) -> tuple[Sizes, ...]:
    value = options[key]
    entries = value if isinstance(value, (list, tuple)) else [value] * count
    sizes = [tuple(item) if isinstance(item, (list, tuple)) else (item,) * dimension for item in entries]
    if len(sizes) != count or any(len(size) != dimension for size in sizes):
        raise ValueError(f"{key} is {value}, expected {count} entries of {dimension} numbers")
    return tuple(tuple(_number(key, item) for item in size) for size in sizes)


def _number(key: str, value: Any) -> int:
    """A number of an entry. Raises: ValueError: it is none, or out of range."""
    allowed = _NUMBERS[key]
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in allowed:
        odd = "odd " if allowed.step == 2 else ""
        raise ValueError(f"{key} is {value!r}, expected {odd}numbers from {allowed[0]} to {allowed[-1]}")
    return int(value)
