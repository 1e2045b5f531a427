"""From wishes to a job: which plans, configuration and model folder a training has."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError, reworded
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import load_description
from segautoconfiglib.dataset.splits import SPLITS_FILE, take_over_splits
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.pipeline.cascade import check_cascade, complete_previous_stage
from segautoconfiglib.pipeline.changes import follow_dataset
from segautoconfiglib.pipeline.continuation import continued_plans, gentle, like_source, source_model, starting_from
from segautoconfiglib.pipeline.options import Fold, TrainOptions
from segautoconfiglib.pipeline.preparation import load_plans, plan, preprocess
from segautoconfiglib.planning.architectures import (
    PLAIN_UNET,
    UMAMBA_ENC,
    Architecture,
    architecture_spec,
    is_own_network,
    with_choices,
)
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.presets import PLANNERS
from segautoconfiglib.planning.recipe import LENGTH_FIELDS, UMAMBA_NETWORKS, Recipe, usual_learning_rate
from segautoconfiglib.planning.trainer_names import recipe_from_trainer_name

if TYPE_CHECKING:
    from segautoconfiglib.training.job import TrainJob


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
        model = chosen_model_folder(context, name, options, load_plans(folder, plans_name))
        fold = model / f"fold_{options.fold}"
        follow_dataset(context, name, plans_name, fold, overwrite=options.overwrite, workers=options.workers)
        take_over_splits(context.workspace.raw / name / SPLITS_FILE, folder / SPLITS_FILE)
        return load_plans(folder, plans_name)
    if options.plans_name and options.plans_name != options.planning.file_name:
        return load_plans(folder, plans_name)
    return plan(context, name, options.planning, workers=options.workers)


def _check_trainable(plans: Plans, configuration: str) -> None:
    """Raises: UserError: the plans ask for a network that can't be trained here."""
    entry = plans.configuration(configuration)
    place = f"Configuration {configuration} of {plans.plans_name}"
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


def standard_job(context: Context, name: str, options: TrainOptions) -> TrainJob:
    """The training as asked for, of the standard plans, which are made now if they are missing.

    With a budget it is to be fitted to the time still; its model folder is the final one already.
    """
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.job import TrainJob
    from segautoconfiglib.training.setup import check_recipe

    device = resolve_device(options.device)
    check_recipe(options.recipe())
    plans = continued_plans(context, name, options) if options.continue_from else _ready_plans(context, name, options)
    options = like_source(options, source_model(plans))
    recipe = options.recipe()
    configuration = options.configuration or default_configuration(plans)
    _check_trainable(plans, configuration)
    _tell_network(context, options)
    if options.budget_s is None or device.type == "cuda":  # else patch and batch are fitted to this network
        _warn_of_other_network(context, plans, configuration, recipe)
    folder, source = context.workspace.preprocessed / name, source_model(plans)
    model_folder = chosen_model_folder(context, name, options, plans)
    check_cascade(plans, configuration, options, model_folder)
    job = TrainJob(
        dataset_folder=folder,
        plans=plans_with_choices(plans, configuration, recipe),
        configuration=configuration,
        fold=options.fold,
        description=load_description(folder / "dataset.json"),
        model_folder=model_folder,
        recipe=recipe,
        device=str(device),
        workers=options.workers,
        resume=options.resume,
        overwrite=options.overwrite,
        initial_weights=options.initial_weights,
        adapt=options.adapt,
        compile=device.type == "cuda",
        checkpoints=options.checkpoints and not recipe.benchmark,
        chosen=options.chosen,
    )
    job = replace(job, recipe=_for_network(job, continued=source is not None))
    if job.resume and any(job.fold_folder.glob("checkpoint_*.pth")):
        return _as_begun(job)
    if source is not None:
        return starting_from(context, job, source)
    return job if job.initial_weights is None else _with_tokens_of(job, job.initial_weights)


def _tell_network(context: Context, options: TrainOptions) -> None:
    """Say that the wish for a network counts more than the trainer's name."""
    named, wanted = recipe_from_trainer_name(options.trainer).network, options.choices.get("network")
    if None not in (named, wanted) and named != wanted:
        context.report(
            "log",
            message=f"The network is {wanted}, as asked for (--network), not {named} as in {options.trainer}.",
        )


def _warn_of_other_network(context: Context, plans: Plans, configuration: str, recipe: Recipe) -> None:
    """Warn of plans for another network than the usual one, whose plans are also those of U-Mamba's authors.

    Raises:
        UserError: there is no such network.
    """
    planned = plans.configuration(configuration).architecture
    chosen = with_choices(planned, recipe.network, None)
    sized, wanted = (entry.network_class_name.rpartition(".")[2] for entry in (planned, chosen))
    if sized in (wanted, PLAIN_UNET.rpartition(".")[2]):
        return
    for_it = [name for name in PLANNERS if PLANNERS.get(name).network_class_name == chosen.network_class_name]
    advice = f" (--planner {for_it[0]} plans for it)" if for_it else ""
    context.report(
        "warning",
        message=f"{plans.plans_name} were planned for {sized}: patch and batch may be too large, or too small, for "
        f"{wanted}{advice}.",
        hint="",
    )


def plans_with_choices(plans: Plans, configuration: str, recipe: Recipe) -> Plans:
    """The plans with the recipe's network and normalisation layers in one configuration.

    The model's plans.json says so, which is all that nnU-Net needs to know of the layers, too.
    """
    if recipe.network is None and recipe.norm is None:
        return plans
    architecture = plans.configuration(configuration).architecture
    return _with_architecture(plans, configuration, with_choices(architecture, recipe.network, recipe.norm))


