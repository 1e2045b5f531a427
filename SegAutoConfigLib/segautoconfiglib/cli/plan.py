"""``plan DATASET``: patch size, spacing, network and batch size, written to a plans file."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, add_planning, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET and the planner's options."""
    add_dataset(parser)
    add_planning(parser)
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Plan (measuring the dataset first if need be) and show the result."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_plans

    plans = pipeline.plan(context, arguments.dataset, plan_options(arguments), workers=arguments.workers)
    if context.out:
        print_plans(plans, context.out)


def plan_options(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    """The planner's options as the pipeline takes them."""
    from segautoconfiglib.pipeline import PlanOptions

    spacing = arguments.overwrite_target_spacing
    return PlanOptions(
        planner=arguments.planner,
        gpu_memory_target_gb=arguments.gpu_memory_target,
        target_spacing=tuple(spacing) if spacing else None,
        plans_name=arguments.overwrite_plans_name,
    )
