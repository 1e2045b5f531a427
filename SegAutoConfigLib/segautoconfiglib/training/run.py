"""Training of one fold: from a preprocessed dataset to checkpoints in nnU-Net's folders."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import usable_cores
from segautoconfiglib.base.records import write_json
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.dataset.splits import Split, overlap, split_for_fold
from segautoconfiglib.networks.checkpoint import read_checkpoint
from segautoconfiglib.networks.device import cpu_threads, resolve_device
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.preprocessing.store import CaseStore
from segautoconfiglib.training.augment import training_transforms, validation_transforms
from segautoconfiglib.training.batches import Batches, BatchSource, default_workers
from segautoconfiglib.training.hooks import (
    BEST,
    FINAL,
    LATEST,
    CheckpointHook,
    EventHook,
    Hook,
    LogFile,
    PictureHook,
)
from segautoconfiglib.training.loop import Course, fit
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.patch import PatchGeometry, patch_geometry
from segautoconfiglib.training.setup import compile_network, load_initial_weights, make_objective, make_state
from segautoconfiglib.training.state import OWN_KEY, TrainingState, restore

#: nnU-Net needs a trainer class of its own to read a checkpoint; this one fits all of ours.
NNUNET_TRAINER = "nnUNetTrainer"
#: First number of the seed of each row of batches.
_TRAINING, _VALIDATION = 0, 1


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
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        workers: Processes that make batches; 0: none; None: as many as pay.
        resume: Continue where the fold stopped (from the start if there is no checkpoint).
        overwrite: Discard an earlier training of this fold.
        initial_weights: A checkpoint to start from; its heads are not used.
        deadline: Value of ``time.monotonic()`` by which all must be done, final checkpoint included: the learning rate
            then follows the time, and the last epoch ends early.
        compile: Compile the network's training step (falls back to the plain network where that fails).
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
    deadline: float | None = None
    compile: bool = False

    @property
    def fold_folder(self) -> Path:
        """Where checkpoints and logs of this fold lie."""
        return self.model_folder / f"fold_{self.fold}"

    @property
    def batch_size(self) -> int:
        """Of the recipe, else of the plans."""
        return self.recipe.batch_size or self.plans.configuration(self.configuration).batch_size

    @property
    def geometry(self) -> PatchGeometry:
        """Of training patches."""
        return patch_geometry(
            self.plans.configuration(self.configuration).patch_size,
            augment=self.recipe.augmentation != "none",
            mirror=self.recipe.mirror,
        )


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a training.

    Attributes:
        fold_folder: Holds the checkpoints.
        epochs_done: Whole epochs (the last one may have been cut short by a deadline).
        best_mean_dice: Highest mean Dice on validation patches of any epoch; None without validation.
        finished: The final checkpoint is written.
    """

    fold_folder: Path
    epochs_done: int
    best_mean_dice: float | None
    finished: bool


def train_fold(job: TrainJob, *, report: Reporter = silent, cancel: CancelToken | None = None) -> TrainResult:
    """Train one fold, or continue it.

    Sets torch's random seed to the recipe's.

    Args:
        job: What to train and how.
        report: Gets "started", "progress", "metric", "log", "warning", "artifact" and "done" events.
        cancel: Asked before every step; the checkpoint then holds the exact position.

    Raises:
        UserError: device, plans, data, checkpoint or initial weights are not usable; the fold was trained before and
            neither ``resume`` nor ``overwrite`` is set; a worker died; the loss stayed NaN.
        Cancelled: on request; ``checkpoint_latest.pth`` is written.
    """
    cancel = cancel or CancelToken()
    device = resolve_device(job.device)
    configuration = job.plans.configuration(job.configuration)
    store = CaseStore(job.dataset_folder / configuration.data_identifier)
    split = find_split(job, store)
    checkpoint_file = prepare_folder(job, report)
    log = LogFile(job.fold_folder, report)
    workers = default_workers(device.type, usable_cores()) if job.workers is None else job.workers
    with _torch_settings(device, workers) as threads:
        state = make_state(job.recipe, job.description, configuration, device)
        finished = _load(state, job, checkpoint_file, log.report)
        if not finished:
            write_model_files(job)
            write_debug_file(job, split, device, workers, threads)
            _announce(job, split, device, workers, threads, log.report)
            _train(state, job, (store, split), workers, device, log, cancel)
    result = _result(job, state)
    report("done", stage="train", **{**asdict(result), "fold_folder": str(result.fold_folder)})
    return result


