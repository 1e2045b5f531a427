"""Training of one fold: from a preprocessed dataset to checkpoints in nnU-Net's folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import usable_cores
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.splits import Split, load_splits, overlap, split_for_fold, unused_cases
from segautoconfiglib.networks.checkpoint import read_checkpoint
from segautoconfiglib.networks.device import cpu_threads, memory_errors, resolve_device, tuned_convolutions
from segautoconfiglib.planning.architectures import UMAMBA_ENC
from segautoconfiglib.planning.recipe import LENGTH_FIELDS
from segautoconfiglib.training.augment import chosen_augmentation, training_transforms, validation_transforms
from segautoconfiglib.training.batches import Batches, BatchSource, default_workers
from segautoconfiglib.training.benchmark import BenchmarkHook, SameBatch
from segautoconfiglib.training.distributed import ALONE, Group
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
from segautoconfiglib.training.setup import compile_network, make_objective, make_state, random_batch
from segautoconfiglib.training.shared_norm import share_norms
from segautoconfiglib.training.state import OWN_KEY, TrainingState, restore
from segautoconfiglib.training.step import Objective
from segautoconfiglib.training.transfer import transfer_of

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


def train_fold(
    job: TrainJob, *, report: Reporter = silent, cancel: CancelToken | None = None, group: Group = ALONE
) -> TrainResult:
    """Train one fold, or continue it.

    Sets torch's random seed to the recipe's.

    Args:
        job: What to train and how.
        report: Gets "started", "progress", "metric", "log", "warning", "artifact" and "done" events.
        cancel: Asked before every step; the checkpoint then holds the exact position. A file named ``stop`` that is
            made in the fold's folder is a request too.
        group: Of several processes each calls this function; the first one alone reports and writes files.

    Raises:
        UserError: device, plans, data, checkpoint or initial weights are not usable; the fold was trained before and
            neither ``resume`` nor ``overwrite`` is set; a worker died; the loss stayed NaN.
        Cancelled: on request; ``checkpoint_latest.pth`` is written.
    """
    cancel = cancel or CancelToken()
    _check_group(job, group)
    device = resolve_device(group.device or job.device)
    configuration = job.plans.configuration(job.configuration)
    split = group.first(lambda: find_split(job))
    checkpoint_file = group.first(lambda: check_folders(job, report))
    log = LogFile(job.fold_folder, report)
    tell = log.report if group.is_first else silent
    workers = _workers(job.workers, device, group)
    with _torch_settings(device, job.threads, workers, group) as threads:
        state = make_state(job.recipe, job.description, configuration, device)
        group.align(state.network)
        state.restart_average()
        if not _load(state, job, checkpoint_file, tell):
            _check_same(state, group)
            means = Means(split, device, workers, threads, group)
            if group.is_first:
                _begin(job, means, checkpoint_file, tell)
            with cancel.watching(job.fold_folder / STOP_FILE) if group.is_first else nullcontext():
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


def _check_group(job: TrainJob, group: Group) -> None:
    group.check_batch(job.batch_size)
    if group.size > 1 and job.deadline is not None:
        raise UserError("A training that ends at a given time has one process.", "Give a number of epochs instead.")


def _check_same(state: TrainingState, group: Group) -> None:
    """Raises: UserError: the processes, on machines of their own perhaps, have found different checkpoints."""
    places = group.gather((state.position.epoch, state.position.step))
    if len(set(places)) > 1:
        found = ", ".join(f"process {rank}: epoch {place[0]}" for rank, place in enumerate(places))
        raise UserError(
            f"The processes do not start from the same checkpoint ({found}).",
            "The workspace must be the same folder for all of them.",
        )


def _workers(asked: int | None, device: torch.device, group: Group) -> int:
    """Processes that make batches for this one; those asked for are divided among the processes of a machine."""
    if asked is None:
        return default_workers(device.type, usable_cores() // group.local_size)
    return max(1, asked // group.local_size) if asked else 0


@contextmanager
def _torch_settings(device: torch.device, threads: int | None, workers: int, group: Group) -> Iterator[int]:
    """Threads and cuDNN's choice of algorithms, as they were before at the end. Yields: the number of threads."""
    if threads is None and device.type == "cpu":  # workers together need little more than one core
        cores = usable_cores() // group.local_size - (workers > 0)
        threads = max(1, min(torch.get_num_threads(), cores))
    with tuned_convolutions(), cpu_threads(threads) as count:
        yield count


def _load(state: TrainingState, job: TrainJob, checkpoint_file: Path | None, report: Reporter) -> bool:
    """Fill the state from a checkpoint or from initial weights. True if nothing is left to train."""
    if checkpoint_file is None:
        if job.initial_weights is not None:
            content = read_checkpoint(job.initial_weights)
            taken = transfer_of(job).load(state.network, content, job.initial_weights)
            state.restart_average()
            taken.tell(job.initial_weights, report)
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
        report("log", message=f"Fold {job.fold} is trained already; nothing is left to train.")
        return True
    report("log", message=f"Resuming in epoch {state.position.epoch} after step {state.position.step}.")
    return False


