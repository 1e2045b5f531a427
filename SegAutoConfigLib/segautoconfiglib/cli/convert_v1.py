"""``convert-v1 FOLDER``: a task of nnU-Net v1 becomes a raw dataset."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers

EPILOG = "Example: convert-v1 nnUNet_raw_data/Task100_Liver      makes nnUNet_raw/Dataset100_Liver"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, DATASET, --workers."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="TaskXXX_Name with imagesTr, labelsTr, dataset.json"
    )
    parser.add_argument(
        "dataset", nargs="?", metavar="DATASET", help="name of the new dataset (default: DatasetXXX_Name as the task)"
    )
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Convert and say where the result is."""
    from segautoconfiglib import pipeline

    pipeline.convert_v1(context, arguments.folder, arguments.dataset, workers=arguments.workers)
