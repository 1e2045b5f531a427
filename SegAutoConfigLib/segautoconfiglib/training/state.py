"""All that changes during training, and its checkpoint in nnU-Net's format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.plugins import plugin_names
from segautoconfiglib.networks.checkpoint import OWN_KEY, load_weights, nnunet_weights
from segautoconfiglib.planning.recipe import Recipe

#: The lists in a checkpoint's "logging", one entry per epoch (nnU-Net).
HISTORY_KEYS = (
    "mean_fg_dice",
    "ema_fg_dice",
    "dice_per_class_or_region",
    "train_losses",
    "val_losses",
    "lrs",
    "epoch_start_timestamps",
    "epoch_end_timestamps",
)


class WeightAverage:
    """A running average of a network's weights (Polyak and Juditsky 1992), whose decay grows to its final value.

    Args:
        network: Whose weights are averaged; the average starts as a copy of them.
        decay: Share of the old average that stays at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after a training step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))  # the first weights are forgotten quickly
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)


@dataclass
class Position:
    """Where training stands. Numbers only: it is part of the checkpoint.

    Attributes:
        epoch: The epoch under way, from 0.
        step: Training steps of this epoch that are done.
        train_batches, validation_batches: Batches used so far.
        bad_steps: Steps in a row that were skipped because of NaN or infinity.
        losses: Of this epoch's steps, without the skipped ones.
        epoch_seconds: Spent on this epoch before the last stop.
        best_ema: Highest moving average of the mean Dice so far.
    """

    epoch: int = 0
    step: int = 0
    train_batches: int = 0
    validation_batches: int = 0
    bad_steps: int = 0
    losses: list[float] = field(default_factory=list)
    epoch_seconds: float = 0.0
    best_ema: float | None = None


@dataclass
class TrainingState:
    """The mutable state of a run.

    Attributes:
        network: The plain network (not a compiled one).
        forward: What training steps call: the network, or its compiled form.
        optimizer: With all its buffers.
        scaler: Loss scaling for float16; None elsewhere.
        average: Running average of the weights, or None.
        position: Where training stands.
        history: nnU-Net's log: HISTORY_KEYS to one entry per epoch.
    """

    network: nn.Module
    forward: Any
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None = None
    average: WeightAverage | None = None
    position: Position = field(default_factory=Position)
    history: dict[str, list[Any]] = field(default_factory=lambda: {key: [] for key in HISTORY_KEYS})

    @property
    def seconds(self) -> float:
        """Spent on training so far, without pauses."""
        begins, ends = self.history["epoch_start_timestamps"], self.history["epoch_end_timestamps"]
        return sum(ends) - sum(begins) + self.position.epoch_seconds

    def restart_average(self) -> None:
        """Let the average start from the network's weights as they are now."""
        if self.average is not None:
            self.average = WeightAverage(self.network, self.average.decay)

    @contextmanager
    def best_weights(self) -> Iterator[nn.Module]:
        """The network with the weights that validation and prediction use: averaged ones if there are any."""
        if self.average is None:
            yield self.network
            return
        own = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.weights)
        try:
            yield self.network
        finally:
            self.network.load_state_dict(own)


