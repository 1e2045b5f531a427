"""How a network is trained, as values that combine; names among them are looked up in the registries of `choices`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from segautoconfiglib.base.errors import Problem, ProblemsError
from segautoconfiglib.defaults import BUDGET, TRAINING
from segautoconfiglib.planning.choices import AUGMENTATIONS, LOSSES, OPTIMIZERS, SCHEDULES

#: The fields of a recipe that say how long training takes.
LENGTH_FIELDS = ("epochs", "iterations_per_epoch", "validation_iterations")

Oversampling = Literal["last", "probabilistic", "probabilistic_rounded"]
Norm = Literal["instance", "batch"]

OVERSAMPLING_KINDS = ("last", "probabilistic", "probabilistic_rounded")
NORMS = ("instance", "batch")
#: Axes of a patch as `Recipe.mirror` names them.
AXIS_NAMES = "zyx"
#: Networks of U-Mamba, which need small steps: see `usual_learning_rate`.
UMAMBA_NETWORKS = ("UMambaBot", "UMambaEnc")


@dataclass(frozen=True)
class Recipe:
    """Everything about training that plans do not say. Variants are made with ``dataclasses.replace``.

    Raises:
        ProblemsError: on construction, naming all values that are out of range.
    """

    trainer_name: str = "nnUNetTrainer"
    """First part of the model folder's name, ``<trainer>__<plans>__<configuration>``."""
    network: str | None = None
    """The network's class, without its package, built with the stages and features of the plans; None: the plans'."""
    loss: str = "dice_ce"
    """A loss function by name: cross-entropy (per region: binary cross-entropy) plus soft Dice."""
    topk_share: float = TRAINING.topk_share
    """Of the voxels, those with the highest cross-entropy, which the top-k losses look at."""
    label_smoothing: float = 0.0
    """Share of each voxel's target that the cross-entropy spreads over all classes alike."""
    dice_smoothing: float = TRAINING.dice_smoothing
    """Added to numerator and denominator of the soft Dice."""
    optimizer: str = "sgd"
    """An optimizer by name: SGD with Nesterov momentum."""
    learning_rate: float = TRAINING.learning_rate
    """At its highest, which is the start unless there is a warm-up."""
    momentum: float | None = None
    """Of the optimizer; None: its own."""
    betas: tuple[float, ...] | None = None
    """Of optimizers of Adam's kind; None: its own."""
    weight_decay: float | None = None
    """Of the optimizer; None: its own."""
    schedule: str = "poly"
    """How the learning rate falls, by name: (1 - epoch / epochs) to a power."""
    warmup_epochs: int = 0
    """Epochs in which the learning rate rises in equal steps, before the schedule, which has the rest of the run."""
    gradient_clip: float | None = TRAINING.gradient_clip_norm
    """Longest gradient (norm of all weights together); None: any."""
    epochs: int = TRAINING.epochs
    """The schedule ends with the last epoch."""
    iterations_per_epoch: int = TRAINING.iterations_per_epoch
    """Training steps per epoch."""
    validation_iterations: int = TRAINING.validation_iterations
    """Batches of validation patches at the end of each epoch."""
    augmentation: str = "default"
    """By name: nnU-Net's augmentation; "fast" its cheap part; "none"; "da5", nnU-Net's strong one."""
    mirror: bool | str | tuple[int, ...] = True
    """Mirror along every axis, or along these, in training and in prediction: letters of "zyx", where x is the last
    axis of the patch, or numbers as the network counts them. Turn it off where left and right have own labels."""
    dummy_2d: bool = True
    """Rotate and scale within the slices alone where patches have few of them."""
    image_order: int = 1
    """Of the interpolation in rotated and scaled patches: 1 linear, 0 the nearest voxel."""
    label_order: int = 1
    """Likewise, of labels."""
    deep_supervision: bool = True
    """Also train the outputs at lower resolutions."""
    mixed_precision: bool = True
    """Train with 16-bit numbers on CUDA devices, where that is safe; elsewhere all numbers have 32 bits anyway."""
    norm: Norm | None = None
    """The network's normalisation layers; None: those of the plans."""
    foreground_share: float = TRAINING.foreground_share
    """Share of a batch's samples that are centred on a foreground voxel."""
    oversampling: Oversampling = "last"
    """Which samples these are: the last ones of each batch (at least the rounded share), or each with this probability
    ("probabilistic"), or with the probability that "last" comes to at this batch size ("probabilistic_rounded")."""
    batch_size: int | None = None
    """Samples per step; None takes the plans' number."""
    average_weights: float | None = None
    """Decay per step of a running average of the weights, which is then what is saved; None keeps the last weights."""
    benchmark: bool = False
    """Only measure: no checkpoints, the fastest epoch goes to benchmark_result.json."""
    synthetic_batch: bool = False
    """Train on one batch of random numbers, over and over: how fast is it without reading data?"""
    seed: int = 0
    """Of everything random: initial weights, choice of cases and patches, augmentation."""

    def __post_init__(self) -> None:
        problems = [
            Problem(f"{name} is {getattr(self, name)!r}, but must be {rule}.")
            for name, rule, holds in (*self._numbers(), *self._names())
            if not holds
        ]
        if problems:
            raise ProblemsError("The training recipe has values out of range:", problems)

    def _numbers(self) -> tuple[tuple[str, str, bool], ...]:
        """Field, rule, and whether it holds."""
        return (
            ("topk_share", "above 0 and at most 1", 0 < self.topk_share <= 1),
            ("label_smoothing", "from 0 to below 1", 0 <= self.label_smoothing < 1),
            ("dice_smoothing", "at least 0", self.dice_smoothing >= 0),
            ("learning_rate", "above 0", self.learning_rate > 0),
            ("momentum", "from 0 to below 1", self.momentum is None or 0 <= self.momentum < 1),
            ("betas", "numbers from 0 to below 1", self.betas is None or _are_betas(self.betas)),
            ("weight_decay", "at least 0", self.weight_decay is None or self.weight_decay >= 0),
            ("gradient_clip", "above 0", self.gradient_clip is None or self.gradient_clip > 0),
            ("epochs", "at least 1", self.epochs >= 1),
            ("warmup_epochs", f"at least 0 and below epochs ({self.epochs})", 0 <= self.warmup_epochs < self.epochs),
            ("iterations_per_epoch", "at least 1", self.iterations_per_epoch >= 1),
            ("validation_iterations", "at least 0", self.validation_iterations >= 0),
            ("foreground_share", "between 0 and 1", 0 <= self.foreground_share <= 1),
            ("batch_size", "at least 1", self.batch_size is None or self.batch_size >= 1),
            ("average_weights", "between 0 and 1", self.average_weights is None or 0 < self.average_weights < 1),
            ("image_order", "0 or 1", self.image_order in (0, 1)),
            ("label_order", "0 or 1", self.label_order in (0, 1)),
            ("seed", "at least 0", self.seed >= 0),
        )

    def _names(self) -> tuple[tuple[str, str, bool], ...]:
        """Field, rule, and whether it holds."""
        registered = tuple(
            (field, _one_of(registry), getattr(self, field) in registry)
            for field, registry in (
                ("loss", LOSSES),
                ("optimizer", OPTIMIZERS),
                ("schedule", SCHEDULES),
                ("augmentation", AUGMENTATIONS),
            )
        )
        mirror_rule = f"yes, no, or different letters of {AXIS_NAMES}"
        return (
            *registered,
            ("network", "a class name", self.network is None or self.network.isidentifier()),
            ("oversampling", _one_of(OVERSAMPLING_KINDS), self.oversampling in OVERSAMPLING_KINDS),
            ("norm", _one_of(NORMS), self.norm is None or self.norm in NORMS),
            ("mirror", mirror_rule, not isinstance(self.mirror, str) or _are_axes(self.mirror)),
            ("trainer_name", "without '__' and '/'", not re.search(r"__|[/\\]|^$", self.trainer_name)),
        )


