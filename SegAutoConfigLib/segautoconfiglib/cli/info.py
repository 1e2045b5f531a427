"""``info``: what is in the workspace."""

from __future__ import annotations

import argparse

from segautoconfiglib.base.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[DATASET]."""
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="number or name (default: list all datasets)")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List datasets, or one dataset's plans and models."""
    from segautoconfiglib import pipeline

    if arguments.dataset is None:
        rows = [pipeline.dataset_state(context, name) for name in context.workspace.dataset_names()]
        context.report("done", stage="info", datasets=rows)
        _show(context, f"Datasets in {context.workspace.raw.parent}", rows)
        if not rows:
            context.report("log", message="No datasets yet. Start with: convert-msd FOLDER, or demo")
        return
    name = context.workspace.dataset_name(arguments.dataset)
    plans = pipeline.planned_configurations(context, name)
    models = pipeline.trained_models(context, name)
    context.report("done", stage="info", plans=plans, models=models)
    _show(context, f"{name}: plans", plans)
    _show(context, f"{name}: models", models)


def _show(context: Context, title: str, rows: list[dict]) -> None:
    from segautoconfiglib.base.terminal import print_table

    if context.out and rows:
        print_table(title, list(rows[0]), [list(row.values()) for row in rows], context.out)
