"""The weights of another training as first weights: what fits is taken, and what is not is told with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.networks.build import build_network
from segautoconfiglib.networks.checkpoint import (
    FIRST_CONVOLUTIONS,
    Weights,
    canonical_weights,
    check_weights,
    read_checkpoint,
)
from segautoconfiglib.planning.architectures import UMAMBA_BOT, UMAMBA_ENC, is_own_network
from segautoconfiglib.planning.recipe import UMAMBA_NETWORKS
from segautoconfiglib.training.job import TrainJob

#: Parts of a weight's name that mark the last layers, which depend on the labels.
HEADS = ".seg_layers."
#: Networks, and what names of weights only one of them has; U-Mamba's first, whose other layers are those of others.
_NETWORKS = (
    (UMAMBA_BOT, r"(^|\.)mamba_layer\."),
    (UMAMBA_ENC, r"(^|\.)encoder\.mamba_layers\."),
    ("ResidualEncoderUNet", r"(^|\.)encoder\.stages\.\d+\.blocks\."),
    ("PlainConvUNet", r"(^|\.)encoder\.stages\.\d+\.\d+\.convs\."),
)


@dataclass(frozen=True)
class Meaning:
    """What the channels at both ends of a network stand for.

    Attributes:
        inputs: Names of the image channels.
        outputs: Names of what the logits belong to, background included where it has one.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]

    @classmethod
    def of(cls, description: DatasetDescription) -> Meaning:
        """As a dataset.json tells."""
        spec = description.label_spec
        names = [*spec.names.values()]
        return cls(description.channels, names if spec.has_regions else ["background", *names])

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> Meaning:
        """As the dataset.json in a checkpoint tells; nothing is known where there is none, or a damaged one."""
        arguments = checkpoint.get("init_args")
        content = arguments.get("dataset_json") if isinstance(arguments, Mapping) else None
        try:
            return cls.of(DatasetDescription.model_validate(content))
        except (KeyError, UserError, ValueError):
            return cls((), ())


@dataclass(frozen=True)
class Row:
    """What became of a tensor that was not taken as it is: its name, the two shapes ("" for none) and the reason."""

    name: str
    given: str
    wanted: str
    reason: str


@dataclass
class TransferReport:
    """What was loaded from a checkpoint.

    Attributes:
        loaded: Tensors taken as they are.
        adapted: Tensors of another shape that were made to fit.
        fresh: Tensors of the network that keep their random start.
        unused: Tensors of the checkpoint that the network does not have.
    """

    loaded: int = 0
    adapted: list[Row] = field(default_factory=list)
    fresh: list[Row] = field(default_factory=list)
    unused: list[Row] = field(default_factory=list)

    def tell(self, file: Path | str, report: Reporter) -> None:
        """One log line of numbers, with the rows for programs, and one line for each reason."""
        total = self.loaded + len(self.adapted) + len(self.fresh)
        table = {key: [asdict(row) for row in getattr(self, key)] for key in ("adapted", "fresh", "unused")}
        heads = " The last layers start anew." if any(HEADS in row.name for row in self.fresh) else ""
        report(
            "log",
            message=f"Starting from the weights in {file}: {self.loaded} of {counted(total, 'tensor')} taken as they "
            f"are, {len(self.adapted)} adapted, {len(self.fresh)} new.{heads}",
            transfer={"file": str(file), "loaded": self.loaded, **table},
        )
        for what, rows in (("Adapted", self.adapted), ("New", self.fresh), ("Not used", self.unused)):
            for reason in dict.fromkeys(row.reason for row in rows):
                report("log", message=f"{what}, {reason}: {_names([row for row in rows if row.reason == reason])}.")


def _names(rows: Sequence[Row], shown: int = 4) -> str:
    texts = [f"{row.name} ({row.given or 'nothing'} -> {row.wanted or 'nothing'})" for row in rows[:shown]]
    return f"{', '.join(texts)}{f' and {len(rows) - shown} more' if len(rows) > shown else ''}"


