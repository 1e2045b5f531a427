"""nnU-Net v2's commands that compare segmentations."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli import evaluate as evaluate_command
from segautoconfiglib.cli.nnunet.command import Command, add_id, add_processes
from segautoconfiglib.cli.options import share, whole_number


def _evaluation_flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(dataset_json=None, labels=None, ignore_label=None)
    parser.add_argument("truth", type=Path, metavar="GT_FOLDER", help="folder with true segmentations")
    parser.add_argument("predictions", type=Path, metavar="PRED_FOLDER", help="folder with predictions")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="default: PRED_FOLDER/summary.json")
    add_processes(parser)
    parser.add_argument("--chill", dest="allow_missing", action="store_true", help="allow missing predictions")
    evaluate_command.add_report(parser)


def evaluate_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_evaluate_folder's flags."""
    _evaluation_flags(parser)
    parser.add_argument("-djfile", dest="dataset_json", type=Path, required=True, metavar="FILE", help="dataset.json")
    parser.add_argument("-pfile", type=Path, required=True, metavar="FILE", help="plans.json (not needed here)")


def evaluate_simple_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_evaluate_simple's flags."""
    _evaluation_flags(parser)
    parser.add_argument("-l", dest="labels", type=int, nargs="+", required=True, metavar="N", help="label values")
    parser.add_argument(
        "-il", dest="ignore_label", type=int, metavar="N", help="voxels with this true value do not count"
    )


def overlay_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_plot_overlay_pngs's flags."""
    add_id(parser)
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FOLDER", help="for the PNG files")
    add_processes(parser)
    parser.add_argument("-channel_idx", type=whole_number, default=0, metavar="N", help="of the image (default: 0)")
    parser.add_argument("--use_raw", action="store_true", help="draw the raw images, not the preprocessed ones")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    parser.add_argument("-c", dest="configuration", metavar="NAME", help="default: 3d_fullres if planned, else 2d")
    parser.add_argument(
        "-overlay_intensity", type=share, default=0.6, metavar="SHARE", help="opacity of the labels (default: 0.6)"
    )


def overlay(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_plot_overlay_pngs."""
    from segautoconfiglib import pipeline

    options = pipeline.OverlayOptions(arguments.channel_idx, arguments.overlay_intensity, arguments.workers)
    if arguments.use_raw:
        pipeline.draw_dataset(context, arguments.dataset, arguments.output, options)
        return
    pipeline.draw_preprocessed(
        context,
        arguments.dataset,
        arguments.output,
        options,
        plans_name=arguments.plans,
        configuration=arguments.configuration,
    )


COMMANDS = {
    "nnUNetv2_evaluate_folder": Command(evaluate_folder_arguments, evaluate_command.run),
    "nnUNetv2_evaluate_simple": Command(evaluate_simple_arguments, evaluate_command.run),
    "nnUNetv2_plot_overlay_pngs": Command(overlay_arguments, overlay),
}
