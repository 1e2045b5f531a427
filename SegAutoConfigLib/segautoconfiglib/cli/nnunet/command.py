"""What a command of nnU-Net is, and flags that several have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from segautoconfiglib.base.context import Context


@dataclass(frozen=True)
class Command:
    """One command: its arguments and what it does."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Context], None]


def add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", nargs="+", required=True, metavar="DATASET", help="numbers or names of datasets")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="accepted; everything is reported anyway")
    parser.add_argument("--no_pbar", action="store_true", help="accepted; use --events jsonl for programs")
