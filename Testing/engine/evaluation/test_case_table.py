from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from segautoconfiglib.evaluation.case_table import case_rows, case_table, write_csv
from segautoconfiglib.evaluation.summary import CaseMetrics, Summary, summarize

NAN = math.nan


def metrics(dice: float, *, truth: int = 100, predicted: int = 100, hd95: float = 1.0) -> dict[str, float]:
    found = 0 if math.isnan(dice) else round(dice * (truth + predicted) / 2)
    return {"Dice": dice, "TP": found, "n_ref": truth, "n_pred": predicted, "HD95": hd95}


def summary(cases: dict[str, list[dict[str, float]]], ending: str = ".nii.gz") -> Summary:
    """Cases with the metrics of their classes."""
    rows = [
        CaseMetrics(
            metrics={str(number): values for number, values in enumerate(classes, start=1)},
            prediction_file=f"/p/{case}{ending}",
            reference_file=f"/t/{case}{ending}",
        )
        for case, classes in cases.items()
    ]
    count = len(next(iter(cases.values())))
    return summarize(rows, names={number: f"class {number}" for number in range(1, count + 1)})


def test_the_worst_case_comes_first_and_cases_without_structures_last() -> None:
    nothing = metrics(NAN, truth=0, predicted=0, hd95=NAN)
    found = case_rows(
        summary(
            {
                "good": [metrics(0.9), metrics(0.8, hd95=3.0)],
                "empty": [nothing, nothing],
                "bad": [metrics(0.2), metrics(NAN, truth=0, predicted=0, hd95=NAN)],
            }
        )
    )
    assert [row.case for row in found] == ["bad", "good", "empty"]
    assert [row.dice for row in found[:2]] == pytest.approx([0.2, 0.85])
    assert [row.hd95_mm for row in found[:2]] == [1.0, 2.0]
    assert found[0].worst_class == ("class 1", 0.2)
    assert found[2].worst_class[0] == "-"


def test_remarks_name_what_is_missed_and_what_is_invented() -> None:
    rows = {row.case: row.remark for row in case_rows(
        summary(
            {
                "a": [metrics(0.0, predicted=0), metrics(0.0, truth=0)],
                "b": [metrics(0.7), metrics(0.6)],
                "c": [metrics(0.0), metrics(0.6)],
            }
        )
    )}  # fmt: skip
    assert rows == {"a": "missed: class 1; found where there is none: class 2", "b": "", "c": "no overlap: class 1"}


def test_a_case_far_below_the_others_is_marked() -> None:
    usual = {f"c{number}": [metrics(0.8 + 0.01 * number)] for number in range(8)}
    head, rows, marked = case_table(summary({**usual, "odd": [metrics(0.4)]}), most=3)
    assert head == ["case", "Dice", "HD95 (mm)", "remark"]
    assert rows[0] == ["odd", 0.4, 1.0, "far below the others"]
    assert [row[0] for row in rows] == ["odd", "c0", "c1"]
    assert marked == [0]
    assert case_table(summary(usual), most=8)[2] == []


def test_few_classes_have_columns_and_many_only_the_worst() -> None:
    head, rows, _ = case_table(summary({"a": [metrics(0.5), metrics(0.7)]}), most=9)
    assert head == ["case", "class 1", "class 2", "mean Dice", "HD95 (mm)"]
    assert rows == [["a", 0.5, 0.7, pytest.approx(0.6), 1.0]]
    many = [metrics(0.5 + 0.01 * number) for number in range(30)]
    head, rows, _ = case_table(summary({"a": many}), most=9)
    assert head == ["case", "mean Dice", "worst class", "its Dice", "HD95 (mm)"]
    assert rows[0][2:4] == ["class 1", 0.5]


def test_the_csv_file_has_a_line_per_case_and_class(tmp_path: Path) -> None:
    nothing = metrics(NAN, truth=0, predicted=0, hd95=NAN)
    file = write_csv(summary({"a.b": [metrics(0.5), nothing]}, ".png"), tmp_path / "new.csv")
    with file.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["case"], line["class"], line["Dice"]) for line in lines] == [
        ("a.b", "class 1", "0.5"),
        ("a.b", "class 2", ""),
    ]
    assert lines[0]["reference_file"] == "/t/a.b.png"
