"""Words for numbers of things, for their names, and for commands."""

from __future__ import annotations

from pathlib import Path

from segautoconfiglib.base.words import command, counted, first_of, named, near_names


def test_one_and_several() -> None:
    assert [counted(number, "case") for number in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert [named(folds, "fold") for folds in ([], [0], ["all"], [0, "all"])] == [
        "no folds", "fold 0", "fold all", "folds 0, all",
    ]  # fmt: skip


def test_the_first_of_many() -> None:
    assert [first_of(names, 2) for names in ([], [7], ["a", "b"], "abc")] == ["", "7", "a, b", "a, b ..."]


def test_near_names() -> None:
    assert near_names(["livr"], ["spleen", "liver", "liver_vessels"]) == "Near: liver."
    assert near_names(["livr", "spleeen", "liv"], ["spleen", "liver"]) == "Near: liver, spleen."
    assert near_names(["x"], ["liver"]) == ""


def test_names_that_hold_each_other_are_near() -> None:
    known = ["lung_vessels", "lung_nodules", "liver", "lung_upper_lobe_left", "lung_left", "hip"]
    assert near_names(["lungs"], known) == "Near: lung_vessels, lung_nodules, lung_left."
    assert near_names(["lungleft"], known, 1) == near_names(["left-lung"], known, 1) == "Near: lung_left."
    assert near_names(["vessels"], known) == "Near: lung_vessels."
    assert near_names(["hips bone"], known) == "Near: hip."
    assert near_names(["hi"], ["ship_hi", "hip"]) == "Near: hip, ship_hi."
    assert near_names(["", "_", "in"], ["", "_", "within"]) == ""


def test_commands_in_messages() -> None:
    assert command("train", 4, "--fold", 0) == "`python -m segautoconfiglib train 4 --fold 0`"
    assert command("delete-model", Path("my models", "m")) == "`python -m segautoconfiglib delete-model 'my models/m'`"
