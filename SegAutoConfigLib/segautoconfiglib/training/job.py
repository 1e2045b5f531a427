"""What training a fold needs to know."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from segautoconfiglib.base.lock import is_taken
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.dataset.splits import Split
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.preprocessing.stages import PredictedStage, previous_stage
from segautoconfiglib.preprocessing.store import CaseStore
from segautoconfiglib.training.augment import chosen_augmentation
from segautoconfiglib.training.distributed import Group
from segautoconfiglib.training.patch import PatchGeometry, patch_geometry


@dataclass(frozen=True)
class TrainJob:
    """All that training a fold needs.

    Attributes:
        dataset_folder: The preprocessed dataset (``nnUNet_preprocessed/DatasetXXX_Name``).
        plans: The plans that it was preprocessed with.
        configuration: Name of one of the plans' configurations.
        fold: Number of the fold, or "all": train and validate on all cases.
        description: dataset.json.
        model_folder: ``<trainer>__<plans>__<configuration>``; the fold's folder is made in it.
        recipe: How to train.
        chosen: Fields of the recipe that a person has decided about: a time (deadline) leaves them as they are.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        workers: Processes that make batches; 0: none; None: as many as pay.
        resume: Continue where the fold stopped (from the start if there is no checkpoint).
        overwrite: Discard an earlier training of this fold.
        initial_weights: A checkpoint to start from.
        initial_heads: Use its last layers, too, where their shapes fit: it was trained for the same labels.
        adapt: Parts of the network that may differ from that of the initial weights: "heads", "channels", "layers"
            (see `transfer.Transfer`).
        deadline: Value of ``time.monotonic()`` by which all must be done, final checkpoint included: the learning rate
            then follows the time, and the last epoch ends early.
        threads: Of torch on a CPU; None: all usable cores, less one where workers make batches.
        compile: Compile the network's training step (falls back to the plain network where that fails).
        checkpoints: Write checkpoints. False: nothing is kept but log and curves; earlier checkpoints stay as they are.
    """

    dataset_folder: Path
    plans: Plans
    configuration: str
    fold: int | Literal["all"]
    description: DatasetDescription
    model_folder: Path
    recipe: Recipe
    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    initial_weights: Path | None = None
    initial_heads: bool = False
    adapt: tuple[str, ...] = ()
    deadline: float | None = None
    threads: int | None = None
    compile: bool = False
    checkpoints: bool = True
    chosen: frozenset[str] = frozenset()

    @property
    def fold_folder(self) -> Path:
        """Where checkpoints and logs of this fold lie."""
        return self.model_folder / f"fold_{self.fold}"

    @property
    def network(self) -> str:
        """Class name of the network in the plans."""
        return self.plans.configuration(self.configuration).architecture.network_class_name

    @property
    def store(self) -> CaseStore:
        """The preprocessed cases."""
        return CaseStore(self.dataset_folder / self.plans.configuration(self.configuration).data_identifier)

    @property
    def previous(self) -> PredictedStage | None:
        """Of a cascade: what the previous stage, with the same trainer and plans, predicted for this one."""
        entry = self.plans.configuration(self.configuration)
        return previous_stage(self.model_folder, self.configuration, entry)

    @property
    def lock_file(self) -> Path:
        """Locked while the fold is trained; beside the model's folder, which is made when training starts."""
        return self.model_folder.with_name(f".{self.model_folder.name}.{self.fold_folder.name}.lock")

    def other_folds(self) -> list[str]:
        """The model's other folds ("fold_3") that have checkpoints or are being trained."""
        locks = self.model_folder.parent.glob(f".{glob.escape(self.model_folder.name)}.fold_*.lock")
        trained = {file.parent.name for file in self.model_folder.glob("fold_*/checkpoint_*.pth")}
        in_training = {file.name.split(".")[-2] for file in locks if file != self.lock_file and is_taken(file)}
        return sorted((trained | in_training) - {self.fold_folder.name})

    @property
    def batch_size(self) -> int:
        """Of the recipe, else of the plans."""
        return self.recipe.batch_size or self.plans.configuration(self.configuration).batch_size

    @property
    def geometry(self) -> PatchGeometry:
        """Of training patches."""
        spatial = chosen_augmentation(self.recipe).spatial
        return patch_geometry(
            self.plans.configuration(self.configuration).patch_size,
            augment=spatial is not None,
            mirror=self.recipe.mirror,
            dummy_2d=self.recipe.dummy_2d,
            margin=spatial.margin if spatial is not None else 1.0,
        )


@dataclass(frozen=True)
class Means:
    """What a job runs with.

    Attributes:
        split: The fold's cases.
        device: Checked to be there.
        workers: Processes that make training batches.
        threads: Of torch on the CPU.
        group: The processes that share each batch.
    """

    split: Split
    device: torch.device
    workers: int
    threads: int
    group: Group = field(default_factory=Group)
