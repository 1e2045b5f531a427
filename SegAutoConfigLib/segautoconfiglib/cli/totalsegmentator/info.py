"""TotalSegmentator's command that shows tasks and structures."""

from __future__ import annotations

import argparse
import json
from typing import Any, TextIO

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.totalsegmentator.command import Command, add_weights

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """totalseg_info's flags."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-lt", "--list-tasks", action="store_true", help="all tasks (the default)")
    what.add_argument("-cl", "--classes", action="store_true", help="only the structures of the task -ta")
    parser.add_argument("-ta", "--task", metavar="TASK", help="only this task, with its structures")
    parser.add_argument("--json", action="store_true", help="for programs, in TotalSegmentator's form")
    add_weights(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """totalseg_info."""
    if arguments.classes and arguments.task is None:
        raise UserError("The task is missing.", "totalseg_info --classes -ta total")
    if arguments.classes:
        show_classes(context, arguments.task, as_json=arguments.json)
    else:
        show_tasks(context, arguments, arguments.task, as_json=arguments.json)


def show_tasks(
    context: Context, arguments: argparse.Namespace, task: str | None = None, *, as_json: bool = False
) -> None:
    """All tasks, or one with its structures, and which weights are missing.

    Args:
        context: Gets the tables.
        arguments: ``weights``: where to look first; ``list_tasks``: without structures.
        task: Name of the one; None: all.
        as_json: For programs.

    Raises:
        UserError: there is no such task.
    """
    from segautoconfiglib.pipeline.tasks import list_tasks, one_task
    from segautoconfiglib.tasks.catalogue import load_catalogue

    weights, short = getattr(arguments, "weights", None), getattr(arguments, "list_tasks", False)
    rows = list_tasks(context, weights) if task is None else [one_task(context, task, weights)]
    context.report("done", stage="tasks", tasks=rows)
    if context.out is None:
        return
    if as_json:
        form = [_summary(row) for row in rows] if short else _registry(rows, load_catalogue().version)
        context.out.write(json.dumps(form, indent=2) + "\n")
        return
    from segautoconfiglib.base.terminal import print_table

    lines = [task_line(row) for row in rows]
    print_table("Tasks", list(lines[0]), [list(line.values()) for line in lines], context.out)
    if task is None:
        message = "Weights: totalseg_download_weights -t TASK. Structures: totalseg_info -ta TASK."
        context.report("log", message=message)
        return
    if not short:
        _print_structures(task, context.out)
    _advise(context, rows[0])


def show_classes(context: Context, task: str, *, as_json: bool = False) -> None:
    """The structures of a task. Raises: UserError: there is no such task."""
    from segautoconfiglib.tasks.catalogue import find_task

    classes = find_task(task).classes
    context.report("done", stage="tasks", classes={name: label for label, name in classes.items()})
    if context.out is None:
        return
    if as_json:
        context.out.write(json.dumps({str(label): name for label, name in classes.items()}, indent=2) + "\n")
        return
    _print_structures(task, context.out)


def _print_structures(task: str, out: TextIO) -> None:
    from segautoconfiglib.base.terminal import print_table
    from segautoconfiglib.tasks.catalogue import find_task

    lines = [[label, name] for label, name in find_task(task).classes.items()]
    print_table(f"Structures of {task}", ("label", "name"), lines, out)


def _advise(context: Context, row: Row) -> None:
    """What must be known about a task, and how its weights get here."""
    if row["note"]:
        context.report("log", message=row["note"])
    if any(mode["missing"] for mode in row["modes"]) and not row["licence"]:
        context.report("log", message=f"Weights: totalseg_download_weights -t {row['name']}.")


def task_line(row: Row) -> Row:
    """A row of the table for people."""
    return {
        "task": row["name"],
        "images": row["modality"],
        "structures": len(row["labels"]) - 1,
        "licence key": "needed" if row["licence"] else "",
        "weights": ", ".join(_state(mode) for mode in row["modes"]),
    }


def _state(mode: Row) -> str:
    state = f"{len(mode['missing'])} of {mode['models']} missing" if mode["missing"] else "ready"
    state = f"{state} (damaged or wrong)" if mode["problem"] else state
    return state if mode["mode"] == "default" else f"{mode['mode']}: {state}"


def _summary(row: Row) -> Row:
    return {
        "name": row["name"],
        "modality": row["modality"],
        "license_required": row["licence"],
        "num_classes": len(row["labels"]) - 1,
    }


def _registry(rows: list[Row], version: str) -> Row:
    return {
        "totalsegmentator_version": version,
        "tasks": {
            row["name"]: {
                "modality": row["modality"],
                "license_required": row["licence"],
                "classes": {str(label): name for name, label in row["labels"].items() if label},
            }
            for row in rows
        },
    }


COMMANDS = {"totalseg_info": Command(add_arguments, run)}
