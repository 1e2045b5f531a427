"""The cases of a summary for people: worst first, with what is wrong with them; and as a file for spreadsheets."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.evaluation.summary import CaseMetrics, Summary
from segautoconfiglib.image.formats import file_ending

#: Up to so many classes have columns of their own.
MOST_COLUMNS = 6

#: A case is far below the others where its Dice is below the first quartile by so many times the distance of the
#: quartiles (Tukey's fence); fewer cases have no quartiles to speak of.
FENCE, LEAST_CASES = 1.5, 5

#: Of the classes in a remark; those beyond are counted.
MOST_NAMES = 3


@dataclass(frozen=True)
class CaseRow:
    """One case.

    Attributes:
        case: Its name.
        dice: Mean over the classes that are in truth or prediction; NaN if none is.
        hd95_mm: Likewise, over the classes that are in both.
        class_dice: Per class name, NaN where the class is in neither.
        remark: What to look at; empty where nothing strikes.
    """

    case: str
    dice: float
    hd95_mm: float
    class_dice: dict[str, float]
    remark: str

    @property
    def worst_class(self) -> tuple[str, float]:
        """Name and Dice."""
        known = {name: value for name, value in self.class_dice.items() if not math.isnan(value)}
        return min(known.items(), key=lambda item: item[1]) if known else ("-", math.nan)


def case_rows(summary: Summary) -> list[CaseRow]:
    """All cases, the worst first; those without any class come last."""
    scores = [_mean(case, "Dice") for case in summary.metric_per_case]
    fence = _fence([score for score in scores if not math.isnan(score)])
    rows = [
        CaseRow(
            case_name(case),
            score,
            _mean(case, "HD95"),
            {summary.class_names.get(key, key): float(case.metrics[key]["Dice"]) for key in summary.mean},
            _remark(case, summary, score < fence),
        )
        for case, score in zip(summary.metric_per_case, scores, strict=True)
    ]
    return sorted(rows, key=lambda row: (math.isnan(row.dice), row.dice, row.case))


def case_table(summary: Summary, most: int) -> tuple[list[str], list[list[str | float]], list[int]]:
    """The ``most`` worst cases as headings, rows and the numbers of rows that have a remark."""
    rows = case_rows(summary)[:most]
    cells: list[list[str | float]]
    names = [summary.class_names.get(key, key) for key in summary.mean]
    if len(names) == 1:
        head = ["case", "Dice"]
        cells = [[row.case, row.dice] for row in rows]
    elif len(names) <= MOST_COLUMNS:
        head = ["case", *names, "mean Dice"]
        cells = [[row.case, *row.class_dice.values(), row.dice] for row in rows]
    else:
        head = ["case", "mean Dice", "worst class", "its Dice"]
        cells = [[row.case, row.dice, *row.worst_class] for row in rows]
    head.append("HD95 (mm)")
    table: list[list[str | float]] = [[*line, row.hd95_mm] for line, row in zip(cells, rows, strict=True)]
    marked = [index for index, row in enumerate(rows) if row.remark]
    if marked:
        head.append("remark")
        table = [[*line, row.remark] for line, row in zip(table, rows, strict=True)]
    return head, table, marked


def write_csv(summary: Summary, file: Path) -> Path:
    """One line per case and class with all metrics; what does not exist is empty."""
    metrics = list(next(iter(summary.mean.values()), {}))
    with atomic_path(file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "class", *metrics, "prediction_file", "reference_file"])
        for case in summary.metric_per_case:
            for key, values in case.metrics.items():
                numbers = ["" if math.isnan(values[metric]) else values[metric] for metric in metrics]
                name = summary.class_names.get(key, key)
                writer.writerow([case_name(case), name, *numbers, case.prediction_file, case.reference_file])
    return file


def case_name(case: CaseMetrics) -> str:
    """The name of the prediction's file without its ending."""
    name = Path(case.prediction_file).name
    return name.removesuffix(file_ending(Path(name)) or "")


def _mean(case: CaseMetrics, metric: str) -> float:
    known = [float(values[metric]) for values in case.metrics.values() if not math.isnan(values.get(metric, math.nan))]
    return sum(known) / len(known) if known else math.nan


def _fence(scores: list[float]) -> float:
    if len(scores) < LEAST_CASES:
        return -math.inf
    low, high = np.percentile(scores, (25, 75)).tolist()
    return low - FENCE * (high - low)


def _remark(case: CaseMetrics, summary: Summary, far_below: bool) -> str:
    missed: list[str] = []
    elsewhere: list[str] = []
    invented: list[str] = []
    for key, values in case.metrics.items():
        name = summary.class_names.get(key, key)
        if values["n_ref"] and not values["TP"]:
            (elsewhere if values["n_pred"] else missed).append(name)
        elif values["n_pred"] and not values["n_ref"]:
            invented.append(name)
    parts = ["far below the others"] if far_below else []
    parts += [f"missed: {_names(missed)}"] if missed else []
    parts += [f"no overlap: {_names(elsewhere)}"] if elsewhere else []
    parts += [f"found where there is none: {_names(invented)}"] if invented else []
    return "; ".join(parts)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