def _begin(job: TrainJob, means: Means, checkpoint_file: Path | None, report: Reporter) -> None:
    """The files that are there from the start; what the fold's training before left goes."""
    write_model_files(job)
    if checkpoint_file is None and job.checkpoints:
        discard_training(job.fold_folder, () if job.fold == "all" else means.split.val)
    write_debug_file(job, means)
    _announce(job, means, report)


def _train(state: TrainingState, job: TrainJob, means: Means, log: LogFile, cancel: CancelToken) -> None:
    configuration, group = job.plans.configuration(job.configuration), means.group
    objective = _objective(state, job, means, log.report if group.is_first else silent)
    training, validation = batch_sources(job, means.split, group)
    pace = Pace(job.recipe, job.deadline, state.seconds)
    hooks = _hooks(job, means, log, pace) if group.is_first else []
    waiting = cancel if group.size == 1 else CancelToken()  # several processes stop together, between two steps
    first, first_validation = state.position.train_batches, state.position.validation_batches

    def rows(source: BatchSource, first: int, workers: int) -> Batches | SameBatch:
        if job.recipe.synthetic_batch:
            return SameBatch(random_batch(len(group.part(job.batch_size)), configuration, job.description))
        return Batches(source, first=first, workers=workers, cancel=waiting)

    with (
        memory_errors(means.device, job.batch_size, configuration.patch_size),
        rows(training, first, means.workers) as batches,
        rows(validation, first_validation, means.workers // 2) as validation_batches,
    ):
        fit(state, Course(job.recipe, objective, batches, validation_batches, pace, cancel), hooks)
    for name, description in ((FINAL, "final checkpoint"), ("progress.png", "curves of the training")):
        if group.is_first and (job.fold_folder / name).is_file() and (job.checkpoints or name != FINAL):
            log.report("artifact", path=str(job.fold_folder / name), description=description)


def _objective(state: TrainingState, job: TrainJob, means: Means, report: Reporter) -> Objective:
    """What this process minimises; its network is compiled and, with others, takes part in what they do together."""
    configuration, group = job.plans.configuration(job.configuration), means.group
    objective = make_objective(job.recipe, job.description, configuration, means.device)
    part = group.part(job.batch_size)
    if not share_norms(state.network, group) and job.compile:
        compile_network(state, objective, len(part), configuration, job.description, report)
    if not group.is_first:  # what networks draw themselves (dropout) differs from sample to sample
        seed = np.random.SeedSequence((job.recipe.seed, group.rank, state.position.train_batches))
        torch.manual_seed(int(seed.generate_state(1)[0]))
    settings = replace(objective.settings, group=group)
    return replace(objective, settings=settings, group=group, share=len(part) / job.batch_size)


def _hooks(job: TrainJob, means: Means, log: LogFile, pace: Pace) -> list[Hook]:
    hooks: list[Hook] = [log, EventHook(log.report, job.recipe, pace)]
    if job.checkpoints:
        hooks.append(CheckpointHook(job.fold_folder, job.recipe, checkpoint_identity(job, means.device)))
    if job.recipe.benchmark:
        hooks.append(BenchmarkHook(job.fold_folder, means.device, means.group.size))
    return [*hooks, PictureHook(job.fold_folder / "progress.png")]


def batch_sources(job: TrainJob, split: Split, group: Group = ALONE) -> tuple[BatchSource, BatchSource]:
    """Where training and validation batches come from: this process's part of them."""
    configuration, spec = job.plans.configuration(job.configuration), job.description.label_spec
    geometry = job.geometry
    still = patch_geometry(configuration.patch_size, augment=False, mirror=False)
    masked, augmentation = configuration.use_mask_for_norm, chosen_augmentation(job.recipe)
    cascade = job.previous is not None

    def source(kind: int) -> BatchSource:
        training = kind == _TRAINING
        return BatchSource(
            store=job.store,
            case_ids=split.train if training else split.val,
            geometry=geometry if training else still,
            transform=training_transforms(augmentation, geometry, spec, masked, cascade=cascade)
            if training
            else validation_transforms(still, spec, cascade=cascade),
            batch_size=job.batch_size,
            foreground_share=job.recipe.foreground_share,
            seed=(job.recipe.seed, kind),
            previous=job.previous,
            part=group.part(job.batch_size),
            oversampling=job.recipe.oversampling,
        )

    return source(_TRAINING), source(_VALIDATION)


def _announce(job: TrainJob, means: Means, report: Reporter) -> None:
    """What is about to happen, and what about the split may not be meant."""
    configuration, split = job.plans.configuration(job.configuration), means.split
    threads = counted(means.threads, "thread")
    workers = "1 worker process" if means.workers == 1 else f"{means.workers} worker processes"
    where = str(means.device) if means.group.size == 1 else f"{means.group.size} processes, the first on {means.device}"
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
        message=f"Training {job.configuration}, fold {job.fold}, on {where}: {cases}; patch "
        f"{'x'.join(map(str, configuration.patch_size))}, batch {job.batch_size}; {threads}, {workers}.",
    )
    if job.network == UMAMBA_ENC:
        report(
            "warning",
            message="UMambaEnc is experimental: it takes much memory and time, and others saw its training fail.",
            hint="UMambaBot segments as well and is trained in a fraction of the time.",
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