def find_split(job: TrainJob, store: CaseStore) -> Split:
    """The cases of the job's fold. Raises: UserError: there are none, or the split does not fit them."""
    case_ids = store.case_ids()
    if not case_ids:
        raise UserError(
            f"There are no preprocessed cases in {store.folder}.",
            f"Preprocess configuration {job.configuration} of plans {job.plans.plans_name} first.",
        )
    return split_for_fold(job.dataset_folder / "splits_final.json", case_ids, job.fold)


def prepare_folder(job: TrainJob, report: Reporter) -> Path | None:
    """Make the fold's folder, or decide about what is in it.

    Returns:
        The checkpoint to resume from; None to start anew.

    Raises:
        UserError: the fold has checkpoints, and the job says neither to resume nor to overwrite.
    """
    folder = job.fold_folder
    found = [folder / name for name in (LATEST, FINAL, BEST) if (folder / name).is_file()]
    if found and not job.resume and not job.overwrite:
        done = "is trained already" if found[0].name == FINAL else "was trained before and not finished"
        raise UserError(
            f"Fold {job.fold} {done}: {found[0]} exists.",
            "Continue it with --resume, or discard it with --overwrite.",
        )
    if job.resume and found:
        return found[0]
    if job.resume:
        report("warning", message=f"{folder} holds no checkpoint to resume from.", hint="Training starts anew.")
    if job.overwrite and found:
        for file in (*found, folder / "progress.png"):
            file.unlink(missing_ok=True)
        shutil.rmtree(folder / "validation", ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Can't make {folder}: {error.strerror}.", "Check the permissions and the free space."
        ) from error
    return None


@contextmanager
def _torch_settings(device: torch.device, workers: int) -> Iterator[int]:
    """Threads and cuDNN's choice of algorithms, as they were before at the end. Yields: the number of threads."""
    threads = None
    if device.type == "cpu" and workers > 0:  # together they need little more than one core
        threads = max(1, min(torch.get_num_threads(), usable_cores() - 1))
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        with cpu_threads(threads) as count:
            yield count
    finally:
        torch.backends.cudnn.benchmark = benchmark


def _load(state: TrainingState, job: TrainJob, checkpoint_file: Path | None, report: Reporter) -> bool:
    """Fill the state from a checkpoint or from initial weights. True if nothing is left to train."""
    if checkpoint_file is None:
        if job.initial_weights is not None:
            load_initial_weights(state.network, job.initial_weights)
            state.restart_average()
            report("log", message=f"Starting from the weights in {job.initial_weights}.")
        return False
    checkpoint = read_checkpoint(checkpoint_file)
    changes = restore(state, checkpoint, job.recipe, checkpoint_file)
    if changes:
        report("warning", message=f"Resuming with another recipe: {'; '.join(changes)}.", hint="")
    epochs_before = checkpoint.get(OWN_KEY, {}).get("recipe", {}).get("epochs", job.recipe.epochs)
    if checkpoint_file.name == FINAL and (
        state.position.epoch >= job.recipe.epochs or job.recipe.epochs <= epochs_before
    ):
        report("log", message=f"Fold {job.fold} is trained already; nothing is left to do.")
        return True
    report("log", message=f"Resuming in epoch {state.position.epoch} after step {state.position.step}.")
    return False


def _train(
    state: TrainingState,
    job: TrainJob,
    data: tuple[CaseStore, Split],
    workers: int,
    device: torch.device,
    log: LogFile,
    cancel: CancelToken,
) -> None:
    configuration = job.plans.configuration(job.configuration)
    objective = make_objective(job.recipe, job.description, configuration, device)
    if job.compile:
        compile_network(state, objective, job.batch_size, configuration, job.description, log.report)
    training, validation = batch_sources(job, *data)
    pace = Pace(job.recipe, job.deadline, state.position)
    hooks: list[Hook] = [
        log,
        EventHook(log.report, job.recipe, pace),
        CheckpointHook(job.fold_folder, job.recipe, checkpoint_identity(job, device)),
        PictureHook(job.fold_folder / "progress.png"),
    ]
    position = state.position
    with (
        Batches(training, first=position.train_batches, workers=workers, cancel=cancel) as training_batches,
        Batches(
            validation, first=position.validation_batches, workers=workers // 2, cancel=cancel
        ) as validation_batches,
    ):
        fit(state, Course(job.recipe, objective, training_batches, validation_batches, pace, cancel), hooks)
    for name, description in ((FINAL, "final checkpoint"), ("progress.png", "curves of the training")):
        if (job.fold_folder / name).is_file():
            log.report("artifact", path=str(job.fold_folder / name), description=description)


