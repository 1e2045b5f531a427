"""``cross-validation``: the held-out cases of all folds of a model in one folder, with their metrics."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.options import add_candidates, add_dataset, add_workers, candidates

EPILOG = """examples:
  cross-validation 4                      every model of dataset 4 that was validated
  cross-validation 4 -c 2d --folds 0 1 2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, which models and folds."""
    add_dataset(parser)
    add_candidates(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER",
        help="for one model; must be empty (default: crossval_results_folds_... in the model)",
    )  # fmt: skip
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Collect, evaluate, and show a table per model."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.base.terminal import print_table

    models, folds = candidates(arguments, context)
    if arguments.output is not None and len(models) > 1:
        names = ", ".join(model.path.name for model in models)
        raise UserError(
            f"--output is for one model, and there are {len(models)}: {names}.", "Choose one (-c, -p, -tr)."
        )
    for model in models:
        summary = pipeline.cross_validation(context, model, folds, output=arguments.output, workers=arguments.workers)
        if context.out:
            columns, rows = summary.table
            print_table(model.path.name, columns, rows, context.out)
