"""``ensemble``: segmentations from the mean of the probabilities in several folders."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folders in and out."""
    parser.add_argument(
        "-i", "--input", nargs="+", type=Path, required=True, metavar="FOLDER",
        help="predictions with probabilities (predict --save_probabilities), of the same images",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where segmentations go")
    parser.add_argument(
        "--save-probabilities", "--probabilities", dest="save_probabilities", action="store_true",
        help="also write the mean as <case>.npz and .pkl",
    )  # fmt: skip
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Average the folders."""
    from segautoconfiglib import pipeline

    pipeline.ensemble(
        context,
        arguments.input,
        arguments.output,
        save_probabilities=arguments.save_probabilities,
        workers=arguments.workers,
    )
