"""Training of a fold, with everything that is missing before it and the validation after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.splits import SPLITS_FILE, current_splits, split_for_fold
from segautoconfiglib.pipeline.cascade import check_previous_stage
from segautoconfiglib.pipeline.continuation import NUMBER
from segautoconfiglib.pipeline.folds import known_cases
from segautoconfiglib.pipeline.jobs import reader, ready_cases, standard_job, tell_plan
from segautoconfiglib.pipeline.options import Fold, TrainOptions
from segautoconfiglib.pipeline.timed import job_in_time
from segautoconfiglib.pipeline.validation import validate_fold
from segautoconfiglib.planning.trainer_names import BASE
from segautoconfiglib.preprocessing.in_use import in_use

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.training.job import TrainJob
    from segautoconfiglib.training.team import Team

#: How long to wait for another training of the same fold (seconds): the workers of one that was killed end soon.
LOCK_PATIENCE_S = 2.0


def train(context: Context, dataset: str | int, options: TrainOptions) -> Summary | None:
    """Train one fold, doing first whatever is missing, and evaluate it on the fold's held-out cases.

    Returns:
        The evaluation, or None for fold "all", which holds nothing out, and where no checkpoints are written.
    """
    started = time.monotonic()  # loading torch takes seconds, too
    from segautoconfiglib.training.team import assemble

    options.check()
    team, words = assemble(options.device, options.gpus, options.processes), options.repeated_words
    options = replace(options, device=team.devices[0])
    return team.lead(lambda: _train(context, team, dataset, options, words, started), context.cancel)


def _train(
    context: Context, team: Team, dataset: str | int, options: TrainOptions, words: Sequence[str], started: float
) -> Summary | None:
    from segautoconfiglib.networks.checkpoint import read_checkpoint
    from segautoconfiglib.training.transfer import check_initial_weights

    if options.budget_s is not None and team.size > 1:
        raise UserError(
            f"--budget measures how fast one process trains; {team.size} share their batches, which can't be measured "
            "before all of them run.",
            "Give numbers of epochs and iterations, or train in one process.",
        )
    if options.initial_weights is not None:
        read_checkpoint(options.initial_weights)  # finds a damaged one before the long work
    name = context.workspace.dataset_name(dataset)
    check_writable(context.workspace.results / name)
    _check_split(context, name, options.fold)
    job = standard_job(context, name, options)
    team.check_batch(job.batch_size)
    check_previous_stage(context, job, words)
    check_initial_weights(job)
    work = f"Training fold {job.fold} of {job.model_folder.name}"
    with alone(job.lock_file, work, patience_s=LOCK_PATIENCE_S, report=context.report, cancel=context.cancel):
        mirror, held_out = _train_fold(context, team, job, options.budget_s, started)
        if not job.checkpoints:
            return None
        checkpoint, model = "checkpoint_final.pth", job.model_folder
        return validate_fold(context, team, name, model, options, checkpoint, mirror=mirror, held_out=held_out)


def _check_split(context: Context, name: str, fold: Fold) -> None:
    """Find out before the long work whether the fold can be had. Raises: UserError: see `split_for_fold`."""
    raw, used = context.workspace.raw / name, context.workspace.preprocessed / name / SPLITS_FILE
    if not raw.exists():
        return
    dataset = load_dataset(raw)
    if len(dataset.cases) == dataset.description.numTraining:  # else there is more to say about them
        file, ids = used if used.exists() else raw / SPLITS_FILE, [case.id for case in dataset.cases]
        splits = current_splits(raw / SPLITS_FILE, used, ids, known_cases(used.parent))
        split_for_fold(file, ids, fold, splits=splits, save=False)


def _train_fold(
    context: Context, team: Team, job: TrainJob, budget_s: float | None, started: float
) -> tuple[bool, Sequence[str] | None]:
    """Train a fold, with all that is missing before it.

    Returns:
        Whether to mirror in validation; the held-out cases (None where nothing was to be trained).
    """
    from segautoconfiglib.training.budget import Budget
    from segautoconfiglib.training.run import find_split, train_fold

    mirror = True
    if _check_fold(job) and budget_s is not None:
        context.report("log", message=f"{job.fold_folder} is trained already; nothing is left to train.")
        return mirror, None
    if budget_s is None:
        tell_plan(context, job)
        ready_cases(context, job)
    else:
        job, mirror = job_in_time(context, job, Budget(budget_s, started))
    context.cancel.raise_if_cancelled()
    with in_use(job.store.folder, reader(job.model_folder, job.fold)):
        held_out = find_split(job).val
        team.run(train_fold, job, report=context.report, cancel=context.cancel)
    return mirror, held_out


def _check_fold(job: TrainJob) -> bool:
    """Whether the fold is to be resumed and finished already.

    Raises:
        UserError: it was trained before and is neither to be resumed nor overwritten; or there is nothing to resume
            but in another model's folder.
    """
    from segautoconfiglib.models.folder import FINAL, ModelFolder, unfinished_trainings
    from segautoconfiglib.training.folder import find_checkpoint

    checkpoint = find_checkpoint(job.fold_folder, resume=job.resume, overwrite=job.overwrite or not job.checkpoints)
    others = unfinished_trainings(job.model_folder.parent, job.fold) if job.resume and checkpoint is None else []
    if others:
        raise UserError(
            f"{job.fold_folder} holds nothing to resume; unfinished there are {', '.join(map(str, others))}.",
            f"Give what it was started with ({_arguments(ModelFolder(others[0].parent))}), or leave out --resume.",
            "resume-other",
        )
    return checkpoint is not None and checkpoint.name == FINAL


def _arguments(model: ModelFolder) -> str:
    """What continues a training of this model, as its folder's name tells."""
    from segautoconfiglib.training.small_plans import is_timed

    trainer, plans_name, configuration = model.name_parts
    timed = is_timed(NUMBER.sub("", plans_name))
    given = "" if trainer == BASE else f"--trainer {trainer} "
    return f"{given}--plans {plans_name} --configuration {configuration}{' --budget TIME' if timed else ''}"
