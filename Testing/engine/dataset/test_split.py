"""Cases for testing, and folds of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.members import load_members
from segautoconfiglib.dataset.split import choose_test, groups_by_pattern, split_dataset
from segautoconfiglib.dataset.splits import make_splits

IDS = [f"c{index}" for index in range(10)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shares_numbers_and_names() -> None:
    assert len(choose_test(IDS, ["20%"], seed=1)) == 2
    assert len(choose_test(IDS, ["3"], seed=1)) == 3
    assert choose_test(IDS, ["c7", "c1"], seed=1) == ["c1", "c7"]
    assert choose_test(["1", "2", "3"], ["2"], seed=1) == ["2"]  # the name of a case
    assert choose_test(IDS, ["3"], seed=1) == choose_test(IDS[::-1], ["3"], seed=1)
    assert choose_test(IDS, ["5"], seed=1) != choose_test(IDS, ["5"], seed=2)


@pytest.mark.parametrize("wanted", [["0"], ["10"], ["100%"]])
def test_none_or_all_are_refused(wanted: list[str]) -> None:
    with pytest.raises(UserError, match="of 10 cases would be for testing"):
        choose_test(IDS, wanted, seed=1)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ProblemsError) as caught:
        choose_test(IDS, ["c1", "x", "y"], seed=1)
    assert [problem.case for problem in caught.value.problems] == ["x", "y"]


def test_patients_stay_together() -> None:
    groups = {case: f"p{int(case[1:]) // 3}" for case in IDS}  # 3, 3, 3, 1 cases
    for seed in range(5):
        chosen = set(choose_test(IDS, ["40%"], seed=seed, groups=groups))
        assert all(len({case in chosen for case in IDS if groups[case] == patient}) == 1 for patient in groups.values())
        assert len(chosen) in (3, 4)


def test_groups_of_a_pattern() -> None:
    assert groups_by_pattern(["p1_a", "p1_b"], r"(p\d+)_") == {"p1_a": "p1", "p1_b": "p1"}
    assert groups_by_pattern(["p1_a"], r"p\d+") == {"p1_a": "p1"}
    with pytest.raises(ProblemsError):
        groups_by_pattern(["p1_a", "x"], r"p\d+")
    with pytest.raises(UserError, match="no regular expression"):
        groups_by_pattern(["a"], "(")


def test_grouped_folds() -> None:
    groups = {case: f"p{int(case[1:]) // 3}" for case in IDS}
    splits = make_splits(IDS, 3, groups=groups)
    assert sorted(len(split.val) for split in splits) == [3, 3, 4]
    for split in splits:
        assert not {groups[case] for case in split.val} & {groups[case] for case in split.train}
        assert sorted(split.train + split.val) == IDS
    large = {case: "p" if case < "c4" else case for case in IDS[:8]}
    for seed in range(5):
        assert [len(split.val) for split in make_splits(IDS[:8], 2, seed=seed, groups=large)] == [4, 4]
    with pytest.raises(UserError, match="belong to one group"):
        make_splits(IDS, groups=dict.fromkeys(IDS, "p"))


def test_cases_move(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=4, channels=2)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["c0", "c1"], "val": ["c2", "c3"]}]))
    result = split_dataset(folder, test=["c1", "c3"])
    assert (result.cases, result.training, result.test, result.splits) == (("c1", "c3"), 2, 2, True)
    assert names(folder / "imagesTs") == [f"{case}_000{channel}.nii.gz" for case in ("c1", "c3") for channel in (0, 1)]
    assert names(folder / "labelsTs") == ["c1.nii.gz", "c3.nii.gz"]
    assert names(folder / "labelsTr") == ["c0.nii.gz", "c2.nii.gz"]
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["numTraining"], content["numTest"]) == (2, 2)
    assert json.loads((folder / "splits_final.json").read_text()) == [{"train": ["c0"], "val": ["c2"]}]
    assert list(load_members(folder).test) == ["c1", "c3"]
    assert [case.id for case in load_dataset(folder).cases] == ["c0", "c2"]


def test_files_in_the_way_are_kept(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2)
    (folder / "labelsTs").mkdir()
    (folder / "labelsTs" / "c0.nii.gz").write_bytes(b"mine")
    with pytest.raises(ProblemsError, match="can't be split"):
        split_dataset(folder, test=["c0"])
    assert (folder / "labelsTs" / "c0.nii.gz").read_bytes() == b"mine"
    assert names(folder / "imagesTr") == ["c0_0000.nii.gz", "c1_0000.nii.gz"]


def test_folds_are_written_once(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=4)
    groups = {"c0": "p", "c1": "p"}
    split_dataset(folder, folds=3, groups=groups)
    splits = json.loads((folder / "splits_final.json").read_text())
    assert sorted(split["val"] for split in splits) == [["c0", "c1"], ["c2"], ["c3"]]
    with pytest.raises(UserError, match=r"splits_final\.json exists"):
        split_dataset(folder, folds=2)
    split_dataset(folder, folds=2, overwrite=True)
    assert len(json.loads((folder / "splits_final.json").read_text())) == 2
    with pytest.raises(UserError, match="1 folds"):
        split_dataset(folder, folds=1, overwrite=True)


def test_listed_files_are_not_moved(raw_dataset: Callable[..., Path]) -> None:
    listed = {f"c{i}": {"images": [f"imagesTr/c{i}_0000.nii.gz"], "label": f"labelsTr/c{i}.nii.gz"} for i in range(2)}
    folder = raw_dataset(cases=2, dataset=listed)
    with pytest.raises(UserError, match="lists the files of its cases"):
        split_dataset(folder, test=["c0"])
