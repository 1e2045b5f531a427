"""The whole system on one page: one function per command, calling the stages in their order.

raw dataset -> verify -> fingerprint -> plan -> preprocess -> train -> predict the held-out cases -> evaluate

Each function takes a :class:`~segautoconfiglib.base.context.Context` (workspace, reporter, cancel token) first and can
be called from Python as well as from the command line. Stages are imported when they run, torch only by those that
need it.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path, check_writable
from segautoconfiglib.dataset.dataset import Dataset, list_cases, load_dataset, load_description
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.splits import load_splits, split_for_fold
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.planning.architectures import architecture_spec
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.recipe import Recipe, recipe_from_trainer_name

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.inference.run import PredictOptions
    from segautoconfiglib.training.budget import BudgetChoice

Fold = int | Literal["all"]

FINGERPRINT_FILE = "dataset_fingerprint.json"
SPLITS_FILE = "splits_final.json"


@dataclass(frozen=True)
class PlanOptions:
    """What the planner may be told; None leaves the choice to it."""

    planner: str = "ExperimentPlanner"
    gpu_memory_target_gb: float | None = None
    target_spacing: tuple[float, ...] | None = None
    plans_name: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the plans file, without ending."""
        from segautoconfiglib.planning.presets import checked_plans_name, planner_preset

        return checked_plans_name(self.plans_name or planner_preset(self.planner).plans_name)


@dataclass(frozen=True)
class TrainOptions:
    """What may be said about a training; None leaves the choice to the plans, the recipe or the budget."""

    configuration: str | None = None
    fold: Fold = 0
    plans_name: str | None = None
    planning: PlanOptions = field(default_factory=PlanOptions)
    trainer: str = "nnUNetTrainer"
    epochs: int | None = None
    iterations: int | None = None
    budget_s: float | None = None
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    initial_weights: Path | None = None
    save_probabilities: bool = False

    def recipe(self) -> Recipe:
        """The trainer's recipe with the length and seed asked for."""
        recipe = replace(recipe_from_trainer_name(self.trainer), seed=self.seed)
        if self.epochs:
            recipe = replace(recipe, epochs=self.epochs)
        if self.iterations:
            share = recipe.validation_iterations / recipe.iterations_per_epoch
            validation = max(1, round(share * self.iterations))
            recipe = replace(recipe, iterations_per_epoch=self.iterations, validation_iterations=validation)
        return recipe


