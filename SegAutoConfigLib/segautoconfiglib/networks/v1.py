"""Weights of nnU-Net 1 under the names of nnU-Net 2. The networks are the same but for two things.

Transposed convolutions and the last layers have no bias in v1; a bias of zero is the same. And v1's decoder has at each
resolution the kernels of the encoder's next coarser one: ``decoder_kernel_sizes`` in the architecture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.networks.build import build_network
from segautoconfiglib.networks.checkpoint import (
    Weights,
    load_weights,
    nnunet_weights,
    read_plain,
    write_checkpoint,
)
from segautoconfiglib.planning.architectures import Architecture

_LAYER = r"(?P<layer>conv|instnorm)\.(?P<rest>\w+)"
#: v1's names: a stage's blocks in a row, or (bottleneck and decoder) in two parts, of which the second has one block.
_STAGE = re.compile(rf"conv_blocks_context\.(?P<stage>\d+)\.(?:(?P<part>[01])\.)?blocks\.(?P<block>\d+)\.{_LAYER}")
_DECODER = re.compile(rf"conv_blocks_localization\.(?P<stage>\d+)\.(?P<part>[01])\.blocks\.(?P<block>\d+)\.{_LAYER}")
_WITHOUT_BIAS = re.compile(r"(?P<kind>tu|seg_outputs)\.(?P<stage>\d+)\.weight")


def v2_weights(weights: Mapping[str, torch.Tensor], source: Path | str) -> Weights:
    """The weights of v1's U-Net (Generic_UNet) under canonical names.

    Raises:
        UserError: they belong to another network of v1.
    """
    given = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    first = {match["block"] for name in given if (match := _STAGE.fullmatch(name)) and match["stage"] == "0"}
    last = len(first) - 1
    found: Weights = {}
    strange = []
    for name, tensor in given.items():
        if match := _STAGE.fullmatch(name):
            found[f"encoder.stages.{match['stage']}.0.{_block(match, last)}"] = tensor
        elif match := _DECODER.fullmatch(name):
            found[f"decoder.stages.{match['stage']}.{_block(match, last)}"] = tensor
        elif match := _WITHOUT_BIAS.fullmatch(name):
            upwards = match["kind"] == "tu"
            place = f"decoder.{'transpconvs' if upwards else 'seg_layers'}.{match['stage']}"
            found[f"{place}.weight"] = tensor
            found[f"{place}.bias"] = torch.zeros(tensor.shape[1 if upwards else 0])
        else:
            strange.append(name)
    if strange or last < 0:
        raise UserError(
            f"{source} holds another network than the U-Net of nnU-Net 1"
            f"{f' (it has {strange[0]})' if strange else ''}.",
            "Only models of its standard trainers can be converted.",
        )
    return found


def _block(match: re.Match[str], last: int) -> str:
    number = last if match["part"] == "1" else int(match["block"])
    return f"convs.{number}.{'norm' if match['layer'] == 'instnorm' else 'conv'}.{match['rest']}"


def convert_checkpoint(file: Path, target: Path, architecture: Architecture, identity: Mapping[str, Any]) -> None:
    """Write v1's checkpoint as one of v2.

    Args:
        file: ``model_final_checkpoint.model``; code in it is not run.
        target: ``checkpoint_final.pth``.
        architecture: Of the plans made of v1's; batch normalisation is entered where the weights have it.
        identity: ``init_args``, ``trainer_name`` and ``inference_allowed_mirroring_axes``.

    Raises:
        UserError: the file is damaged, would run code, or its weights do not fit the plans.
    """
    content = read_plain(file)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        raise UserError(f"{file} is no checkpoint of nnU-Net 1.", "Get the model's zip file again.")
    weights = v2_weights(content["state_dict"], file)
    stem = weights.get("encoder.stages.0.0.convs.0.conv.weight")
    heads = [tensor for name, tensor in weights.items() if re.fullmatch(r"decoder\.seg_layers\.\d+\.weight", name)]
    if stem is None or not heads:
        raise UserError(f"{file} lacks the first or the last layer.", "Get the model's zip file again.")
    network = build_network(architecture, stem.shape[1], heads[0].shape[0], deep_supervision=True)
    load_weights(network, weights, file)
    epoch = content.get("epoch")
    write_checkpoint(
        target,
        {
            "network_weights": nnunet_weights(network),
            "optimizer_state": None,
            "grad_scaler_state": None,
            "logging": {},
            "_best_ema": None,
            "current_epoch": epoch if isinstance(epoch, int) else 0,
            **identity,
        },
    )


def has_batch_norm(file: Path) -> bool:
    """Whether a checkpoint of v1 belongs to a trainer with batch normalisation. Raises: UserError: as above."""
    content = read_plain(file)
    weights = content.get("state_dict", {}) if isinstance(content, dict) else {}
    return any(str(name).endswith("instnorm.running_mean") for name in weights)
