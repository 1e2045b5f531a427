"""nnU-Net v2's training command."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.nnunet.command import Command, add_model_name
from segautoconfiglib.cli.options import add_dataset, add_device, add_workers, fold
from segautoconfiglib.cli.train import add_adaptation, add_length, add_processes, train_options


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET CONFIGURATION FOLD and nnU-Net's flags."""
    add_dataset(parser)
    parser.add_argument(
        "configuration", metavar="CONFIGURATION", help="2d, 3d_fullres, 3d_lowres, 3d_cascade_fullres or your own"
    )
    parser.add_argument("fold", type=fold, metavar="FOLD", help="0 to 4, or all")
    add_model_name(parser)
    parser.add_argument("-pretrained_weights", type=Path, metavar="FILE", help="start from this checkpoint")
    add_processes(parser, "-num_gpus")
    parser.add_argument("--npz", action="store_true", help="save the probabilities of the held-out cases too")
    parser.add_argument("--c", "--resume", dest="resume", action="store_true", help="continue where this fold stopped")
    parser.add_argument("--overwrite", action="store_true", help="discard what this fold has and start anew")
    parser.add_argument("--val", action="store_true", help="only predict and evaluate the held-out cases")
    parser.add_argument(
        "--val_best", action="store_true", help="validate with checkpoint_best.pth too, into validation_best"
    )
    parser.add_argument(
        "--disable_checkpointing", action="store_true", help="keep nothing: no checkpoints, so no validation either"
    )
    add_adaptation(parser)
    add_length(parser)
    add_device(parser)
    add_workers(parser)


def train(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_train."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_evaluation

    if arguments.disable_checkpointing and (arguments.val or arguments.val_best):
        raise UserError(
            "--disable_checkpointing leaves nothing that --val or --val_best could validate.", "Leave one of them out."
        )
    options = replace(
        train_options(arguments), save_probabilities=arguments.npz, checkpoints=not arguments.disable_checkpointing
    )
    if arguments.val and arguments.resume:
        raise UserError("--val and --c exclude each other.", "--val only validates; --c trains on and then validates.")
    summary = None if arguments.val else pipeline.train(context, arguments.dataset, options)
    if arguments.val or arguments.val_best:
        checkpoint = "checkpoint_best.pth" if arguments.val_best else "checkpoint_final.pth"
        summary = pipeline.validate(context, arguments.dataset, options, checkpoint=checkpoint)
    if context.out and summary is not None:
        print_evaluation(summary, context.out)


COMMANDS = {
    "nnUNetv2_train": Command(train_arguments, train),
}
