"""What a command of TotalSegmentator is, and flags that several have."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.cli.nnunet.command import Command

__all__ = ["UNTOUCHED", "Command", "add_weights"]

#: What is said when a command was stopped whose files appear together at the end.
UNTOUCHED = "Nothing was written; what was there is as it was."


def add_weights(parser: argparse.ArgumentParser) -> None:
    """--weights."""
    parser.add_argument(
        "--weights", type=Path, metavar="PATH",
        help="folder or zip file of weights, looked into first (then $TOTALSEG_WEIGHTS_PATH or ~/.totalsegmentator, "
        "then the workspace)",
    )  # fmt: skip
