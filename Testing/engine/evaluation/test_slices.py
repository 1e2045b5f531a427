from __future__ import annotations

import math

import numpy as np
import pytest

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.evaluation.slices import (
    Slices,
    case_dice,
    fullest_slice,
    slice_axis,
    upside_down,
    worst_slice,
)
from segautoconfiglib.image.volume import Geometry


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((9, 9, 9), (1.0, 1.0, 1.0), 0),
        ((9, 9, 9), (1.0, 1.0, 4.0), 2),
        ((1, 9, 9), (1.0, 5.0, 5.0), 0),
        ((9, 1, 9), (2.0, 1.0, 1.0), 1),
    ],
)
def test_slices_are_cut_across_the_single_or_the_coarsest_axis(shape: tuple, spacing: tuple, axis: int) -> None:
    assert slice_axis(shape, spacing) == axis


def test_every_class_counts_the_same_in_the_choice_of_a_slice() -> None:
    labels = np.zeros((6, 10, 10), int)
    labels[1] = 1  # 100 of its 150 voxels
    labels[4, :5] = 1  # the other third
    labels[4, 9, :3] = 2  # all of it
    assert fullest_slice(labels, (1, 2), 0) == 4  # (1/3 + 1) / 2 against 2/3 / 2
    assert fullest_slice(labels, (1,), 0) == 1
    assert fullest_slice(labels, ((1, 2), 2), 0) == 4
    assert fullest_slice(np.moveaxis(labels, 0, 2), (1, 2), 2) == 4


def test_the_middle_is_shown_where_there_is_nothing() -> None:
    assert fullest_slice(np.full((7, 2, 2), -1), (1, 2), 0) == 3
    assert fullest_slice(np.full((7, 2, 2), 9), (1, 2), 0) == 3


def test_the_slice_with_most_errors() -> None:
    truth = np.zeros((5, 4, 4), int)
    prediction = truth.copy()
    assert worst_slice(truth, prediction, 0) is None
    prediction[2, 0] = 1
    truth[3] = 7
    assert worst_slice(truth, prediction, 0) == 3
    assert worst_slice(truth, prediction, 0, ignore_label=7) == 2
    assert worst_slice(truth, prediction, 1, ignore_label=7) == 0


def test_dice_of_regions_without_ignored_voxels() -> None:
    spec = LabelSpec({"background": 0, "whole": (1, 2), "core": 2, "none": 3, "ignore": 4}, (1, 2, 3))
    truth, prediction = np.array([[[1, 2, 2, 0, 4]]]), np.array([[[1, 1, 2, 0, 2]]])
    dice = case_dice(truth, prediction, spec)
    assert dice["whole"] == 1.0
    assert dice["core"] == pytest.approx(2 / 3)
    assert math.isnan(dice["none"])


def test_axial_slices_are_turned_so_that_the_front_is_up_and_the_right_side_left() -> None:
    assert upside_down(Geometry((1.0, 1.0, 1.0)), 0) == []
    nifti = Geometry((1.0, 1.0, 1.0), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert upside_down(nifti, 0) == [1, 2]
    assert upside_down(nifti, 1) == [0, 2]  # coronal: the head is up
    oblique = Geometry((1.0, 1.0, 1.0), direction=(0.9, -0.4, 0, -0.4, -0.9, 0, 0, 0, 1))
    assert upside_down(oblique, 0) == [1]
    assert upside_down(Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (-1.0, 0.0, 0.0, -1.0), 2), 0) == []


def test_names_of_slices() -> None:
    assert Slices(np.zeros((3, 4, 5)), (1, 2, 3), 2).at(4) == "x = 4"
    assert Slices(np.zeros((1, 4, 5)), (1, 2, 3), 0).at(0) == ""
    assert Slices(np.zeros((3, 4, 5)), (1, 2, 3), 1).pixel_mm == (1, 3)
