"""Training of a fold, with everything that is missing before it and the validation after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError, reworded
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.dataset.dataset import load_dataset, load_description
from segautoconfiglib.dataset.splits import SPLITS_FILE, current_splits, split_for_fold, take_over_splits
from segautoconfiglib.defaults import BUDGET, TRAINING
from segautoconfiglib.pipeline.changes import follow_dataset
from segautoconfiglib.pipeline.continuation import NUMBER, continued_plans, gentle, source_model, starting_from
from segautoconfiglib.pipeline.folds import known_cases
from segautoconfiglib.pipeline.options import Fold, TrainOptions
from segautoconfiglib.pipeline.preparation import load_plans, plan, preprocess
from segautoconfiglib.planning.architectures import architecture_spec
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.preprocessing.in_use import in_use

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.preprocessing.store import CaseStore
    from segautoconfiglib.training.budget import Budget
    from segautoconfiglib.training.job import TrainJob
    from segautoconfiglib.training.speed import Speed

#: How long to wait for another training of the same fold (seconds): the workers of one that was killed end soon.
LOCK_PATIENCE_S = 2.0


def train(context: Context, dataset: str | int, options: TrainOptions) -> Summary | None:
    """Train one fold, doing first whatever is missing, and evaluate it on the fold's held-out cases.

    Returns:
        The evaluation, or None for fold "all", which holds nothing out, and where no checkpoints are written.
    """
    started = time.monotonic()  # loading torch takes seconds, too
    from segautoconfiglib.networks.checkpoint import read_checkpoint

    options.check()
    if options.initial_weights is not None:
        read_checkpoint(options.initial_weights)  # finds a damaged one before the long work
    name = context.workspace.dataset_name(dataset)
    check_writable(context.workspace.results / name)
    _check_split(context, name, options.fold)
    job = _standard_job(context, name, options)
    work = f"Training fold {job.fold} of {job.model_folder.name}"
    with alone(job.lock_file, work, patience_s=LOCK_PATIENCE_S, report=context.report, cancel=context.cancel):
        mirror, held_out = _train_fold(context, job, options.budget_s, started)
        if not options.checkpoints:
            return None
        checkpoint, model = "checkpoint_final.pth", job.model_folder
        return _validate_fold(context, name, model, options, checkpoint, mirror=mirror, held_out=held_out)


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
    context: Context, job: TrainJob, budget_s: float | None, started: float
) -> tuple[bool, Sequence[str] | None]:
    """Train a fold, with all that is missing before it.

    Returns:
        Whether to mirror in validation; the held-out cases (None where nothing was to be trained).
    """
    from segautoconfiglib.training.budget import Budget
    from segautoconfiglib.training.run import find_split, train_fold

    mirror = True
    if _check_fold(job) and budget_s is not None:
        context.report("log", message=f"{job.fold_folder} is trained already; nothing is left to do.")
        return mirror, None
    if budget_s is None:
        _ready_cases(context, job)
    else:
        job, mirror = _job_in_time(context, job, Budget(budget_s, started))
    context.cancel.raise_if_cancelled()
    with in_use(job.store.folder, _reader(job.model_folder, job.fold)):
        held_out = find_split(job).val
        train_fold(job, report=context.report, cancel=context.cancel)
    return mirror, held_out


def _reader(model_folder: Path, fold: Fold) -> str:
    """Who reads the preprocessed cases, for people."""
    return f"{model_folder.name}, fold {fold}"


def validate(
    context: Context, dataset: str | int, options: TrainOptions, *, checkpoint: str = "checkpoint_final.pth"
) -> Summary | None:
    """Predict and evaluate the held-out cases of a fold that was trained before."""
    name = context.workspace.dataset_name(dataset)
    plans = load_plans(context.workspace.preprocessed / name, options.plans_name or options.planning.file_name)
    folder = _model_folder(context, name, options, plans)
    return _validate_fold(context, name, folder, options, checkpoint)


def default_configuration(plans: Plans) -> str:
    """3d_fullres where the images are volumes, else 2d; the only one of plans that continue a model.

    Single slices and thin stacks are 2d, though the planner offers 3d_fullres for some of them: their slices, resampled
    to a common distance, can come out as two or more.
    """
    if source_model(plans) is not None and len(plans.configuration_names) == 1:
        return plans.configuration_names[0]
    thin = any(size < TRAINING.min_slices_3d for size in plans.original_median_shape_after_transp[:1])
    return "2d" if "3d_fullres" not in plans.configuration_names or thin else "3d_fullres"


def _ready_plans(context: Context, name: str, options: TrainOptions) -> Plans:
    """The plans to train with, made now if they are the planner's own and still missing."""
    folder = context.workspace.preprocessed / name
    plans_name = options.plans_name or options.planning.file_name
    if (folder / f"{plans_name}.json").exists():
        model = _model_folder(context, name, options, load_plans(folder, plans_name))
        fold = model / f"fold_{options.fold}"
        follow_dataset(context, name, plans_name, fold, overwrite=options.overwrite, workers=options.workers)
        take_over_splits(context.workspace.raw / name / SPLITS_FILE, folder / SPLITS_FILE)
        return load_plans(folder, plans_name)
    if options.plans_name and options.plans_name != options.planning.file_name:
        return load_plans(folder, plans_name)
    return plan(context, name, options.planning, workers=options.workers)


