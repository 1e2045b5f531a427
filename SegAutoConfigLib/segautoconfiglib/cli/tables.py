"""Results as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from segautoconfiglib.base.terminal import print_table

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.planning.plans import Plans


def print_plans(plans: Plans, out: TextIO) -> None:
    """One row per configuration."""
    rows = []
    for name in plans.configuration_names:
        configuration = plans.configuration(name)
        rows.append(
            (
                name,
                _join(configuration.spacing),
                _join(configuration.patch_size),
                configuration.batch_size,
                configuration.architecture.network_class_name.rpartition(".")[2],
                _join(configuration.architecture.features_per_stage, " "),
            )
        )
    columns = ("configuration", "spacing (mm)", "patch size", "batch size", "network", "features")
    print_table(f"{plans.dataset_name}: {plans.plans_name}", columns, rows, out)


def print_evaluation(summary: Summary, out: TextIO) -> None:
    """One row per class and, for several, their mean."""
    columns, rows = summary.table
    print_table(f"{summary.cases} case{'' if summary.cases == 1 else 's'}", columns, rows, out)


def print_cases(summary: Summary, out: TextIO, most: int) -> None:
    """The ``most`` worst cases, one row each; those that strike are marked."""
    from segautoconfiglib.evaluation.case_table import case_table

    columns, rows, marked = case_table(summary, most)
    less = f"the {len(rows)} worst of {summary.cases} cases (--worst {summary.cases} shows all)"
    print_table(less if len(rows) < summary.cases else "cases, worst first", columns, rows, out, marked=marked)


def _join(numbers: tuple[float, ...] | list[float], separator: str = " x ") -> str:
    return separator.join(f"{number:.4g}" for number in numbers)
