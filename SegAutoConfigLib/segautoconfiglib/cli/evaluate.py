"""``evaluate TRUTH PREDICTIONS``: Dice, IoU, HD95 and surface Dice per case and label."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers, positive

#: Cases in the table of the worst.
SHOWN_CASES = 20


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
    add_report(parser)
    add_workers(parser)
    parser.set_defaults(labels=None, ignore_label=None)  # nnUNetv2_evaluate_simple asks for them


def add_report(parser: argparse.ArgumentParser) -> None:
    """What is shown and written besides summary.json, shared with nnU-Net's commands."""
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write one line per case and class, for spreadsheets"
    )
    parser.add_argument(
        "--worst", type=positive, default=SHOWN_CASES, metavar="N", help="show the N worst cases (default: 20)"
    )


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Compare and show the table."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_cases, print_evaluation

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
    if arguments.csv is not None:
        from segautoconfiglib.evaluation.case_table import write_csv

        context.report("artifact", path=str(write_csv(summary, arguments.csv)), description="all numbers as a table")
    if context.out:
        print_evaluation(summary, context.out)
        print_cases(summary, context.out, arguments.worst)
