"""nnU-Net v2's commands for networks that there are none of here: they take their flags and say why."""

from __future__ import annotations

import argparse
from typing import NoReturn

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.nnunet.command import Command

REASON = "It belongs to checkpoints of self-supervised transformers (nnssl), and there are no such networks here."
HINT = (
    "Weights of U-Nets are used with nnUNetv2_move_plans_between_datasets and nnUNetv2_train -pretrained_weights "
    "(train --pretrained-weights, train --continue-from)."
)


def _options(parser: argparse.ArgumentParser, *names: tuple[str, ...]) -> None:
    for option in names:
        parser.add_argument(*option, nargs="+", metavar="VALUE", help="no effect")


def _switches(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(name, action="store_true", help="no effect")


def preprocess_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_preprocess_like_nnssl's flags."""
    _options(parser, ("-d",), ("-n", "--pretraining_name"), ("-pc", "--pretrained_checkpoint"))
    _options(parser, ("-am", "--adaptation_mode"), ("-os", "--override_spacing"), ("-np",))
    _switches(parser, "--verbose", "--overwrite_pp")


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_plan_like_dynamic's flags."""
    _options(parser, ("-d",), ("-n", "--pretraining_name"), ("-pc", "--pretrained_checkpoint"))
    _options(parser, ("-pl", "--plans_identifier"), ("-np",))
    _switches(parser, "--verbose", "--overwrite_pp")


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_train_pretrained's flags."""
    for name in ("dataset", "configuration", "fold"):
        parser.add_argument(name, metavar=name.upper(), help="no effect")
    _options(parser, ("-tr",), ("-p",), ("-num_gpus",), ("-device",))
    _switches(parser, "--from_scratch", "--npz", "--c", "--val", "--val_best", "--disable_checkpointing")
    _switches(parser, "-overwrite_ckpt_path")


def _refuse(arguments: argparse.Namespace, context: Context) -> NoReturn:
    raise UserError(f"This command is not available. {REASON}", HINT)


COMMANDS = {
    "nnUNetv2_preprocess_like_nnssl": Command(preprocess_arguments, _refuse),
    "nnUNetv2_plan_like_dynamic": Command(plan_arguments, _refuse),
    "nnUNetv2_train_pretrained": Command(train_arguments, _refuse),
}
