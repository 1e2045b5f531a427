"""``info``: what is in the workspace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError, problem_list

if TYPE_CHECKING:
    from segautoconfiglib.models.folder import ModelFolder

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET]."""
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="number or name (default: list all datasets)")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List datasets, or one dataset's plans and models."""
    if arguments.dataset is None:
        rows = [dataset_row(context, name) for name in context.workspace.dataset_names()]
        context.report("done", stage="info", datasets=rows)
        _show(context, f"Datasets in {context.workspace.raw.parent}", rows)
        if not rows:
            context.report("log", message="No datasets yet. Start with: convert-msd FOLDER, or demo")
        return
    name = context.workspace.dataset_name(arguments.dataset)
    plans, models = plans_rows(context, name), model_rows(context, name)
    context.report("done", stage="info", plans=plans, models=models)
    _show(context, f"{name}: plans", plans)
    _show(context, f"{name}: models", models)
    if not plans:
        context.report("log", message=f"Nothing is planned for {name} yet. Next: plan, or train.")
    elif not models:
        context.report("log", message=f"No model of {name} is trained yet. Next: train.")


def dataset_row(context: Context, name: str) -> Row:
    """What exists of a dataset."""
    from segautoconfiglib.dataset.description import load_description
    from segautoconfiglib.models.folder import list_models
    from segautoconfiglib.pipeline import FINGERPRINT_FILE, plans_files

    folder = context.workspace.preprocessed / name
    raw = context.workspace.raw / name / "dataset.json"
    source = raw if raw.exists() else folder / "dataset.json"
    description = None
    try:
        description = load_description(source) if source.exists() else None
    except UserError as error:
        context.report("warning", message=error.message, hint=error.hint, problems=problem_list(error))
    return {
        "dataset": name,
        "cases": description.numTraining if description else None,
        "channels": ", ".join(description.channels) if description else "",
        "labels": len(description.label_spec.foreground) if description else None,
        "fingerprint": "yes" if (folder / FINGERPRINT_FILE).exists() else "no",
        "plans": ", ".join(plans_files(folder)) or "-",
        "models": len(list_models(context.workspace, name)),
    }


def plans_rows(context: Context, name: str) -> list[Row]:
    """Every configuration of every plans file of a dataset."""
    from segautoconfiglib.pipeline import load_plans, plans_files
    from segautoconfiglib.preprocessing.store import CaseStore

    folder = context.workspace.preprocessed / name
    total = _case_count(folder / "dataset.json")
    rows = []
    for file in plans_files(folder):
        plans = load_plans(folder, file)
        for key in plans.configuration_names:
            configuration = plans.configuration(key)
            row = {
                "plans": file,
                "configuration": key,
                "patch size": " x ".join(map(str, configuration.patch_size)),
                "spacing (mm)": " x ".join(f"{value:.3g}" for value in configuration.spacing),
                "batch size": configuration.batch_size,
                "preprocessed": _of_all(len(CaseStore(folder / configuration.data_identifier).case_ids()), total),
            }
            rows.append(row)
    return rows


def _case_count(description: Path) -> int | None:
    """Number of training cases; None where dataset.json does not tell."""
    from segautoconfiglib.dataset.description import load_description

    try:
        return load_description(description).numTraining
    except UserError:
        return None


def _of_all(cases: int, total: int | None) -> str:
    return "no" if not cases else f"{cases} cases" if total is None else f"{cases} of {total}"


def model_rows(context: Context, name: str) -> list[Row]:
    """Every trained model of a dataset with its folds and their validation Dice."""
    from segautoconfiglib.models.folder import list_models

    return [_model_row(model) for model in list_models(context.workspace, name)]


def _model_row(model: ModelFolder) -> Row:
    return {
        "model": model.path.name,
        "folds": ", ".join(map(str, model.folds())) or "none finished",
        "validation Dice": model.validation_dice(),
    }


def _show(context: Context, title: str, rows: list[Row]) -> None:
    from segautoconfiglib.base.terminal import print_table

    if context.out and rows:
        print_table(title, list(rows[0]), [list(row.values()) for row in rows], context.out)
