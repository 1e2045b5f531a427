"""``demo``: the whole line on a small synthetic dataset, or on a Decathlon folder of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_device, duration

EPILOG = """examples:
  demo                                   about five minutes, everything in ./demo-output
  demo --data Task04_Hippocampus         the same with real data"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --output, --budget, --device, --seed."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="a Decathlon folder TaskXX_Name instead")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), metavar="FOLDER", help="default: demo-output"
    )
    parser.add_argument("--budget", type=duration, default=240.0, metavar="TIME", help="for the training (default: 4m)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another dataset")
    add_device(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Run everything and show where to look."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_evaluation

    result = pipeline.demo(
        context,
        arguments.output,
        data=arguments.data,
        budget_s=arguments.budget,
        device=arguments.device,
        seed=arguments.seed,
    )
    if context.out:
        print_evaluation(result.summary, context.out)
        context.out.write(f"Curves:   {result.curves}\nPictures: {result.pictures}\n")
