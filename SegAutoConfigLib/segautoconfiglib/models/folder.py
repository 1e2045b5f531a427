"""Trained models on disk: ``results/<dataset>/<trainer>__<plans>__<configuration>/fold_X/checkpoint_*.pth``."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import is_taken
from segautoconfiglib.base.records import read_json
from segautoconfiglib.base.words import named
from segautoconfiglib.base.workspace import DATASET_NAME, Workspace, stage_model
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.dataset.splits import RANDOM_SPLIT
from segautoconfiglib.planning.plans import Plans

FINAL, BEST, LATEST = "checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth"
PLANS_FILE, DATASET_FILE, SUMMARY_FILE = "plans.json", "dataset.json", "validation/summary.json"
FINGERPRINT_FILE = "dataset_fingerprint.json"
ALL = "all"
SEPARATOR = "__"
#: Part of the names of trainers of cascades in nnU-Net 1.
CASCADE_TRAINER = "CascadeFullRes"

Fold = int | str


@dataclass(frozen=True)
class ModelFolder:
    """A model of nnunetv2 or of this program: one configuration, trained on one or more folds.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def open(cls, path: Path | str) -> ModelFolder:
        """Check that ``path`` is a model. Raises: UserError: it is not, or parts are missing."""
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"There is no model folder {path}.", "Check the path.")
        missing = [name for name in (PLANS_FILE, DATASET_FILE) if not (path / name).is_file()]
        if missing:
            raise UserError(
                f"{path} is no model folder: {' and '.join(missing)} missing.",
                f"Give the folder that holds {PLANS_FILE}, {DATASET_FILE} and fold_0, fold_1, ...",
            )
        return cls(path)

    @cached_property
    def plans(self) -> Plans:
        """Its plans.json."""
        return Plans.load(self.path / PLANS_FILE)

    @cached_property
    def description(self) -> DatasetDescription:
        """Its dataset.json."""
        return load_description(self.path / DATASET_FILE)

    @property
    def name_parts(self) -> tuple[str, str, str]:
        """Trainer, plans and configuration as the folder's name tells them; empty texts where it does not."""
        parts = self.path.name.split(SEPARATOR)
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", "")

    @property
    def dataset(self) -> str:
        """Name of the dataset: of the folder above, else as the plans have it. Raises: UserError: damaged plans."""
        parent = self.path.absolute().parent.name
        return parent if DATASET_NAME.fullmatch(parent) else self.plans.dataset_name

    @property
    def configuration_name(self) -> str:
        """As the folder's name tells it, else the only one of the plans; empty where neither does.

        Raises:
            UserError: damaged plans.
        """
        names = self.plans.configuration_names
        return self.name_parts[2] or (names[0] if len(names) == 1 else "")

    def folds(self, checkpoint: str | None = FINAL) -> list[Fold]:
        """The folds that have this checkpoint (None: any), numbers first, then "all"."""
        pattern = checkpoint or "checkpoint_*.pth"
        return _in_order({file.parent.name for file in self.path.glob(f"fold_*/{pattern}")})

    def folds_in_training(self) -> list[Fold]:
        """The folds that a process is training now."""
        locks = self.path.parent.glob(f".{glob.escape(self.path.name)}.fold_*.lock")
        return _in_order({file.name.split(".")[-2] for file in locks if is_taken(file)})

    def is_random(self, fold: Fold) -> bool:
        """Whether a fold has cases drawn at random, because the splits end before it: no part of a cross-validation."""
        try:
            content = read_json(self.fold_folder(fold) / "debug.json")
        except UserError:
            return False
        return isinstance(content, dict) and content.get(RANDOM_SPLIT) is True

    def of_splits(self, folds: Sequence[Fold]) -> list[Fold]:
        """Without those of cases drawn at random, unless there are no others."""
        return [fold for fold in folds if not self.is_random(fold)] or list(folds)

    def stage_folder(self, configuration: str) -> Path:
        """The model of another stage of a cascade, beside it, with the same trainer and plans; it need not exist.

        In nnU-Net 1 cascades have a trainer of their own, which the stage before has without that part of its name.
        """
        path = stage_model(self.path.absolute(), configuration)
        other = path.with_name(path.name.replace(CASCADE_TRAINER, "", 1))
        return other if CASCADE_TRAINER in self.name_parts[0] and other.is_dir() and not path.is_dir() else path

    def lower_stages(self) -> list[Path]:
        """The models that a cascade needs, the lowest first; they need not exist. Raises: UserError: damaged plans."""
        name = self.configuration_name
        return [self.stage_folder(stage) for stage in self.plans.stages(name)[:-1]] if name else []

    def fold_folder(self, fold: Fold) -> Path:
        """Where the checkpoints and results of a fold lie."""
        return self.path / f"fold_{fold}"

    def checkpoint(self, fold: Fold, checkpoint: str = FINAL) -> Path:
        """The checkpoint file of a fold. Raises: UserError: it is not there; says what is."""
        file = self.fold_folder(fold) / checkpoint
        if not file.is_file():
            raise self._without(f"{file} does not exist.")
        return file

    def chosen_folds(self, folds: Sequence[Fold] | None, checkpoint: str = FINAL) -> list[Fold]:
        """The folds to predict with.

        Args:
            folds: Wanted; None: all folds of the splits that are finished, else the one trained on all cases, else all.
            checkpoint: Which they must have.

        Raises:
            UserError: one is missing, or there is none; says what is there.
        """
        if folds is None:
            found = self.of_splits(self.folds(checkpoint))
            numbered = [fold for fold in found if fold != ALL]
            chosen = numbered or found
        else:
            chosen = [int(fold) if str(fold).isdigit() else fold for fold in folds]
        if not chosen:
            raise self._without(f"No fold of {self.path} has {checkpoint}.")
        for fold in chosen:
            self.checkpoint(fold, checkpoint)
        return chosen

    def validation_dice(self) -> float | None:
        """Mean, over the folds of the splits, of `fold_dice`; None before validation."""
        known = {fold: dice for fold in self.folds(None) if (dice := self.fold_dice(fold)) is not None}
        found = [known[fold] for fold in self.of_splits(list(known))]
        return sum(found) / len(found) if found else None

    def fold_dice(self, fold: Fold) -> float | None:
        """Mean foreground Dice on a fold's held-out cases; None before validation, or where its result is damaged."""
        means = self.fold_summary(fold).get("foreground_mean")
        dice = means.get("Dice") if isinstance(means, dict) else None
        return float(dice) if isinstance(dice, (int, float)) and dice == dice else None

    def fold_summary(self, fold: Fold) -> dict[str, Any]:
        """summary.json of a fold's held-out cases as it is; empty where it is missing or damaged."""
        try:
            content = read_json(self.fold_folder(fold) / SUMMARY_FILE)
        except UserError:
            return {}
        return content if isinstance(content, dict) else {}

    def _without(self, message: str) -> UserError:
        """What to say where a checkpoint is missing."""
        files = sorted(self.path.glob("fold_*/checkpoint_*.pth"))
        if not files:
            return UserError(message, "This model has no checkpoints at all: train it first.")
        there = ", ".join(f"{file.parent.name}/{file.name}" for file in files)
        return UserError(
            message,
            f"This model has {there}. Choose among them (-f, -chk), or finish the training (train --resume).",
            "choose-checkpoint",
        )


