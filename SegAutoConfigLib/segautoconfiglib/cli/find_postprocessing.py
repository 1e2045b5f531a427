"""``find-postprocessing``: of which structures only the largest part should be kept."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PREDICTIONS, TRUTH, options."""
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="segmentations of cases the network was not trained on"
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="folder with true segmentations")
    parser.add_argument(
        "--dataset-json", type=Path, metavar="FILE", help="names the labels (default: dataset.json in PREDICTIONS)"
    )
    parser.add_argument(
        "--remove-postprocessed", dest="keep", action="store_false", help="do not leave PREDICTIONS/postprocessed"
    )
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Compare with and without; show the Dice of both."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.base.terminal import print_table

    before, after = pipeline.find_postprocessing(
        context,
        arguments.predictions,
        arguments.truth,
        description_file=arguments.dataset_json,
        keep=arguments.keep,
        workers=arguments.workers,
    )
    if context.out:
        rows = [(row[0], row[1], new[1]) for row, new in zip(before.table[1], after.table[1], strict=True)]
        columns = ("class", "Dice", "after postprocessing")
        print_table(f"{before.cases} cases", columns, rows, context.out)