@dataclass(frozen=True)
class Transfer:
    """How weights go from one network to another.

    Attributes:
        adapt: Of ADAPTABLE, what may differ: "heads" (outputs are matched by the names of their structures), "channels"
            (inputs likewise), "layers" (all others: what has another shape or name starts anew).
        heads: Take the last layers where all of them have the same shape; else they start anew, as in nnU-Net.
        here: What the new network's channels stand for.
    """

    adapt: Sequence[str] = ()
    heads: bool = False
    here: Meaning = field(default_factory=lambda: Meaning((), ()))

    def prepare(
        self, checkpoint: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]
    ) -> tuple[Weights, TransferReport]:
        """The weights to load, complete, and what they are made of.

        Args:
            checkpoint: As `read_checkpoint` gives it.
            wanted: The network's own weights; they may be on the "meta" device, to find out only.
        """
        given, there = canonical_weights(checkpoint["network_weights"], wanted), Meaning.of_checkpoint(checkpoint)
        mine, theirs = ({name for name in weights if HEADS in name} for weights in (wanted, given))
        same_heads = mine == theirs and all(given[name].shape == wanted[name].shape for name in mine)
        made, report = {}, TransferReport()
        for name, own in wanted.items():
            tensor, row = given.get(name), None
            if HEADS in name and "heads" in self.adapt:
                tensor, row = _adapted(name, tensor, own, 0, there.outputs, self.here.outputs)
            elif HEADS in name and not (self.heads and same_heads):
                tensor, row = own, _row(name, tensor, own, "the last layers belong to the labels")
            elif name in FIRST_CONVOLUTIONS and "channels" in self.adapt:
                tensor, row = _adapted(name, tensor, own, 1, there.inputs, self.here.inputs)
            elif "layers" in self.adapt and (tensor is None or tensor.shape != own.shape):
                reason = "not in the checkpoint" if tensor is None else "another shape"
                tensor, row = own, _row(name, tensor, own, reason)
            if tensor is not None:
                made[name] = tensor
            if row is None:
                report.loaded += tensor is not None
            else:
                (report.fresh if tensor is own else report.adapted).append(row)
        strangers = {name: tensor for name, tensor in given.items() if name not in wanted and HEADS not in name}
        if "layers" in self.adapt:
            report.unused = [_row(name, tensor, None, "not in this network") for name, tensor in strangers.items()]
        else:
            made |= strangers  # `load_weights` tells that they belong to another network
        return made, report

    def fitted(
        self, checkpoint: Mapping[str, Any], wanted: Mapping[str, torch.Tensor], file: Path | str
    ) -> tuple[Weights, TransferReport]:
        """As `prepare`, checked.

        Raises:
            UserError: they belong to another network, or nothing of them fits.
        """
        weights, report = self.prepare(checkpoint, wanted)
        if not report.loaded:
            hint = _umamba_remedy(checkpoint["network_weights"], wanted)
            hint = hint or "Choose a checkpoint of the same architecture."
            raise UserError(f"No weights of {file} fit this network.", hint)
        try:
            check_weights(weights, wanted, file)
        except UserError as error:
            hint = _umamba_remedy(checkpoint["network_weights"], wanted) or _remedy(error.message, self.adapt)
            raise UserError(error.message, hint) from error
        return weights, report

    def load(self, network: nn.Module, checkpoint: Mapping[str, Any], file: Path | str) -> TransferReport:
        """Put the weights of a checkpoint into a network.

        Args:
            network: Its own parameters are replaced; nothing is changed where that fails.
            checkpoint: As `read_checkpoint` gives it.
            file: Where it comes from, for errors.

        Raises:
            UserError: see `fitted`.
        """
        network = getattr(network, "_orig_mod", network)
        weights, report = self.fitted(checkpoint, network.state_dict(), file)
        network.load_state_dict(weights)
        return report


def transfer_of(job: TrainJob) -> Transfer:
    """How the initial weights of a training are loaded."""
    return Transfer(job.adapt, job.initial_heads, Meaning.of(job.description))


def check_initial_weights(job: TrainJob) -> None:
    """Find out before the long work whether a training can start from its initial weights.

    Raises:
        UserError: the file is missing, damaged, or of another network; see `Transfer.load`.
    """
    if job.initial_weights is None:
        return
    description, configuration = job.description, job.plans.configuration(job.configuration)
    channels, outputs = configuration.input_channels(description), description.label_spec.output_channels
    content = read_checkpoint(job.initial_weights)
    own = is_own_network(configuration.architecture.network_class_name)  # may need more than shapes
    with nullcontext() if own else torch.device("meta"):
        network = build_network(configuration.architecture, channels, outputs, deep_supervision=True)
    transfer_of(job).fitted(content, network.state_dict(), job.initial_weights)


def _network_of(names: Iterable[str]) -> str:
    """The network that weights of these names belong to; empty for one of a plug-in."""
    names = list(names)
    return next((network for network, layer in _NETWORKS if any(re.search(layer, name) for name in names)), "")


def _umamba_remedy(given: Iterable[str], wanted: Iterable[str]) -> str:
    """What to do with weights of another network where one of both is U-Mamba's; nothing elsewhere."""
    there, here = _network_of(given), _network_of(wanted)
    if there in ("", here) or not {there, here} & set(UMAMBA_NETWORKS):
        return ""
    return f"These are weights of {there}: train this network (--network {there})."


