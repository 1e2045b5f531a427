"""The options of ``train`` that change its recipe: each is a field of `planning.recipe.Recipe`; all of them combine."""

from __future__ import annotations

import argparse
from typing import Any

from segautoconfiglib.cli.options import above_zero, from_zero, positive, share, whole_number
from segautoconfiglib.planning.choices import AUGMENTATIONS, LOSSES, OPTIMIZERS, SCHEDULES
from segautoconfiglib.planning.recipe import NORMS, OVERSAMPLING_KINDS


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The groups of options; what is not given is not in the namespace's ``recipe_...`` (None)."""
    _add_loss(parser)
    _add_optimizer(parser)
    _add_augmentation(parser)
    group = parser.add_argument_group("network and batches")
    _add(
        group, "--network", metavar="NAME", help="PlainConvUNet, ResidualEncoderUNet, UMambaBot, UMambaEnc (the plans')"
    )
    _add(group, "--batch-size", type=positive, metavar="N", help="samples per step (default: the plans')")
    _add(group, "--foreground-share", type=share, metavar="SHARE", help="of the samples, centred on a label (0.33)")
    _add(
        group, "--oversampling", choices=OVERSAMPLING_KINDS,
        help="which samples these are: the last of each batch, or each with this probability (last)",
    )  # fmt: skip
    _add(group, "--norm", choices=NORMS, help="normalisation layers (default: the plans', instance)")
    _flag(group, "--no-deep-supervision", "deep_supervision", False, "train only the output at full resolution")
    _flag(group, "--no-mixed-precision", "mixed_precision", False, "32-bit numbers on CUDA devices, too")
    _add(group, "--average-weights", type=share, metavar="DECAY", help="save a running average of the weights")
    _add(
        group, "--validation-iterations", type=whole_number, metavar="N",
        help="validation batches per epoch (default: a fifth of the training steps)",
    )  # fmt: skip
    _flag(group, "--benchmark", "benchmark", True, "keep no network, write the fastest epoch to benchmark_result.json")
    _flag(group, "--synthetic-batch", "synthetic_batch", True, "train on one random batch: speed without reading data")


def recipe_choices(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that were asked for, and their values."""
    given = {
        name.removeprefix(_PREFIX): value
        for name, value in vars(arguments).items()
        if name.startswith(_PREFIX) and value is not None
    }
    if given.get("gradient_clip") == 0:
        given["gradient_clip"] = None
    return given


#: Of the namespace's entries that are fields of a recipe.
_PREFIX = "recipe_"


def _add(group: Any, flag: str, **options: Any) -> None:
    """An option named like the field."""
    group.add_argument(flag, dest=_PREFIX + flag.removeprefix("--").replace("-", "_"), default=None, **options)


def _flag(group: Any, flag: str, field: str, value: object, text: str) -> None:
    """An option without a value, which sets a field to ``value``."""
    group.add_argument(flag, dest=_PREFIX + field, action="store_const", const=value, default=None, help=text)


def _add_loss(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("loss")
    _add(group, "--loss", metavar="NAME", help=f"{', '.join(LOSSES)} (dice_ce)")
    _add(group, "--topk-share", type=share, metavar="SHARE", help="of the voxels, the hardest, for topk (0.1)")
    _add(group, "--label-smoothing", type=share, metavar="SHARE", help="of each target, spread over all classes (0)")
    _add(group, "--dice-smoothing", type=from_zero, metavar="NUMBER", help="in the soft Dice (1e-5)")


def _add_optimizer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("optimizer and learning rate")
    _add(group, "--optimizer", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (sgd)")
    _add(group, "--learning-rate", type=above_zero, metavar="RATE", help="at its highest (sgd: 0.01, Adam's: 0.001)")
    _add(group, "--momentum", type=share, metavar="SHARE", help="of sgd (0.99) and muon (0.95)")
    _add(group, "--betas", type=numbers, metavar="B1,B2", help="of Adam's relatives (0.9,0.999)")
    _add(group, "--weight-decay", type=from_zero, metavar="NUMBER", help="(sgd, adam: 3e-5; adamw, muon: 0.01)")
    _add(
        group, "--schedule", metavar="NAME",
        help=f"{', '.join(SCHEDULES)} (poly); _steps and _warmup change the rate at every step, not every epoch",
    )  # fmt: skip
    _add(group, "--warmup-epochs", type=whole_number, metavar="N", help="the rate rises in the first N epochs (0)")
    _add(group, "--gradient-clip", type=from_zero, metavar="NORM", help="longest gradient; 0: any (12)")


def _add_augmentation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("augmentation")
    _add(group, "--augmentation", metavar="NAME", help=f"{', '.join(AUGMENTATIONS)} (default)")
    either = group.add_mutually_exclusive_group()
    _flag(either, "--no-mirroring", "mirror", False, "do not mirror, where left and right have own labels")
    either.add_argument(
        "--mirror-axes", dest=f"{_PREFIX}mirror", metavar="AXES", default=None,
        help="mirror along these axes of patches only: letters of zyx",
    )  # fmt: skip
    _flag(group, "--no-dummy-2d", "dummy_2d", False, "rotate patches with few slices out of these, too")
    for what in ("image", "label"):
        _add(
            group, f"--{what}-order", type=int, choices=(0, 1),
            help=f"interpolation of rotated {what}s: 1 linear, 0 nearest voxel (1)",
        )  # fmt: skip


def numbers(text: str) -> tuple[float, ...]:
    """Numbers from 0 to 1 with commas between."""
    return tuple(share(part) for part in text.split(","))
