"""Training on a dataset that has changed since it was planned: what is made again, what stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import strict_json
from segautoconfiglib.base.lock import alone, is_taken
from segautoconfiglib.base.words import command, counted
from segautoconfiglib.dataset.dataset import DATASET_FILE, Dataset, DatasetDescription, load_dataset, load_description
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.pipeline.options import PlanOptions
from segautoconfiglib.pipeline.preparation import FINGERPRINT_FILE, is_moved, load_plans, noted_options, plan, verify
from segautoconfiglib.planning.plans import Plans

#: Keys of dataset.json that a network, or the preprocessing of its images, depends on.
LABEL_KEYS = ("labels", "regions_class_order")
IMAGE_KEYS = ("channel_names", "file_ending")


def follow_dataset(
    context: Context, name: str, plans_name: str, fold_folder: Path, *, overwrite: bool, workers: int | None = None
) -> None:
    """Bring plans and the copy of dataset.json up to date with the raw dataset.

    Plans that are the planner's own are made again where no trained model has them. Others stay as they are, and a log
    line says so; not of those that came from another dataset (move-plans).

    Args:
        context: Workspace and reporter.
        name: Of the dataset.
        plans_name: Of the plans to train with, which exist.
        fold_folder: Of the fold to be trained.
        overwrite: What that fold holds is to be discarded.
        workers: Processes.

    Raises:
        UserError: other folds of the model, or what is to be resumed, have other labels; or plans that stay do not fit
            the images any more.
    """
    raw_folder, folder = context.workspace.raw / name, context.workspace.preprocessed / name
    if not raw_folder.exists():
        return
    raw = load_dataset(raw_folder)
    lock = folder / ".changes.lock"
    with alone(lock, f"Looking for changes of {name}", report=context.report, cancel=context.cancel):
        plans = load_plans(folder, plans_name)
        trained = [fold for fold in _trained_folds(fold_folder.parents[1]) if not (overwrite and fold == fold_folder)]
        _refuse_other_labels(
            raw.description, fold_folder, [fold for fold in trained if fold.parent == fold_folder.parent]
        )
        copy = folder / DATASET_FILE
        before = load_description(copy) if copy.exists() else raw.description
        keys = _differences(raw.description, before, (*LABEL_KEYS, *IMAGE_KEYS))
        depending = sorted({fold.parent.name for fold in trained if _has_plans(fold.parent, plans_name)})
        moved = is_moved(folder / f"{plans_name}.json")
        if keys or (not moved and _outdated(raw, folder, plans)):
            options = None if depending else _planner_options(plans, before, folder / f"{plans_name}.json")
            if options is not None:
                context.report(
                    "log", message=f"{name} has changed since it was planned: it is measured and planned anew."
                )
                plan(context, name, options, workers=workers)
                return
            _keep(context, raw, plans_name, keys, depending)
        if raw.description.to_json() != before.to_json() or not copy.exists():
            raw.description.save(copy)


def _differences(now: DatasetDescription, then: DatasetDescription, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if getattr(now, key) != getattr(then, key)]


def _trained_folds(results: Path) -> list[Path]:
    """The folders of all folds of a dataset that have checkpoints or are being trained."""
    trained = {file.parent for file in results.glob("*__*__*/fold_*/checkpoint_*.pth")}
    locks = [lock for lock in results.glob(".*__*__*.fold_*.lock") if is_taken(lock)]
    parts = [lock.name.removeprefix(".").removesuffix(".lock").rpartition(".") for lock in locks]
    return sorted(trained | {results / model / fold for model, _, fold in parts})


def _has_plans(model: Path, plans_name: str) -> bool:
    """Whether a model has these plans, or plans made from them (NAME_20m_cpu)."""
    name = model.name.split("__")[1]
    return name == plans_name or name.startswith(f"{plans_name}_")


def _refuse_other_labels(description: DatasetDescription, fold_folder: Path, trained: Sequence[Path]) -> None:
    """Raises: UserError: folds of the model that stay were trained with other labels."""
    model = fold_folder.parent
    file = model / DATASET_FILE
    keys = _differences(description, load_description(file), LABEL_KEYS) if trained and file.exists() else []
    if not keys:
        return
    name, folds = model.parent.name, ", ".join(fold.name for fold in trained)
    alone_there = list(trained) == [fold_folder]
    replace = "train with --overwrite" if alone_there else command("delete-model", model)
    raise UserError(
        f"{' and '.join(keys)} of {name} were changed after training {folds} of {model.name}.",
        f"To keep that model: {command('train', name, '--continue-from', model)}, or "
        f"{command('plan', name, '--overwrite-plans-name', 'NAME')} and train with --plans NAME. "
        f"To give it up: {replace}.",
        "continue-from-or-overwrite" if alone_there else "continue-from-or-delete",
    )


def _outdated(raw: Dataset, folder: Path, plans: Plans) -> bool:
    """Whether plans were made for other cases or files than the dataset has now."""
    from segautoconfiglib.fingerprint.extract import is_current

    file = folder / FINGERPRINT_FILE
    if not file.exists():
        return False
    measured = Fingerprint.load(file)
    return not is_current(measured, raw, file.stat().st_mtime_ns) or not _made_from(plans, measured)


def _made_from(plans: Plans, measured: Fingerprint) -> bool:
    return plans.foreground_intensity_properties_per_channel == measured.foreground_intensity_properties_per_channel


def _planner_options(plans: Plans, description: DatasetDescription, file: Path) -> PlanOptions | None:
    """What to make plans again with; None where they may have been changed by hand.

    Plans without a note (nnU-Net's) must be what their planner made of the dataset as it was.
    """
    from segautoconfiglib.planning.planner import plan_experiment

    options, measured = noted_options(file), file.with_name(FINGERPRINT_FILE)
    if options is not None or not measured.exists():
        return options
    try:
        made = plan_experiment(
            description,
            Fingerprint.load(measured),
            dataset_name=plans.dataset_name,
            reader_name=plans.image_reader_writer,
            planner=plans.experiment_planner_used,
            plans_name=plans.plans_name,
            previous=plans,
        )
    except UserError:  # a planner that is not known here
        return None
    same = Plans.from_json(strict_json(made.to_json()), file) == plans
    return PlanOptions(plans.experiment_planner_used, plans_name=file.stem) if same else None


def _keep(context: Context, raw: Dataset, plans_name: str, keys: Sequence[str], depending: Sequence[str]) -> None:
    """Say that plans stay as they are. Raises: UserError: they can't."""
    again = "{}, then {}".format(
        command("plan", raw.name, "--overwrite-plans-name", "NAME"), command("train", raw.name, "--plans", "NAME")
    )
    images = [key for key in keys if key in IMAGE_KEYS]
    if images:
        raise UserError(
            f"{' and '.join(images)} in {raw.folder / DATASET_FILE} were changed after {plans_name} was made.",
            f"Plan anew: {again}.",
            "plan-anew",
        )
    if raw.description.numTraining != len(raw.cases):
        verify(context, raw.name)
    reason = "it was not made by plan, or changed by hand"
    if depending:
        reason = f"{counted(len(depending), 'model')} {'was' if len(depending) == 1 else 'were'} trained with it"
        reason += f" ({', '.join(depending)})"
    message = (
        f"{plans_name} was not made from what {raw.name} holds now; that plan stays, because {reason}. To plan anew: "
        f"{again}."
    )
    context.report("log", message=message)
