"""nnU-Net v2's commands that segment images."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.words import named
from segautoconfiglib.cli import predict as predict_command
from segautoconfiglib.cli.nnunet.command import Command, add_id, add_model_name
from segautoconfiglib.cli.options import fold, whole_number
from segautoconfiglib.defaults import TRAINING


def _prediction_flags(parser: argparse.ArgumentParser) -> None:
    predict_command.add_files(parser)
    predict_command.add_options(parser)
    parser.add_argument(
        "-f", dest="folds", nargs="+", type=fold, metavar="FOLD", help="default: those of 0 1 2 3 4 that were trained"
    )
    parser.add_argument(
        "-nps", type=whole_number, metavar="N", help="accepted; export needs little time and memory here"
    )
    parser.add_argument("--verbose", action="store_true", help="accepted; everything is reported anyway")
    parser.add_argument("--disable_progress_bar", action="store_true", help="accepted; use --events jsonl for programs")
    parser.add_argument("--not_on_device", action="store_true", help="accepted; sums are kept where they fit")


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_predict's flags."""
    add_id(parser)
    parser.add_argument(
        "-c",
        dest="configuration",
        required=True,
        metavar="NAME",
        help="2d, 3d_fullres, 3d_lowres, 3d_cascade_fullres or your own",
    )
    add_model_name(parser)
    parser.set_defaults(model=None)
    _prediction_flags(parser)


def predict_from_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_predict_from_modelfolder's flags."""
    parser.add_argument("-m", dest="model", type=Path, required=True, metavar="FOLDER", help="a model folder")
    _prediction_flags(parser)


def predict(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_predict and nnUNetv2_predict_from_modelfolder."""
    arguments.model = predict_command.model_folder(arguments, context)
    if arguments.folds is None:
        arguments.folds = _usual_folds(arguments.model, arguments.checkpoint, context)
    predict_command.run(arguments, context)


def _usual_folds(model: Path, checkpoint: str, context: Context) -> list[int | str]:
    """The folds that nnU-Net predicts with unless told otherwise, as far as they were trained; says which are not."""
    from segautoconfiglib.models.folder import ModelFolder

    found = ModelFolder.open(model).chosen_folds(None, checkpoint)
    usual = range(TRAINING.folds)
    missing = [number for number in usual if number not in found]
    chosen = [number for number in found if number in usual] or found
    if missing:
        context.report(
            "warning",
            message=f"Predicting with {named(chosen, 'fold')} of {model.name}: there is no {checkpoint} of "
            f"{named(missing, 'fold')}.",
            hint=f"Train them too, or write -f {' '.join(map(str, chosen))} if this is meant.",
        )
    return chosen


COMMANDS = {
    "nnUNetv2_predict": Command(predict_arguments, predict),
    "nnUNetv2_predict_from_modelfolder": Command(predict_from_folder_arguments, predict),
}
