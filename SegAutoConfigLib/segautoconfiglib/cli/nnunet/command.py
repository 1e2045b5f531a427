"""What a command of nnU-Net is, and flags that several have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import positive


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        add_arguments: Adds its own to a parser.
        run: What it does.
        kept: What is said about its results when it was stopped; empty: what was finished stays, and it can go on.
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Context], None]
    kept: str = ""


def add_ids(parser: argparse.ArgumentParser) -> None:
    """``-d``, one or more datasets."""
    parser.add_argument("-d", nargs="+", required=True, metavar="DATASET", help="numbers or names of datasets")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Flags that change nothing here."""
    parser.add_argument("--verbose", action="store_true", help="accepted; everything is reported anyway")
    parser.add_argument("--no_pbar", action="store_true", help="accepted; use --events jsonl for programs")


def add_id(parser: argparse.ArgumentParser) -> None:
    """``-d``, one dataset."""
    parser.add_argument("-d", dest="dataset", required=True, metavar="DATASET", help="number or name")


def add_model_name(parser: argparse.ArgumentParser) -> None:
    """``-p`` and ``-tr``: the parts of a model's name besides its configuration."""
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    parser.add_argument("-tr", dest="trainer", default="nnUNetTrainer", metavar="NAME", help="trainer name")


def add_processes(parser: argparse.ArgumentParser) -> None:
    """``-np``."""
    parser.add_argument("-np", dest="workers", type=positive, metavar="N", help="processes")
