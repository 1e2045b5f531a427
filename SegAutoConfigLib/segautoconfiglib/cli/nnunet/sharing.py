"""nnU-Net v2's commands for zip files of models, and for plans of other datasets."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli import export_model as export_model_command
from segautoconfiglib.cli import import_model as import_model_command
from segautoconfiglib.cli import move_plans as move_plans_command
from segautoconfiglib.cli.nnunet.command import Command, add_id, add_model_name
from segautoconfiglib.cli.options import add_replacing, fold


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_export_model_to_zip's flags."""
    add_id(parser)
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE.zip", help="is written")
    parser.add_argument("-c", nargs="+", metavar="NAME", help="configurations (default: all that were trained)")
    add_model_name(parser)
    parser.add_argument("-f", dest="folds", nargs="+", type=fold, metavar="FOLD", help="default: all that were trained")
    parser.add_argument(
        "-chk", dest="checkpoints", nargs="+", default=["checkpoint_final.pth"], metavar="FILE",
        help="which of each fold (default: checkpoint_final.pth)",
    )  # fmt: skip
    parser.add_argument("--not_strict", action="store_true", help="leave out configurations that were not trained")
    parser.add_argument("--exp_cv_preds", action="store_true", help="also the segmentations of the held-out cases")
    export_model_command.add_case_names(parser)


def export(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_export_model_to_zip."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.models.folder import list_models
    from segautoconfiglib.pipeline.models import export_models

    name = context.workspace.dataset_name(arguments.dataset)
    wanted = (arguments.trainer, arguments.plans)
    models = [model for model in list_models(context.workspace, name) if model.name_parts[:2] == wanted]
    found = {model.name_parts[2]: model.path for model in models if model.folds(None)}
    asked = arguments.c or list(found)
    missing = [configuration for configuration in asked if configuration not in found]
    if (missing and not arguments.not_strict) or len(missing) == len(asked):  # raises; says what there is
        configuration = missing[0] if missing else None
        pipeline.find_model(context, name, trainer=wanted[0], plans=wanted[1], configuration=configuration)
    export_models(
        context,
        [found[configuration] for configuration in asked if configuration in found],
        arguments.output,
        folds=arguments.folds,
        checkpoints=arguments.checkpoints,
        predictions=arguments.exp_cv_preds,
        case_names=arguments.with_case_names,
    )


def install_arguments(parser: argparse.ArgumentParser) -> None:
    """ZIP, and what nnU-Net does not ask."""
    parser.add_argument("file", metavar="FILE.zip", help="of nnU-Net or of export-model")
    add_replacing(parser)
    parser.set_defaults(dataset=None)


def download_arguments(parser: argparse.ArgumentParser) -> None:
    """URL, and what nnU-Net does not ask."""
    parser.add_argument("file", metavar="URL", help="http or https address of a zip file")
    add_replacing(parser)
    parser.set_defaults(dataset=None)


def move_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_move_plans_between_datasets's flags."""
    parser.add_argument("-s", dest="source", required=True, metavar="DATASET", help="number or name: has the plans")
    parser.add_argument("-t", dest="target", required=True, metavar="DATASET", help="number or name: gets them")
    parser.add_argument("-sp", dest="plans", required=True, metavar="NAME", help="plans of the source")
    parser.add_argument("-tp", dest="new_name", metavar="NAME", help="their name in the target (default: the same)")
    move_plans_command.add_choices(parser)


COMMANDS = {
    "nnUNetv2_export_model_to_zip": Command(export_arguments, export),
    "nnUNetv2_install_pretrained_model_from_zip": Command(install_arguments, import_model_command.run),
    "nnUNetv2_download_pretrained_model_by_url": Command(download_arguments, import_model_command.run),
    "nnUNetv2_move_plans_between_datasets": Command(move_arguments, move_plans_command.run),
}
