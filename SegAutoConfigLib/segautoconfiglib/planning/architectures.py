"""Networks that plans can name: where their code is, what they cost, and how plans describe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import Record
from segautoconfiglib.base.registry import Registry, imported
from segautoconfiglib.base.words import near_names
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning import memory, umamba

#: The package that nnU-Net takes its networks from, and the folder in which it looks for a class by its last name.
NNUNET_NETWORKS = "dynamic_network_architectures.architectures"
PLAIN_UNET = f"{NNUNET_NETWORKS}.unet.PlainConvUNet"
RESIDUAL_UNET = f"{NNUNET_NETWORKS}.unet.ResidualEncoderUNet"
#: Networks of the original U-Mamba program, which finds them by the trainer's name; plans of ours name them.
UMAMBA_BOT = "UMambaBot"
UMAMBA_ENC = "UMambaEnc"

#: Keys of ``arch_kwargs`` whose values are dotted names of classes.
IMPORTED_KEYS = ("conv_op", "norm_op", "dropout_op", "nonlin")
#: Numbers of blocks or convolutions.
_DEPTH_KEYS = ("n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder")


class Architecture(Record):
    """A network as plans describe it: a class name and its constructor's arguments.

    Attributes:
        network_class_name: Dotted name, a key of :data:`ARCHITECTURES`.
        arch_kwargs: Arguments, JSON values; classes are given by dotted names.
        kw_requires_import: Keys of ``arch_kwargs`` whose values are such names (``_kw_requires_import`` in the file).
    """

    model_config = ConfigDict(populate_by_name=True)

    network_class_name: str
    arch_kwargs: dict[str, Any]
    kw_requires_import: tuple[str, ...] = Field(default=IMPORTED_KEYS, alias="_kw_requires_import")

    @property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """Stride (z, y, x) or (y, x) of each stage's first convolution."""
        return _per_axis(self.arch_kwargs["strides"], self.dimension)

    @property
    def kernel_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Kernel (z, y, x) or (y, x) of each stage."""
        return _per_axis(self.arch_kwargs["kernel_sizes"], self.dimension)

    @property
    def features_per_stage(self) -> tuple[int, ...]:
        """Channels of each stage; empty where the network (of a plug-in) is described in other words."""
        features = self.arch_kwargs.get("features_per_stage", ())
        return (features,) if isinstance(features, int) else tuple(features)

    @property
    def dimension(self) -> int:
        """2 or 3."""
        return 2 if str(self.arch_kwargs["conv_op"]).endswith("2d") else 3

    @property
    def patch_divisor(self) -> tuple[int, ...]:
        """The number each patch edge must be a multiple of."""
        divisor = [1] * self.dimension
        for stride in self.strides:
            divisor = [a * b for a, b in zip(divisor, stride, strict=True)]
        return tuple(divisor)


def _per_axis(stages: Sequence[int | Sequence[int]], dimension: int) -> tuple[tuple[int, ...], ...]:
    return tuple((stage,) * dimension if isinstance(stage, int) else tuple(stage) for stage in stages)


@dataclass(frozen=True)
class ArchitectureSpec:
    """What the engine needs to know about a network class.

    Attributes:
        target: ``"module:attribute"`` of the class in this package; or the class of a plug-in.
        depth: ``depth(stages) -> dict``: the standard numbers of blocks or convolutions, as ``arch_kwargs``.
        cost: ``cost(arch_kwargs, strides, patch_size, output_channels) -> int``: estimated number of values that the
            layers' outputs hold for one sample (the rule in :mod:`segautoconfiglib.planning.memory`).
    """

    target: str | type
    depth: Callable[[int], dict[str, list[int]]]
    cost: Callable[[dict[str, Any], tuple[tuple[int, ...], ...], Sequence[int], int], int]

    def network_class(self) -> Any:
        """The class; its module is imported now."""
        return imported(self.target) if isinstance(self.target, str) else self.target


def plain_depth(stages: int, convs_per_stage: int = PLANNING.convs_per_stage) -> dict[str, list[int]]:
    """Convolutions per stage of a plain U-Net, the same in encoder and decoder."""
    return {
        "n_conv_per_stage": [convs_per_stage] * stages,
        "n_conv_per_stage_decoder": [convs_per_stage] * (stages - 1),
    }


def residual_depth(stages: int) -> dict[str, list[int]]:
    """Residual blocks per encoder stage (the last number is repeated) and convolutions per decoder stage."""
    blocks = PLANNING.residual_blocks
    return {
        "n_blocks_per_stage": [blocks[min(stage, len(blocks) - 1)] for stage in range(stages)],
        "n_conv_per_stage_decoder": [PLANNING.residual_decoder_convs] * (stages - 1),
    }


_BUILT_IN = {
    PLAIN_UNET: ArchitectureSpec("segautoconfiglib.networks.unet:PlainConvUNet", plain_depth, memory.plain_unet_cost),
    RESIDUAL_UNET: ArchitectureSpec(
        "segautoconfiglib.networks.residual_unet:ResidualEncoderUNet", residual_depth, memory.residual_unet_cost
    ),
    UMAMBA_BOT: ArchitectureSpec("segautoconfiglib.networks.umamba:UMambaBot", plain_depth, umamba.umamba_bot_cost),
    UMAMBA_ENC: ArchitectureSpec("segautoconfiglib.networks.umamba:UMambaEnc", plain_depth, umamba.umamba_enc_cost),
}


def _own_network(
    name: str,
    network_class: type,
    *,
    depth: Callable[[int], dict[str, list[int]]] | None = None,
    cost: Callable[[dict[str, Any], tuple[tuple[int, ...], ...], Sequence[int], int], int] | None = None,
) -> ArchitectureSpec:
    """A plug-in's network; unless said otherwise, planned as the one it is derived from, else as a plain U-Net."""
    if not isinstance(network_class, type):
        raise UserError(f"The network {name!r} is {network_class!r:.80}.", "Give a class, not an object or a function.")
    ancestors = {ancestor.__name__ for ancestor in network_class.__mro__}
    like = next(
        (spec for known, spec in _BUILT_IN.items() if known.rpartition(".")[2] in ancestors), _BUILT_IN[PLAIN_UNET]
    )
    return ArchitectureSpec(network_class, depth or like.depth, cost or like.cost)


