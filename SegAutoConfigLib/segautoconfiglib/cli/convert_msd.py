"""``convert-msd FOLDER``: a Decathlon folder becomes a raw dataset."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_workers

EPILOG = "Example: convert-msd Task04_Hippocampus      makes nnUNet_raw/Dataset004_Hippocampus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, --id, --name, --workers."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="TaskXX_Name with imagesTr, labelsTr, dataset.json")
    parser.add_argument("--id", type=int, metavar="N", help="id of the new dataset (default: the number in TaskXX)")
    parser.add_argument("--name", help="name of the new dataset (default: the name in TaskXX_Name)")
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Convert and say where the result is."""
    from segautoconfiglib import pipeline

    pipeline.convert_msd(
        context, arguments.folder, dataset_id=arguments.id, name=arguments.name, workers=arguments.workers
    )
