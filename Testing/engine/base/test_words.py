"""Words for numbers of things, and for their names."""

from __future__ import annotations

from segautoconfiglib.base.words import counted, named


def test_one_and_several() -> None:
    assert [counted(number, "case") for number in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert [named(folds, "fold") for folds in ([], [0], ["all"], [0, "all"])] == [
        "no folds", "fold 0", "fold all", "folds 0, all",
    ]  # fmt: skip