def batch_sources(job: TrainJob, store: CaseStore, split: Split) -> tuple[BatchSource, BatchSource]:
    """Where training and validation batches come from."""
    configuration, spec = job.plans.configuration(job.configuration), job.description.label_spec
    geometry = job.geometry
    still = patch_geometry(configuration.patch_size, augment=False, mirror=False)
    masked = configuration.use_mask_for_norm

    def source(kind: int) -> BatchSource:
        training = kind == _TRAINING
        return BatchSource(
            store=store,
            case_ids=split.train if training else split.val,
            geometry=geometry if training else still,
            transform=training_transforms(job.recipe.augmentation, geometry, spec, masked)
            if training
            else validation_transforms(still, spec),
            batch_size=job.batch_size,
            foreground_share=job.recipe.foreground_share,
            seed=(job.recipe.seed, kind),
        )

    return source(_TRAINING), source(_VALIDATION)


def checkpoint_identity(job: TrainJob, device: torch.device) -> dict[str, Any]:
    """What nnU-Net reads from a checkpoint to predict with it."""
    return {
        "init_args": {
            "plans": job.plans.to_json(),
            "configuration": job.configuration,
            "fold": job.fold,
            "dataset_json": job.description.to_json(),
            "device": device,
        },
        "trainer_name": NNUNET_TRAINER,
        "inference_allowed_mirroring_axes": job.geometry.mirror_axes or None,
    }


def write_model_files(job: TrainJob) -> None:
    """plans.json, dataset.json and dataset_fingerprint.json in the model folder.

    Raises:
        UserError: the folder holds other folds that were trained with another plan.
    """
    old = job.model_folder / "plans.json"
    others = [file for file in job.model_folder.glob("fold_*/checkpoint_*.pth") if file.parent != job.fold_folder]
    if old.is_file() and others and _other_plan(Plans.load(old), job):
        raise UserError(
            f"{job.model_folder} holds {others[0].parent.name}, which was trained with another plan.",
            "Give the new plans another name, or remove the old folds.",
        )
    job.plans.save(old)
    job.description.save(job.model_folder / "dataset.json")
    fingerprint = job.dataset_folder / "dataset_fingerprint.json"
    if fingerprint.is_file():
        shutil.copyfile(fingerprint, job.model_folder / fingerprint.name)


def _other_plan(plans: Plans, job: TrainJob) -> bool:
    """True if predictions of the two could not be combined."""
    if job.configuration not in plans.configuration_names:
        return True
    old: Configuration = plans.configuration(job.configuration)
    new = job.plans.configuration(job.configuration)
    return (old.spacing, old.patch_size, old.architecture) != (new.spacing, new.patch_size, new.architecture)


def write_debug_file(job: TrainJob, split: Split, device: torch.device, workers: int, threads: int) -> None:
    """debug.json: everything about this run that may explain its result."""
    write_json(
        job.fold_folder / "debug.json",
        {
            "job": {
                **{name: str(getattr(job, name)) for name in ("dataset_folder", "model_folder", "initial_weights")},
                "configuration_name": job.configuration,
                "fold": job.fold,
                "resume": job.resume,
                "compile": job.compile,
            },
            "recipe": asdict(job.recipe),
            "configuration": job.plans.configuration(job.configuration).to_json(),
            "patches": asdict(job.geometry),
            "batch_size": job.batch_size,
            "split": asdict(split),
            "workers": workers,
            "threads": threads,
            "device": str(device),
            "gpu_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "hostname": platform.node(),
            "platform": platform.platform(),
            "torch_version": torch.__version__,
            "cudnn_version": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        },
    )


def _announce(job: TrainJob, split: Split, device: torch.device, workers: int, threads: int, report: Reporter) -> None:
    configuration = job.plans.configuration(job.configuration)
    report("started", stage="train", total=job.recipe.epochs * job.recipe.iterations_per_epoch)
    report(
        "log",
        message=f"Training {job.configuration}, fold {job.fold}, on {device}: {len(split.train)} cases for training, "
        f"{len(split.val)} for validation; patch {'x'.join(map(str, configuration.patch_size))}, "
        f"batch {job.batch_size}; {threads} threads, {workers} worker processes.",
    )
    both = overlap(split) if job.fold != "all" else ()
    if both:
        report(
            "warning",
            message=f"{len(both)} cases both train and validate (first: {both[0]}).",
            hint="Validation results will be too good; correct splits_final.json.",
        )


def _result(job: TrainJob, state: TrainingState) -> TrainResult:
    known = [value for value in state.history["mean_fg_dice"] if value == value]
    return TrainResult(
        fold_folder=job.fold_folder,
        epochs_done=state.position.epoch,
        best_mean_dice=max(known, default=None),
        finished=(job.fold_folder / FINAL).is_file(),
    )
