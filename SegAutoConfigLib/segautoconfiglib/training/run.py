"""Training of one fold: from a preprocessed dataset to checkpoints in nnU-Net's folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import usable_cores
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.splits import Split, load_splits, overlap, split_for_fold, unused_cases
from segautoconfiglib.networks.checkpoint import read_checkpoint
from segautoconfiglib.networks.device import cpu_threads, memory_errors, resolve_device, tuned_convolutions
from segautoconfiglib.planning.recipe import LENGTH_FIELDS
from segautoconfiglib.training.augment import training_transforms, validation_transforms
from segautoconfiglib.training.batches import Batches, BatchSource, default_workers
from segautoconfiglib.training.folder import (
    STOP_FILE,
    check_folders,
    checkpoint_identity,
    discard_training,
    write_debug_file,
    write_model_files,
)
from segautoconfiglib.training.hooks import FINAL, CheckpointHook, EventHook, Hook, LogFile, PictureHook
from segautoconfiglib.training.job import Means, TrainJob
from segautoconfiglib.training.loop import Course, fit
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.patch import patch_geometry
from segautoconfiglib.training.setup import compile_network, load_initial_weights, make_objective, make_state
from segautoconfiglib.training.state import OWN_KEY, TrainingState, restore

__all__ = ["TrainJob", "TrainResult", "train_fold"]

#: First number of the seed of each row of batches.
_TRAINING, _VALIDATION = 0, 1


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
        cancel: Asked before every step; the checkpoint then holds the exact position. A file named ``stop`` that is
            made in the fold's folder is a request too.

    Raises:
        UserError: device, plans, data, checkpoint or initial weights are not usable; the fold was trained before and
            neither ``resume`` nor ``overwrite`` is set; a worker died; the loss stayed NaN.
        Cancelled: on request; ``checkpoint_latest.pth`` is written.
    """
    cancel = cancel or CancelToken()
    device = resolve_device(job.device)
    configuration = job.plans.configuration(job.configuration)
    split = find_split(job)
    checkpoint_file = check_folders(job, report)
    log = LogFile(job.fold_folder, report)
    workers = default_workers(device.type, usable_cores()) if job.workers is None else job.workers
    with _torch_settings(device, job.threads, workers) as threads:
        state = make_state(job.recipe, job.description, configuration, device)
        if not _load(state, job, checkpoint_file, log.report):
            means = Means(split, device, workers, threads)
            write_model_files(job)
            if checkpoint_file is None and job.checkpoints:
                discard_training(job.fold_folder)
            write_debug_file(job, means)
            _announce(job, means, log.report)
            with cancel.watching(job.fold_folder / STOP_FILE):
                _train(state, job, means, log, cancel)
    result = _result(job, state)
    folders = {"fold_folder": str(job.fold_folder), "model_folder": str(job.model_folder)}
    report("done", stage="train", **{**asdict(result), **folders})
    return result


def find_split(job: TrainJob) -> Split:
    """The cases of the job's fold. Raises: UserError: there are none, or the split does not fit them."""
    case_ids = job.store.case_ids()
    if not case_ids:
        raise UserError(
            f"There are no preprocessed cases in {job.store.folder}.",
            f"Preprocess configuration {job.configuration} of plans {job.plans.plans_name} first.",
        )
    return split_for_fold(job.dataset_folder / "splits_final.json", case_ids, job.fold)


@contextmanager
def _torch_settings(device: torch.device, threads: int | None, workers: int) -> Iterator[int]:
    """Threads and cuDNN's choice of algorithms, as they were before at the end. Yields: the number of threads."""
    if threads is None and device.type == "cpu" and workers > 0:  # together they need little more than one core
        threads = max(1, min(torch.get_num_threads(), usable_cores() - 1))
    with tuned_convolutions(), cpu_threads(threads) as count:
        yield count


def _load(state: TrainingState, job: TrainJob, checkpoint_file: Path | None, report: Reporter) -> bool:
    """Fill the state from a checkpoint or from initial weights. True if nothing is left to train."""
    if checkpoint_file is None:
        if job.initial_weights is not None:
            heads = load_initial_weights(state.network, job.initial_weights, heads=job.initial_heads)
            state.restart_average()
            but = "" if heads else " The last layers start anew."
            report("log", message=f"Starting from the weights in {job.initial_weights}.{but}")
        return False
    checkpoint = read_checkpoint(checkpoint_file)
    changes = restore(state, checkpoint, job.recipe, checkpoint_file)
    if job.deadline is not None:  # epochs are only a measure then
        changes = {name: change for name, change in changes.items() if name not in LENGTH_FIELDS}
    if changes:
        report("warning", message=f"Resuming with another recipe: {'; '.join(changes.values())}.", hint="")
    epochs_before = checkpoint.get(OWN_KEY, {}).get("recipe", {}).get("epochs", state.position.epoch)
    if checkpoint_file.name == FINAL and (
        state.position.epoch >= job.recipe.epochs or job.recipe.epochs <= epochs_before
    ):
        report("log", message=f"Fold {job.fold} is trained already; nothing is left to do.")
        return True
    report("log", message=f"Resuming in epoch {state.position.epoch} after step {state.position.step}.")
    return False


