from __future__ import annotations

import importlib.util
import json
import pickle
import pickletools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.evaluation.postprocessing import (
    FUNCTION,
    FUNCTION_MODULE,
    apply_postprocessing,
    find_postprocessing,
    keep_largest,
    load_postprocessing,
    save_postprocessing,
)
from segautoconfiglib.evaluation.summary import Summary
from segautoconfiglib.image.files import read_labels, write_labels
from segautoconfiglib.image.volume import Geometry

LABELS = LabelSpec({"background": 0, "liver": 1, "tumour": 2})
REGIONS = LabelSpec({"background": 0, "whole": (1, 2), "tumour": 2}, (1, 2))
GRID = Geometry((3.0, 1.0, 1.0))


def row(*values: int) -> np.ndarray:
    """(1, 1, n) labels."""
    return np.array([[values]], np.uint8)


class TestKeepLargest:
    def test_corners_connect(self):
        labels = np.zeros((3, 3, 6), np.uint8)
        labels[0, 0, 0] = labels[1, 1, 1] = labels[2, 2, 2] = 1
        labels[0, 0, 4:] = 1
        expected = labels.copy()
        expected[0, 0, 4:] = 0
        assert np.array_equal(keep_largest(labels, 1), expected)
        assert labels[0, 0, 4] == 1, "the input was changed"

    def test_equally_large_parts_are_all_kept(self):
        labels = row(1, 1, 0, 1, 1, 0, 1, 0, 2, 0, 2)
        assert np.array_equal(keep_largest(labels, 1), row(1, 1, 0, 1, 1, 0, 0, 0, 2, 0, 2))
        assert keep_largest(labels, 2) is labels

    def test_labels_together(self):
        labels = row(1, 2, 2, 0, 2, 2, 2, 2, 0, 1, 3)
        assert np.array_equal(keep_largest(labels, [1, 2]), row(0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 3))
        assert np.array_equal(keep_largest(labels, (1, 2)), keep_largest(labels, [1, 2]))
        assert np.array_equal(keep_largest(labels, [(1, 2), 3]), row(0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0))

    def test_nothing_there(self):
        labels = row(0, 0, 3)
        assert keep_largest(labels, [1, 2]) is labels


@pytest.fixture
def write(tmp_path):
    """``write(name, case=labels, ...)`` writes a folder."""

    def write(name: str, **cases: np.ndarray) -> Path:
        for case, labels in cases.items():
            write_labels(labels, tmp_path / name / f"{case}.nii.gz", GRID)
        return tmp_path / name

    return write


def find(truth: Path, predictions: Path, spec: LabelSpec = LABELS) -> list:
    return find_postprocessing(truth, predictions, spec, file_ending=".nii.gz", workers=1)


class TestFind:
    def test_all_together(self, write):
        truth = write("truth", a=row(1, 1, 2, 0, 0, 0))
        assert find(truth, write("found", a=row(1, 1, 2, 0, 0, 1))) == [[1, 2]]

    def test_not_if_one_structure_becomes_worse(self, write):
        """The liver gains more than the tumour loses, of which a part lies apart."""
        truth = write("truth", a=row(1, 1, 2, 2, 2, 0, 2, 0, 0, 0, 0, 0, 0))
        found = write("found", a=row(1, 1, 2, 2, 2, 0, 2, 0, 1, 0, 1, 0, 1))
        assert find(truth, found) == [1]

    def test_one_structure_of_two(self, write):
        truth = write("truth", a=row(1, 1, 0, 2, 2, 0, 1), b=row(1, 1, 1, 0, 2, 2, 0))
        found = write("found", a=row(1, 1, 0, 2, 2, 2, 1), b=row(1, 1, 1, 0, 2, 2, 2))
        assert find(truth, found) == []
        found = write("found", a=row(1, 1, 0, 2, 2, 0, 1), b=row(1, 2, 1, 0, 2, 2, 0))
        assert find(truth, found) == [2]

    def test_both_structures_one_after_the_other(self, write):
        truth = write("truth", a=row(1, 1, 1, 2, 2, 2, 0, 0, 0))
        found = write("found", a=row(1, 1, 2, 1, 2, 2, 0, 0, 0))
        assert find(truth, found) == [1, 2]

    def test_regions(self, write):
        truth = write("truth", a=row(1, 2, 2, 1, 0, 0, 0))
        found = write("found", a=row(2, 1, 2, 2, 0, 0, 1))
        assert find(truth, found, REGIONS) == [[1, 2], 2]

    def test_a_region_counts_as_what_is_left_by_the_one_before(self, write):
        """The largest part of the kidney takes the stray lesion away, so nothing is left to do for lesions."""
        spec = LabelSpec({"background": 0, "kidney": (1, 2), "lesion": 2, "other": 3}, (1, 2, 3))
        truth = write("truth", a=row(1, 1, 2, 2, 0, 0, 0, 3))
        found = write("found", a=row(1, 1, 2, 2, 0, 2, 0, 3))
        assert find(truth, found, spec) == [(1, 2)]

    def test_no_change_is_no_gain(self, write):
        truth = write("truth", a=row(1, 1, 2))
        assert find(truth, write("found", a=row(1, 0, 2))) == []

    def test_structure_in_no_case_decides_nothing(self, write):
        truth = write("truth", a=row(1, 1, 0, 0))
        assert find(truth, write("found", a=row(1, 1, 0, 1))) == [[1, 2]]

    def test_only_some_cases_were_predicted(self, write):
        truth = write("truth", a=row(1, 1, 0, 0), b=row(1, 1, 0, 0))
        assert find(truth, write("found", a=row(1, 1, 0, 1))) == [[1, 2]]

    def test_other_size(self, write):
        with pytest.raises(UserError, match="voxels"):
            find(write("truth", a=row(1, 1, 0, 0)), write("found", a=row(1, 1, 0)))


