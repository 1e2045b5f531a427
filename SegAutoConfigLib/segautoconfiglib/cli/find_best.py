"""``find-best``: which model, or pair of models, is best on the held-out cases, and its postprocessing."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_candidates, add_dataset, add_workers, candidates

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.choice import Choice

EPILOG = """examples:
  find-best 4                          compares all models of dataset 4 and pairs of them
  find-best 4 -c 2d 3d_fullres --no-pairs
  predict --choice 4 -i IN -o OUT      then predicts with the best"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, which models and folds."""
    add_dataset(parser)
    add_candidates(parser)
    parser.add_argument("--no-pairs", dest="pairs", action="store_false", help="compare single models only")
    parser.add_argument("--overwrite", action="store_true", help="do again what is up to date")
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Compare; show the results and how to predict."""
    from segautoconfiglib import pipeline

    models, folds = candidates(arguments, context)
    choice = pipeline.find_best(
        context, models, folds, pairs=arguments.pairs, overwrite=arguments.overwrite, workers=arguments.workers
    )
    print_choice(choice, context)


def print_choice(choice: Choice, context: Context) -> None:
    """The table of results and the instructions."""
    from segautoconfiglib.base.terminal import print_table
    from segautoconfiglib.evaluation.choice import CHOICE_FILE, instructions

    if context.out is None:
        return
    rows = sorted(choice.all_results.items(), key=lambda row: -row[1])
    print_table("Mean Dice of the held-out cases", ("model", "Dice"), rows, context.out)
    folder = context.workspace.results / context.workspace.dataset_name(choice.dataset_name_or_id)
    context.out.write(instructions(choice, folder / CHOICE_FILE))