def _with_architecture(plans: Plans, configuration: str, architecture: Architecture) -> Plans:
    entry = plans.configuration(configuration)
    if entry.architecture == architecture:
        return plans
    entry = entry.model_copy(update={"architecture": architecture})
    return plans.model_copy(update={"configurations": {**plans.configurations, configuration: entry.to_json()}})


def _for_network(job: TrainJob, *, continued: bool) -> Recipe:
    """The recipe with the learning rate of the network that the plans name, unless one was asked for."""
    if continued:
        return gentle(job.recipe, job.chosen, job.network)
    if {"learning_rate", "optimizer"} & job.chosen:
        return job.recipe
    rate = usual_learning_rate(job.recipe.optimizer, job.network)
    return replace(job.recipe, learning_rate=rate) if job.network in UMAMBA_NETWORKS else job.recipe


def _with_tokens_of(job: TrainJob, file: Path) -> TrainJob:
    """The job with a UMambaEnc of the kind that initial weights belong to: published ones take channels as tokens.

    Raises:
        UserError: the file is missing or damaged, or the weights are of another patch size.
    """
    if job.network != UMAMBA_ENC or "layers" in job.adapt:
        return job
    from segautoconfiglib.networks.checkpoint import OWN_KEY, read_checkpoint
    from segautoconfiglib.networks.umamba import with_weights_tokens

    content, entry = read_checkpoint(file), job.plans.configuration(job.configuration)
    weights, original = content["network_weights"], OWN_KEY not in content
    architecture = with_weights_tokens(entry.architecture, entry.patch_size, weights, file, original=original)
    return replace(job, plans=_with_architecture(job.plans, job.configuration, architecture))


def _as_begun(job: TrainJob) -> TrainJob:
    """A job to resume with the recipe that it was begun with, but for the choices of now that may change it.

    Raises:
        UserError: a choice contradicts the recipe in the checkpoint.
    """
    from segautoconfiglib.networks.checkpoint import OWN_KEY, read_checkpoint
    from segautoconfiglib.training.folder import find_checkpoint

    checkpoint = find_checkpoint(job.fold_folder, resume=True, overwrite=False)
    own = read_checkpoint(checkpoint).get(OWN_KEY) if checkpoint is not None else None
    saved = own.get("recipe") if isinstance(own, dict) else None
    if job.network == UMAMBA_ENC and (job.model_folder / "plans.json").is_file():
        architecture = Plans.load(job.model_folder / "plans.json").configuration(job.configuration).architecture
        job = replace(job, plans=_with_architecture(job.plans, job.configuration, architecture))
    names = {entry.name for entry in fields(Recipe)} - {"trainer_name"}
    begun = {name: value for name, value in (saved or {}).items() if name in names}
    other = [
        f"{name} is {getattr(job.recipe, name)!r}, was {begun[name]!r}"
        for name in sorted(job.chosen - set(LENGTH_FIELDS))
        if name in begun and begun[name] != getattr(job.recipe, name)
    ]
    if other:
        raise UserError(
            f"{job.fold_folder} was begun with another recipe: {'; '.join(other)}.",
            "Leave these options out to go on as it was begun, or start anew with --overwrite.",
            "resume-same-or-overwrite",
        )
    kept = {name: value for name, value in begun.items() if name not in job.chosen}
    return replace(job, recipe=replace(job.recipe, **kept))


def chosen_model_folder(context: Context, name: str, options: TrainOptions, plans: Plans) -> Path:
    """The model that is asked for: with a budget that of the small plans; on CUDA, with weights or with a network
    of a plug-in plans stay.

    Args:
        plans: The standard ones.
    """
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.small_plans import small_plans_name

    options = like_source(options, source_model(plans))
    device, plans_name = resolve_device(options.device), plans.plans_name
    configuration = options.configuration or default_configuration(plans)
    plans = plans_with_choices(plans, configuration, options.recipe())
    given = source_model(plans) is not None or options.initial_weights is not None  # weights belong to their network
    own = is_own_network(plans.configuration(configuration).architecture.network_class_name)
    if options.budget_s is not None and device.type != "cuda" and not given and not own:
        plans_name = small_plans_name(plans_name, options.budget_s, device)
    return context.workspace.model_folder(name, options.trainer_name, plans_name, configuration)


def tell_plan(context: Context, job: TrainJob, *, length: bool = True) -> None:
    """Say which network is trained, and why this one: whose plan it is.

    Args:
        context: Is told.
        job: As it will run.
        length: Say also how long and how fast it learns.
    """
    from segautoconfiglib.training.budget import network_reason

    recipe, plans, source = job.recipe, job.plans, source_model(job.plans)
    epochs, steps = counted(recipe.epochs, "epoch"), counted(recipe.iterations_per_epoch, "step")
    planner = f"planned by {plans.experiment_planner_used} ({plans.plans_name})"
    words = f"As {planner}" if source is None else f"With the plan of {source.path.name}"
    if length:
        rate = f"learning rate {recipe.learning_rate:g} ({recipe.schedule})"
        words += f"; {epochs} of {steps} with {recipe.optimizer}, {rate}"
    reason = network_reason(plans.configuration(job.configuration), recipe)
    context.report("log", message=f"{reason} {words}.")


def ready_cases(context: Context, job: TrainJob) -> None:
    """Preprocess what is missing, and of a cascade have the stage before it predict what is.

    A dataset that came without raw data is taken as it is.
    """
    name = job.dataset_folder.name
    if (context.workspace.raw / name).exists():
        preprocess(context, name, job.plans.plans_name, [job.configuration], workers=job.workers)
    complete_previous_stage(context, job)


def reader(model_folder: Path, fold: Fold) -> str:
    """Who reads the preprocessed cases, for people."""
    return f"{model_folder.name}, fold {fold}"
