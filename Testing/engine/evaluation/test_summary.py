from __future__ import annotations

import math

from segautoconfiglib.evaluation.summary import CaseMetrics, summarize


def test_class_in_no_case_does_not_spoil_the_mean():
    metrics = {"1": {"Dice": 0.5, "TP": 3}, "2": {"Dice": math.nan, "TP": 0}}
    summary = summarize([CaseMetrics(metrics=metrics, prediction_file="p", reference_file="t")])
    assert math.isnan(summary.mean["2"]["Dice"])
    assert summary.foreground_mean == {"Dice": 0.5, "TP": 1.5}