#: Every network that plans can name, by class name. To add one: its code in ``networks/`` (or a plug-in) and one entry.
ARCHITECTURES = Registry("network", _BUILT_IN, _own_network)


def is_own_network(name: str) -> bool:
    """Whether a network of plans comes from a plug-in."""
    return name in ARCHITECTURES and name not in _BUILT_IN


def architecture_spec(name: str, trained_with: Sequence[str] = ()) -> ArchitectureSpec:
    """The network behind a class name of plans.

    As in nnU-Net, a class of its network package is found by the last part of its name alone, so names of older
    releases of that package (``...residual_unet.ResidualEncoderUNet``) stand for today's class.

    Args:
        name: ``network_class_name``.
        trained_with: Names of the plug-ins that a model was trained with, for the error.

    Raises:
        UserError: no such network is known.
    """
    if name in ARCHITECTURES:
        return _known(name)
    if "." not in name or name.startswith(f"{NNUNET_NETWORKS}."):
        last = name.rpartition(".")[2]
        for known in ARCHITECTURES:
            if known.rpartition(".")[2] == last:
                return _known(known)
    which = f"The model was trained with the plug-in {' and '.join(trained_with)}: name it" if trained_with else ""
    raise UserError(
        f"Unknown network {name!r} in the plans.",
        f"Known: {', '.join(sorted(ARCHITECTURES))}. "
        f"{which or 'Use plans made with one of these, or name the plug-in that has the network'} (--plugin FILE).",
        "plugin",
    )


def _known(name: str) -> ArchitectureSpec:
    spec: ArchitectureSpec = ARCHITECTURES.get(name)
    return spec


