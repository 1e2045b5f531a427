"""nnU-Net v1's training commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.nnunet.command import Command
from segautoconfiglib.cli.nnunet_v1.translation import V1_PLANS, dataset_of, run_as, v2_plans, v2_trainer, words_of
from segautoconfiglib.cli.options import add_device, add_workers, fold, positive
from segautoconfiglib.cli.train import add_length

ACCEPTED = {
    "--use_compressed_data": "preprocessed data are always compressed",
    "--deterministic": "the same seed gives the same result on a CPU anyway",
    "--fp32": "mixed precision is used on GPUs alone, where it is safe",
    "--disable_postprocessing_on_folds": "postprocessing is found from all folds together, by a command of its own",
    "--val_disable_overwrite": "validation is always made anew",
    "--disable_next_stage_pred": "only held-out cases are predicted, and a cascade needs them",
}


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIGURATION TRAINER TASK FOLD and v1's flags."""
    parser.add_argument("network", metavar="CONFIGURATION", help="2d, 3d_lowres, 3d_fullres or 3d_cascade_fullres")
    parser.add_argument("network_trainer", metavar="TRAINER", help="nnUNetTrainerV2, for example")
    parser.add_argument("task", metavar="TASK", help="number or name")
    parser.add_argument("fold", type=fold, metavar="FOLD", help="0 to 4, or all")
    parser.add_argument("-val", "--validation_only", action="store_true", help="only predict the held-out cases")
    parser.add_argument("-c", "--continue_training", action="store_true", help="continue where this fold stopped")
    parser.add_argument("-p", dest="plans", default=V1_PLANS, metavar="NAME", help="plans identifier")
    parser.add_argument("--npz", action="store_true", help="save the probabilities of the held-out cases too")
    parser.add_argument("--valbest", action="store_true", help="validate with the best checkpoint")
    parser.add_argument("--val_folder", default="validation_raw", metavar="NAME", help="accepted; it is validation")
    parser.add_argument("--disable_saving", action="store_true", help="keep nothing: no checkpoints, no validation")
    parser.add_argument("-pretrained_weights", type=Path, metavar="FILE", help="start from this checkpoint")
    parser.add_argument("--find_lr", action="store_true", help="not available: v1's test of learning rates")
    parser.add_argument(
        "--disable_validation_inference", action="store_true", help="not available: use --disable_saving or nothing"
    )
    for name, reason in ACCEPTED.items():
        parser.add_argument(name, action="store_true", help=f"accepted; {reason}")
    parser.add_argument("--overwrite", action="store_true", help="discard what this fold has and start anew")
    add_length(parser)
    add_device(parser)
    add_workers(parser)
    parser.set_defaults(gpus=None)


def parallel_arguments(parser: argparse.ArgumentParser) -> None:
    """As nnUNet_train, with the number of GPUs."""
    train_arguments(parser)
    parser.add_argument("-gpus", type=positive, metavar="N", help="number of GPUs")
    parser.add_argument("--local_rank", metavar="N", help="accepted; torchrun tells it")
    parser.add_argument("--dbs", action="store_true", help="accepted; the batch is always shared among the GPUs")


def train(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_train, nnUNet_train_DP, nnUNet_train_DDP."""
    if arguments.find_lr:
        raise UserError(
            "--find_lr is not available: the recipes' learning rates do not depend on the data.",
            "Try another one with train --learning-rate, or leave it out.",
        )
    if arguments.disable_validation_inference:
        raise UserError(
            "--disable_validation_inference is not available.",
            "Stop the command when the validation begins (Ctrl-C): everything of the training is kept.",
        )
    used = [f"{name} ({reason})" for name, reason in ACCEPTED.items() if getattr(arguments, name[2:])]
    if used:
        context.report("log", message=f"Without effect: {'; '.join(used)}.")
    run_as("nnUNetv2_train", _words(arguments, dataset_of(context, arguments.task)), context)


def _words(arguments: argparse.Namespace, dataset: str) -> list[str]:
    trainer = v2_trainer(arguments.network_trainer)
    plans = v2_plans(arguments.plans)
    options: dict[str, Any] = {
        "-tr": None if trainer == "nnUNetTrainer" else trainer,
        "-p": None if plans == "nnUNetPlans" else plans,
        "--val": arguments.validation_only,
        "--c": arguments.continue_training,
        "--npz": arguments.npz,
        "--val_best": arguments.valbest,
        "--disable_checkpointing": arguments.disable_saving,
        "-pretrained_weights": arguments.pretrained_weights,
        "-num_gpus": arguments.gpus,
        "--overwrite": arguments.overwrite,
        "--budget": None if arguments.budget is None else f"{arguments.budget:g}s",
        "--epochs": arguments.epochs,
        "--iterations": arguments.iterations,
        "--seed": arguments.seed or None,
        "-device": None if arguments.device == "auto" else arguments.device,
        "--workers": arguments.workers,
    }
    return [dataset, arguments.network, str(arguments.fold), *words_of(options)]


COMMANDS = {
    "nnUNet_train": Command(train_arguments, train),
    "nnUNet_train_DP": Command(parallel_arguments, train),
    "nnUNet_train_DDP": Command(parallel_arguments, train),
}