def file_name(path: str) -> str:
    """The last part of a path that may have been written on another system."""
    return re.split(r"[/\\]", path)[-1]


def _in_order(folders: Iterable[str]) -> list[Fold]:
    """Folds from names of folders ("fold_2", "fold_all"): numbers first, then "all"."""
    names = {name.removeprefix("fold_") for name in folders}
    return [*sorted(int(name) for name in names if name.isdigit()), *([ALL] if ALL in names else [])]


def list_models(workspace: Workspace, dataset: str) -> list[ModelFolder]:
    """All model folders of a dataset (full name), by name."""
    folders = (workspace.results / dataset).glob(f"*{SEPARATOR}*{SEPARATOR}*")
    return [ModelFolder(folder) for folder in sorted(folders) if (folder / PLANS_FILE).is_file()]


def unfinished_trainings(dataset_results: Path, fold: Fold) -> list[Path]:
    """The folders of a fold, among all models of a dataset, whose training was stopped."""
    return sorted(file.parent for file in dataset_results.glob(f"*{SEPARATOR}*{SEPARATOR}*/fold_{fold}/{LATEST}"))


def find_model(
    workspace: Workspace,
    dataset: str | int,
    configuration: str | None = None,
    trainer: str | None = None,
    plans: str | None = None,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = FINAL,
) -> ModelFolder:
    """The model of a dataset that fits the wishes; of several the one trained last.

    Args:
        workspace: Where models lie.
        dataset: Name or id.
        configuration: Such as "3d_fullres".
        trainer: Such as "nnUNetTrainer".
        plans: Such as "nnUNetPlans".
        folds: The model must have them; None: any.
        checkpoint: File name that these folds must have.

    Raises:
        UserError: none fits; lists what there is.
    """
    name = workspace.dataset_name(dataset)
    wishes = (trainer, plans, configuration)
    for wanted in (checkpoint, None):
        if fitting := fitting_models(workspace, name, configuration, trainer, plans, folds, wanted):
            found = ModelFolder.open(fitting[0].path)
            found.chosen_folds(folds, checkpoint)  # says what is there instead of the checkpoint
            return found
    keys = zip(("trainer", "plans", "configuration", "folds"), (*wishes, folds), strict=True)
    asked = ", ".join(f"{key} {wish}" for key, wish in keys if wish is not None)
    models = list_models(workspace, name)
    there = "; ".join(f"{model.path.name} ({named(model.folds(None), 'fold')})" for model in models)
    raise UserError(
        f"There is no trained model of {name}{' with ' + asked if asked else ''} in {workspace.results}.",
        f"There is: {there}." if there else "Train one first.",
    )


def fitting_models(
    workspace: Workspace,
    dataset: str | int,
    configuration: str | None = None,
    trainer: str | None = None,
    plans: str | None = None,
    folds: Sequence[Fold] | None = None,
    checkpoint: str | None = FINAL,
) -> list[ModelFolder]:
    """All that fit the wishes of :func:`find_model`, the one trained last first; checkpoint: None takes any."""
    models = list_models(workspace, workspace.dataset_name(dataset))
    fitting = [model for model in models if _fits(model, (trainer, plans, configuration), folds or (), checkpoint)]
    return sorted(fitting, key=_last_trained, reverse=True)


def _fits(
    model: ModelFolder, wishes: Sequence[str | None], folds: Sequence[Fold], checkpoint: str | None = None
) -> bool:
    """Whether it has the checkpoint (None: any) of all ``folds``, and the wished trainer, plans and configuration."""
    there = {str(fold) for fold in model.folds(checkpoint)}
    same = all(wish in (None, part) for wish, part in zip(wishes, model.name_parts, strict=True))
    return same and bool(there) and {str(fold) for fold in folds} <= there


def _last_trained(model: ModelFolder) -> float:
    return max(file.stat().st_mtime for file in model.path.glob("fold_*/checkpoint_*.pth"))