class TestFiles:
    TARGETS = ([1, 2], (1, 2), 2)

    def test_both_files_say_the_same(self, tmp_path):
        summary = Summary(foreground_mean={"Dice": 0.5}, mean={"1": {"Dice": 0.5}}, metric_per_case=[])
        save_postprocessing(self.TARGETS, tmp_path, summary, summary)
        content = json.loads((tmp_path / "postprocessing.json").read_text())
        assert content["postprocessing_fns"] == [FUNCTION] * 3
        assert content["postprocessing_kwargs"] == [
            {"labels_or_regions": [1, 2]}, {"labels_or_regions": [1, 2]}, {"labels_or_regions": 2}
        ]  # fmt: skip
        assert content["input_folder"] == {"foreground_mean": {"Dice": 0.5}, "mean": {"1": {"Dice": 0.5}}}
        assert load_postprocessing(tmp_path / "postprocessing.pkl") == list(self.TARGETS)
        assert load_postprocessing(tmp_path / "postprocessing.json") == [[1, 2], [1, 2], 2]

    @pytest.mark.parametrize("targets", [(), ([1, 2],), TARGETS])
    def test_pickle_that_nnunet_reads(self, tmp_path, monkeypatch, targets):
        summary = Summary(foreground_mean={}, mean={}, metric_per_case=[])
        save_postprocessing(targets, tmp_path, summary, summary)
        content = (tmp_path / "postprocessing.pkl").read_bytes()
        pickletools.dis(content, out=(tmp_path / "text").open("w"))
        module = ModuleType(FUNCTION_MODULE)
        setattr(module, FUNCTION, print)
        parts = FUNCTION_MODULE.split(".")
        for count in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:count]), ModuleType(parts[count - 1]))
        monkeypatch.setitem(sys.modules, FUNCTION_MODULE, module)
        functions, kwargs = pickle.loads(content)
        assert functions == [print] * len(targets)
        assert kwargs == [{"labels_or_regions": target} for target in targets]

    def test_nnunet_need_not_be_there(self):
        assert importlib.util.find_spec("nnunetv2") is None or "nnunetv2" not in sys.modules

    def test_other_functions_are_refused(self, tmp_path):
        file = tmp_path / "postprocessing.pkl"
        file.write_bytes(pickle.dumps(([json.loads], [{}])))
        with pytest.raises(UserError, match=r"json.*loads"):
            load_postprocessing(file)
        file = tmp_path / "postprocessing.json"
        file.write_text(json.dumps({"postprocessing_fns": ["other"], "postprocessing_kwargs": [{}]}))
        with pytest.raises(UserError, match="asks for other"):
            load_postprocessing(file)

    @pytest.mark.parametrize(
        "content",
        ["[]", "{}", '{"postprocessing_fns": 1, "postprocessing_kwargs": 2}',
         f'{{"postprocessing_fns": ["{FUNCTION}"], "postprocessing_kwargs": [{{"labels_or_regions": "x"}}]}}',
         f'{{"postprocessing_fns": ["{FUNCTION}"], "postprocessing_kwargs": []}}'],
    )  # fmt: skip
    def test_other_content(self, tmp_path, content):
        file = tmp_path / "postprocessing.json"
        file.write_text(content)
        with pytest.raises(UserError, match="no postprocessing file"):
            load_postprocessing(file)


class TestApply:
    def test_one_step_after_the_other(self, write, tmp_path):
        folder = write("found", a=row(1, 1, 0, 2, 0, 0, 1), b=row(1, 0, 0, 2, 2, 0, 2))
        for name in ("dataset.json", "plans.json", "notes.txt"):
            (folder / name).write_text("{}")
        apply_postprocessing(folder, tmp_path / "out", [1, [1, 2]], file_ending=".nii.gz", workers=1)
        a, b = (read_labels(tmp_path / "out" / f"{case}.nii.gz") for case in "ab")
        assert np.array_equal(a.array[0], row(1, 1, 0, 0, 0, 0, 0))
        assert np.array_equal(b.array[0], row(0, 0, 0, 2, 2, 0, 0))
        assert a.geometry == read_labels(folder / "a.nii.gz").geometry
        names = {file.name for file in (tmp_path / "out").iterdir()}
        assert names == {"a.nii.gz", "b.nii.gz", "dataset.json", "plans.json"}

    @pytest.mark.parametrize("targets", [[], [1]])
    def test_in_place(self, write, targets):
        folder = write("found", a=row(1, 1, 0, 1))
        apply_postprocessing(folder, folder, targets, file_ending=".nii.gz", workers=1)
        expected = row(1, 1, 0, 0) if targets else row(1, 1, 0, 1)
        assert np.array_equal(read_labels(folder / "a.nii.gz").array[0], expected)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(UserError, match="no file ending in"):
            apply_postprocessing(tmp_path, tmp_path / "out", [1], file_ending=".nii.gz")


@pytest.mark.parametrize("name", ["nope.json", "nope.pkl"])
def test_a_missing_file_is_made_by_find_postprocessing(tmp_path, name):
    with pytest.raises(UserError) as caught:
        load_postprocessing(tmp_path / name)
    assert caught.value.message == f"{tmp_path / name} does not exist."
    assert caught.value.hint == "Check the path; find-postprocessing and find-best make this file."
