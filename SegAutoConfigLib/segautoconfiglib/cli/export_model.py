"""``export-model MODEL FILE.zip``: a model, or all that a dataset's choice needs, as one file for other computers."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.workspace import DATASET_NAME
from segautoconfiglib.cli.options import fold

EPILOG = """The zip file has nnU-Net's layout: nnUNetv2_install_pretrained_model_from_zip takes it, too.
With a cascade goes the model of its lower stage. Logs, paths of this computer and names of cases are not part of it.

examples:
  export-model .../nnUNetTrainer__nnUNetPlans__3d_fullres liver.zip
  export-model 4 hippocampus.zip    the models that find-best chose, with their postprocessing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, FILE, what of it."""
    parser.add_argument(
        "model", metavar="MODEL", help="a model folder ('info' lists them), or number or name of a dataset: its choice"
    )
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="is written")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--folds",
        "--fold",
        "-f",
        nargs="+",
        type=fold,
        metavar="FOLD",
        help="default: all of the splits that were trained",
    )
    parser.add_argument(
        "--checkpoint", "-chk", nargs="+", default=["checkpoint_final.pth"], metavar="FILE",
        help="which of each fold (default: checkpoint_final.pth)",
    )  # fmt: skip
    add_case_names(parser)


def add_case_names(parser: argparse.ArgumentParser) -> None:
    """``--with-case-names``, shared with nnUNetv2_export_model_to_zip."""
    parser.add_argument(
        "--with-case-names", action="store_true",
        help="leave the names of the training cases in dataset.json, results and checkpoints",
    )  # fmt: skip


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Write the file."""
    from segautoconfiglib.pipeline.models import chosen_models, export_models, with_lower_stages

    if arguments.file.is_file() and not arguments.overwrite:
        raise UserError(f"{arguments.file} exists already.", "Name another file, or replace it with --overwrite.")
    dataset = not Path(arguments.model).is_dir() and (
        arguments.model.isdecimal() or DATASET_NAME.fullmatch(arguments.model)
    )
    export_models(
        context,
        chosen_models(context, arguments.model) if dataset else with_lower_stages(context, Path(arguments.model)),
        arguments.file,
        folds=arguments.folds,
        checkpoints=arguments.checkpoint,
        case_names=arguments.with_case_names,
    )
