"""nnU-Net v2's commands that compare and combine models."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli import ensemble as ensemble_command
from segautoconfiglib.cli import find_best as find_best_command
from segautoconfiglib.cli import find_postprocessing as find_postprocessing_command
from segautoconfiglib.cli import postprocess as postprocess_command
from segautoconfiglib.cli.nnunet.command import Command, add_model_name, add_processes
from segautoconfiglib.cli.options import add_dataset, whole_number
from segautoconfiglib.defaults import TRAINING


def _folds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", dest="folds", nargs="+", type=whole_number, default=list(range(TRAINING.folds)), metavar="FOLD",
        help="default: 0 1 2 3 4",
    )  # fmt: skip


def _plans(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-plans_json", type=Path, metavar="FILE", help="accepted; not needed here")
    parser.add_argument(
        "-dataset_json",
        dest="dataset_json",
        type=Path,
        metavar="FILE",
        help="names the labels (default: dataset.json in the input folder)",
    )


def find_best_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_find_best_configuration's flags."""
    add_dataset(parser)
    parser.add_argument("-p", nargs="+", default=["nnUNetPlans"], metavar="NAME", help="plans files, without .json")
    parser.add_argument(
        "-c", nargs="+", default=["2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"], metavar="NAME",
        help="configurations; those that the plans do not have are left out",
    )  # fmt: skip
    parser.add_argument("-tr", nargs="+", default=["nnUNetTrainer"], metavar="NAME", help="trainer names")
    add_processes(parser)
    _folds(parser)
    parser.add_argument("--disable_ensembling", action="store_true", help="compare single models only")
    parser.add_argument("--no_overwrite", action="store_true", help="keep what is newer than the predictions")


def find_best(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_find_best_configuration."""
    from segautoconfiglib import pipeline

    models = pipeline.named_models(context, arguments.dataset, arguments.tr, arguments.c, arguments.p)
    choice = pipeline.find_best(
        context,
        models,
        arguments.folds,
        pairs=not arguments.disable_ensembling,
        overwrite=not arguments.no_overwrite,
        workers=arguments.workers,
    )
    find_best_command.print_choice(choice, context)


def accumulate_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_accumulate_crossval_results' flags."""
    add_dataset(parser)
    parser.add_argument("-c", dest="configuration", required=True, metavar="NAME", help="configuration")
    parser.add_argument("-o", dest="output", type=Path, metavar="FOLDER", help="must be empty (default: in the model)")
    _folds(parser)
    add_model_name(parser)


def accumulate(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_accumulate_crossval_results."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_evaluation

    wanted = ([arguments.trainer], [arguments.configuration], [arguments.plans])
    (model,) = pipeline.named_models(context, arguments.dataset, *wanted)
    summary = pipeline.cross_validation(context, model, arguments.folds, output=arguments.output)
    if context.out:
        print_evaluation(summary, context.out)


def ensemble_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_ensemble's flags."""
    parser.add_argument("-i", dest="input", nargs="+", type=Path, required=True, metavar="FOLDER", help="to average")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FOLDER", help="gets segmentations")
    parser.add_argument("--save_npz", dest="save_probabilities", action="store_true", help="also write the mean")
    add_processes(parser)


def determine_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_determine_postprocessing's flags."""
    parser.add_argument("-i", dest="predictions", type=Path, required=True, metavar="FOLDER", help="segmentations")
    parser.add_argument("-ref", dest="truth", type=Path, required=True, metavar="FOLDER", help="true segmentations")
    _plans(parser)
    add_processes(parser)
    parser.add_argument(
        "--remove_postprocessed", dest="keep", action="store_false", help="do not leave the folder postprocessed"
    )


def apply_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_apply_postprocessing's flags."""
    parser.add_argument("-i", dest="input", type=Path, required=True, metavar="FOLDER", help="segmentations")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FOLDER", help="gets the new ones")
    parser.add_argument(
        "-pp_pkl_file", dest="postprocessing", type=Path, required=True, metavar="FILE",
        help="postprocessing.pkl (or .json)",
    )  # fmt: skip
    add_processes(parser)
    _plans(parser)


COMMANDS = {
    "nnUNetv2_find_best_configuration": Command(find_best_arguments, find_best),
    "nnUNetv2_accumulate_crossval_results": Command(accumulate_arguments, accumulate),
    "nnUNetv2_ensemble": Command(ensemble_arguments, ensemble_command.run),
    "nnUNetv2_determine_postprocessing": Command(determine_arguments, find_postprocessing_command.run),
    "nnUNetv2_apply_postprocessing": Command(apply_arguments, postprocess_command.run),
}
