"""Checkpoints in nnU-Net's format: read without running code from the file, written whole or not at all."""

from __future__ import annotations

import codecs
import pickle
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.networks.blocks import ConvBlock

Weights = dict[str, torch.Tensor]

#: Key of nnU-Net's checkpoints under which ours keep what nnU-Net does not know.
OWN_KEY = "segautoconfig"

#: Read at a time where checksums are compared.
CHUNK_BYTES = 1 << 20
#: Layers that see the image: their shape tells the number of channels.
FIRST_CONVOLUTIONS = (
    *("encoder.stem.convs.0.conv.weight", "encoder.stages.0.0.convs.0.conv.weight"),
    *("encoder.stem.0.conv1.weight", "encoder.stem.0.conv3.weight"),  # of U-Mamba
)


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Code inside the file is never run: only tensors and plain values are accepted.

    Args:
        path: A ``.pth`` file of nnU-Net 2.x or of this project.

    Returns:
        The checkpoint's dictionary; weights are under "network_weights".

    Raises:
        UserError: the file is missing, damaged, holds anything but plain values and tensors, or no weights.
    """
    content = read_plain(path)
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), Mapping):
        raise UserError(f"{path} holds no network_weights.", "Give a checkpoint of nnU-Net 2 or of this program.")
    return content


def read_plain(path: Path | str) -> Any:
    """What a file written by torch holds, on the CPU: only tensors and plain values are accepted.

    Raises:
        UserError: the file is missing, damaged, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"The checkpoint {path} does not exist.", "Check the path, or train the model first.")
    _check_sums(path)
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"The checkpoint {path} is damaged ({reason}).", "Copy or download it again.") from error


def _check_sums(path: Path) -> None:
    """Compare the checksums of a file's entries, which torch does not: wrong weights would give wrong results.

    A file of which all are wrong was written without them. Raises: UserError: some are wrong.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.namelist()
        wrong = [name for name in entries if not _is_intact(archive, name)]
    if 0 < len(wrong) < len(entries):
        raise UserError(f"The checkpoint {path} is damaged ({wrong[0]}: wrong checksum).", "Copy or download it again.")


def _is_intact(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as stream:
            while stream.read(CHUNK_BYTES):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return False
    return True


def _allowed() -> list[Any]:
    """What nnU-Net's checkpoints hold beside tensors and plain values: NumPy numbers (its log) and nothing else."""
    scalar = np.float64(0).__reduce__()[0]
    return [
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
        np.dtypes.Int64DType,
        (scalar, "numpy._core.multiarray.scalar"),
        (scalar, "numpy.core.multiarray.scalar"),
        (codecs.encode, "_codecs.encode"),
    ]


def _refused(path: Path, error: pickle.UnpicklingError) -> UserError:
    text = str(error)
    if "GLOBAL" in text or ("Unsupported" in text and "Unsupported operand" not in text):
        return UserError(
            f"The checkpoint {path} is refused: it holds objects that would run code when read.",
            "It is either no nnU-Net checkpoint or was tampered with; get it from a source that you trust.",
        )
    return UserError(f"{path} is damaged, or no checkpoint.", "Copy or download it again.")


def write_checkpoint(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step: until it is whole and on the disk, the old file stays.

    Raises:
        UserError: the disk is full or the folder can't be written to.
    """
    with atomic_path(path, durable=True) as temporary:
        try:
            torch.save(dict(content), temporary)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"Can't write the checkpoint {path}: {error}.", "Check the free space on the disk."
            ) from error


def nnunet_weights(network: nn.Module) -> Weights:
    """The weights on the CPU, under all names that nnU-Net expects.

    nnU-Net stores each block's layers a second time under ``all_modules``, and the encoder again below
    ``decoder.encoder``; the tensors are shared, so the file does not grow.
    """
    network = getattr(network, "_orig_mod", network)
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    for name, module in network.named_modules():
        if isinstance(module, ConvBlock):
            weights |= _block_aliases(weights, name, module)
    weights |= {f"decoder.{name}": tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    return weights


def _block_aliases(weights: Weights, prefix: str, block: ConvBlock) -> Weights:
    norm_index = 1 if block.dropout is None else 2
    aliases = {}
    for layer, index in (("conv", 0), ("norm", norm_index)):
        start = f"{prefix}.{layer}."
        for name in [name for name in weights if name.startswith(start)]:
            aliases[f"{prefix}.all_modules.{index}.{name.removeprefix(start)}"] = weights[name]
    return aliases


def canonical_weights(weights: Mapping[str, torch.Tensor], kept: Collection[str] = ()) -> Weights:
    """Weights of any origin under our names: aliases and the prefixes of wrapped networks are dropped.

    Args:
        weights: ``network_weights`` of a checkpoint.
        kept: Names that stay as they are, whatever they look like (of a plug-in's network).
    """
    found = {}
    for name, tensor in weights.items():
        if name not in kept:
            name = name.removeprefix("module.").removeprefix("_orig_mod.")
        if name in kept or (".all_modules." not in name and not name.startswith("decoder.encoder.")):
            found[name] = tensor
    return found


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], source: Path | str) -> None:
    """Put weights into a network of the same shape.

    Args:
        network: Its own parameters are replaced.
        weights: ``network_weights`` of a checkpoint.
        source: Where they come from, for errors.

    Raises:
        UserError: the weights belong to another network; says what differs.
    """
    network = getattr(network, "_orig_mod", network)
    wanted = network.state_dict()
    given = canonical_weights(weights, wanted)
    check_weights(given, wanted, source)
    network.load_state_dict(given)


def check_weights(given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], source: Path | str) -> None:
    """Find out whether weights are of the same network as others. Raises: UserError: they are not; says what differs.

    Args:
        given: From ``source``, under canonical names.
        wanted: The network's own.
        source: For the error.
    """
    differences = _differences(given, wanted)
    if differences:
        raise UserError(
            f"The weights in {source} do not fit this network: {'; '.join(differences)}.",
            "Use the plans.json and dataset.json that the checkpoint was trained with.",
        )


def _differences(given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], shown: int = 3) -> list[str]:
    """In words what keeps ``given`` from being ``wanted``; the telling ones first."""
    unequal = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    found = []
    heads = [name for name in unequal if ".seg_layers." in name and given[name].shape[:1] != wanted[name].shape[:1]]
    if heads:
        found.append(f"{given[heads[-1]].shape[0]} output classes instead of {wanted[heads[-1]].shape[0]}")
    first = next((name for name in FIRST_CONVOLUTIONS if name in wanted), "")
    if first in unequal and given[first].ndim == wanted[first].ndim and given[first].shape[1] != wanted[first].shape[1]:
        found.append(f"{given[first].shape[1]} input channels instead of {wanted[first].shape[1]}")
    others = [name for name in unequal if name not in heads] if not found else []
    found += [f"{name} is {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}" for name in others[:shown]]
    for what, names in (
        ("missing", [name for name in wanted if name not in given]),
        ("unexpected", [name for name in given if name not in wanted]),
    ):
        if names:
            more = f" and {len(names) - shown} more" if len(names) > shown else ""
            found.append(f"{what} {', '.join(names[:shown])}{more}")
    return found
