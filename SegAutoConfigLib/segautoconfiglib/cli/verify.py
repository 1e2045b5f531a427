"""``verify DATASET``: all problems of all cases in one run."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --workers."""
    add_dataset(parser)
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Check; problems end with exit code 2."""
    from segautoconfiglib import pipeline

    pipeline.verify(context, arguments.dataset, workers=arguments.workers)
