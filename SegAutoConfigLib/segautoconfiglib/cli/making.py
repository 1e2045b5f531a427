"""Options that the commands which make datasets share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from segautoconfiglib.cli.options import add_workers, seed

if TYPE_CHECKING:
    from segautoconfiglib.dataset.source_cases import Making

COMMON_EPILOG = """All problems of all cases are listed first, and nothing is written then; the files themselves stay as
they are. DATASET is the full name of a new dataset, or an existing one that gets more cases (labels keep their
numbers)."""


def add_making(parser: argparse.ArgumentParser) -> None:
    """What all of them take."""
    parser.add_argument(
        "--channels", nargs="+", default=[], metavar="NAME",
        help="names of the channels: CT, or T1 T2 (CT is normalised by a rule of its own; default: guessed, and told)",
    )  # fmt: skip
    parser.add_argument("--ending", metavar=".nii.gz", help="of a new dataset's files (default: that of the images)")
    parser.add_argument(
        "--resample", action="store_true", help="bring labels onto their image's grid where they lie on another one"
    )
    parser.add_argument(
        "--rename", metavar="NAME", help="call the cases NAME_001, NAME_002 ... (default: as the files)"
    )
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="CASES",
        help="cases that are not trained on: 20%%, a number, or names; chosen at random, patients whole",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=12345, metavar="N", help="of that choice (default: 12345)")
    add_workers(parser)


def add_label_values(parser: argparse.ArgumentParser) -> None:
    """``--labels`` of label maps."""
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME[=VALUE]",
        help="structures and their values in the label maps: liver tumour, or liver=1 tumour=2,3 other=4-9; "
        "background=rest for all other values (default: the values)",
    )  # fmt: skip


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """``--threshold``."""
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="masks of several values count where they are above X",
    )


def making(arguments: argparse.Namespace, labels: dict[str, tuple[int | range, ...]] | None = None) -> Making:
    """The wishes that the options stand for."""
    from segautoconfiglib.dataset.source_cases import Making

    return Making(
        channels=tuple(arguments.channels),
        labels=labels,
        file_ending=arguments.ending,
        resample=arguments.resample,
        threshold=getattr(arguments, "threshold", None),
        rename=arguments.rename,
        test=tuple(arguments.test),
        seed=arguments.seed,
    )
