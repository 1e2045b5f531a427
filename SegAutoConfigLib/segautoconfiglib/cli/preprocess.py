"""``preprocess DATASET``: crop, normalise, resample; continues where an earlier run stopped."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --plans, --configuration, --workers."""
    add_dataset(parser)
    parser.add_argument(
        "--plans", "-p", default="nnUNetPlans", metavar="NAME", help="plans file, without .json (default: nnUNetPlans)"
    )
    parser.add_argument(
        "--configuration", "-c", nargs="+", metavar="NAME", help="2d, 3d_fullres, 3d_lowres (default: all planned)"
    )
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Preprocess the configurations one after the other."""
    from segautoconfiglib import pipeline

    pipeline.preprocess(context, arguments.dataset, arguments.plans, arguments.configuration, workers=arguments.workers)
