"""Metrics of predictions, as nnU-Net's summary.json with HD95 and NSD beside its numbers.

Differences to nnU-Net's file: numbers that do not exist are null (it writes NaN, which is not JSON), and
``foreground_mean`` leaves out classes that no case has (there one of them makes all means NaN).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field

from segautoconfiglib.base.records import Record
from segautoconfiglib.dataset.labels import Label
from segautoconfiglib.defaults import EVALUATION

#: NaN in memory, null in the file.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Metrics = dict[str, int | Number]

#: Headings of the table for people, and the metrics in it.
COLUMNS = ("class", "Dice", "IoU", "HD95 (mm)", "NSD")
TABLE_METRICS = ("Dice", "IoU", "HD95", "NSD")


class CaseMetrics(Record):
    """Metrics of one case.

    Attributes:
        metrics: Per class; a key is a label ("1") or a region as a Python tuple ("(1, 2, 3)").
        prediction_file: Path.
        reference_file: Path.
    """

    metrics: dict[str, Metrics]
    prediction_file: str
    reference_file: str


class Summary(Record):
    """summary.json.

    Attributes:
        foreground_mean: Per metric, mean over classes of ``mean``.
        mean: Per class and metric, mean over the cases that have a number (counts are averaged too).
        metric_per_case: Every case.
        nsd_tolerance_mm: Of the normalised surface Dice.
        class_names: Per class, in the order of dataset.json.
    """

    foreground_mean: Metrics
    mean: dict[str, Metrics]
    metric_per_case: list[CaseMetrics]
    nsd_tolerance_mm: float = EVALUATION.tolerance_mm
    class_names: dict[str, str] = Field(default_factory=dict)

    @property
    def cases(self) -> int:
        """Number of cases."""
        return len(self.metric_per_case)

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes."""
        return self.foreground_mean.get("Dice", math.nan)

    @property
    def table(self) -> tuple[tuple[str, ...], list[tuple[str | float, ...]]]:
        """Headings and rows for people: one per class and, for several classes, their mean."""
        rows = [_row(self.class_names.get(key, key), metrics) for key, metrics in self.mean.items()]
        return COLUMNS, rows if len(rows) == 1 else [*rows, _row("mean", self.foreground_mean)]


def _row(name: str, metrics: Metrics) -> tuple[str | float, ...]:
    return (name, *(float(metrics.get(metric, math.nan)) for metric in TABLE_METRICS))


def summarize(
    cases: Sequence[CaseMetrics],
    *,
    names: Mapping[Label, str] | None = None,
    tolerance_mm: float = EVALUATION.tolerance_mm,
) -> Summary:
    """Means over cases, and over classes.

    Args:
        cases: At least one, all with the same classes.
        names: ``LabelSpec.names``.
        tolerance_mm: The tolerance their NSD was computed with.
    """
    mean: dict[str, Metrics] = {
        key: {metric: known_mean(case.metrics[key][metric] for case in cases) for metric in first}
        for key, first in cases[0].metrics.items()
    }
    metrics = next(iter(mean.values()), {})
    return Summary(
        foreground_mean={metric: known_mean(entry[metric] for entry in mean.values()) for metric in metrics},
        mean=mean,
        metric_per_case=list(cases),
        nsd_tolerance_mm=tolerance_mm,
        class_names={str(entry): name for entry, name in (names or {}).items()},
    )


def known_mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers; NaN if none is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
