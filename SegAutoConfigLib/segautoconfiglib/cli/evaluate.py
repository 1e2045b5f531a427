"""``evaluate TRUTH PREDICTIONS``: Dice, IoU, HD95 and surface Dice per case and label."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TRUTH, PREDICTIONS, where the labels come from, options."""
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="folder with true segmentations")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="folder with files of the same names")
    parser.add_argument(
        "--dataset-json", "-djfile", type=Path, metavar="FILE",
        help="names the labels (default: dataset.json in PREDICTIONS or beside TRUTH, else every value found)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: PREDICTIONS/summary.json")
    parser.add_argument(
        "--allow-missing", "--chill", action="store_true", help="compare only the cases that were predicted"
    )
    add_workers(parser)
    parser.set_defaults(labels=None, ignore_label=None)  # nnUNetv2_evaluate_simple asks for them


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Compare and show the table."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_evaluation

    summary = pipeline.evaluate(
        context,
        arguments.truth,
        arguments.predictions,
        description_file=arguments.dataset_json,
        labels=arguments.labels,
        ignore_label=arguments.ignore_label,
        output=arguments.output,
        allow_missing=arguments.allow_missing,
        workers=arguments.workers,
    )
    if context.out:
        print_evaluation(summary, context.out)
