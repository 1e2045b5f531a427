"""TotalSegmentator's command that puts several structures into one mask."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.totalsegmentator.command import UNTOUCHED, Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """totalseg_combine_masks's flags."""
    parser.add_argument(
        "-i", dest="input", type=Path, required=True, metavar="PATH",
        help="folder with one mask per structure, or one label file with names (of --ml)",
    )  # fmt: skip
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE", help="the mask")
    parser.add_argument(
        "-m", "--masks", nargs="+", required=True, metavar="NAME",
        help="lung, lung_left, lung_right, vertebrae, ribs, vertebrae_ribs, heart, pelvis or body; or names of "
        "structures, with blanks or commas",
    )  # fmt: skip
    parser.add_argument(
        "-ml", "--multilabel", action="store_true", help="write the name of the mask into the file, too"
    )
    parser.add_argument("-t", "--nora_tag", metavar="ID", help="no effect")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """totalseg_combine_masks."""
    from segautoconfiglib.pipeline.task_masks import combine_task_masks

    names = [name for word in arguments.masks for name in word.split(",") if name]
    wanted = names[0] if len(names) == 1 else names
    combine_task_masks(context, arguments.input, arguments.output, wanted, named=arguments.multilabel)


COMMANDS = {"totalseg_combine_masks": Command(add_arguments, run, UNTOUCHED)}
