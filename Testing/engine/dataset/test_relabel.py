"""Label maps made fit for a dataset."""

from __future__ import annotations

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.relabel import (
    REST,
    add_mask,
    by_value,
    changed_values,
    changes_for,
    inside,
    named_values,
    numbering,
    on_grid,
    shown,
    value_pairs,
)
from segautoconfiglib.image.files import Header
from segautoconfiglib.image.volume import Geometry, Volume


def test_names_with_and_without_values() -> None:
    assert named_values(["liver", "tumour"]) == {"liver": (1,), "tumour": (2,)}
    assert named_values(["background", "liver"]) == {"background": (0,), "liver": (1,)}
    assert named_values(["liver=7", "tumour=2,3"]) == {"liver": (7,), "tumour": (2, 3)}


@pytest.mark.parametrize("words", [["liver=x"], ["=1"], ["a", "a"], ["a=1", "b=1"], ["a=1,"]])
def test_names_of_another_form_are_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"name a label|named twice"):
        named_values(words)


def test_pairs_of_values() -> None:
    assert value_pairs(["255=1", "-1=0"]) == {255: 1, -1: 0}
    for words in (["255"], ["a=1"], ["1=2", "1=3"]):
        with pytest.raises(UserError, match="no change of a label value"):
            value_pairs(words)


def test_ranges_and_the_rest() -> None:
    labels = named_values(["low=1", "other=2-4,9", "background=rest"])
    assert by_value(labels) == {1: "low", 2: "other", 3: "other", 4: "other", 9: "other", REST: "background"}
    assert value_pairs(["1=1", "2-4=2", "rest=0"]) == {1: 1, 2: 2, 3: 2, 4: 2, REST: 0}
    assert changes_for({1: 5, REST: 0}, [0, 1, 7]) == {1: 5, 7: 0}
    assert changes_for({1: 5, 3: 6}, [0, 1, 7]) == {1: 5}
    assert changes_for({REST: 3}, [0, 8]) == {8: 3}


@pytest.mark.parametrize("word", ["a=4-2", "a=1-x", "a=0-999999", "a=rest-3"])
def test_ranges_of_another_form_are_refused(word: str) -> None:
    with pytest.raises(UserError, match="name a label"):
        named_values([word])


@pytest.mark.parametrize(("words", "value"), [(["a=5", "b=2-9"], "5"), (["a=rest", "b=rest"], "rest")])
def test_a_value_is_named_once(words: list[str], value: str) -> None:
    with pytest.raises(UserError, match=f"The label value {value} is named twice"):
        named_values(words)


def test_values_beyond_those_shown_are_counted() -> None:
    assert shown([3, REST]) == "3, rest"
    assert shown(range(25)) == f"{', '.join(map(str, range(20)))} and 5 more"


def test_numbers_of_known_labels_stay_and_ignore_is_last() -> None:
    assert numbering(["ignore", "b", "a"], {}) == {"background": 0, "b": 1, "a": 2, "ignore": 3}
    assert numbering(["b", "a"], {"background": 0, "a": 1}) == {"background": 0, "a": 1, "b": 2}
    assert numbering(["b"], {"background": 0, "all": [1, 2]}) == {"background": 0, "all": [1, 2], "b": 3}


def test_values_change_all_at_once() -> None:
    labels = np.array([0, 1, 2, 3], np.uint8)
    assert changed_values(labels, {1: 2, 2: 1}).tolist() == [0, 2, 1, 3]
    assert labels.tolist() == [0, 1, 2, 3]


def test_nearest_labels_on_another_grid() -> None:
    labels = np.zeros((1, 1, 2, 2), np.uint8)
    labels[0, 0, 0] = [1, 2]
    image = Header((1, 2, 6), 1, Geometry((1.0, 2.0, 1.0), (-0.5, 0.0, 0.0)), np.dtype(np.int16))
    moved = on_grid(Volume(labels, Geometry((1.0, 2.0, 2.0))), image)
    assert moved.tolist() == [[[1, 1, 2, 2, 0, 0], [0] * 6]]


def test_labels_beside_the_image_are_refused() -> None:
    labels = Volume(np.ones((1, 1, 2, 2), np.uint8), Geometry((1.0, 1.0, 1.0)))
    image = Header((1, 2, 2), 1, Geometry((1.0, 1.0, 1.0), (50.0, 0.0, 0.0)), np.dtype(np.int16))
    with pytest.raises(UserError, match="Nothing of the label map lies in the image"):
        on_grid(labels, image)


def test_masks() -> None:
    assert inside(np.array([0, 255]), None).tolist() == [False, True]
    assert inside(np.array([0.0, 0.4, 0.6]), 0.5).tolist() == [False, False, True]
    assert inside(np.array([False, True]), 127).tolist() == [False, True]
    with pytest.raises(UserError, match="several values beside 0: 127, 255") as caught:
        inside(np.array([0, 127, 255]), None)
    assert "--threshold 127" in caught.value.hint


def test_later_masks_win_and_overlaps_are_counted() -> None:
    labels = np.zeros(4, np.uint8)
    assert add_mask(labels, np.array([True, True, False, False]), 1) == {}
    assert add_mask(labels, np.array([False, True, True, False]), 2) == {1: 1}
    assert labels.tolist() == [1, 2, 2, 0]
