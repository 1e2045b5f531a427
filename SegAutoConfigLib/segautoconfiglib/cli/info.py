"""``info``: what is in the workspace."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import command
from segautoconfiglib.cli.totalsegmentator.command import add_weights
from segautoconfiglib.cli.totalsegmentator.info import task_line

Row = dict[str, Any]

EPILOG = """examples:
  info                 all datasets and models
  info 4               the plans and models of dataset 4
  info FOLDER          one model: labels, channels, plan, folds, held-out cases (also: info --model FOLDER)
  info --tasks         all datasets and models, and TotalSegmentator's tasks with the weights that are here"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET] or --model, --tasks, --weights."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("dataset", nargs="?", metavar="DATASET", help="number or name, or a model folder (default: all)")
    what.add_argument("--model", "-m", type=Path, metavar="FOLDER", help="a model folder: its folds and its plan")
    what.add_argument("--tasks", action="store_true", help="all datasets, models and tasks of TotalSegmentator")
    add_weights(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List everything, one dataset's plans and models, or one model's folds."""
    if arguments.weights is not None and not arguments.tasks:
        raise UserError("--weights tells where to look for the weights of tasks.", "Add --tasks, or leave it out.")
    if arguments.model is not None:
        _show_model(arguments.model, context)
    elif arguments.dataset is not None and _is_folder(arguments.dataset):
        _show_model(Path(arguments.dataset), context)
    elif arguments.dataset is not None:
        _show_dataset(context.workspace.dataset_name(arguments.dataset), context)
    else:
        _show_all(context, arguments)


def _is_folder(text: str) -> bool:
    """Whether a word is the path of a model rather than the number or name of a dataset."""
    return (Path(text) / "plans.json").is_file() or bool(re.search(r"[/\\]", text))


def _show_all(context: Context, arguments: argparse.Namespace) -> None:
    from segautoconfiglib.pipeline.inventory import inventory

    tasks = _tasks(arguments.weights, context) if arguments.tasks else []
    datasets, models = inventory(context)
    context.report("done", stage="info", datasets=datasets, models=models, tasks=tasks)
    for row in (*datasets, *models):
        _warn(row, context)
    _show(context, f"Datasets in {context.workspace.raw.parent}", [_dataset_line(row, context) for row in datasets])
    _show(context, "Models", [_model_line(row) for row in models])
    _show(context, "Tasks of TotalSegmentator", [task_line(row) for row in tasks])
    if not datasets:
        context.report(
            "log", message=f"No datasets yet. Start with {command('convert-msd', 'FOLDER')}, or {command('demo')}."
        )


def _tasks(weights: Path | None, context: Context) -> list[Row]:
    from segautoconfiglib.pipeline.tasks import list_tasks

    return list_tasks(context, weights)


def _show_dataset(name: str, context: Context) -> None:
    from segautoconfiglib.pipeline.inventory import choice_row, dataset_models

    plans, models = plans_rows(context, name), dataset_models(context, name)
    choice = choice_row(context, name)
    context.report("done", stage="info", plans=plans, models=models, choice=choice)
    for row in models:
        _warn(row, context)
    _show(context, f"{name}: plans", plans)
    _show(context, f"{name}: models", [_model_line(row) for row in models])
    if choice is not None:
        _show(context, f"{name}: choice of find-best (predict --choice)", [_choice_line(choice)])
    if not plans and (context.workspace.raw / name).is_dir():
        context.report(
            "log",
            message=f"Nothing is planned for {name} yet. Next: {command('plan', name)}, or {command('train', name)}.",
        )
    elif plans and not models:
        context.report("log", message=f"No model of {name} is trained yet. Next: {command('train', name)}.")


def _show_model(path: Path, context: Context) -> None:
    from segautoconfiglib.pipeline.inventory import model_report

    model = model_report(path)
    context.report("done", stage="info", model=model)
    _warn(model, context)
    about = {key: model[key] for key in ("title", "dataset", "configuration", "origin", "path")}
    about |= {"date": (model["date"] or "-")[:16].replace("T", " "), "size": f"{model['size_mb']} MB"}
    labels = [f"{name} {value}" for name, value in model["labels"].items()]
    about |= {"channels": ", ".join(model["channels"]), "labels": ", ".join(labels), "validation Dice": model["dice"]}
    _show(context, model["title"], _pairs(about))
    _show(context, "Plan", _pairs(model["plan"]))
    _show(context, "Folds", [_fold_line(row) for row in model["fold_table"]])


def _warn(row: Row, context: Context) -> None:
    """What is wrong with a dataset or model; the list goes on."""
    if row["problem"]:
        context.report("warning", message=f"{row.get('path', row['dataset'])}: {row['problem']}", hint="")


def _dataset_line(row: Row, context: Context) -> Row:
    from segautoconfiglib.pipeline import FINGERPRINT_FILE

    measured = (context.workspace.preprocessed / row["dataset"] / FINGERPRINT_FILE).exists()
    return {
        "dataset": row["dataset"],
        "cases": row["cases"],
        "channels": ", ".join(row["channels"]),
        "labels": len([name for name in row["labels"] if name not in ("background", "ignore")]),
        "fingerprint": "yes" if measured else "no",
        "plans": ", ".join(row["plans"]) or "-",
        "models": row["models"],
        "choice": "yes" if row["choice"] else "no",
    }


def _model_line(row: Row) -> Row:
    return {
        "model": row["path"].replace("\\", "/").rpartition("/")[2],
        "title": row["title"],
        "folds": _folds(row),
        "validation Dice": row["dice"],
        "date": (row["date"] or "")[:10],
        "origin": row["origin"],
    }


def _choice_line(row: Row) -> Row:
    return {
        "models": " + ".join(row["models"]) or row["problem"],
        "folds": ", ".join(map(str, row["folds"])),
        "validation Dice": row["dice"],
        "file": row["path"],
    }


def _fold_line(row: Row) -> Row:
    classes = {entry["label"]: entry["dice"] for entry in row["per_label"]}
    fold = f"{row['fold']} (random split)" if row["random_split"] else row["fold"]
    shown = {"fold": fold, "state": row["state"], "epochs": row["epochs"], "cases": len(row["cases"])}
    return {**shown, "Dice": row["dice"], **classes}


def _folds(row: Row) -> str:
    finished, begun = (", ".join(map(str, row[key])) for key in ("folds", "unfinished"))
    return "; ".join(text for text in (finished, f"unfinished: {begun}" if begun else "") if text) or "none"


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return (
            " x ".join(_text(item) for item in value) if value and not isinstance(value[0], str) else ", ".join(value)
        )
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return "-" if value is None else str(value)


def _pairs(values: Row) -> list[Row]:
    """Two columns without headings."""
    return [{"": key.replace("_", " "), " ": _text(value)} for key, value in values.items()]


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


def _show(context: Context, title: str, rows: list[Row]) -> None:
    from segautoconfiglib.base.terminal import print_table

    if context.out and rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        print_table(title, columns, [[row.get(column) for column in columns] for row in rows], context.out)