def _one_of(names: object) -> str:
    *most, last = list(names)  # type: ignore[call-overload]
    return f"{', '.join(most)} or {last}"


def _are_betas(betas: tuple[float, ...]) -> bool:
    return len(betas) >= 2 and all(0 <= beta < 1 for beta in betas)


def _are_axes(letters: str) -> bool:
    return bool(letters) and set(letters) <= set(AXIS_NAMES) and len(set(letters)) == len(letters)


def usual_learning_rate(optimizer: str, network: str | None = None) -> float:
    """The learning rate of an optimizer where none is asked for; with SGD, U-Mamba's networks need a lower one."""
    if optimizer == "sgd" and network in UMAMBA_NETWORKS:
        return TRAINING.umamba_learning_rate
    rates = {
        "muon": BUDGET.learning_rate,
        **dict.fromkeys(("adam", "adamw", "adamw_amsgrad", "adan"), TRAINING.adam_learning_rate),
    }
    return rates.get(optimizer, TRAINING.learning_rate)


def with_usual_rate(recipe: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of a recipe, with the learning rate that goes with another optimizer, or with another network.

    Args:
        recipe: To be changed. A network changes the rate only where it is the usual one still.
        changes: Fields and their values; a learning rate among them stays.
    """
    optimizer, network = (changes.get(name, getattr(recipe, name)) for name in ("optimizer", "network"))
    usual = recipe.learning_rate == usual_learning_rate(recipe.optimizer, recipe.network)
    if "optimizer" in changes or ("network" in changes and usual):
        return {"learning_rate": usual_learning_rate(optimizer, network), **changes}
    return dict(changes)


def optimizer_options(recipe: Recipe) -> dict[str, float | tuple[float, ...]]:
    """What the recipe says about the optimizer besides its name and learning rate, as keyword arguments."""
    values = {name: getattr(recipe, name) for name in ("momentum", "betas", "weight_decay")}
    return {name: value for name, value in values.items() if value is not None}