def _check_trainable(plans: Plans, configuration: str) -> None:
    """Raises: UserError: the plans ask for a network or a cascade that can't be trained here."""
    entry = plans.configuration(configuration)
    place = f"Configuration {configuration} of {plans.plans_name}"
    if entry.previous_stage is not None:
        raise UserError(f"{place} is a cascade, which can't be trained yet.", "Train 2d or 3d_fullres.")
    try:
        architecture_spec(entry.architecture.network_class_name)
    except UserError as error:
        raise reworded(error, f"{place}: {error.message}") from error
    strides = entry.architecture.arch_kwargs.get("strides")
    if isinstance(strides, (list, tuple)) and len(strides) < 2:
        size = "x".join(map(str, entry.patch_size))
        raise UserError(
            f"{place}: the images are too small for a network ({size} voxels at the planned spacing).",
            "It halves them at least once: two edges need 8 voxels or more, or one edge 12.",
        )


def _standard_job(context: Context, name: str, options: TrainOptions) -> TrainJob:
    """The training as asked for, of the standard plans, which are made now if they are missing.

    With a budget it is to be fitted to the time still; its model folder is the final one already.
    """
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.job import TrainJob

    device, recipe = resolve_device(options.device), options.recipe()
    plans = continued_plans(context, name, options) if options.continue_from else _ready_plans(context, name, options)
    configuration = options.configuration or default_configuration(plans)
    _check_trainable(plans, configuration)
    folder, source = context.workspace.preprocessed / name, source_model(plans)
    job = TrainJob(
        dataset_folder=folder,
        plans=plans,
        configuration=configuration,
        fold=options.fold,
        description=load_description(folder / "dataset.json"),
        model_folder=_model_folder(context, name, options, plans),
        recipe=recipe if source is None else gentle(recipe),
        device=str(device),
        workers=options.workers,
        resume=options.resume,
        overwrite=options.overwrite,
        initial_weights=options.initial_weights,
        compile=device.type == "cuda",
        checkpoints=options.checkpoints,
    )
    resumed = job.resume and any(job.fold_folder.glob("checkpoint_*.pth"))
    return job if source is None or resumed else starting_from(context, job, source)


def _model_folder(context: Context, name: str, options: TrainOptions, plans: Plans) -> Path:
    """The model that is asked for: with a budget that of the small plans; on CUDA, and of a model, plans stay.

    Args:
        plans: The standard ones.
    """
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.small_plans import small_plans_name

    device, plans_name = resolve_device(options.device), plans.plans_name
    if options.budget_s is not None and device.type != "cuda" and source_model(plans) is None:
        plans_name = small_plans_name(plans_name, options.budget_s, device)
    configuration = options.configuration or default_configuration(plans)
    return context.workspace.model_folder(name, options.trainer, plans_name, configuration)


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

    _, plans_name, configuration = model.name_parts
    timed = is_timed(NUMBER.sub("", plans_name))
    return f"--plans {plans_name} --configuration {configuration}{' --budget TIME' if timed else ''}"


def _job_in_time(context: Context, job: TrainJob, budget: Budget) -> tuple[TrainJob, bool]:
    """Fit plans and length to the time, and preprocess in between. Returns: job; whether to mirror in validation."""
    from segautoconfiglib.training.budget import budget_length
    from segautoconfiglib.training.run import find_split
    from segautoconfiglib.training.symmetry import mirrorable_axes

    job, speed = _job_with_small_plans(context, job, budget)
    _ready_cases(context, job)
    split = find_split(job)
    if speed.recipe.mirror is True and speed.device.type != "cuda":
        axes = mirrorable_axes(job.store, split.train, job.plans.configuration(job.configuration).dimension)
        speed = replace(speed, recipe=replace(speed.recipe, mirror=axes))
    length = budget_length(
        job.plans,
        job.configuration,
        job.dataset_folder,
        speed,
        budget,
        held_out=0 if job.fold == "all" or not job.checkpoints else len(split.val),
        workers=job.workers,
        report=context.report,
    )
    job = replace(job, recipe=length.recipe, deadline=length.deadline, threads=length.threads, compile=length.compile)
    return job, length.mirror_validation


