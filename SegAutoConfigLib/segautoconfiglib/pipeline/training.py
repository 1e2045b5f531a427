"""Training of a fold, with everything that is missing before it and the validation after it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.dataset.dataset import load_description
from segautoconfiglib.dataset.splits import split_for_fold, take_over_splits
from segautoconfiglib.pipeline.options import TrainOptions
from segautoconfiglib.pipeline.preparation import SPLITS_FILE, load_plans, plan, preprocess
from segautoconfiglib.planning.architectures import architecture_spec
from segautoconfiglib.planning.plans import Plans

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.training.budget import Budget
    from segautoconfiglib.training.job import TrainJob
    from segautoconfiglib.training.speed import Speed


def train(context: Context, dataset: str | int, options: TrainOptions) -> Summary | None:
    """Train one fold, doing first whatever is missing, and evaluate it on the fold's held-out cases.

    Returns:
        The evaluation, or None for fold "all", which holds nothing out, and where no checkpoints are written.
    """
    from segautoconfiglib.networks.checkpoint import read_checkpoint
    from segautoconfiglib.training.budget import Budget
    from segautoconfiglib.training.run import train_fold

    started = time.monotonic()
    options.check()
    if options.initial_weights is not None:
        read_checkpoint(options.initial_weights)  # finds a damaged one before the long work
    name = context.workspace.dataset_name(dataset)
    check_writable(context.workspace.results / name)
    job, mirror = _standard_job(context, name, options), True
    if _check_fold(job) and options.budget_s is not None:
        context.report("log", message=f"{job.fold_folder} is trained already; nothing is left to do.")
    else:
        if options.budget_s is None:
            _ready_cases(context, job)
        else:
            job, mirror = _job_in_time(context, job, Budget(options.budget_s, started))
        context.cancel.raise_if_cancelled()
        train_fold(job, report=context.report, cancel=context.cancel)
    if not options.checkpoints:
        return None
    return _validate_fold(context, name, job.model_folder, options, "checkpoint_final.pth", mirror=mirror)


def validate(
    context: Context, dataset: str | int, options: TrainOptions, *, checkpoint: str = "checkpoint_final.pth"
) -> Summary | None:
    """Predict and evaluate the held-out cases of a fold that was trained before."""
    name = context.workspace.dataset_name(dataset)
    plans = load_plans(context.workspace.preprocessed / name, options.plans_name or options.planning.file_name)
    configuration = options.configuration or default_configuration(plans)
    folder = context.workspace.model_folder(name, options.trainer, plans.plans_name, configuration)
    return _validate_fold(context, name, folder, options, checkpoint)


def default_configuration(plans: Plans) -> str:
    """3d_fullres where the images are volumes, else 2d."""
    return "3d_fullres" if "3d_fullres" in plans.configuration_names else "2d"


def _ready_plans(context: Context, name: str, options: TrainOptions) -> Plans:
    """The plans to train with, made now if they are the planner's own and still missing."""
    folder = context.workspace.preprocessed / name
    plans_name = options.plans_name or options.planning.file_name
    if (folder / f"{plans_name}.json").exists():
        _check_unchanged(context.workspace.raw / name / "dataset.json", folder / "dataset.json")
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
        raise UserError(f"{place}: {error.message}", error.hint) from error


def _check_unchanged(raw: Path, planned: Path) -> None:
    """Training uses the copy made when planning. Raises: UserError: the raw file says something else by now."""
    if not raw.exists() or not planned.exists():
        return
    now, then = load_description(raw), load_description(planned)
    for key in ("channel_names", "labels", "regions_class_order", "file_ending"):
        if getattr(now, key) != getattr(then, key):
            raise UserError(
                f"{key} in {raw} was changed after the dataset was planned.",
                "Run plan again (and fingerprint --overwrite if images or labels changed too).",
            )


def _standard_job(context: Context, name: str, options: TrainOptions) -> TrainJob:
    """The training as asked for, of the standard plans, which are made now if they are missing.

    With a budget it is to be fitted to the time still; its model folder is the final one already.
    """
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.job import TrainJob
    from segautoconfiglib.training.small_plans import small_plans_name

    device, recipe = resolve_device(options.device), options.recipe()
    plans = _ready_plans(context, name, options)
    configuration = options.configuration or default_configuration(plans)
    _check_trainable(plans, configuration)
    folder, plans_name = context.workspace.preprocessed / name, plans.plans_name
    if options.budget_s is not None and device.type != "cuda":
        plans_name = small_plans_name(plans_name, options.budget_s, device)
    return TrainJob(
        dataset_folder=folder,
        plans=plans,
        configuration=configuration,
        fold=options.fold,
        description=load_description(folder / "dataset.json"),
        model_folder=context.workspace.model_folder(name, recipe.trainer_name, plans_name, configuration),
        recipe=recipe,
        device=str(device),
        workers=options.workers,
        resume=options.resume,
        overwrite=options.overwrite,
        initial_weights=options.initial_weights,
        compile=device.type == "cuda",
        checkpoints=options.checkpoints,
    )


def _check_fold(job: TrainJob) -> bool:
    """Whether the fold is to be resumed and finished already.

    Raises:
        UserError: it was trained before and is neither to be resumed nor overwritten; or there is nothing to resume
            but in another model's folder.
    """
    from segautoconfiglib.models.folder import FINAL, unfinished_trainings
    from segautoconfiglib.training.folder import find_checkpoint

    checkpoint = find_checkpoint(job.fold_folder, resume=job.resume, overwrite=job.overwrite or not job.checkpoints)
    others = unfinished_trainings(job.model_folder.parent, job.fold) if job.resume and checkpoint is None else []
    if others:
        raise UserError(
            f"{job.fold_folder} holds nothing to resume; unfinished there are {', '.join(map(str, others))}.",
            "Give the --plans, --configuration or --budget that it was started with, or leave out --resume.",
        )
    return checkpoint is not None and checkpoint.name == FINAL


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
    """The job with plans for the time (on CUDA the standard ones stay), and the measured device."""
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.budget import budget_plans
    from segautoconfiglib.training.small_plans import small_plans_name, small_recipe
    from segautoconfiglib.training.speed import Speed

    device = resolve_device(job.device)
    if device.type == "cuda":
        return job, Speed(job.description, job.recipe, device, context.cancel)
    speed = Speed(job.description, small_recipe(job.recipe), device, context.cancel)
    plans_name = small_plans_name(job.plans.plans_name, budget.seconds, device)
    plans = budget_plans(
        job.plans,
        job.configuration,
        job.dataset_folder / f"{plans_name}.json",
        speed,
        budget,
        stored=len(job.store.case_ids()) >= job.description.numTraining,
        remake=job.overwrite and not job.other_folds(),
        report=context.report,
    )
    return replace(job, plans=plans), speed


def _ready_cases(context: Context, job: TrainJob) -> None:
    """Preprocess what is missing; a dataset that came without raw data is taken as it is."""
    name = job.dataset_folder.name
    if (context.workspace.raw / name).exists():
        preprocess(context, name, job.plans.plans_name, [job.configuration], workers=job.workers)


def _validate_fold(
    context: Context, name: str, model_folder: Path, options: TrainOptions, checkpoint: str, *, mirror: bool = True
) -> Summary | None:
    """Predict the fold's held-out cases from their preprocessed data and evaluate them."""
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
    held_out = split_for_fold(folder / SPLITS_FILE, store.case_ids(), options.fold).val
    best = checkpoint == "checkpoint_best.pth"
    output = model_folder / f"fold_{options.fold}" / ("validation_best" if best else "validation")
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
