"""How a network is trained, as values that combine; nnU-Net's trainer names are read as such values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.defaults import TRAINING

#: The fields of a recipe that say how long training takes.
LENGTH_FIELDS = ("epochs", "iterations_per_epoch", "validation_iterations")

Augmentation = Literal["default", "fast", "none"]


@dataclass(frozen=True)
class Recipe:
    """Everything about training that plans do not say. Variants are made with ``dataclasses.replace``.

    Raises:
        ProblemsError: on construction, naming all values that are out of range.
    """

    trainer_name: str = "nnUNetTrainer"
    """First part of the model folder's name, ``<trainer>__<plans>__<configuration>``; kept in checkpoints."""
    loss: str = "dice_ce"
    """A loss function by name: cross-entropy (per region: binary cross-entropy) plus soft Dice."""
    optimizer: str = "sgd"
    """An optimizer by name: SGD with Nesterov momentum."""
    learning_rate: float = TRAINING.learning_rate
    """At the start of training."""
    schedule: str = "poly"
    """How the learning rate falls, by name: (1 - epoch / epochs) to a power."""
    epochs: int = TRAINING.epochs
    """The schedule ends with the last epoch."""
    iterations_per_epoch: int = TRAINING.iterations_per_epoch
    """Training steps per epoch."""
    validation_iterations: int = TRAINING.validation_iterations
    """Batches of validation patches at the end of each epoch."""
    augmentation: Augmentation = "default"
    """nnU-Net's augmentation; "fast" its cheap part; "none"."""
    mirror: bool | tuple[int, ...] = True
    """Mirror along every axis, or along these (as the network counts them), in training and in prediction. Turn it off
    where left and right have own labels."""
    deep_supervision: bool = True
    """Also train the outputs at lower resolutions."""
    foreground_share: float = TRAINING.foreground_share
    """Share of a batch's samples that are centred on a foreground voxel."""
    batch_size: int | None = None
    """Samples per step; None takes the plans' number."""
    average_weights: float | None = None
    """Decay per step of a running average of the weights, which is then what is saved; None keeps the last weights."""
    seed: int = 0
    """Of everything random: initial weights, choice of cases and patches, augmentation."""

    def __post_init__(self) -> None:
        problems = [
            Problem(f"{name} is {getattr(self, name)!r}, but must be {rule}.")
            for name, rule, holds in (
                ("learning_rate", "above 0", self.learning_rate > 0),
                ("epochs", "at least 1", self.epochs >= 1),
                ("iterations_per_epoch", "at least 1", self.iterations_per_epoch >= 1),
                ("validation_iterations", "at least 0", self.validation_iterations >= 0),
                ("augmentation", "default, fast or none", self.augmentation in ("default", "fast", "none")),
                ("foreground_share", "between 0 and 1", 0 <= self.foreground_share <= 1),
                ("batch_size", "at least 1", self.batch_size is None or self.batch_size >= 1),
                ("average_weights", "between 0 and 1", self.average_weights is None or 0 < self.average_weights < 1),
                ("seed", "at least 0", self.seed >= 0),
                ("trainer_name", "without '__' and '/'", not re.search(r"__|[/\\]|^$", self.trainer_name)),
            )
            if not holds
        ]
        if problems:
            raise ProblemsError("The training recipe has values out of range:", problems)


#: What a word in a trainer's name changes. Words are joined by underscores; the first may follow the name directly.
_TRAINER_WORDS: dict[str, dict[str, Any]] = {
    "NoMirroring": {"mirror": False},
    "NoDeepSupervision": {"deep_supervision": False},
    "NoDA": {"augmentation": "none", "mirror": False},
}


def recipe_from_trainer_name(name: str) -> Recipe:
    """The recipe that one of nnU-Net's trainer classes stands for.

    ``nnUNetTrainer`` followed by words in any combination: ``250epochs`` (any number), ``NoMirroring``,
    ``NoDeepSupervision``, ``NoDA``; for example ``nnUNetTrainer_250epochs_NoMirroring``.

    Raises:
        UserError: the name is no such combination.
    """
    base, separator, rest = name.partition("nnUNetTrainer")
    recipe = Recipe(trainer_name=name) if separator and not base else None
    for word in rest.removeprefix("_").split("_") if rest else ():
        changes = _word_changes(word)
        recipe = replace(recipe, **changes) if recipe is not None and changes else None
    if recipe is None:
        words = ", ".join(["<N>epochs", *_TRAINER_WORDS])
        raise UserError(
            f"Unknown trainer {name!r}.",
            f"Known: nnUNetTrainer, or with any of these appended: {words} "
            "(such as nnUNetTrainer_250epochs_NoMirroring).",
        )
    return recipe


def _word_changes(word: str) -> dict[str, Any]:
    """The fields that ``word`` sets; empty if it is unknown."""
    epochs = re.fullmatch(r"([1-9]\d*)epochs?", word)
    return {"epochs": int(epochs[1])} if epochs else _TRAINER_WORDS.get(word, {})
