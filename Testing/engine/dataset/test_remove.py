"""Cases leave a raw dataset; their files are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.dataset.add import add_cases
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.membership import Membership
from segautoconfiglib.dataset.remove import remove_cases
from segautoconfiglib.dataset.verify import verify_dataset


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_files_are_moved_and_dataset_json_follows(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=3, channels=2, licence="kept")
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["c0", "c2"], "val": ["c1"]}]))
    before = files(folder)
    assert remove_cases(folder, ["c1", "c1"]) == Membership(("c1",), (), training=2, test=0, splits=True)
    gone = {"imagesTr/c1_0000.nii.gz", "imagesTr/c1_0001.nii.gz", "labelsTr/c1.nii.gz"}
    assert files(folder) == before - gone | {f"removed/c1/{name}" for name in gone}
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["numTraining"], content["licence"]) == (2, "kept")
    assert json.loads((folder / "splits_final.json").read_text()) == [{"train": ["c0", "c2"], "val": []}]
    assert not verify_dataset(load_dataset(folder), workers=1).problems


def test_a_name_that_was_removed_before(staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2)
    remove_cases(folder, ["c1"])
    add_cases(staging.stage(tmp_path / "staging", "c1"), folder)
    remove_cases(folder, ["c1"])
    assert {name.split("/")[1] for name in files(folder) if name.startswith("removed")} == {"c1", "c1_2"}


def test_unknown_cases(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2)
    before = files(folder)
    with pytest.raises(ProblemsError) as caught:
        remove_cases(folder, ["c1", "c5", "d"])
    assert [problem.case for problem in caught.value.problems] == ["c5", "d"]
    assert caught.value.problems[0].hint == "It has: c0, c1."
    assert files(folder) == before
    with pytest.raises(UserError, match="no dataset folder"):
        remove_cases(folder.with_name("Dataset009_None"), ["c1"])


def test_the_last_case_and_a_new_beginning(staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    add_cases(staging.stage(tmp_path / "test", "t", cases={"t": {"test": True}}), folder)
    assert remove_cases(folder, ["c0", "t"]) == Membership(("c0", "t"), (), training=0, test=0, splits=False)
    assert add_cases(staging.stage(tmp_path / "staging", "n"), folder).training == 1
    assert not verify_dataset(load_dataset(folder), workers=1).problems


def test_a_file_list(raw_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = raw_dataset(cases=2)
    (folder / "imagesTr" / "c1_0000.nii.gz").rename(tmp_path / "outside.nii.gz")
    listed = {
        "c0": {"images": ["imagesTr/c0_0000.nii.gz"], "label": "labelsTr/c0.nii.gz"},
        "c1": {"images": ["../outside.nii.gz"], "label": "labelsTr/c1.nii.gz"},
    }
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "dataset": listed}))
    remove_cases(folder, ["c1"])
    assert json.loads((folder / "dataset.json").read_text())["dataset"] == {"c0": listed["c0"]}
    assert (tmp_path / "outside.nii.gz").exists()
    assert (folder / "removed" / "c1" / "labelsTr" / "c1.nii.gz").exists()
    with pytest.raises(UserError, match="no training case left"):
        remove_cases(folder, ["c0"])
