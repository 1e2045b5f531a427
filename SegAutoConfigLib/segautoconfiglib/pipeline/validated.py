"""Models whose held-out cases were predicted, and their metrics over all folds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.base.words import command, named
from segautoconfiglib.dataset.dataset import LABELS, visible_files
from segautoconfiglib.evaluation.accumulate import accumulate, held_out_files
from segautoconfiglib.evaluation.places import VALIDATION
from segautoconfiglib.evaluation.summary import Summary
from segautoconfiglib.models.folder import Fold, ModelFolder, list_models
from segautoconfiglib.pipeline.folds import GROUND_TRUTH
from segautoconfiglib.pipeline.preparation import load_plans

#: Of equally good models the first one is taken; nnU-Net's order.
ORDER = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")


def validated_models(
    context: Context,
    dataset: str | int,
    *,
    trainers: Sequence[str] | None = None,
    configurations: Sequence[str] | None = None,
    plans: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
) -> tuple[list[ModelFolder], list[int]]:
    """The models of a dataset whose held-out cases were predicted, and in which folds.

    Args:
        context: Gets a warning for each model that is left out.
        dataset: Name or id.
        trainers: Only these; None: any.
        configurations: Likewise.
        plans: Likewise.
        folds: Those that count; None: the folds of the splits that any of the models has.

    Raises:
        UserError: there is none.
    """
    name = context.workspace.dataset_name(dataset)
    wishes = (trainers, plans, configurations)
    models = [
        model
        for model in list_models(context.workspace, name)
        if all(wish is None or part in wish for wish, part in zip(wishes, model.name_parts, strict=True))
    ]
    models.sort(key=lambda model: (_place(model.name_parts[2]), model.path.name))
    there = {model.path.name: _validated_folds(model) for model in models}
    wanted = list(folds or sorted({fold for model in models for fold in _of_splits(model, there[model.path.name])}))
    chosen = [model for model in models if wanted and set(wanted) <= set(there[model.path.name])]
    for model in models:
        found = there[model.path.name]
        if found and model not in chosen:
            missing = named([fold for fold in wanted if fold not in found], "fold")
            context.report(
                "warning",
                message=f"{model.path.name} is left out: there are no predictions of the held-out cases of {missing}.",
                hint="Train these folds, or choose the folds that count (--folds).",
            )
    for configuration in configurations or ():
        if not any(there[model.path.name] for model in models if model.name_parts[2] == configuration):
            context.report(
                "warning",
                message=f"{configuration} is left out: it was not trained with {_wished(trainers, plans)}.",
                hint="Train it, or leave it out of -c.",
            )
    if not chosen:
        rows = "; ".join(f"{model} ({named(found, 'fold')})" for model, found in there.items())
        raise UserError(
            f"No model of {name} has predictions of the held-out cases of folds {wanted or '0 to 4'}.",
            f"There is: {rows}." if rows else f"Train folds first: {command('train', name, '--fold', 0)} and so on.",
        )
    return chosen, wanted


def _wished(trainers: Sequence[str] | None, plans: Sequence[str] | None) -> str:
    """The trainers and plans that models may have, in words."""
    return f"{' or '.join(trainers or ['any trainer'])} and {' or '.join(plans or ['any plans'])}"


def _place(configuration: str) -> int:
    return ORDER.index(configuration) if configuration in ORDER else len(ORDER)


def _validated_folds(model: ModelFolder) -> list[int]:
    folders = (folder.parent.name.removeprefix("fold_") for folder in model.path.glob(f"fold_*/{VALIDATION}"))
    numbers = sorted(int(fold) for fold in folders if fold.isdigit())
    ending = model.description.file_ending
    return [fold for fold in numbers if visible_files(model.fold_folder(fold) / VALIDATION, ending)]


def _of_splits(model: ModelFolder, folds: Sequence[int]) -> list[int]:
    return [fold for fold in folds if not model.is_random(fold)]


def named_models(
    context: Context, dataset: str | int, trainers: Sequence[str], configurations: Sequence[str], plans: Sequence[str]
) -> list[ModelFolder]:
    """The models of every combination, as nnU-Net takes them: configurations that the plans lack are left out.

    Raises:
        UserError: one was not trained, or none is left.
    """
    name = context.workspace.dataset_name(dataset)
    models, untrained = [], []
    for trainer, configuration, plan in product(trainers, configurations, plans):
        folder = context.workspace.model_folder(name, trainer, plan, configuration)
        if folder.is_dir():
            models.append(ModelFolder.open(folder))
        elif configuration in load_plans(context.workspace.preprocessed / name, plan).configuration_names:
            untrained.append(f"{configuration} was not trained with {trainer} and {plan}")
        else:
            context.report("log", message=f"{configuration} is not in the plans {plan}: left out.")
    if untrained:
        raise UserError(
            f"{'; '.join(untrained)}.",
            f"Train it ({command('train', name, '--configuration', 'NAME')}), or leave it out of the configurations "
            "(-c; in nnU-Net 1's command -m).",
        )
    if not models:
        raise UserError("None of these configurations is in the plans.", "Choose others (-c, -p).")
    return models


def truth_folder(context: Context, name: str, cases: Sequence[str], ending: str) -> Path:
    """The true label maps of cases: of the raw dataset if it still has all of them, else their copies.

    Args:
        context: Knows where datasets lie.
        name: Full name of the dataset.
        cases: That must be there, if possible.
        ending: Of label maps.
    """
    raw = context.workspace.raw / name / LABELS
    whole = raw.is_dir() and all((raw / f"{case}{ending}").is_file() for case in cases)
    return raw if whole else context.workspace.preprocessed / name / GROUND_TRUTH


def cross_validation(
    context: Context,
    model: ModelFolder,
    folds: Sequence[Fold],
    *,
    output: Path | None = None,
    overwrite: bool = True,
    workers: int | None = None,
) -> Summary:
    """Collect and evaluate the held-out cases of a model; see `segautoconfiglib.evaluation.accumulate.accumulate`."""
    ending = model.description.file_ending
    check_writable(output or model.path)
    return accumulate(
        model,
        folds,
        truth_folder(context, model.dataset, list(held_out_files(model, folds, ending)), ending),
        output=output,
        overwrite=overwrite,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
