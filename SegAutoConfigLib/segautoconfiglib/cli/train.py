"""``train DATASET``: train a network, doing first whatever is still missing."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import (
    add_dataset,
    add_device,
    add_planning,
    add_workers,
    duration,
    fold,
    gpus,
    positive,
    seed,
)
from segautoconfiglib.cli.recipe import add_recipe, recipe_choices

if TYPE_CHECKING:
    from segautoconfiglib.pipeline import TrainOptions

#: Parts of a network that given weights may be adapted in.
ADAPTABLE = ("heads", "channels", "layers")

EPILOG = """examples:
  train 4 --budget 20m                         the best model that 20 minutes on this computer allow
  train 4 --fold all --budget 2h --device cpu  learn from all cases, none is held out
  train 4 --budget 20m --continue-from MODEL   learn on, from the weights of a model folder
  train 4 --budget 2h --optimizer adamw --schedule cosine --no-mirroring
  train Dataset004_Hippocampus --configuration 3d_fullres --fold 0 --device cuda --epochs 100"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET and everything that has a default."""
    add_dataset(parser)
    parser.add_argument(
        "--configuration",
        "-c",
        metavar="NAME",
        help="2d, 3d_fullres, 3d_lowres, ... (default: 3d_fullres if the data are 3D)",
    )
    parser.add_argument(
        "--fold", "-f", type=fold, default=0,
        help="0 to 4: that fifth of the cases is held out for validation; all: train on every case (default: 0)",
    )  # fmt: skip
    add_length(parser)
    add_device(parser)
    add_processes(parser)
    add_continuation(parser)
    parser.add_argument(
        "--save-probabilities", "--npz", action="store_true",
        help="save the probabilities of the held-out cases too, for find-best to average pairs of models",
    )  # fmt: skip
    parser.add_argument(
        "--plans", "-p", metavar="NAME", help="plans file, without .json (default: the one that --planner writes)"
    )
    add_planning(parser)
    add_recipe(parser)
    add_workers(parser)


def add_length(parser: argparse.ArgumentParser) -> None:
    """How long to train, shared with nnUNetv2_train."""
    parser.add_argument(
        "--budget", type=duration, metavar="TIME",
        help="time for everything, for example 20m or 8h: network, patch, batch and schedule are fitted to it",
    )  # fmt: skip
    parser.add_argument("--epochs", type=positive, metavar="N", help="number of epochs (default: the trainer's, 1000)")
    parser.add_argument(
        "--iterations", type=positive, metavar="N",
        help="training steps per epoch; a fifth as many follow for validation (default: 250)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="same seed, same result on a CPU (default: 0)"
    )


def add_processes(parser: argparse.ArgumentParser, *names: str) -> None:
    """``--gpus``, also by other names, and ``--processes``."""
    parser.add_argument(
        *names, "--gpus", dest="gpus", type=gpus, default=1, metavar="N",
        help="train on so many GPUs of this computer, or on these: 0,2 (default: 1; on several computers start the "
        "command with torchrun)",
    )  # fmt: skip
    parser.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="with --device cpu: share each batch among N processes",
    )


def add_continuation(parser: argparse.ArgumentParser) -> None:
    """Resume, overwrite, start from weights."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="continue this fold where it stopped")
    group.add_argument("--overwrite", action="store_true", help="discard what this fold has and start anew")
    parser.add_argument(
        "--pretrained-weights", "-pretrained_weights", type=Path, metavar="FILE", help="start from this checkpoint"
    )
    parser.add_argument(
        "--continue-from", type=Path, metavar="FOLDER",
        help="start from this model's weights, with its plan, in a new model beside it; the learning rate begins lower "
        "than usual. For a dataset with more or corrected cases, or another one with the same channels",
    )  # fmt: skip
    add_adaptation(parser)
    parser.add_argument(
        "--trainer",
        "-tr",
        default="nnUNetTrainer",
        metavar="NAME",
        help="nnU-Net's name of a training recipe; its words combine freely: nnUNetTrainerDA5_250epochs_NoMirroring",
    )


def add_adaptation(parser: argparse.ArgumentParser) -> None:
    """``--adapt``, shared with nnUNetv2_train."""
    parser.add_argument(
        "--adapt", nargs="+", choices=ADAPTABLE, default=[], metavar="PART",
        help="what of those weights may differ: heads (other structures: matched by name), channels (other images: "
        "likewise), layers (what else does not fit starts anew)",
    )  # fmt: skip


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Train, validate, show the held-out cases' result."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.plan import plan_options
    from segautoconfiglib.cli.tables import print_evaluation

    options = replace(
        train_options(arguments), planning=plan_options(arguments), save_probabilities=arguments.save_probabilities
    )
    summary = pipeline.train(context, arguments.dataset, options)
    if context.out and summary is not None:
        print_evaluation(summary, context.out)


def train_options(arguments: argparse.Namespace) -> TrainOptions:
    """What both this command and nnUNetv2_train take."""
    from segautoconfiglib.pipeline import TrainOptions

    return TrainOptions(
        configuration=arguments.configuration,
        fold=arguments.fold,
        plans_name=arguments.plans,
        trainer=arguments.trainer,
        epochs=arguments.epochs,
        iterations=arguments.iterations,
        budget_s=arguments.budget,
        seed=arguments.seed,
        device=arguments.device,
        gpus=arguments.gpus,
        processes=arguments.processes,
        workers=arguments.workers,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        initial_weights=arguments.pretrained_weights,
        continue_from=getattr(arguments, "continue_from", None),
        adapt=tuple(arguments.adapt),
        choices=recipe_choices(arguments),
    )