def _remedy(message: str, adapt: Sequence[str]) -> str:
    if "input channels" in message and "channels" not in adapt:
        return "Adapt the first layer with --adapt channels, or train a dataset of the same channels."
    return (
        "Train with the plans of that training (move-plans brings them to this dataset), or load what fits with "
        "--adapt layers."
    )


def _row(name: str, given: torch.Tensor | None, wanted: torch.Tensor | None, reason: str) -> Row:
    shapes = ["" if tensor is None else "x".join(map(str, tensor.shape)) for tensor in (given, wanted)]
    return Row(name, shapes[0], shapes[1], reason)


def _adapted(
    name: str,
    tensor: torch.Tensor | None,
    own: torch.Tensor,
    axis: int,
    there: Sequence[str],
    here: Sequence[str],
) -> tuple[torch.Tensor, Row | None]:
    """A tensor for other channels along an axis: those of the same name are taken over.

    Returns:
        The new tensor (``own`` where nothing could be taken), and what was done; None where it is the given one.
    """
    if tensor is None or _without(tensor.shape, axis) != _without(own.shape, axis):
        return own, _row(name, tensor, own, "not in the checkpoint" if tensor is None else "another shape")
    pairs = matches(_full(there, tensor.shape[axis]), _full(here, own.shape[axis]))
    if axis == 1:
        pairs += _in_order(tensor.shape[axis], own.shape[axis], pairs)
    if tensor.shape == own.shape and all(old == new for old, new in pairs) and len(pairs) == own.shape[axis]:
        return tensor, None
    return (_inputs if axis else _outputs)(name, tensor, own, pairs, here)


def _without(shape: Sequence[int], axis: int) -> list[int]:
    return [size for number, size in enumerate(shape) if number != axis]


def _in_order(there: int, here: int, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Input channels without a partner follow their order where they are equally many on both sides."""
    alone, added = _alone(there, here, pairs)
    return list(zip(alone, added, strict=True)) if len(alone) == len(added) else []


def _alone(there: int, here: int, pairs: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Channels without a partner, of both sides."""
    old, new = ({pair[side] for pair in pairs} for side in (0, 1))
    return sorted(set(range(there)) - old), sorted(set(range(here)) - new)


def _full(names: Sequence[str], count: int) -> list[str]:
    """Names of all channels: a cascade has more inputs than images, and old checkpoints tell none at all."""
    return [*names[:count], *(f"\n{number}" for number in range(len(names), count))]


def matches(there: Sequence[str], here: Sequence[str]) -> list[tuple[int, int]]:
    """Which names are the same, upper or lower case: pairs of positions; equal names are matched in their order."""
    free = [name.casefold() for name in there]
    pairs = []
    for position, name in enumerate(here):
        if name.casefold() in free:
            found = free.index(name.casefold())
            free[found] = "\n"
            pairs.append((found, position))
    return pairs


def _outputs(
    name: str, tensor: torch.Tensor, own: torch.Tensor, pairs: list[tuple[int, int]], here: Sequence[str]
) -> tuple[torch.Tensor, Row]:
    """Structures of other names keep their random start."""
    if not pairs:
        return own, _row(name, tensor, own, "no structure of the same name")
    result = own.clone()
    for old, new in pairs:
        result[new] = tensor[old].to(own.device)
    names = ", ".join(here[new] for _, new in pairs if new < len(here))
    return result, _row(name, tensor, own, f"structures taken over: {names}")


def _inputs(
    name: str, tensor: torch.Tensor, own: torch.Tensor, pairs: list[tuple[int, int]], here: Sequence[str]
) -> tuple[torch.Tensor, Row]:
    """Weights of old channels without a partner are shared out evenly among new ones without a partner.

    An image whose channels are all alike so gives the same output as before. Where every old channel has a partner,
    further channels begin with zeros: they change nothing until they were learned.
    """
    result = torch.zeros_like(own)
    for old, new in pairs:
        result[:, new] = tensor[:, old].to(own.device)
    alone, added = _alone(tensor.shape[1], own.shape[1], pairs)
    for new in added:
        if alone:
            result[:, new] = tensor[:, alone].sum(dim=1).to(own.device) / len(added)
    texts = [f"channels taken over: {', '.join(here[new] for _, new in pairs if new < len(here)) or 'none'}"]
    if added:
        others = ", ".join(here[new] if new < len(here) else f"number {new}" for new in added)
        texts.append(f"{others} from {'the mean of the others' if alone else 'zero'}")
    return result, _row(name, tensor, own, "; ".join(texts))
