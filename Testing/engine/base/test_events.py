from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segautoconfiglib.base.events import KINDS, Event, JsonReporter, ListReporter, parse_line, strict_json


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_json_lines_come_back_as_the_same_events() -> None:
    stream = io.StringIO()
    report = JsonReporter(stream)
    report("progress", stage="preprocess", done=3, total=20, case="lïver_003")
    report("log", message="two\nlines")
    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["version"] == 1
    event = parse_line(first)
    assert event.kind == "progress"
    assert {key: event.data[key] for key in ("stage", "done", "total", "case")} == {
        "stage": "preprocess",
        "done": 3,
        "total": 20,
        "case": "lïver_003",
    }
    assert parse_line(second).data["message"] == "two\nlines"


def test_every_event_is_strict_json() -> None:
    stream = io.StringIO()
    JsonReporter(stream)("metric", dice=[math.nan, np.float32(0.5)], loss=np.inf, path=Path("a"), counts=np.arange(2))
    data = json.loads(stream.getvalue(), parse_constant=refuse_constant)
    assert data["dice"] == [None, 0.5]
    assert data["loss"] is None
    assert data["path"] == "a"
    assert data["counts"] == [0, 1]


@pytest.mark.parametrize(
    "line",
    [
        "Using 12 processes",
        "",
        "3",
        "[1, 2]",
        '{"kind": "no such kind"}',
        '{"kind": ["progress"]}',
        '{"kind": "progr',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_event_becomes_a_log_event(line: str) -> None:
    assert parse_line(line + "\n") == Event("log", {"message": line, "level": "info"})


@given(st.text())
def test_parse_line_never_raises(line: str) -> None:
    assert parse_line(line).kind in KINDS


def test_strict_json_keeps_plain_values_and_their_types() -> None:
    value = {"a": [1, 2.5, True, None, "x"], 3: (1,)}
    assert strict_json(value) == {"a": [1, 2.5, True, None, "x"], "3": [1]}
    assert strict_json(np.bool_(True)) is True
    assert strict_json(np.int64(7)) == 7
    assert isinstance(strict_json(np.int64(7)), int)


def test_list_reporter_sorts_by_kind() -> None:
    report = ListReporter()
    report("log", message="a")
    report("warning", message="b")
    report("log", message="c")
    assert report.of("log") == [{"message": "a"}, {"message": "c"}]
