"""What may be said about planning and training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import BUDGET, TRAINING
from segautoconfiglib.planning.recipe import Recipe, recipe_from_trainer_name

Fold = int | Literal["all"]


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
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    initial_weights: Path | None = None
    continue_from: Path | None = None
    save_probabilities: bool = False
    checkpoints: bool = True

    def check(self) -> None:
        """Raises: UserError: wishes that contradict each other, or a budget in which nothing can be done."""
        planned = self.plans_name is not None or self.planning != PlanOptions()
        if self.continue_from is not None and (planned or self.initial_weights is not None):
            raise UserError(
                "--continue-from takes weights and plan of the model.",
                "Leave out --plans, --planner and --pretrained-weights.",
            )
        if self.budget_s is None:
            return
        if self.budget_s < BUDGET.min_seconds:
            raise UserError(
                f"A budget of {self.budget_s:g} s is too short to prepare and train anything.",
                f"Give {BUDGET.min_seconds:g}s or more; minutes and hours (--budget 20m) give better networks.",
            )
        if self.epochs or self.iterations or recipe_from_trainer_name(self.trainer).epochs != TRAINING.epochs:
            raise UserError(
                "A time (--budget) and a number of epochs or iterations were asked for.",
                "Give one of them: the time decides about the number of steps.",
            )

    def recipe(self) -> Recipe:
        """The trainer's recipe with the length and seed asked for."""
        recipe = replace(recipe_from_trainer_name(self.trainer), seed=self.seed)
        if self.epochs:
            recipe = replace(recipe, epochs=self.epochs)
        if self.iterations:
            share = recipe.validation_iterations / recipe.iterations_per_epoch
            validation = max(1, round(share * self.iterations))
            recipe = replace(recipe, iterations_per_epoch=self.iterations, validation_iterations=validation)
        return recipe
