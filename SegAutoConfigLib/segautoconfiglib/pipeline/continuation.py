"""Training that starts from a model: its weights, its plan under another name, and a gentle learning rate."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.records import read_json
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.splits import take_over_splits
from segautoconfiglib.defaults import TRAINING
from segautoconfiglib.models.folder import BEST, FINAL, LATEST, Fold, ModelFolder
from segautoconfiglib.pipeline.options import OTHER_CHANNELS, TrainOptions
from segautoconfiglib.pipeline.preparation import SPLITS_FILE, fingerprint, plans_files
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.presets import checked_plans_name
from segautoconfiglib.planning.recipe import Recipe, usual_learning_rate
from segautoconfiglib.planning.trainer_names import recipe_from_trainer_name
from segautoconfiglib.preprocessing.current import data_settings
from segautoconfiglib.preprocessing.store import CaseStore

if TYPE_CHECKING:
    from segautoconfiglib.training.job import TrainJob

#: Key of a plans file under which the model stands that its trainings start from.
CONTINUED_KEY = "continued_from"
#: Ending of the names of such plans.
NUMBER = re.compile(r"_c[0-9]+$")
#: Names of folders that lead nowhere else; plans may come from anywhere.
PLAIN_NAME = re.compile(r"\w[\w.-]*")


def source_model(plans: Plans) -> ModelFolder | None:
    """The model that trainings of these plans start from; None for plans of the planner."""
    entry = (plans.model_extra or {}).get(CONTINUED_KEY)
    return ModelFolder(Path(entry)) if isinstance(entry, str) else None


def like_source(options: TrainOptions, source: ModelFolder | None) -> TrainOptions:
    """The options with the network that a continued model's trainer stands for, so that the new model's name has it.

    Args:
        options: As asked for; a network among them stays.
        source: The model; None: of a training that starts anew.
    """
    if source is None or "network" in options.chosen:
        return options
    try:
        network = recipe_from_trainer_name(source.name_parts[0]).network
    except UserError:  # of a plug-in, or renamed
        return options
    return options if network is None else replace(options, choices={**options.choices, "network": network})


def gentle(recipe: Recipe, chosen: Collection[str] = (), network: str | None = None) -> Recipe:
    """The recipe for weights that have learned already: a lower learning rate, to which it rises slowly.

    Args:
        recipe: As asked for.
        chosen: Fields that stay as they are.
        network: Name of the network in the plans.
    """
    if "learning_rate" not in chosen:
        rate = TRAINING.continued_rate_share * usual_learning_rate(recipe.optimizer, recipe.network or network)
        recipe = replace(recipe, learning_rate=rate)
    return recipe if {"schedule", "warmup_epochs"} & set(chosen) else replace(recipe, schedule="poly_warmup")


def continued_plans(context: Context, name: str, options: TrainOptions) -> Plans:
    """The plans to continue a model with: a copy of its own, with the one configuration that was trained.

    Folds that continue the same model share a copy. A fold that was trained with it gets a new one, unless it is to be
    resumed or overwritten.

    Args:
        name: Of the dataset to train on.
        options: With ``continue_from``.

    Raises:
        UserError: the model is damaged, has no checkpoint, or was trained for other channels.
    """
    assert options.continue_from is not None
    model = ModelFolder.open(options.continue_from.absolute())
    configuration = model.configuration_name
    if options.configuration not in (None, configuration):
        raise UserError(
            f"{model.path.name} was trained with {configuration}, not {options.configuration}.",
            "Leave out --configuration: the model's own is used.",
        )
    if model.plans.configuration(configuration).previous_stage is not None:
        raise UserError(
            f"{model.path.name} is a cascade, and no stage before it would have predicted for a copy of its plan.",
            "Give its checkpoint with --pretrained-weights, or continue another model.",
        )
    _, file = start_checkpoint(model, options.fold)
    trainer = like_source(options, model).trainer_name
    folder = context.workspace.preprocessed / name
    description, reader = _ready_dataset(context, name, options, model)
    with alone(folder / ".continue.lock", f"Planning for {name}", report=context.report, cancel=context.cancel):
        copy = _copied(model, configuration, file, name, reader)
        made = [plans for plans in _copies(folder, copy) if _same_plan(plans, copy)]

        def target(plans_name: str) -> Path:
            return context.workspace.model_folder(name, trainer, plans_name, configuration)

        chosen = _chosen_copy(made, [target(plans.plans_name) for plans in made], options, description)
        if chosen is not None:
            return chosen
        names = (name for name in _new_names(folder, copy) if not target(name).exists())
        plans = _placed(copy, next(names), folder, description.label_spec)
        plans.save(folder / f"{plans.plans_name}.json")
        context.report("log", message=f"Continuing {model.path.name} with its plan, here named {plans.plans_name}.")
        return plans


def _chosen_copy(
    made: Sequence[Plans], models: Sequence[Path], options: TrainOptions, description: DatasetDescription
) -> Plans | None:
    """Which of the copies made before is to be used, the last one first, with the models they were made for."""
    if not made:
        return None
    trained = [any((model / f"fold_{options.fold}").glob("checkpoint_*.pth")) for model in models]
    if options.resume:
        return made[trained.index(True) if any(trained) else 0]
    if options.overwrite or not (trained[0] or _other_labels(models[0], description)):
        return made[0]
    return None


def _other_labels(model: Path, description: DatasetDescription) -> bool:
    """Whether a model has folds of other structures, with which new ones could not be combined."""
    folder = ModelFolder(model)
    return bool(folder.folds(None)) and _structures(folder.description) != _structures(description)


def _copied(model: ModelFolder, configuration_name: str, file: Path, name: str, reader: str | None) -> Plans:
    """The model's plans for a dataset, with the one configuration; the name is still the model's.

    They name the network that the checkpoint belongs to, which may have been the trainer's choice.
    """
    from segautoconfiglib.networks.checkpoint import read_checkpoint
    from segautoconfiglib.networks.trained import trained_architecture

    entry = model.plans.configuration(configuration_name)
    architecture = trained_architecture(entry, read_checkpoint(file), file)
    entry = entry.model_copy(update={"next_stage": None, "architecture": architecture})
    changes = {
        "dataset_name": name,
        "plans_name": NUMBER.sub("", model.name_parts[1] or model.plans.plans_name),
        "configurations": {configuration_name: entry.to_json()},
        CONTINUED_KEY: str(model.path),
        **({"image_reader_writer": reader} if reader else {}),
    }
    return Plans.from_json({**model.plans.to_json(), **changes}, model.path)


def _copies(folder: Path, copy: Plans) -> list[Plans]:
    """The plans that continue the same model, the last ones first."""
    found = [Plans.load(folder / f"{copy.plans_name}_c{number}.json") for number in _numbers(folder, copy.plans_name)]
    return [plans for plans in found if source_model(plans) == source_model(copy)]


def _new_names(folder: Path, copy: Plans) -> Iterator[str]:
    for number in count(max(_numbers(folder, copy.plans_name), default=0) + 1):
        yield checked_plans_name(f"{copy.plans_name}_c{number}")


def _numbers(folder: Path, base: str) -> list[int]:
    """Of all plans named ``<base>_c<number>``, the highest first."""
    own = re.compile(re.escape(base) + NUMBER.pattern)
    return sorted((int(stem.rpartition("_c")[2]) for stem in plans_files(folder) if own.fullmatch(stem)), reverse=True)


def _same_plan(made: Plans, copy: Plans) -> bool:
    """Whether a model is still the one that a copy was made of; where the cases lie does not matter."""

    def content(plans: Plans) -> dict[str, Any]:
        data = plans.to_json()
        entries = {name: {**entry, "data_identifier": ""} for name, entry in data["configurations"].items()}
        return {**data, "plans_name": "", "configurations": entries}

    return content(made) == content(copy)


def _placed(copy: Plans, plans_name: str, folder: Path, spec: LabelSpec) -> Plans:
    """The copy under its name; with preprocessed cases of its own, unless those of the model will do."""
    ((name, entry),) = copy.configurations.items()
    identifier = str(entry.get("data_identifier"))
    if not PLAIN_NAME.fullmatch(identifier) or not same_data(folder, identifier, copy, name, spec):
        identifier = f"{plans_name}_{name}"
    configurations = {name: {**entry, "data_identifier": identifier}}
    return copy.model_copy(update={"plans_name": plans_name, "configurations": configurations})


def same_data(folder: Path, identifier: str, plans: Plans, name: str, spec: LabelSpec) -> bool:
    """Whether what else uses a folder of preprocessed cases makes them as these plans do; labels may have grown."""

    def settings(some: Plans, configuration: str) -> dict[str, Any]:
        return {**data_settings(some, some.configuration(configuration), spec), "locations": None}

    stored = CaseStore(folder / identifier).settings_file
    others = [{**read_json(stored), "locations": None}] if stored.is_file() else []
    for stem in plans_files(folder):
        other = Plans.load(folder / f"{stem}.json")
        users = [key for key, entry in other.configurations.items() if entry.get("data_identifier") == identifier]
        others += [settings(other, key) for key in users]
    wanted = settings(plans, name)
    return all(other == wanted for other in others)


def _ready_dataset(
    context: Context, name: str, options: TrainOptions, model: ModelFolder
) -> tuple[DatasetDescription, str | None]:
    """Make what training reads beside plans: dataset.json, fingerprint and splits.

    Returns:
        dataset.json, and the reader of the images where there are raw ones.

    Raises:
        UserError: the channels are not those of the model, or the dataset can't be used.
    """
    raw, folder = context.workspace.raw / name, context.workspace.preprocessed / name
    if not raw.exists():
        description = load_description(folder / "dataset.json")
        _check_channels(model, description, name)
        return description, None
    dataset = load_dataset(raw)
    description = dataset.description
    _check_channels(model, description, name)
    fingerprint(context, name, workers=options.workers)
    description.save(folder / "dataset.json")
    take_over_splits(raw / SPLITS_FILE, folder / SPLITS_FILE)
    return description, dataset.reader_name


def _check_channels(model: ModelFolder, description: DatasetDescription, name: str) -> None:
    wanted, there = model.description.channels, description.channels
    if [channel.casefold() for channel in wanted] != [channel.casefold() for channel in there]:
        raise UserError(
            f"{model.path.name} was trained for {counted(len(wanted), 'channel')} ({', '.join(wanted)}), "
            f"{name} has {len(there)} ({', '.join(there)}).",
            "Continue with a dataset of the same channels in the same order (channel_names in dataset.json). "
            + OTHER_CHANNELS,
        )


def start_checkpoint(model: ModelFolder, fold: Fold) -> tuple[Fold, Path]:
    """The checkpoint to start from: of the same fold if the model has it, else of its first; the final one if there.

    Returns:
        The fold that it belongs to, and the file.

    Raises:
        UserError: the model has no checkpoint.
    """
    there = model.folds(None)
    for candidate in ([fold] if fold in there else []) + there:
        for checkpoint in (FINAL, BEST, LATEST):
            file = model.fold_folder(candidate) / checkpoint
            if file.is_file():
                return candidate, file
    raise UserError(f"{model.path} has no checkpoint to start from.", "Choose a model that was trained.")


def starting_from(context: Context, job: TrainJob, model: ModelFolder) -> TrainJob:
    """The job with a model's weights to start from, mirrored only as the model was.

    Raises:
        UserError: the checkpoint is missing or damaged.
    """
    from segautoconfiglib.networks.checkpoint import read_checkpoint

    model = ModelFolder.open(model.path)
    fold, file = start_checkpoint(model, job.fold)
    recipe, content = job.recipe, read_checkpoint(file)
    if recipe.mirror is True and "inference_allowed_mirroring_axes" in content:
        axes = tuple(content["inference_allowed_mirroring_axes"] or ())
        every = len(axes) == job.plans.configuration(job.configuration).dimension
        recipe = replace(recipe, mirror=every or axes or False)
    if fold != job.fold and job.fold != "all" and model.dataset == job.dataset_folder.name:
        context.report(
            "warning",
            message=f"The weights are those of fold {fold}: it has learned from cases that fold {job.fold} holds out.",
            hint="Validation results will be too good.",
        )
    same = _structures(model.description) == _structures(job.description)
    if not same:
        names = ", ".join(model.description.label_spec.names.values())
        context.report("log", message=f"The model was trained for other labels ({names}).")
    adapt = job.adapt if same else (*job.adapt, "heads")
    return replace(job, recipe=recipe, initial_weights=file, initial_heads=same, adapt=adapt)


def _structures(description: DatasetDescription) -> tuple[bool, list[Any]]:
    """What the output channels of a network stand for, in their order."""
    spec = description.label_spec
    return spec.has_regions, list(spec.names.items())
