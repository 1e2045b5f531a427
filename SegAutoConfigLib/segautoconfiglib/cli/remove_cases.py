"""``remove-cases DATASET ID ...``: cases leave a raw dataset; their files are kept beside it."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset

EPILOG = """The files are moved to the folder removed/ID in the dataset's raw folder. Models that were trained with the
cases stay as they are, and a training that runs goes on with them.

Example: remove-cases 5 case_003 case_017"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, IDs."""
    add_dataset(parser)
    parser.add_argument("cases", nargs="+", metavar="ID", help="names of cases, as in the files without _0000.nii.gz")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Remove the cases."""
    from segautoconfiglib import pipeline

    pipeline.remove_cases(context, arguments.dataset, arguments.cases)
