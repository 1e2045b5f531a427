"""nnU-Net v1's commands that compare models."""

from __future__ import annotations

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli import find_best as find_best_command
from segautoconfiglib.cli.nnunet.command import Command
from segautoconfiglib.cli.nnunet_v1.translation import (
    CASCADE,
    V1_PLANS,
    dataset_of,
    run_as,
    v2_plans,
    v2_trainer,
    words_of,
)
from segautoconfiglib.cli.options import whole_number
from segautoconfiglib.defaults import TRAINING

FOLDS = list(range(TRAINING.folds))


def find_best_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_find_best_configuration's flags."""
    parser.add_argument(
        "-m", "--models", nargs="+", default=["2d", "3d_lowres", "3d_fullres", CASCADE], metavar="NAME",
        help="configurations; those that the plans do not have are left out",
    )  # fmt: skip
    parser.add_argument("-t", "--task_ids", nargs="+", required=True, metavar="TASK", help="numbers or names")
    parser.add_argument("-tr", "--trainer", default="nnUNetTrainerV2", metavar="NAME", help="default: nnUNetTrainerV2")
    parser.add_argument(
        "-ctr", "--cascade_trainer", default="nnUNetTrainerV2CascadeFullRes", metavar="NAME",
        help="trainer of 3d_cascade_fullres (default: nnUNetTrainerV2CascadeFullRes)",
    )  # fmt: skip
    parser.add_argument("-pl", "--plans_identifier", default=V1_PLANS, metavar="NAME", help="plans identifier")
    parser.add_argument(
        "-f", "--folds", nargs="+", type=whole_number, default=FOLDS, metavar="FOLD", help="default: all"
    )
    parser.add_argument("--disable_ensembling", action="store_true", help="compare single models only")
    parser.add_argument(
        "--disable_postprocessing", action="store_true",
        help="accepted; it is found in a moment and written beside the choice, which works without it, too",
    )  # fmt: skip


def find_best(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_find_best_configuration: the cascade has a trainer of its own."""
    from segautoconfiglib import pipeline

    plans = [v2_plans(arguments.plans_identifier)]
    single = [name for name in arguments.models if name != CASCADE]
    cascade = [name for name in arguments.models if name == CASCADE]
    trainer, cascade_trainer = v2_trainer(arguments.trainer), v2_trainer(arguments.cascade_trainer)
    for dataset in [dataset_of(context, task) for task in arguments.task_ids]:
        if trainer == cascade_trainer:
            models = pipeline.named_models(context, dataset, [trainer], arguments.models, plans)
        else:
            models = pipeline.named_models(context, dataset, [trainer], single, plans) if single else []
            models += pipeline.named_models(context, dataset, [cascade_trainer], cascade, plans) if cascade else []
        choice = pipeline.find_best(
            context, models, arguments.folds, pairs=not arguments.disable_ensembling, overwrite=True
        )
        find_best_command.print_choice(choice, context)


def determine_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_determine_postprocessing's flags."""
    parser.add_argument("-m", required=True, metavar="NAME", help="configuration")
    parser.add_argument("-t", required=True, metavar="TASK", help="number or name")
    parser.add_argument("-tr", default="nnUNetTrainerV2", metavar="NAME", help="default: nnUNetTrainerV2")
    parser.add_argument("-pl", default=V1_PLANS, metavar="NAME", help="plans identifier")
    parser.add_argument("-val", default="validation_raw", metavar="NAME", help="accepted; it is validation")


def determine(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_determine_postprocessing: from the held-out cases of all folds."""
    from segautoconfiglib.evaluation.choice import cross_validation_folder
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.pipeline.folds import GROUND_TRUTH

    dataset, trainer, plans = dataset_of(context, arguments.t), v2_trainer(arguments.tr), v2_plans(arguments.pl)
    words = [dataset, *words_of({"-c": arguments.m, "-tr": trainer, "-p": plans})]
    run_as("nnUNetv2_accumulate_crossval_results", words, context)
    model = ModelFolder.open(context.workspace.model_folder(dataset, trainer, plans, arguments.m))
    folder = cross_validation_folder([model], FOLDS)
    truth = context.workspace.preprocessed / dataset / GROUND_TRUTH
    run_as("nnUNetv2_determine_postprocessing", words_of({"-i": folder, "-ref": truth}), context)


COMMANDS = {
    "nnUNet_find_best_configuration": Command(find_best_arguments, find_best),
    "nnUNet_determine_postprocessing": Command(determine_arguments, determine),
}
