"""Trainings within a time: plans and length are fitted to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.lock import alone
from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.pipeline.continuation import gentle, source_model
from segautoconfiglib.pipeline.jobs import plans_with_choices, ready_cases, tell_plan
from segautoconfiglib.planning.architectures import is_own_network

if TYPE_CHECKING:
    from segautoconfiglib.training.budget import Budget
    from segautoconfiglib.training.job import TrainJob
    from segautoconfiglib.training.speed import Speed


def job_in_time(context: Context, job: TrainJob, budget: Budget) -> tuple[TrainJob, bool]:
    """Fit plans and length to the time, and preprocess in between. Returns: job; whether to mirror in validation."""
    from segautoconfiglib.training.budget import budget_length
    from segautoconfiglib.training.run import find_split
    from segautoconfiglib.training.symmetry import mirrorable_axes

    job, speed = _job_with_small_plans(context, job, budget)
    ready_cases(context, job)
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
    """The job with plans for the time and the measured device.

    On CUDA, with weights to start from and with a network of a plug-in the plans stay.
    """
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.budget import budget_plans
    from segautoconfiglib.training.small_plans import small_plans_name, small_recipe
    from segautoconfiglib.training.speed import Speed

    device = resolve_device(job.device)
    continued = source_model(job.plans) is not None
    recipe = job.recipe
    if device.type != "cuda":
        recipe = small_recipe(recipe, job.chosen)
        recipe = gentle(recipe, job.chosen, job.network) if continued else recipe
    patience = BUDGET.measuring_share * budget.seconds
    speed = Speed(job.description, recipe, device, context.cancel, patience_s=patience)
    own = is_own_network(job.network)
    if device.type == "cuda" or continued or job.initial_weights is not None or own:
        tell_plan(context, job, length=False)
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
    return replace(job, plans=plans_with_choices(plans, job.configuration, recipe)), speed
