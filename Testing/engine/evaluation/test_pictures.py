from __future__ import annotations

import math

import numpy as np

from segautoconfiglib.evaluation.pictures import grey_limits, scores_text, shown_window


def test_the_window_holds_the_structure_with_a_margin_and_stays_inside() -> None:
    shown = np.zeros((4, 200, 200), bool)
    shown[2, 50:150, 180:190] = True
    assert shown_window(shown, (1.0, 1.0, 1.0), 0) == (slice(15, 185), slice(165, 200))
    assert shown_window(np.zeros((4, 20, 30), bool), (1.0, 1.0, 1.0), 0) == (slice(0, 20), slice(0, 30))


def test_scores_of_a_few_classes_are_named_and_those_of_many_averaged() -> None:
    assert scores_text({"a": 0.5, "b": math.nan}) == "Dice:  a 0.500     b nan"
    many = {str(number): 0.25 * number for number in range(5)} | {"x": math.nan, "y": math.nan}
    assert scores_text(many) == "Dice:  mean of 5 classes 0.500"


def test_few_very_bright_voxels_do_not_make_the_others_dark() -> None:
    image = np.append(np.zeros(500), np.ones(500))
    assert grey_limits(np.append(image, 1000.0)) == (0.0, 1.0)
    low, high = grey_limits(np.zeros(5))
    assert low < high
