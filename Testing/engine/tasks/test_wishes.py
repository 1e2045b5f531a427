"""TotalSegmentator's options in the form in which tasks are run."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.tasks.catalogue import find_task
from segautoconfiglib.tasks.options import TaskOptions
from segautoconfiglib.tasks.wishes import REFUSED, WITHOUT_EFFECT, Wishes, device_name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"fast": True, "save_lowres": True}, {"fast": True, "low_resolution": True}),
        ({"fast": True, "save_lowres": True, "higher_order_resampling": True}, {"fast": True, "higher_order": True}),
        ({"model_size": "small"}, {"small": True}),
        ({"roi_subset": ["liver", "liver"]}, {"subset": ("liver",)}),
        ({"roi_subset": ["liver,spleen", "heart"]}, {"subset": ("liver", "spleen", "heart")}),
        ({"roi_subset_robust": ["liver"]}, {"subset": ("liver",), "robust_crop": True}),
        ({"body_seg": True, "force_split": True}, {"body_crop": True, "force_split": True}),
        ({"remove_small_blobs": True}, {"small_blobs_mm3": 200.0}),
        ({"remove_small_blobs": 50}, {"small_blobs_mm3": 50.0}),
        ({"resampling_order": 3, "v1_order": True}, {"order": 3, "v1_order": True}),
        ({"quiet": True, "nora_tag": "5", "test": 1, "radiomics": False}, {}),
    ],
)
def test_options(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Wishes.of(**given).options() == TaskOptions(**expected)


@pytest.mark.parametrize(
    ("given", "types"),
    [
        ("nifti", ("nifti",)),
        ("nifti,dicom_seg", ("nifti", "dicom_seg")),
        (["dicom", "nifti,dicom_rtstruct"], ("dicom_rtstruct", "nifti")),
    ],
)
def test_output_types(given: Any, types: tuple[str, ...]) -> None:
    assert Wishes(output_type=given).types == types


def test_what_is_refused() -> None:
    values = {"save_probabilities": "p.npz", "plans": "other"}
    for name, (_, message, hint) in REFUSED.items():
        with pytest.raises(UserError) as error:
            Wishes.of(**{name: values.get(name, True)})
        assert (error.value.message, error.value.hint) == (message, hint)
        assert hint
    with pytest.raises(TypeError) as unknown:
        Wishes.of(fats=True)
    assert str(unknown.value) == "totalsegmentator() has no argument 'fats'. Near: fast, fastest."
    with pytest.raises(TypeError, match="Near: events"):
        Wishes.of(event=print)
    assert not ({*REFUSED, *WITHOUT_EFFECT} & {field.name for field in fields(Wishes)})


def test_statistics_of_what_is_cut_have_two_names() -> None:
    assert Wishes.of(statistics_exclude_masks_at_border=False).stats_include_incomplete
    assert not Wishes.of(statistics_exclude_masks_at_border=True).stats_include_incomplete


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model_size": "tiny"}, "'tiny'"),
        ({"fast": True, "save_lowres": True, "output_type": "dicom_seg"}, "grid of their series"),
        ({"stats_aggregation": "mode"}, "'mode'"),
        ({"roi_subset": "liver"}, "list of names"),
        ({"roi_subset": ["livr"]}, "Near: liver"),
    ],
)
def test_wishes_that_do_not_go_together(given: dict[str, Any], says: str) -> None:
    def check(wishes: Wishes) -> None:
        wishes.check()
        wishes.options().check(find_task("total"))

    with pytest.raises(UserError, match=says):
        check(Wishes(**given))


@pytest.mark.parametrize(("word", "name"), [("gpu", "auto"), ("cpu", "cpu"), ("gpu:0", "cuda:0"), ("cuda:1", "cuda:1")])
def test_devices(word: str, name: str) -> None:
    assert device_name(word) == name
