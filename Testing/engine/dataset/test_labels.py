"""Labels, regions and the ignore label."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError
from segautoconfiglib.dataset.labels import LabelSpec


def test_plain_labels() -> None:
    spec = LabelSpec.from_json({"background": 0, "tumour": 2, "organ": 1})
    assert not spec.has_regions
    assert spec.ignore_label is None
    assert spec.all_labels == (0, 1, 2)
    assert spec.foreground == spec.foreground_labels == (1, 2)
    assert spec.output_channels == 3
    assert spec.names == {1: "organ", 2: "tumour"}


def test_ignore_is_no_output_channel() -> None:
    spec = LabelSpec.from_json({"background": 0, "organ": 1, "ignore": 2})
    assert (spec.ignore_label, spec.all_labels, spec.output_channels) == (2, (0, 1), 2)
    assert spec.names == {1: "organ"}


def test_regions_keep_their_order_and_their_form() -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    spec = LabelSpec.from_json(labels, [1, 2, 3])
    assert spec.has_regions
    assert spec.all_labels == (0, 1, 2, 3)
    assert spec.foreground == spec.foreground_regions == ((1, 2, 3), (2, 3), 3)
    assert spec.regions_class_order == (1, 2, 3)
    assert spec.output_channels == 3
    assert spec.names == {(1, 2, 3): "whole", (2, 3): "core", 3: "enhancing"}


def test_lists_of_one_value_are_no_regions() -> None:
    spec = LabelSpec.from_json({"background": 0, "organ": [1]})
    assert not spec.has_regions
    assert (spec.foreground, spec.names) == ((1,), {1: "organ"})


def test_a_spec_travels_between_processes() -> None:
    spec = LabelSpec.from_json({"background": 0, "organ": 1})
    assert spec.names
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("labels", "order", "messages"),
    [
        ({"background": 0, "organ": "one"}, None, ["'organ' has the value 'one'"]),
        ({"background": 0, "organ": 1.0, "other": True}, None, ["1.0", "True"]),
        ({"background": 0, "organ": []}, None, ["'organ'"]),
        ([0, 1], None, [r"got \[0, 1\]"]),
        (None, None, ["got None"]),
        ({"organ": 1, "nothing": 0}, None, ["no background"]),
        ({"background": 1, "organ": 0}, None, ["background is 1"]),
        ({"background": [0], "organ": 1}, None, [r"background is \[0\]"]),
        ({"background": 0, "a": 1, "b": 4}, None, [r"0, 1, 4 are not consecutive \(missing: 2, 3\)"]),
        ({"background": 0, "a": 1, "b": 1}, None, ["'a' and 'b' have the same value"]),
        ({"background": 0, "a": 1, "ignore": 3}, None, ["ignore is 3"]),
        ({"background": 0, "a": 1, "ignore": [2]}, None, [r"ignore is \[2\]"]),
        ({"background": 0, "a": [1, 2]}, None, ["regions_class_order is missing"]),
        ({"background": 0, "a": [1, 2], "b": 2}, [1], ["1 number for 2 regions"]),
        ({"background": 0, "a": [1, 2], "b": 2}, [1, "x"], ["expected a list of label numbers"]),
        ({"background": 0, "a": [1, 2], "b": 2}, [1, 7], [r"\[7\] is no label"]),
        ({"background": 2, "a": [1, 5]}, None, ["background is 2", "not consecutive", "regions_class_order"]),
    ],
)
def test_problems_are_all_named(labels: Any, order: Any, messages: list[str]) -> None:
    with pytest.raises(ProblemsError) as caught:
        LabelSpec.from_json(labels, order)
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        assert problem.hint
        assert re.search(message, problem.message)