def with_norm(architecture: Architecture, norm: str) -> Architecture:
    """The network with other normalisation layers.

    Args:
        architecture: With a ``norm_op`` among its arguments.
        norm: "instance" or "batch".

    Raises:
        UserError: it has none.
    """
    if "norm_op" not in architecture.arch_kwargs:
        raise UserError(
            f"The network {architecture.network_class_name} has no norm_op, so its normalisation can't be chosen.",
            "Leave the choice out (--norm, BN in the trainer's name).",
        )
    module, layer = {"instance": ("instancenorm", "InstanceNorm"), "batch": ("batchnorm", "BatchNorm")}[norm]
    options = {
        "norm_op": f"torch.nn.modules.{module}.{layer}{architecture.dimension}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    }
    return architecture.model_copy(update={"arch_kwargs": {**architecture.arch_kwargs, **options}})


def with_network(architecture: Architecture, name: str) -> Architecture:
    """Another network of the same stages, features, kernels and strides.

    Args:
        architecture: Of a U-Net.
        name: A key of :data:`ARCHITECTURES`, or its last part. Numbers of blocks stay where both networks count the
            same, else they become the standard ones.

    Raises:
        UserError: no such network is known, or the plans do not describe a U-Net.
    """
    try:
        spec = architecture_spec(name)
    except UserError as error:
        known_names = sorted(known.rpartition(".")[2] for known in ARCHITECTURES)
        near = near_names([name], known_names)
        raise UserError(
            f"Unknown network {name!r}. {near}".strip(),
            f"Known: {', '.join(known_names)}. If it is of a plug-in, name that: --plugin FILE.",
            "plugin",
        ) from error
    if architecture_spec(architecture.network_class_name) is spec:
        return architecture
    name = next(known for known in ARCHITECTURES if ARCHITECTURES.get(known) is spec)
    options = {key: value for key, value in architecture.arch_kwargs.items() if key != umamba.TOKEN_WIDTHS}
    if not {"n_stages", "features_per_stage", "strides"} <= options.keys():
        raise UserError(
            f"The network {architecture.network_class_name} of the plans can't become {name}: "
            "it is described in other words.",
            "Use plans of a U-Net.",
        )
    depth = spec.depth(options["n_stages"])
    if not depth.keys() <= options.keys():
        options = {key: value for key, value in options.items() if key not in _DEPTH_KEYS} | depth
    return architecture.model_copy(update={"network_class_name": name, "arch_kwargs": options})


def with_choices(architecture: Architecture, network: str | None, norm: str | None) -> Architecture:
    """The network with what a recipe says about it.

    Args:
        architecture: Of the plans.
        network: As in `with_network`; None: as planned.
        norm: As in `with_norm`; None: as planned.

    Raises:
        UserError: the choices do not fit this network.
    """
    if network is not None:
        architecture = with_network(architecture, network)
    return architecture if norm is None else with_norm(architecture, norm)


def as_umamba(architecture: Architecture, name: str, patch_size: Sequence[int] | None = None) -> Architecture:
    """U-Mamba's network for the plans of a U-Net.

    Args:
        architecture: Of a U-Net.
        name: :data:`UMAMBA_BOT` or :data:`UMAMBA_ENC`.
        patch_size: (z, y, x) or (y, x) of the plans: UMambaEnc as its original, whose weights fit this patch size alone
            where a map has no more voxels than channels. None: a network for all patch sizes.
    """
    changed = with_network(architecture, name)
    if name != UMAMBA_ENC:
        return changed
    widths = (
        None
        if patch_size is None
        else umamba.original_token_widths(changed.features_per_stage, changed.strides, patch_size)
    )
    options = {key: value for key, value in changed.arch_kwargs.items() if key != umamba.TOKEN_WIDTHS}
    options |= {} if widths is None else {umamba.TOKEN_WIDTHS: widths}
    return changed.model_copy(update={"arch_kwargs": options})


def memory_cost(architecture: Architecture, patch_size: Sequence[int], output_channels: int) -> int:
    """Estimated number of values of all layer outputs for one patch (see :mod:`segautoconfiglib.planning.memory`).

    Args:
        architecture: A known network.
        patch_size: (z, y, x) or (y, x), voxels.
        output_channels: Classes, with the background.
    """
    spec = architecture_spec(architecture.network_class_name)
    return spec.cost(architecture.arch_kwargs, architecture.strides, patch_size, output_channels)


def unet_architecture(
    network_class_name: str,
    *,
    strides: Sequence[Sequence[int]],
    kernel_sizes: Sequence[Sequence[int]],
    features_per_stage: Sequence[int],
    depth: dict[str, list[int]],
) -> Architecture:
    """A U-Net of nnU-Net's kind: instance normalisation, leaky ReLU, no dropout.

    Args:
        network_class_name: A key of :data:`ARCHITECTURES`.
        strides: Per stage (z, y, x) or (y, x).
        kernel_sizes: Likewise.
        features_per_stage: Channels per stage.
        depth: What ``ArchitectureSpec.depth`` returns.
    """
    dimension = len(strides[0])
    encoder_depth = {key: value for key, value in depth.items() if key != "n_conv_per_stage_decoder"}
    return Architecture(
        network_class_name=network_class_name,
        arch_kwargs={
            "n_stages": len(strides),
            "features_per_stage": list(features_per_stage),
            "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
            "kernel_sizes": [list(kernel) for kernel in kernel_sizes],
            "strides": [list(stride) for stride in strides],
            **encoder_depth,
            "n_conv_per_stage_decoder": depth["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimension}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        kw_requires_import=IMPORTED_KEYS,
    )


def stage_features(stages: int, base_features: int, max_features: int) -> list[int]:
    """Channels per stage: doubled at each stage, up to ``max_features``."""
    return [min(base_features * 2**stage, max_features) for stage in range(stages)]
