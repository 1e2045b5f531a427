"""TotalSegmentator's commands that bring weights to this computer."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.totalsegmentator.command import Command

TARGET = "gets them (default: $TOTALSEG_WEIGHTS_PATH, else TotalSegmentator in the workspace's folder of models)"


def download_arguments(parser: argparse.ArgumentParser) -> None:
    """totalseg_download_weights's flags."""
    parser.add_argument(
        "-t", "--task", nargs="+", default=["total"], metavar="TASK",
        help="names of tasks, with _fast behind the name of their fast form; or numbers of datasets; or all, which are "
        "those without a licence key; _small behind a name or number for the small variant (default: total)",
    )  # fmt: skip
    parser.add_argument("--target", type=Path, metavar="FOLDER", help=TARGET)
    parser.add_argument(
        "--sha256", nargs="+", default=[], metavar="CHECKSUM",
        help="which the zip file must have; of several: NUMBER=CHECKSUM, with the number of the dataset",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="fetch also what is there, and replace it")


def download(arguments: argparse.Namespace, context: Context) -> None:
    """totalseg_download_weights."""
    from segautoconfiglib.pipeline.tasks import download_task_weights

    download_task_weights(
        context,
        arguments.task,
        folder=arguments.target,
        sha256=arguments.sha256,
        overwrite=arguments.overwrite,
    )


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """totalseg_import_weights's flags."""
    parser.add_argument(
        "-i", "--weights_file", type=Path, required=True, metavar="FILE.zip", help="as TotalSegmentator publishes them"
    )
    parser.add_argument("--target", type=Path, metavar="FOLDER", help=TARGET)
    parser.add_argument("--overwrite", action="store_true", help="replace models of the same name")


def import_weights(arguments: argparse.Namespace, context: Context) -> None:
    """totalseg_import_weights."""
    from segautoconfiglib.pipeline.tasks import import_task_weights

    import_task_weights(context, arguments.weights_file, folder=arguments.target, overwrite=arguments.overwrite)


COMMANDS = {
    "totalseg_download_weights": Command(download_arguments, download),
    "totalseg_import_weights": Command(import_arguments, import_weights),
}
