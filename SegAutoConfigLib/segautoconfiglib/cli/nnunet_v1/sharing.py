"""nnU-Net v1's commands for zip files of models and for published ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.nnunet.command import Command
from segautoconfiglib.cli.nnunet_v1.published import PUBLISHED, address, published
from segautoconfiglib.cli.nnunet_v1.translation import (
    CASCADE,
    V1_PLANS,
    dataset_of,
    names_of_model,
    run_as,
    v2_trainer,
    words_of,
)
from segautoconfiglib.cli.options import add_replacing, fold


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_export_model_to_zip's flags."""
    parser.add_argument("-t", required=True, metavar="TASK", help="number or name")
    parser.add_argument("-o", "--output_file", type=Path, required=True, metavar="FILE.zip", help="is written")
    parser.add_argument("-m", nargs="+", metavar="NAME", help="configurations (default: all that were trained)")
    parser.add_argument("-tr", default="nnUNetTrainerV2", metavar="NAME", help="default: nnUNetTrainerV2")
    parser.add_argument(
        "-trc", default="nnUNetTrainerV2CascadeFullRes", metavar="NAME", help="accepted; the cascade has the same one"
    )
    parser.add_argument("-pl", default=V1_PLANS, metavar="NAME", help="plans identifier")
    parser.add_argument("--disable_strict", action="store_true", help="leave out configurations that were not trained")
    parser.add_argument("-f", nargs="+", type=fold, metavar="FOLD", help="default: all that were trained")


def export(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_export_model_to_zip; the file has v2's form."""
    if v2_trainer(arguments.trc) != v2_trainer(arguments.tr) and CASCADE in (arguments.m or ()):
        raise UserError(
            f"The cascade's trainer {arguments.trc} is another one than {arguments.tr}.",
            f"Export {CASCADE} by itself, with -tr {arguments.trc}.",
        )
    dataset = dataset_of(context, arguments.t)
    trainer, plans = names_of_model(context, dataset, arguments.tr, arguments.pl)
    words = {
        "-d": dataset,
        "-o": arguments.output_file,
        "-c": arguments.m,
        "-tr": trainer,
        "-p": plans,
        "-f": arguments.f,
        "--not_strict": arguments.disable_strict,
    }
    run_as("nnUNetv2_export_model_to_zip", words_of(words), context)


def install_arguments(parser: argparse.ArgumentParser) -> None:
    """ZIP, and what nnU-Net does not ask."""
    parser.add_argument("file", metavar="FILE.zip", help="of nnU-Net v1 or v2, or of export-model")
    add_replacing(parser)


def install(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_install_pretrained_model_from_zip."""
    words = [str(arguments.file), *words_of({"--overwrite": arguments.overwrite})]
    run_as("nnUNetv2_install_pretrained_model_from_zip", words, context)


def url_arguments(parser: argparse.ArgumentParser) -> None:
    """URL, and what nnU-Net does not ask."""
    parser.add_argument("url", metavar="URL", help="http or https address of a zip file")
    add_replacing(parser)


def download_by_url(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_download_pretrained_model_by_url."""
    words = [arguments.url, *words_of({"--overwrite": arguments.overwrite})]
    run_as("nnUNetv2_download_pretrained_model_by_url", words, context)


def task_arguments(parser: argparse.ArgumentParser) -> None:
    """TASK."""
    parser.add_argument("task_name", metavar="TASK", help="as nnUNet_print_available_pretrained_models shows it")


def download_arguments(parser: argparse.ArgumentParser) -> None:
    """TASK, and what nnU-Net does not ask."""
    task_arguments(parser)
    add_replacing(parser)


def download(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_download_pretrained_model."""
    task = published(arguments.task_name)
    source = PUBLISHED[task].source
    context.report("log", message=f"The licence of the training data holds for the model, too ({source}).")
    arguments.url = address(task)
    download_by_url(arguments, context)


def print_available(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_print_available_pretrained_models."""
    _show(list(PUBLISHED), context)


def print_info(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_print_pretrained_model_info."""
    _show([published(arguments.task_name)], context)


def _show(tasks: list[str], context: Context) -> None:
    from segautoconfiglib.base.terminal import print_table

    rows = [(task, PUBLISHED[task].images, PUBLISHED[task].structures, PUBLISHED[task].source) for task in tasks]
    columns = ("task", "images", "structures", "data")
    context.report("done", stage="models", models=[dict(zip(columns, row, strict=True)) for row in rows])
    if context.out:
        print_table("Published models of nnU-Net v1", columns, rows, context.out)


def trainer_class_arguments(parser: argparse.ArgumentParser) -> None:
    """-i, -tr."""
    parser.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="a model folder")
    parser.add_argument("-tr", required=True, metavar="NAME", help="the new name")


def change_trainer_class(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_change_trainer_class."""
    raise UserError(
        "This command is not needed: models are used without the class that trained them.",
        "Another title: rename-model. To learn on with another recipe: train --continue-from FOLDER -tr NAME.",
    )


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


COMMANDS = {
    "nnUNet_export_model_to_zip": Command(export_arguments, export),
    "nnUNet_install_pretrained_model_from_zip": Command(install_arguments, install),
    "nnUNet_download_pretrained_model": Command(download_arguments, download),
    "nnUNet_download_pretrained_model_by_url": Command(url_arguments, download_by_url),
    "nnUNet_print_available_pretrained_models": Command(no_arguments, print_available),
    "nnUNet_print_pretrained_model_info": Command(task_arguments, print_info),
    "nnUNet_change_trainer_class": Command(trainer_class_arguments, change_trainer_class),
}
