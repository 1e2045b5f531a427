"""Names of cases from names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from segautoconfiglib.dataset.case_names import channels_of, clean_id, is_label_name, match_labels, numbered_ids


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("patient 7: left", "patient_7_left"),
        (".hidden", "hidden"),
        ("a/b\\c", "a_b_c"),
        ("  .. ", "case"),
        ("näre-1.5", "näre-1.5"),
    ],
)
def test_ids_are_cleaned(name: str, cleaned: str) -> None:
    assert clean_id(name) == cleaned


def test_numbers_follow_those_taken() -> None:
    assert numbered_ids("liver", 2) == ["liver_001", "liver_002"]
    assert numbered_ids("liver", 2, ["liver_007", "other_9"]) == ["liver_008", "liver_009"]
    assert numbered_ids("c", 2, ["c_0998"])[-1] == "c_1000"


def test_channels_belong_together_where_all_files_are_named_so() -> None:
    files = [Path(f"{case}_{channel:04d}.nii.gz") for case in "ab" for channel in (1, 0)]
    assert channels_of(files) == {"a": (files[1], files[0]), "b": (files[3], files[2])}
    mixed = [Path("a_0000.nii.gz"), Path("b.nii.gz")]
    assert channels_of(mixed) == {"a_0000": (mixed[0],), "b": (mixed[1],)}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("case7", "case7"),
        ("case7", "case7_seg"),
        ("case7", "case7-label"),
        ("case7_image", "case7_mask"),
        ("case7_ct", "case7_ct_Segmentation"),
        ("case 7", "seg-case_7"),
        ("Case7.img", "case7.labelmap"),
        ("case7", "case7_0000"),
    ],
)
def test_names_are_matched(image: str, label: str) -> None:
    files = {label: Path(f"{label}.nii.gz"), "case77_seg": Path("case77_seg.nii.gz")}
    pairs, left = match_labels([image, "case8"], files)
    assert pairs == {image: files[label]}
    assert left == ["case77_seg"]


def test_doubtful_names_are_not_matched() -> None:
    labels = {name: Path(name) for name in ("a_seg", "a_mask", "b_seg")}
    assert match_labels(["a", "b_ct", "b_mr"], labels) == ({}, list(labels))


def test_names_that_tell_labels() -> None:
    names = ["case_seg", "label-3", "mask", "segment", "case", "seg_ct"]
    assert [is_label_name(name) for name in names] == [True, True, True, False, False, True]
