"""``export-model FOLDER FILE.zip``: a model as one file, for other computers."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import fold

EPILOG = """The zip file has nnU-Net's layout: nnUNetv2_install_pretrained_model_from_zip takes it, too.
Logs and paths of this computer are not part of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, FILE, what of it."""
    parser.add_argument("model", type=Path, metavar="FOLDER", help="a model folder ('info' lists them)")
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="is written; an existing one is replaced")
    parser.add_argument(
        "--folds", "--fold", "-f", nargs="+", type=fold, metavar="FOLD", help="default: all that were trained"
    )
    parser.add_argument(
        "--checkpoint", "-chk", nargs="+", default=["checkpoint_final.pth"], metavar="FILE",
        help="which of each fold (default: checkpoint_final.pth)",
    )  # fmt: skip


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Write the file."""
    from segautoconfiglib.pipeline.models import export_models

    export_models(context, [arguments.model], arguments.file, folds=arguments.folds, checkpoints=arguments.checkpoint)