def _job_with_small_plans(context: Context, job: TrainJob, budget: Budget) -> tuple[TrainJob, Speed]:
    """The job with plans for the time (on CUDA, and of a model, they stay), and the measured device."""
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.budget import budget_plans
    from segautoconfiglib.training.small_plans import small_plans_name, small_recipe
    from segautoconfiglib.training.speed import Speed

    device = resolve_device(job.device)
    continued = source_model(job.plans) is not None
    recipe = job.recipe
    if device.type != "cuda":
        recipe = gentle(small_recipe(recipe)) if continued else small_recipe(recipe)
    patience = BUDGET.measuring_share * budget.seconds
    speed = Speed(job.description, recipe, device, context.cancel, patience_s=patience)
    if device.type == "cuda" or continued:
        return job, speed
    context.report("log", message=f"Measuring how fast {device} trains here.")
    plans_name = small_plans_name(job.plans.plans_name, budget.seconds, device)
    lock = job.dataset_folder / f".{plans_name}.lock"
    with alone(lock, f"Planning {plans_name}", report=context.report, cancel=context.cancel):
        plans = budget_plans(
            job.plans,
            job.configuration,
            job.dataset_folder / f"{plans_name}.json",
            speed,
            budget,
            stored=len(job.store.case_ids()) >= job.description.numTraining,
            remake=job.overwrite and not job.other_folds() and plans_name != job.plans.plans_name,
            report=context.report,
        )
    return replace(job, plans=plans), speed


def _ready_cases(context: Context, job: TrainJob) -> None:
    """Preprocess what is missing; a dataset that came without raw data is taken as it is."""
    name = job.dataset_folder.name
    if (context.workspace.raw / name).exists():
        preprocess(context, name, job.plans.plans_name, [job.configuration], workers=job.workers)


def _held_out(context: Context, folder: Path, store: CaseStore, fold: Fold) -> Sequence[str]:
    """A fold's cases for validation as far as they are preprocessed for this configuration. Raises: UserError: none."""
    there = store.case_ids()
    val = split_for_fold(folder / SPLITS_FILE, sorted({*there, *known_cases(folder)}), fold).val
    held_out, missing = ([case for case in val if (case in there) is wanted] for wanted in (True, False))
    if missing:
        context.report("log", message=f"Not preprocessed in {store.folder.name}, and left out: {', '.join(missing)}.")
    if not held_out:
        raise UserError(f"No held-out case of fold {fold} is in {store.folder}.", "Run preprocess first.")
    return held_out


def _validate_fold(
    context: Context,
    name: str,
    model_folder: Path,
    options: TrainOptions,
    checkpoint: str,
    *,
    mirror: bool = True,
    held_out: Sequence[str] | None = None,
) -> Summary | None:
    """Predict the fold's held-out cases (None: those of splits_final.json) from preprocessed data and evaluate them."""
    from segautoconfiglib.evaluation.summary import evaluate_folder
    from segautoconfiglib.inference.run import load_model, predict_preprocessed
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.preprocessing.store import CaseStore

    if options.fold == "all":
        context.report("log", message="Fold all holds no case out, so there is nothing to validate.")
        return None
    folder = context.workspace.preprocessed / name
    model = load_model(
        model_folder, folds=[options.fold], checkpoint=checkpoint, device=str(resolve_device(options.device))
    )
    store = CaseStore(folder / model.configuration.data_identifier)
    if held_out is None:
        held_out = _held_out(context, folder, store, options.fold)
    best = checkpoint == "checkpoint_best.pth"
    output = model_folder / f"fold_{options.fold}" / ("validation_best" if best else "validation")
    with in_use(store.folder, _reader(model_folder, options.fold)):
        predict_preprocessed(
            model,
            store,
            held_out,
            output,
            save_probabilities=options.save_probabilities,
            mirror=mirror,
            report=context.report,
            cancel=context.cancel,
        )
    summary = evaluate_folder(
        folder / "gt_segmentations",
        output,
        model.description.label_spec,
        file_ending=model.description.file_ending,
        cases=held_out,
        output=output / "summary.json",
        workers=options.workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage="validate", mean_dice=summary.mean_dice, cases=summary.cases)
    return summary
