"""``postprocess``: keep only the largest part of structures, as find-postprocessing or find-best found."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folders in and out, the file."""
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="FOLDER", help="segmentations")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the new ones go")
    parser.add_argument(
        "--with", dest="postprocessing", type=Path, required=True, metavar="FILE",
        help="postprocessing.json or postprocessing.pkl",
    )  # fmt: skip
    parser.add_argument("--dataset-json", type=Path, metavar="FILE", help="default: dataset.json in the input folder")
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Apply the file."""
    from segautoconfiglib import pipeline

    pipeline.postprocess(
        context,
        arguments.input,
        arguments.output,
        arguments.postprocessing,
        description_file=arguments.dataset_json,
        workers=arguments.workers,
    )
