"""``repair DATASET``: faults of a raw dataset that need no decision are put right."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, add_workers

EPILOG = """Without --apply nothing is written: each case is listed with what would be done.

Put right: label maps on another grid than their image (nearest label), small differences of origin, spacing or
direction between the files of a case, labels stored as fractions, images and label maps of another ending, images
without _0000, gaps in the numbers of the labels, numTraining. Images without label map and label maps without image are
listed, and stay, as does numTraining then. The old files are kept in the folder replaced/ID of the dataset, the old
dataset.json in replaced. --labels must name every value that the label maps hold, and no other; a range (4-9) may name
more, and rest stands for all others.

examples:
  repair 5                                shows what would be done
  repair 5 --map 255=1 --apply            masks of 0 and 255
  repair 5 --map 1=1 2-117=2 rest=0 --apply       ranges; rest is every value that is not named
  repair 5 --labels organ=7 tumour=9 --apply      numbered 1 and 2, in dataset.json and in the label maps"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --map, --labels, --apply, --workers."""
    add_dataset(parser)
    values = parser.add_mutually_exclusive_group()
    values.add_argument(
        "--map", nargs="+", metavar="OLD=NEW", help="change label values in all label maps: 255=1, 4-9=2, rest=0"
    )
    values.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=VALUE",
        help="structures and their values in the label maps, to be numbered",
    )
    parser.add_argument("--apply", action="store_true", help="write (default: only say what would be done)")
    parser.add_argument("--dry-run", action="store_true", help="accepted; it is the default")
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Repair, and say what was done about each case."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.base.errors import UserError
    from segautoconfiglib.dataset.relabel import named_values, value_pairs
    from segautoconfiglib.pipeline.preparation import report_warnings

    if arguments.apply and arguments.dry_run:
        raise UserError("--apply and --dry-run contradict each other.", "Give one of them.")
    found = pipeline.repair(
        context,
        arguments.dataset,
        values=value_pairs(arguments.map) if arguments.map else None,
        labels=named_values(arguments.labels) if arguments.labels else None,
        apply=arguments.apply,
        workers=arguments.workers,
    )
    lines = [f"dataset.json: {text}" for text in found.description]
    lines += [f"{one.case}: {text}" for one in found.cases for text in one.done]
    for line in lines:
        context.report("log", message=line)
    report_warnings(context, [problem for one in found.cases for problem in one.left])
    if not lines:
        context.report("log", message="Nothing to repair.")
    elif not arguments.apply:
        context.report("log", message="Nothing was written. Do it with --apply.")
