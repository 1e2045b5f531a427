"""``demo-data``: the demo's synthetic cases alone, to try things out with."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.options import positive, seed, whole_number

EPILOG = """examples:
  demo-data nnUNet_raw/Dataset999_Demo         a dataset to train on, and eight cases to test with
  demo-data cases --cases 4 --held-out 1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, --cases, --held-out, --seed."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new folder, in the form of a raw dataset")
    parser.add_argument(
        "--cases", type=positive, default=32, metavar="N", help="in imagesTr and labelsTr (default: 32)"
    )
    parser.add_argument(
        "--held-out", type=whole_number, default=8, metavar="N", help="in imagesTs and labelsTs (default: 8)"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="same seed, same voxels (default: 0)")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Write the cases. Raises: UserError: the folder holds a dataset."""
    from segautoconfiglib.base.records import check_writable
    from segautoconfiglib.dataset.synthetic import make_demo_dataset

    folder: Path = arguments.folder.absolute()
    if (folder / "dataset.json").exists():
        raise UserError(f"{folder} holds a dataset already.", "Choose another folder.")
    check_writable(folder)
    make_demo_dataset(
        folder,
        cases=arguments.cases,
        held_out=arguments.held_out,
        seed=arguments.seed,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("artifact", path=str(folder), description="synthetic dataset")
    context.report("done", stage="demo-data", folder=str(folder), cases=arguments.cases, held_out=arguments.held_out)
