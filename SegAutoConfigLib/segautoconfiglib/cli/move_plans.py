"""``move-plans SOURCE TARGET``: train a dataset with the plans of another one."""

import argparse

from segautoconfiglib.base.context import Context

EPILOG = """For pre-training and fine-tuning, where both trainings need the same network:
  move-plans 4 10 --plans nnUNetPlans --as plansOf4
  train 10 --plans plansOf4
  train 4 --pretrained-weights .../nnUNetTrainer__plansOf4__3d_fullres/fold_0/checkpoint_final.pth"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE, TARGET, names."""
    parser.add_argument("source", metavar="SOURCE", help="number or name of the dataset that was planned")
    parser.add_argument("target", metavar="TARGET", help="number or name of the dataset that gets the plans")
    parser.add_argument(
        "--plans", "-p", default="nnUNetPlans", metavar="NAME", help="plans of SOURCE (default: nnUNetPlans)"
    )
    parser.add_argument("--as", dest="new_name", metavar="NAME", help="their name in TARGET (default: the same)")
    add_choices(parser)


def add_choices(parser: argparse.ArgumentParser) -> None:
    """What nnU-Net's command of this kind does not ask."""
    parser.add_argument(
        "--own-channels", action="store_true",
        help="normalise TARGET's channels as plans of its own would: they may be others than those of SOURCE",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace other plans of that name in TARGET")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Write the plans file."""
    from segautoconfiglib.pipeline.move import move_plans

    move_plans(
        context,
        arguments.source,
        arguments.target,
        arguments.plans,
        arguments.new_name,
        own_channels=arguments.own_channels,
        overwrite=arguments.overwrite,
    )