def make_checkpoint(state: TrainingState, recipe: Recipe, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint: nnU-Net's keys, and under OWN_KEY what an exact resume needs besides.

    Args:
        state: To be saved.
        recipe: Kept to notice changes on resuming.
        identity: ``init_args``, ``trainer_name`` and ``inference_allowed_mirroring_axes`` of nnU-Net.
    """
    position = state.position
    own: dict[str, Any] = {
        "position": asdict(position),
        "recipe": asdict(recipe),
        "random": _random_states(),
        "plugins": plugin_names(),
    }
    if state.average is not None:
        own["weights"] = {name: tensor.cpu() for name, tensor in state.network.state_dict().items()}
        own["average_steps"] = state.average.steps
    with state.best_weights() as network:
        weights = nnunet_weights(network)
        if state.average is not None:  # they share memory with the network, which gets its own weights back
            weights = _copies(weights)
    return {
        "network_weights": weights,
        "optimizer_state": state.optimizer.state_dict(),
        "grad_scaler_state": None if state.scaler is None else state.scaler.state_dict(),
        "logging": state.history,
        "_best_ema": position.best_ema,
        "current_epoch": position.epoch,
        **identity,
        OWN_KEY: own,
    }


def _copies(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies that share memory among themselves as the originals do."""
    made: dict[int, torch.Tensor] = {}
    return {name: made.setdefault(tensor.data_ptr(), tensor.clone()) for name, tensor in weights.items()}


def restore(state: TrainingState, checkpoint: Mapping[str, Any], recipe: Recipe, source: Path) -> dict[str, str]:
    """Continue from a checkpoint: exactly, but for the random numbers of networks with dropout in several processes.

    Args:
        state: Freshly made; it is changed.
        checkpoint: Of this program, or of nnU-Net (then at the start of an epoch).
        recipe: Of the run that begins.
        source: The checkpoint's file, for errors.

    Returns:
        What differs in the recipe: fields and a sentence (nothing of it prevents continuing).

    Raises:
        UserError: the network or the optimizer is another one, or a part of the checkpoint is missing or malformed.
    """
    own = checkpoint.get(OWN_KEY, {})
    old_recipe = own.get("recipe", {})
    if old_recipe.get("optimizer", recipe.optimizer) != recipe.optimizer:
        raise UserError(
            f"{source} was trained with the optimizer {old_recipe['optimizer']!r}, this run uses {recipe.optimizer!r}.",
            "Resume with the same trainer, and with a --budget if it had one; or start anew (--overwrite).",
            "resume-same-or-overwrite",
        )
    load_weights(state.network, own.get("weights", checkpoint["network_weights"]), source)
    with _unfit("state of the optimizer (optimizer_state)", source):
        _restore_optimizer(state.optimizer, checkpoint["optimizer_state"])
    if state.scaler is not None and checkpoint.get("grad_scaler_state"):
        with _unfit("loss scale (grad_scaler_state)", source):
            state.scaler.load_state_dict(checkpoint["grad_scaler_state"])
    if state.average is not None:
        _restore_average(state, checkpoint, source)
    with _unfit("curves of the epochs (logging)", source):
        state.history = _history(checkpoint["logging"])
    with _unfit("position in the training", source):
        state.position = _position(checkpoint, recipe)
    with _unfit("state of the random numbers", source):
        _restore_random_states(own.get("random", {}))
    return {
        entry.name: f"{entry.name} is {getattr(recipe, entry.name)!r}, was {old_recipe[entry.name]!r}"
        for entry in fields(recipe)
        if entry.name in old_recipe and getattr(recipe, entry.name) != old_recipe[entry.name]
    }


@contextmanager
def _unfit(part: str, source: Path) -> Iterator[None]:
    """Raises: UserError: a part of a checkpoint is missing, of another type, or of another training."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{source} can't be resumed: its {part} is missing or does not fit ({type(error).__name__}: {error}).",
            "Resume with the program and the settings that wrote it, or start anew (--overwrite).",
            "resume-same-or-overwrite",
        ) from error


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """torch checks only the number of parameters; here also that it is the same optimizer and the shapes are the same.

    Raises:
        ValueError: they are not.
    """
    settings = set(optimizer.param_groups[0])
    optimizer.load_state_dict(dict(saved))
    lacking = settings - set(optimizer.param_groups[0])
    if lacking:
        raise ValueError(f"of another optimizer, without {', '.join(sorted(lacking))}")
    for parameter, buffers in optimizer.state.items():
        for name, buffer in buffers.items():
            if isinstance(buffer, torch.Tensor) and buffer.ndim > 0 and buffer.shape != parameter.shape:
                raise ValueError(f"{name} is {tuple(buffer.shape)} for weights of {tuple(parameter.shape)}")


def _history(saved: Mapping[str, Any]) -> dict[str, list[Any]]:
    history = {key: saved.get(key, []) for key in HISTORY_KEYS}
    for key, values in history.items():
        if not isinstance(values, list):
            raise TypeError(f"{key} is {values!r:.100}, not a list")
    return {key: list(values) for key, values in history.items()}


def _restore_average(state: TrainingState, checkpoint: Mapping[str, Any], source: Path) -> None:
    assert state.average is not None
    state.average.steps = checkpoint.get(OWN_KEY, {}).get("average_steps", 0)
    own = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
    load_weights(state.network, checkpoint["network_weights"], source)
    for name, tensor in state.network.state_dict().items():
        state.average.weights[name].copy_(tensor)
    state.network.load_state_dict(own)


def _position(checkpoint: Mapping[str, Any], recipe: Recipe) -> Position:
    saved = checkpoint.get(OWN_KEY, {}).get("position")
    if saved is not None:
        return Position(**{**saved, "losses": list(saved["losses"])})
    epoch = int(checkpoint["current_epoch"])
    best = checkpoint.get("_best_ema")
    return Position(
        epoch=epoch,
        train_batches=epoch * recipe.iterations_per_epoch,
        validation_batches=epoch * recipe.validation_iterations,
        best_ema=None if best is None else float(best),
    )


def _random_states() -> dict[str, Any]:
    """torch's random numbers, which only networks with dropout and the like draw from."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_states(states: Mapping[str, Any]) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
