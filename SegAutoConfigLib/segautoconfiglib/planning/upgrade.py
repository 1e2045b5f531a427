"""Reading plans files of older nnU-Net releases, as data of today's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.architectures import NNUNET_NETWORKS, stage_features, unet_architecture

#: Keys by which plans before nnU-Net 2.5 described the network.
_OLD_NETWORK_KEYS = (
    "UNet_class_name",
    "UNet_base_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
    "unet_max_num_features",
)


def upgrade_plans(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` of a plans file of any release of nnU-Net v2 in today's format; the argument is not changed.

    Raises:
        UserError: an old network description is incomplete, or a configuration inherits from an unknown one.
    """
    plans = dict(data)
    if "foreground_intensity_properties_by_modality" in plans:
        properties = plans.pop("foreground_intensity_properties_by_modality")
        plans.setdefault("foreground_intensity_properties_per_channel", properties)
    configurations = plans.get("configurations")
    if isinstance(configurations, Mapping):
        plans["configurations"] = {name: _upgrade_configuration(name, configurations) for name in configurations}
    return plans


def resolve_inheritance(name: str, configurations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of a configuration with those it inherits; its own win (one level deep, as in nnU-Net).

    Raises:
        UserError: the name, or one it inherits from, is unknown; or the chain is a circle.
    """
    chain: list[str] = []
    current: str | None = name
    while current is not None:
        if current in chain:
            raise UserError(
                f"Configuration {name!r} inherits from itself: {' -> '.join([*chain, current])}.",
                'Correct "inherits_from" in the plans file.',
            )
        if current not in configurations:
            user = f", which {chain[-1]!r} inherits from" if chain else ""
            raise UserError(
                f"The plans have no configuration {current!r}{user}.", f"Known: {', '.join(configurations) or 'none'}."
            )
        chain.append(current)
        current = configurations[current].get("inherits_from")
    resolved: dict[str, Any] = {}
    for entry in reversed(chain):
        resolved.update(configurations[entry])
    resolved.pop("inherits_from", None)
    return resolved


def _upgrade_configuration(name: str, configurations: Mapping[str, Any]) -> Any:
    entries = configurations[name]
    if not isinstance(entries, Mapping) or not any(key in entries for key in _OLD_NETWORK_KEYS):
        return entries
    upgraded = {key: value for key, value in entries.items() if key not in _OLD_NETWORK_KEYS}
    resolved = resolve_inheritance(name, configurations)
    if "architecture" not in resolved:
        upgraded["architecture"] = _architecture(name, resolved)
    return upgraded


def _architecture(name: str, old: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in _OLD_NETWORK_KEYS if key not in old and key != "num_pool_per_axis"]
    if missing:
        raise UserError(
            f"Configuration {name!r} does not describe its network: {', '.join(missing)} missing.",
            "Use the plans file as nnU-Net wrote it.",
        )
    strides = old["pool_op_kernel_sizes"]
    class_name = old["UNet_class_name"]
    blocks = "n_blocks_per_stage" if class_name.startswith("Residual") else "n_conv_per_stage"
    architecture = unet_architecture(
        f"{NNUNET_NETWORKS}.unet.{class_name}",
        strides=strides,
        kernel_sizes=old["conv_kernel_sizes"],
        features_per_stage=stage_features(len(strides), old["UNet_base_num_features"], old["unet_max_num_features"]),
        depth={
            blocks: list(old["n_conv_per_stage_encoder"]),
            "n_conv_per_stage_decoder": list(old["n_conv_per_stage_decoder"]),
        },
    )
    return architecture.to_json()
