"""Plans that go from one dataset to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.planning.move import check_channels, moved_plans, with_channels
from segautoconfiglib.planning.plans import Plans


@pytest.fixture
def plans(network_json: Callable[..., dict[str, Any]]) -> Plans:
    """Two configurations with data of their own, and one that inherits them."""

    def configuration(dimension: int, identifier: str) -> dict[str, Any]:
        return {
            "data_identifier": identifier,
            "batch_size": 2,
            "patch_size": [16] * dimension,
            "spacing": [1.0] * dimension,
            "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False],
            "architecture": network_json(dimension, (4, 8)),
            "batch_dice": False,
        }

    content = {
        "dataset_name": "Dataset001_A",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "configurations": {
            "2d": configuration(2, "nnUNetPlans_2d"),
            "3d_fullres": configuration(3, "mine"),
            "bigger": {"inherits_from": "3d_fullres", "batch_size": 4},
        },
        "foreground_intensity_properties_per_channel": {"0": {"mean": 5.0}},
        "note": "kept",
    }
    return Plans.from_json(content, "plans.json")


def test_names_change_and_all_else_stays(plans: Plans) -> None:
    moved = moved_plans(plans, "Dataset002_B", "from1", "NaturalImage2DIO").to_json()
    identifiers = [entry.get("data_identifier") for entry in moved["configurations"].values()]
    assert identifiers == ["from1_2d", "from1_mine", None]
    assert (moved["dataset_name"], moved["plans_name"]) == ("Dataset002_B", "from1")
    assert moved["image_reader_writer"] == "NaturalImage2DIO"
    before = plans.to_json()
    for key in ("foreground_intensity_properties_per_channel", "note"):
        assert moved[key] == before[key]
    for name, entry in before["configurations"].items():
        there = moved["configurations"][name]
        assert {**there, "data_identifier": ""} == {**entry, "data_identifier": ""} or "inherits_from" in entry
    assert list(moved) == list(before)


def test_the_same_name_keeps_the_folders(plans: Plans) -> None:
    moved = moved_plans(plans, "Dataset002_B", "nnUNetPlans")
    assert moved.configurations == plans.configurations
    assert moved.image_reader_writer == "SimpleITKIO"
    with pytest.raises(UserError, match="can't be the name of plans"):
        moved_plans(plans, "Dataset002_B", "a/b")


def test_other_channels(plans: Plans) -> None:
    check_channels(plans, 1, "Dataset002_B")
    with pytest.raises(ProblemsError, match="which has 2 channels") as caught:
        check_channels(plans, 2, "Dataset002_B")
    assert len(caught.value.problems) == 3
    measured = Fingerprint(
        foreground_intensity_properties_per_channel={"0": {"mean": 1.0}, "1": {"mean": 2.0}},
        median_relative_size_after_cropping=0.5,
        shapes_after_crop=((8, 8, 8),),
        spacings=((1.0, 1.0, 1.0),),
    )
    moved = with_channels(plans, ["T1", "CT"], measured)
    assert moved.configuration("bigger").normalization_schemes == ("ZScoreNormalization", "CTNormalization")
    assert moved.configuration("2d").use_mask_for_norm == (True, False)
    assert moved.foreground_intensity_properties_per_channel["1"] == {"mean": 2.0}
    check_channels(moved, 2, "Dataset002_B")
