"""What may be said about planning and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import BUDGET, EVALUATION
from segautoconfiglib.planning.recipe import LENGTH_FIELDS, Recipe, with_usual_rate
from segautoconfiglib.planning.trainer_names import named_fields, recipe_from_trainer_name, recipe_name

Fold = int | Literal["all"]

#: What to do where a model is to go on with a dataset of other channels.
OTHER_CHANNELS = (
    "For other channels bring the model's plans to this dataset with move-plans --own-channels, then train with them "
    "(--plans), --pretrained-weights FILE and --adapt channels."
)


@dataclass(frozen=True)
class PlanOptions:
    """What the planner may be told; None leaves the choice to it."""

    planner: str = "ExperimentPlanner"
    gpu_memory_target_gb: float | None = None
    target_spacing: tuple[float, ...] | None = None
    plans_name: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the plans file, without ending."""
        from segautoconfiglib.planning.presets import checked_plans_name, planner_preset

        return checked_plans_name(self.plans_name or planner_preset(self.planner).plans_name)


@dataclass(frozen=True)
class OverlayOptions:
    """How pictures of cases are drawn.

    Attributes:
        channel: Which of the image's channels.
        intensity: Opacity of the labels, from 0 to 1; not of predictions beside the truth.
        workers: Processes at most; None: as many as are worth while.
    """

    channel: int = 0
    intensity: float = EVALUATION.overlay_intensity
    workers: int | None = None


@dataclass(frozen=True)
class TrainOptions:
    """What may be said about a training; None leaves the choice to the plans, the recipe or the budget."""

    configuration: str | None = None
    fold: Fold = 0
    plans_name: str | None = None
    planning: PlanOptions = field(default_factory=PlanOptions)
    trainer: str = "nnUNetTrainer"
    epochs: int | None = None
    iterations: int | None = None
    budget_s: float | None = None
    seed: int = 0
    device: str = "auto"
    gpus: int | tuple[int, ...] = 1
    processes: int = 1
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    initial_weights: Path | None = None
    continue_from: Path | None = None
    adapt: tuple[str, ...] = ()
    save_probabilities: bool = False
    checkpoints: bool = True
    choices: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe and their values, in place of the trainer's."""

    def check(self) -> None:
        """Raises: UserError: wishes that contradict each other, or a budget in which nothing can be done."""
        planned = self.plans_name is not None or self.planning != PlanOptions()
        if self.continue_from is not None and (planned or self.initial_weights is not None):
            raise UserError(
                "--continue-from takes weights and plan of the model.",
                "Leave out --plans, --planner and --pretrained-weights.",
            )
        if self.resume and self.initial_weights is not None:
            raise UserError(
                "--resume goes on with the weights of the fold itself, --pretrained-weights with others.",
                "Leave one of them out; --overwrite starts the fold anew with the given weights.",
            )
        if self.continue_from is not None and "channels" in self.adapt:
            raise UserError(
                "--continue-from takes the model's plan with its channels, which --adapt channels can't change.",
                OTHER_CHANNELS,
            )
        if self.adapt and self.continue_from is None and self.initial_weights is None:
            raise UserError(
                "--adapt says what of given weights may differ; there are none.",
                "Add --pretrained-weights FILE or --continue-from FOLDER.",
            )
        if self.budget_s is None:
            return
        if self.budget_s < BUDGET.min_seconds:
            raise UserError(
                f"A budget of {self.budget_s:g} s is too short to prepare and train anything.",
                f"Give {BUDGET.min_seconds:g}s or more; minutes and hours (--budget 20m) give better networks.",
            )
        if self.chosen & set(LENGTH_FIELDS):
            raise UserError(
                "A time (--budget) and a number of epochs or iterations were asked for.",
                "Give one of them: the time decides about the number of steps.",
            )

    def recipe(self) -> Recipe:
        """The trainer's recipe with the choices, length and seed asked for.

        Raises:
            UserError: unknown trainer.
            ProblemsError: a value is out of range.
        """
        recipe = recipe_from_trainer_name(self.trainer)
        changes = with_usual_rate(recipe, self.choices)
        recipe = replace(recipe, **{**self._length(recipe), **changes, "seed": self.seed})
        return replace(recipe, trainer_name=recipe_name(self.trainer, recipe))

    def _length(self, recipe: Recipe) -> dict[str, int]:
        length = {"epochs": self.epochs} if self.epochs else {}
        if self.iterations:
            share = recipe.validation_iterations / recipe.iterations_per_epoch
            length["iterations_per_epoch"] = self.iterations
            length["validation_iterations"] = max(1, round(share * self.iterations))
        return length

    @property
    def repeated_words(self) -> list[str]:
        """What the command line of another stage of a cascade has to say again; the recipe is in the trainer's name."""
        gpus = ",".join(map(str, self.gpus)) if isinstance(self.gpus, tuple) else None if self.gpus == 1 else self.gpus
        given = {
            "--epochs": self.epochs,
            "--iterations": self.iterations,
            "--validation-iterations": self.choices.get("validation_iterations"),
            "--seed": self.seed or None,
            "--device": None if self.device == "auto" else self.device,
            "--gpus": gpus,
            "--processes": None if self.processes == 1 else self.processes,
            "--workers": self.workers,
        }
        return [word for flag, value in given.items() if value is not None for word in (flag, str(value))]

    @property
    def trainer_name(self) -> str:
        """First part of the model folder's name: the trainer, with words for the choices."""
        return self.recipe().trainer_name if self.choices else self.trainer

    @property
    def chosen(self) -> frozenset[str]:
        """Fields of the recipe that were decided about, by the trainer's name or by a choice."""
        length = self._length(recipe_from_trainer_name(self.trainer))
        return named_fields(self.trainer) | {*self.choices, *length, *(["seed"] if self.seed else [])}