def _train(state: TrainingState, job: TrainJob, means: Means, log: LogFile, cancel: CancelToken) -> None:
    configuration = job.plans.configuration(job.configuration)
    objective = make_objective(job.recipe, job.description, configuration, means.device)
    if job.compile:
        compile_network(state, objective, job.batch_size, configuration, job.description, log.report)
    training, validation = batch_sources(job, means.split)
    pace = Pace(job.recipe, job.deadline, state.seconds)
    hooks: list[Hook] = [log, EventHook(log.report, job.recipe, pace)]
    if job.checkpoints:
        hooks.append(CheckpointHook(job.fold_folder, job.recipe, checkpoint_identity(job, means.device)))
    hooks.append(PictureHook(job.fold_folder / "progress.png"))
    first, first_validation = state.position.train_batches, state.position.validation_batches
    with (
        memory_errors(means.device, job.batch_size, configuration.patch_size),
        Batches(training, first=first, workers=means.workers, cancel=cancel) as batches,
        Batches(validation, first=first_validation, workers=means.workers // 2, cancel=cancel) as validation_batches,
    ):
        fit(state, Course(job.recipe, objective, batches, validation_batches, pace, cancel), hooks)
    for name, description in ((FINAL, "final checkpoint"), ("progress.png", "curves of the training")):
        if (job.fold_folder / name).is_file() and (job.checkpoints or name != FINAL):
            log.report("artifact", path=str(job.fold_folder / name), description=description)


def batch_sources(job: TrainJob, split: Split) -> tuple[BatchSource, BatchSource]:
    """Where training and validation batches come from."""
    configuration, spec = job.plans.configuration(job.configuration), job.description.label_spec
    geometry = job.geometry
    still = patch_geometry(configuration.patch_size, augment=False, mirror=False)
    masked = configuration.use_mask_for_norm

    def source(kind: int) -> BatchSource:
        training = kind == _TRAINING
        return BatchSource(
            store=job.store,
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


def _announce(job: TrainJob, means: Means, report: Reporter) -> None:
    """What is about to happen, and what about the split may not be meant."""
    configuration, split = job.plans.configuration(job.configuration), means.split
    threads = counted(means.threads, "thread")
    workers = "1 worker process" if means.workers == 1 else f"{means.workers} worker processes"
    cases = f"{counted(len(split.train), 'case')} for training, {len(split.val)} for validation"
    if job.fold == "all":
        cases = f"{counted(len(split.train), 'case')}, none held out"
    report(
        "started",
        stage="train",
        total=job.recipe.epochs * job.recipe.iterations_per_epoch,
        model_folder=str(job.model_folder),
    )
    report(
        "log",
        message=f"Training {job.configuration}, fold {job.fold}, on {means.device}: {cases}; patch "
        f"{'x'.join(map(str, configuration.patch_size))}, batch {job.batch_size}; {threads}, {workers}.",
    )
    if not job.checkpoints:
        report(
            "log",
            message="No checkpoints are written: the trained network is not kept, and no held-out cases are predicted.",
        )
    if job.fold != "all":
        _doubt_split(job, split, report)


def _doubt_split(job: TrainJob, split: Split, report: Reporter) -> None:
    file = job.dataset_folder / "splits_final.json"
    splits = load_splits(file)
    if isinstance(job.fold, int) and job.fold >= len(splits):
        report(
            "warning",
            message=f"{file} has {counted(len(splits), 'fold')}, no fold {job.fold}: its cases are drawn at random.",
            hint=f"Images of one patient may train and validate. The file has fold 0 to {len(splits) - 1}.",
        )
    both = overlap(split)
    if both:
        report(
            "warning",
            message=f"Used for training and validation: {counted(len(both), 'case')} (first: {both[0]}).",
            hint="Validation results will be too good; correct splits_final.json.",
        )
    unused = unused_cases([split, *splits], job.store.case_ids())
    if unused:
        names = f"{', '.join(unused[:3])}{', ...' if len(unused) > 3 else ''}"
        report(
            "warning",
            message=f"In no fold of splits_final.json, and left out: {counted(len(unused), 'case')} ({names}).",
            hint="Add them to the file, or delete it so that new folds are drawn.",
        )


def _result(job: TrainJob, state: TrainingState) -> TrainResult:
    known = [value for value in state.history["mean_fg_dice"] if value == value]
    return TrainResult(
        fold_folder=job.fold_folder,
        epochs_done=state.position.epoch,
        best_mean_dice=max(known, default=None),
        finished=job.checkpoints and (job.fold_folder / FINAL).is_file(),
    )
