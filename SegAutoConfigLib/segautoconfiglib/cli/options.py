"""Arguments that several commands share, and how their texts are read."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from segautoconfiglib.base.errors import UserError

if TYPE_CHECKING:
    from segautoconfiglib.base.context import Context
    from segautoconfiglib.models.folder import ModelFolder

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Parser(argparse.ArgumentParser):
    """Wrong arguments are a user's error as any other, reported in the same way."""

    def error(self, message: str) -> NoReturn:
        """Raises: UserError: always."""
        raise UserError(f"{message[:1].upper()}{message[1:]}.", f"{self.prog} --help shows what there is.")


def duration(text: str) -> float:
    """Seconds in "90s", "20m", "1h30m", "2d" or a plain number of minutes; more than none."""
    part = r"([0-9]+(?:\.[0-9]+)?)\s*(min|[smhd])"
    plain = re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
    parts = [(text, "m")] if plain else re.findall(part, text.lower())
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if seconds <= 0 or not (plain or re.fullmatch(rf"\s*({part}\s*)+", text.lower())):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write for example 90s, 20m, 1h30m or 2d")
    return seconds


def fold(text: str) -> int | str:
    """A fold: 0, 1, 2 ... or "all"."""
    if text == "all":
        return text
    return whole_number(text, "is not a fold; give 0, 1, 2, 3, 4 or all")


def whole_number(text: str, otherwise: str = "is not a whole number from 0") -> int:
    """A whole number of at least 0."""
    if re.fullmatch("[0-9]+", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} {otherwise}")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if re.fullmatch("[0-9]*[1-9][0-9]*", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")


def gpus(text: str) -> int | tuple[int, ...]:
    """How many GPUs, or their numbers: "2" or "0,2"."""
    if "," not in text:
        return positive(text)
    return tuple(whole_number(part, "is not the number of a GPU") for part in text.strip(",").split(","))


def seed(text: str) -> int:
    """A whole number below 2**32, which every generator of random numbers takes."""
    value = whole_number(text)
    if value >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not below {2**32}")
    return value


def above_zero(text: str) -> float:
    """A number above 0, with or without decimals."""
    return _number(text, lambda value: 0 < value < math.inf, "above 0")


def from_zero(text: str) -> float:
    """A number of at least 0."""
    return _number(text, lambda value: 0 <= value < math.inf, "from 0")


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, "from 0 to 1")


def _number(text: str, fits: Callable[[float], bool], rule: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {rule}")
    return value


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command takes."""
    common = parser.add_argument_group("common options")
    common.add_argument(
        "--workspace", type=Path, metavar="FOLDER",
        help="where datasets and models lie (default: the folders in nnUNet_raw, nnUNet_preprocessed and "
        "nnUNet_results, else ~/SegAutoConfig)",
    )  # fmt: skip
    common.add_argument(
        "--plugin", type=Path, action="append", default=[], metavar="FILE.py",
        help="Python code with networks, losses, trainers, planners and so on of your own (docs/plugins.md); "
        "repeatable. Those in the workspace's folder plugins are found",
    )  # fmt: skip
    common.add_argument(
        "--events", choices=("human", "jsonl"), default="human",
        help="jsonl: one JSON object per line on stdout, for other programs",
    )  # fmt: skip
    common.add_argument(
        "--job", type=Path, metavar="FOLDER",
        help="also write the events to FOLDER/events.jsonl; a file FOLDER/stop ends the command cleanly",
    )  # fmt: skip


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """The positional argument DATASET."""
    parser.add_argument("dataset", metavar="DATASET", help="number or name: 4, 004 or Dataset004_Hippocampus")


def add_new_dataset(parser: argparse.ArgumentParser) -> None:
    """The positional argument DATASET of commands that bring cases."""
    parser.add_argument(
        "dataset", metavar="DATASET", help="full name of a new dataset (Dataset005_Liver), or an existing one"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """The positional argument FOLDER, a model."""
    parser.add_argument("model", type=Path, metavar="FOLDER", help="a model folder ('info' lists them)")


def add_replacing(parser: argparse.ArgumentParser) -> None:
    """``--overwrite`` of commands that bring models."""
    parser.add_argument("--overwrite", action="store_true", help="replace models of the same name")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """``--workers``."""
    parser.add_argument(
        "--workers", type=whole_number, metavar="N",
        help="processes at most; 0: all in one process (default: what cores and free memory allow)",
    )  # fmt: skip


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument(
        "--device", "-device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: the fastest there is)"
    )


def add_planning(parser: argparse.ArgumentParser) -> None:
    """The options of the planner."""
    group = parser.add_argument_group("planning")
    group.add_argument(
        "--planner", "-pl", default="ExperimentPlanner", metavar="NAME",
        help="default, resenc_m, resenc_l, resenc_xl, cpu, small, medium, large, xlarge, umamba_bot, umamba_enc, "
        "nnU-Net's class names, or a plug-in's (docs/engine.md tells them apart)",
    )  # fmt: skip
    group.add_argument(
        "--gpu-memory-target",
        "-gpu_memory_target",
        type=above_zero,
        metavar="GB",
        help="GPU memory that training may use (default: the planner's: 8 for default, 24 for resenc_l ...)",
    )
    group.add_argument(
        "--overwrite-target-spacing", "-overwrite_target_spacing", type=above_zero, nargs=3, metavar=("Z", "Y", "X"),
        help="spacing of 3d_fullres in millimetres",
    )  # fmt: skip
    group.add_argument(
        "--overwrite-plans-name", "-overwrite_plans_name", metavar="NAME", help="file name of the plans, without .json"
    )


def add_candidates(parser: argparse.ArgumentParser) -> None:
    """Which models of a dataset to compare, and in which folds."""
    parser.add_argument("--configuration", "-c", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--plans", "-p", nargs="+", metavar="NAME", help="only models of these plans (default: all)")
    parser.add_argument("--trainer", "-tr", nargs="+", metavar="NAME", help="only these trainers (default: all)")
    parser.add_argument(
        "--folds", "-f", nargs="+", type=whole_number, metavar="FOLD",
        help="that count (default: those that were validated in any of the models)",
    )  # fmt: skip


def candidates(arguments: argparse.Namespace, context: Context) -> tuple[list[ModelFolder], list[int]]:
    """The models that fit :func:`add_candidates`, and the folds. Raises: UserError: none."""
    from segautoconfiglib import pipeline

    return pipeline.validated_models(
        context,
        arguments.dataset,
        trainers=arguments.trainer,
        configurations=arguments.configuration,
        plans=arguments.plans,
        folds=arguments.folds,
    )
