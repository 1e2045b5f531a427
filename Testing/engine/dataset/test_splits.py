"""Folds: nnU-Net's own, few cases, manual files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.dataset.splits import (
    Split,
    current_splits,
    joined_splits,
    load_splits,
    make_splits,
    overlap,
    save_splits,
    split_for_fold,
    take_over_splits,
    unused_cases,
    update_splits,
)


def ids(count: int) -> list[str]:
    return [f"case_{index:03d}" for index in range(count)]


@pytest.mark.parametrize(
    ("count", "validation"),
    [
        (5, [[0], [4], [3], [1], [2]]),
        (10, [[0, 7], [3, 9], [4, 6], [1, 8], [2, 5]]),
        (12, [[0, 3, 8], [7, 10, 11], [6, 9], [1, 4], [2, 5]]),
        (20, [[3, 8, 13, 16], [0, 10, 12, 15], [6, 7, 11, 17], [9, 14, 18, 19], [1, 2, 4, 5]]),
    ],
)
def test_folds_equal_nnunets(count: int, validation: list[list[int]]) -> None:
    names = ids(count)
    splits = make_splits(names[::-1])
    assert [list(split.val) for split in splits] == [[names[index] for index in fold] for fold in validation]
    for split in splits:
        assert list(split.train) == [name for name in names if name not in split.val]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_cases_get_as_many_folds_and_the_file_says_so(tmp_path: Path, count: int) -> None:
    file = tmp_path / "splits_final.json"
    split = split_for_fold(file, ids(count), 0)
    assert (len(split.train), len(split.val)) == (count - 1, 1)
    content = json.loads(file.read_text())
    assert len(content) == count
    assert content[0]["note"].startswith(f"{count} folds instead of 5")


def test_one_case_can_only_train_on_everything(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 case is too few"):
        split_for_fold(tmp_path / "splits_final.json", ["a"], 0)
    assert split_for_fold(tmp_path / "splits_final.json", ["a"], "all") == Split(("a",), ("a",))
    assert not list(tmp_path.iterdir())


def test_a_split_can_be_looked_at_without_a_file(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    assert split_for_fold(file, ids(10), 3, save=False) == make_splits(ids(10))[3]
    assert not file.exists()


def test_the_file_is_written_once_and_then_followed(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    assert split_for_fold(file, ids(10), 3) == make_splits(ids(10))[3]
    assert load_splits(file) == make_splits(ids(10))
    assert "note" not in json.loads(file.read_text())[0]
    save_splits(file, [Split(("a", "b"), ("c",))])
    assert split_for_fold(file, ["a", "b", "c", "d"], 0) == Split(("a", "b"), ("c",))
    assert "note" not in json.loads(file.read_text())[0]


def test_folds_beyond_the_file_are_drawn_as_nnunet_draws_them(tmp_path: Path) -> None:
    # numpy.random.RandomState(12345 + 7).choice(10, 8, replace=False) leaves out 3 and 5
    split = split_for_fold(tmp_path / "splits_final.json", ids(10), 7)
    assert split.val == ("case_003", "case_005")
    assert len(split.train) == 8
    assert len(load_splits(tmp_path / "splits_final.json")) == 5


def test_manual_splits_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    file.write_text(json.dumps([{"train": ["a", "lost"], "val": ["gone"]}, {"train": ["a"], "val": []}]))
    with pytest.raises(ProblemsError, match="Fold 0") as caught:
        split_for_fold(file, ["a", "b"], 0)
    assert [problem.message.split(",")[0] for problem in caught.value.problems] == [
        "train names 'lost'",
        "val names 'gone'",
    ]
    with pytest.raises(ProblemsError, match="val is empty"):
        split_for_fold(file, ["a", "b"], 1)


@pytest.mark.parametrize("content", ["{}", "[]", '[{"train": ["a"]}]', '[{"train": ["a"], "val": [1]}]', "[1]"])
def test_files_of_another_form(tmp_path: Path, content: str) -> None:
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(UserError, match=r"splits\.json is no splits file"):
        load_splits(tmp_path / "splits.json")


@pytest.mark.parametrize("fold", [-1, "one", 1.0])
def test_folds_that_are_none(tmp_path: Path, fold: object) -> None:
    with pytest.raises(UserError, match="is no fold"):
        split_for_fold(tmp_path / "splits.json", ids(5), fold)  # type: ignore[arg-type]


def test_overlap() -> None:
    assert overlap(Split(("a", "b", "c"), ("c", "b"))) == ("b", "c")


def test_cases_in_no_fold() -> None:
    splits = [Split(("a", "b"), ("c",)), Split(("c", "e"), ("a",))]
    assert unused_cases(splits, ["f", "e", "d", "c", "b", "a"]) == ("d", "f")


def test_raw_splits_are_taken_over_and_stay_what_they_were(tmp_path: Path) -> None:
    raw, used = tmp_path / "raw.json", tmp_path / "new" / "splits_final.json"
    take_over_splits(raw, used)
    assert not used.exists()
    save_splits(raw, [Split(("a", "b"), ("c",)), Split(("a", "c"), ("b",))])
    take_over_splits(raw, used)
    assert used.read_bytes() == raw.read_bytes()
    save_splits(used, [Split(("b", "a"), ("c",)), Split(("c", "a"), ("b",))])  # the order does not count
    take_over_splits(raw, used)
    assert load_splits(used)[0].train == ("b", "a")


@pytest.mark.parametrize(
    ("folds", "difference"),
    [
        ([Split(("a", "b"), ("c",))], "2 folds against 1"),
        ([Split(("a", "b"), ("c",)), Split(("c",), ("b",))], "fold 1 has other cases"),
        ([Split(("a", "b"), ("c",)), Split(("a", "c"), ("b",)), Split(("a",), ("b",))], "2 folds against 3"),
    ],
)
def test_raw_splits_that_differ_are_refused(tmp_path: Path, folds: list[Split], difference: str) -> None:
    raw, used = tmp_path / "raw.json", tmp_path / "splits_final.json"
    save_splits(raw, [Split(("a", "b"), ("c",)), Split(("a", "c"), ("b",))])
    save_splits(used, folds)
    with pytest.raises(UserError, match=difference):
        take_over_splits(raw, used)
    assert load_splits(used) == folds


def test_raw_splits_of_another_form_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "raw.json").write_text("{}")
    with pytest.raises(UserError, match=r"raw\.json is no splits file"):
        take_over_splits(tmp_path / "raw.json", tmp_path / "splits_final.json")
    assert not (tmp_path / "splits_final.json").exists()


def test_new_cases_are_dealt_to_the_smallest_folds_and_old_ones_stay() -> None:
    before = make_splits(ids(7))  # 2, 2, 1, 1 and 1 cases
    after = update_splits(before, new=["n3", "n1", "n2", "n4"])
    assert [split.val[len(old.val) :] for old, split in zip(before, after, strict=True)] == [
        ("n4",),
        (),
        ("n1",),
        ("n2",),
        ("n3",),
    ]
    for old, split in zip(before, after, strict=True):
        assert split.val[: len(old.val)] == old.val
        assert sorted((*split.train, *split.val)) == [*ids(7), "n1", "n2", "n3", "n4"]
    assert update_splits(after, new=["n1"]) == after
    assert update_splits(before, new=["n1", "n2", "n3", "n4"]) == after


def test_cases_that_are_gone_are_dropped_and_the_gap_is_filled_first() -> None:
    splits = [Split(("b", "c"), ("a",)), Split(("a", "c"), ("b",)), Split(("a", "b"), ("c", "d"))]
    after = update_splits(splits, gone={"b", "x"})
    assert after == [Split(("c",), ("a",)), Split(("a", "c"), ()), Split(("a",), ("c", "d"))]
    assert [split.val for split in update_splits(after, new=["e"])] == [("a",), ("e",), ("c", "d")]


def test_few_folds_become_as_many_as_usual() -> None:
    few = [Split(("b", "c"), ("a",)), Split(("a", "c"), ("b",)), Split(("a", "b"), ("c",))]
    after = update_splits(few, new=["d", "e", "f", "g"])
    assert [split.val for split in after] == [("a", "f"), ("b", "g"), ("c",), ("d",), ("e",)]
    assert all(len(split.train) + len(split.val) == 7 for split in after)
    assert [len(split.val) for split in update_splits(few, new=["d"])] == [1, 1, 1, 1]


def test_a_single_fold_keeps_its_share() -> None:
    after = update_splits([Split(("a", "b", "c", "d"), ("e",))], new=[f"n{number}" for number in range(5)])
    assert after == [Split(("a", "b", "c", "d", "n0", "n1", "n2", "n3"), ("e", "n4"))]


def test_the_two_files_may_know_different_cases(tmp_path: Path) -> None:
    raw, used = tmp_path / "raw.json", tmp_path / "used.json"
    assert joined_splits(raw, used) is None
    save_splits(raw, [Split(("a", "x"), ("b",)), Split(("b",), ("a", "x"))])
    assert joined_splits(raw, used) == load_splits(raw)
    save_splits(used, [Split(("a", "y"), ("b",)), Split(("b",), ("a", "y"))])
    take_over_splits(raw, used)
    assert joined_splits(raw, used) == [Split(("a", "x", "y"), ("b",)), Split(("b",), ("a", "x", "y"))]
    save_splits(used, [Split(("a",), ("b",)), Split(("b",), ("a",)), Split(("a", "b"), ("y",))])
    joined = [Split(("a", "x"), ("b",)), Split(("b",), ("a", "x")), Split(("a", "b"), ("y",))]
    assert joined_splits(raw, used) == joined
    save_splits(used, [Split(("a",), ("b",)), Split(("b",), ("a",)), Split(("b",), ("a", "y"))])
    with pytest.raises(UserError, match="2 folds against 3"):
        joined_splits(raw, used)


def test_only_cases_that_were_not_known_are_new(tmp_path: Path) -> None:
    raw, used = tmp_path / "raw.json", tmp_path / "used.json"
    folds = [Split(("a",), ("b",)), Split(("b",), ("a", "lost"))]
    save_splits(used, folds)
    assert current_splits(raw, used, ["a", "b", "left out", "new"], []) == folds
    after = current_splits(raw, used, ["a", "left out", "new"], ["a", "b", "left out"])
    assert after == [Split(("a",), ("new",)), Split(("new",), ("a", "lost"))]