def convert_msd(
    context: Context,
    source: Path,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    workers: int | None = None,
) -> Path:
    """A Decathlon folder becomes ``nnUNet_raw/DatasetXXX_Name``; returns that folder."""
    from segautoconfiglib.dataset import convert

    folder = convert.convert_msd(
        source,
        context.workspace.raw,
        dataset_id=dataset_id,
        name=name,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("artifact", path=str(folder), description="raw dataset")
    return folder


def verify(context: Context, dataset: str | int, *, workers: int | None = None) -> None:
    """Check the raw dataset. Raises: ProblemsError: listing every problem of every case."""
    from segautoconfiglib.dataset.verify import verify_dataset

    raw = _raw_dataset(context, dataset)
    result = verify_dataset(raw, workers=workers, report=context.report, cancel=context.cancel)
    for warning in result.warnings:
        context.report("warning", message=str(replace(warning, hint="")), hint=warning.hint)
    result.raise_if_problems()
    context.report("done", stage="verify", cases=result.cases, problems=0, warnings=len(result.warnings))


def fingerprint(
    context: Context, dataset: str | int, *, overwrite: bool = False, check: bool = True, workers: int | None = None
) -> Fingerprint:
    """Measure the dataset (after checking it), or read the measurement if it was made before."""
    from segautoconfiglib.fingerprint.extract import extract_fingerprint

    name = context.workspace.dataset_name(dataset)
    file = context.workspace.preprocessed / name / FINGERPRINT_FILE
    if file.exists() and not overwrite:
        return Fingerprint.load(file)
    check_writable(file.parent)
    if check:
        verify(context, name, workers=workers)
    raw = _raw_dataset(context, name)
    result = extract_fingerprint(raw, workers=workers, report=context.report, cancel=context.cancel)
    result.save(file, sort_keys=True)
    context.report("artifact", path=str(file), description="fingerprint")
    return result


def plan(
    context: Context,
    dataset: str | int,
    options: PlanOptions = PlanOptions(),
    *,
    check: bool = True,
    workers: int | None = None,
) -> Plans:
    """Plan all configurations and write the plans file, with what training needs beside it."""
    from segautoconfiglib.planning.planner import plan_experiment

    name = context.workspace.dataset_name(dataset)
    folder = context.workspace.preprocessed / name
    file = folder / f"{options.file_name}.json"  # knows the planner: refuses an unknown one first
    measured = fingerprint(context, name, check=check, workers=workers)
    raw = _raw_dataset(context, name)
    plans = plan_experiment(
        raw.description,
        measured,
        dataset_name=name,
        reader_name=raw.reader_name,
        planner=options.planner,
        gpu_memory_target_gb=options.gpu_memory_target_gb,
        target_spacing=options.target_spacing,
        plans_name=options.plans_name,
        previous=Plans.load(file) if file.exists() else None,
    )
    raw.description.save(folder / "dataset.json")
    _take_over_splits(raw.folder / SPLITS_FILE, folder / SPLITS_FILE)
    plans.save(file)
    context.report("artifact", path=str(file), description="plans")
    return plans


def preprocess(
    context: Context,
    dataset: str | int,
    plans_name: str = "nnUNetPlans",
    configurations: Sequence[str] | None = None,
    *,
    workers: int | None = None,
    skip_unplanned: bool = False,
) -> None:
    """Preprocess the configurations (default: all with data of their own), continuing what was begun."""
    from segautoconfiglib.preprocessing.run import copy_ground_truth, preprocess_dataset

    name = context.workspace.dataset_name(dataset)
    folder = context.workspace.preprocessed / name
    plans = load_plans(folder, plans_name)
    raw = _raw_dataset(context, name)
    wanted = list(configurations or [key for key in plans.configuration_names if _has_own_data(plans, key)])
    for configuration in [key for key in wanted if skip_unplanned and key not in plans.configuration_names]:
        context.report("log", message=f"{configuration} is not in {plans_name}: nothing to preprocess.")
        wanted.remove(configuration)
    identifiers = [plans.configuration(configuration).data_identifier for configuration in wanted]
    check_writable(folder)
    for configuration, identifier in zip(wanted, identifiers, strict=True):
        preprocess_dataset(
            raw,
            plans,
            configuration,
            folder / identifier,
            workers=workers,
            report=context.report,
            cancel=context.cancel,
        )
    copy_ground_truth(raw, folder / "gt_segmentations")


def train(context: Context, dataset: str | int, options: TrainOptions) -> Summary | None:
    """Train one fold, doing first whatever is missing, and evaluate it on the fold's held-out cases.

    Returns:
        The evaluation, or None for fold "all", which holds nothing out.
    """
    from segautoconfiglib.networks.checkpoint import read_checkpoint
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.run import TrainJob, train_fold

    started = time.monotonic()
    device, recipe = resolve_device(options.device), options.recipe()
    name = context.workspace.dataset_name(dataset)
    folder = context.workspace.preprocessed / name
    check_writable(context.workspace.results / name)
    if options.initial_weights is not None:
        read_checkpoint(options.initial_weights)  # finds a damaged one before the long work
    plans = _ready_plans(context, name, options)
    configuration = options.configuration or default_configuration(plans)
    _check_trainable(plans, configuration)
    context.cancel.raise_if_cancelled()
    choice, deadline = None, None
    if options.budget_s is not None:
        left = options.budget_s - (time.monotonic() - started)
        choice = _fit_to_budget(context, plans, configuration, options, left)
        plans, recipe, deadline = choice.plans, choice.recipe, time.monotonic() + choice.training_s
    _ready_cases(context, name, plans, configuration, options.workers)
    job = TrainJob(
        dataset_folder=folder,
        plans=plans,
        configuration=configuration,
        fold=options.fold,
        description=load_description(folder / "dataset.json"),
        model_folder=context.workspace.model_folder(name, recipe.trainer_name, plans.plans_name, configuration),
        recipe=recipe,
        device=str(device),
        workers=options.workers,
        resume=options.resume,
        overwrite=options.overwrite,
        initial_weights=options.initial_weights,
        deadline=deadline,
        threads=None if choice is None else choice.threads,
        compile=device.type == "cuda" if choice is None else choice.compile,
    )
    context.cancel.raise_if_cancelled()
    train_fold(job, report=context.report, cancel=context.cancel)
    mirror = choice is None or choice.mirror_validation
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


def find_model(
    context: Context,
    dataset: str | int,
    *,
    configuration: str | None = None,
    trainer: str | None = None,
    plans: str | None = None,
    folds: Sequence[Fold] | None = None,
) -> Path:
    """The folder of the model that fits the wishes. Raises: UserError: none, listing what there is."""
    from segautoconfiglib.models import folder

    name = context.workspace.dataset_name(dataset)
    found = folder.find_model(
        context.workspace, name, configuration=configuration, trainer=trainer, plans=plans, folds=folds
    )
    context.report("log", message=f"Model: {found.path}")
    return found.path


def predict(
    context: Context,
    model: Path,
    images: Path,
    output: Path,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = "checkpoint_final.pth",
    device: str = "auto",
    options: PredictOptions | None = None,
) -> Path:
    """Segment every case of an image folder; returns the output folder."""
    from segautoconfiglib.inference.run import PredictOptions, load_model, predict_cases
    from segautoconfiglib.networks.device import resolve_device

    options = options or PredictOptions()
    options.check()
    check_writable(output)
    loaded = load_model(model, folds=folds, checkpoint=checkpoint, device=str(resolve_device(device)))
    description = loaded.description
    cases = list_cases(images, description.file_ending, channels=len(description.channels))
    predict_cases(loaded, cases, output, options=options, report=context.report, cancel=context.cancel)
    context.report("artifact", path=str(output), description=f"{len(cases)} segmentations")
    return output


def evaluate(
    context: Context,
    truth: Path,
    predictions: Path,
    *,
    description_file: Path | None = None,
    labels: Sequence[int] | None = None,
    ignore_label: int | None = None,
    output: Path | None = None,
    allow_missing: bool = False,
    workers: int | None = None,
) -> Summary:
    """Compare two folders of segmentations and write summary.json."""
    from segautoconfiglib.evaluation.summary import evaluate_folder, guess_file_ending, labels_found

    output = output or predictions / "summary.json"
    check_writable(output.parent)
    file_ending = guess_file_ending(truth)
    if labels is not None:
        spec = _numbered_labels(labels, ignore_label)
    else:
        found = description_file or _description_beside(truth, predictions)
        spec = load_description(found).label_spec if found else labels_found(truth, file_ending)
    summary = evaluate_folder(
        truth,
        predictions,
        spec,
        file_ending=file_ending,
        output=output,
        allow_missing=allow_missing,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage="evaluate", mean_dice=summary.mean_dice, cases=summary.cases)
    return summary


def default_configuration(plans: Plans) -> str:
    """3d_fullres where the images are volumes, else 2d."""
    return "3d_fullres" if "3d_fullres" in plans.configuration_names else "2d"


def _raw_dataset(context: Context, dataset: str | int) -> Dataset:
    return load_dataset(context.workspace.raw / context.workspace.dataset_name(dataset))


def load_plans(folder: Path, plans_name: str) -> Plans:
    file = folder / f"{plans_name}.json"
    if not file.exists():
        raise UserError(
            f"{file} does not exist.", f"Run plan first. Plans here: {', '.join(plans_files(folder)) or 'none'}."
        )
    return Plans.load(file)


def plans_files(folder: Path) -> list[str]:
    """Names of the plans files in a preprocessed folder."""
    other = {"dataset.json", FINGERPRINT_FILE, SPLITS_FILE}
    return sorted(file.stem for file in folder.glob("*.json") if file.name not in other)


def _has_own_data(plans: Plans, configuration: str) -> bool:
    """False for the cascade, whose cases are those of 3d_fullres."""
    return "data_identifier" in plans.configurations[configuration]


def _take_over_splits(raw: Path, preprocessed: Path) -> None:
    """The user's own splits apply. Raises: UserError: they differ from the ones already used for training."""
    if not raw.exists():
        return
    if not preprocessed.exists():
        with atomic_path(preprocessed) as temporary:
            shutil.copyfile(raw, temporary)
        return
    for number, (mine, used) in enumerate(zip(load_splits(raw), load_splits(preprocessed), strict=False)):
        if set(mine.train) != set(used.train) or set(mine.val) != set(used.val):
            raise UserError(
                f"Fold {number} of {raw} differs from {preprocessed}.",
                "Models may have been trained with the latter. Delete one of the two files.",
            )


def _ready_plans(context: Context, name: str, options: TrainOptions) -> Plans:
    """The plans to train with, made now if they are the planner's own and still missing."""
    folder = context.workspace.preprocessed / name
    plans_name = options.plans_name or options.planning.file_name
    if (folder / f"{plans_name}.json").exists():
        _check_unchanged(context.workspace.raw / name / "dataset.json", folder / "dataset.json")
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


def _fit_to_budget(
    context: Context, plans: Plans, configuration: str, options: TrainOptions, seconds: float
) -> BudgetChoice:
    """Plans, recipe and length of the training that fit into the seconds left."""
    from segautoconfiglib.networks.device import resolve_device
    from segautoconfiglib.training.budget import fit_to_budget

    folder = context.workspace.preprocessed / plans.dataset_name
    description = load_description(folder / "dataset.json")
    folds = load_splits(folder / SPLITS_FILE) if (folder / SPLITS_FILE).exists() else []
    held_out = 0
    if isinstance(options.fold, int):
        known = options.fold < len(folds)
        held_out = len(folds[options.fold].val) if known else math.ceil(description.numTraining / TRAINING.folds)
    return fit_to_budget(
        plans,
        configuration,
        description,
        folder,
        recipe=options.recipe(),
        device=resolve_device(options.device),
        seconds=seconds,
        budget_s=options.budget_s or seconds,
        held_out=held_out,
        report=context.report,
    )


def _ready_cases(context: Context, name: str, plans: Plans, configuration: str, workers: int | None) -> None:
    """Preprocess what is missing; a dataset that came without raw data is taken as it is."""
    if (context.workspace.raw / name).exists():
        preprocess(context, name, plans.plans_name, [configuration], workers=workers)


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


def _numbered_labels(labels: Sequence[int], ignore_label: int | None) -> LabelSpec:
    """Labels that have no names."""
    names = {"background": 0, **{f"label {value}": value for value in labels}}
    return LabelSpec(names if ignore_label is None else {**names, "ignore": ignore_label})


def _description_beside(truth: Path, predictions: Path) -> Path | None:
    candidates = (predictions / "dataset.json", truth / "dataset.json", truth.parent / "dataset.json")
    return next((file for file in candidates if file.exists()), None)
