"""``fingerprint DATASET``: shapes, spacings and intensities of the training cases."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --overwrite, --no-verify, --workers."""
    add_dataset(parser)
    parser.add_argument("--overwrite", action="store_true", help="measure again even if it was done before")
    parser.add_argument("--no-verify", action="store_true", help="do not check the dataset first")
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Measure and write dataset_fingerprint.json."""
    from segautoconfiglib import pipeline

    pipeline.fingerprint(
        context,
        arguments.dataset,
        overwrite=arguments.overwrite,
        check=not arguments.no_verify,
        workers=arguments.workers,
    )
