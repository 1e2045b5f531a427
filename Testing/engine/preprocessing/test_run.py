"""Preprocessing datasets: continuing, rebuilding, refusing."""

import json
import os
import shutil
import time
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.image.files import read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.preprocessing import run
from segautoconfiglib.preprocessing.run import copy_ground_truth, peak_bytes, preprocess_dataset, stored_bytes

GRID = Geometry((2.0, 1.0, 1.0))
ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "preprocessed" / "plans_3d"


def times(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.is_file()}


def test_all_cases_are_stored(raw_dataset, make_plans, folder):
    report = ListReporter()
    store = preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1, report=report)
    assert store.case_ids() == ["a", "b", "c"]
    assert store.open("b").data.shape == (1, 8, 6, 5)
    assert store.open("b").record.geometry == GRID
    assert [event["done"] for event in report.of("progress")] == [1, 2, 3]
    assert sorted(times(folder)) == sorted(f"{case}{ending}" for case in "abc" for ending in ENDINGS)


def test_worker_processes_give_the_same(raw_dataset, make_plans, folder, tmp_path):
    one = preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    two = preprocess_dataset(raw_dataset, make_plans(), "3d", tmp_path / "two", workers=2)
    assert np.array_equal(one.open("c").data[:], two.open("c").data[:])
    assert (folder / "c.pkl").read_bytes() == (tmp_path / "two" / "c.pkl").read_bytes()


def test_a_second_run_keeps_everything(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    report = ListReporter()
    preprocess_dataset(raw_dataset, make_plans(patch_size=(8, 8, 8)), "3d", folder, workers=1, report=report)
    assert times(folder) == before
    assert "3 of 3" in report.of("log")[0]["message"]


def test_an_interrupted_run_is_continued(raw_dataset, make_plans, folder):
    cancel = CancelToken()

    def stop_after_first(kind, **data):
        if kind == "progress":
            cancel.cancel()

    with pytest.raises(Cancelled):
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1, report=stop_after_first, cancel=cancel)
    before = times(folder)
    assert sorted(before) == sorted(f"a{ending}" for ending in ENDINGS)
    (folder / "b.b2nd").touch()  # as if killed between two files
    store = preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    assert store.case_ids() == ["a", "b", "c"]
    assert before.items() <= times(folder).items()


@pytest.mark.parametrize(
    "changed",
    [
        {"spacing": (2.0, 1.0, 1.0)},
        {"scheme": "RescaleTo01Normalization"},
        {"mask": True},
        {"transpose": (1, 0, 2)},
        {"resampling_fn_data_kwargs": {"order": 1}},
    ],
)
def test_other_plans_make_all_cases_again(raw_dataset, make_plans, folder, changed):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    preprocess_dataset(raw_dataset, make_plans(**changed), "3d", folder, workers=1)
    assert all(after > before[name] for name, after in times(folder).items())


def test_a_stop_while_rebuilding_leaves_no_case_of_the_old_plans(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        preprocess_dataset(raw_dataset, make_plans((3.0, 1.0, 1.0)), "3d", folder, workers=1, cancel=cancel)
    assert times(folder) == {}


def test_cases_of_unknown_origin_are_made_again(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    shutil.rmtree(folder / run.OWN_FOLDER)
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    assert all(after > before[name] for name, after in times(folder).items())


def test_an_edited_label_is_noticed(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    later = time.time() + 5
    os.utime(raw_dataset.cases[1].label, (later, later))
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    changed = {name for name, after in times(folder).items() if after != before[name]}
    assert changed == {f"b{ending}" for ending in ENDINGS}


def test_cases_that_left_the_dataset_are_removed(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    smaller = type(raw_dataset)(raw_dataset.name, raw_dataset.folder, raw_dataset.description, raw_dataset.cases[:2])
    assert preprocess_dataset(smaller, make_plans(), "3d", folder, workers=1).case_ids() == ["a", "b"]


def test_a_failing_case_is_named_and_the_others_are_kept(raw_dataset, make_plans, folder):
    image = np.ones((4, 6, 5), np.float32)
    image[0, 0, 0] = np.nan
    write_image(image, raw_dataset.cases[1].images[0], GRID)
    with pytest.raises(UserError, match=r"Case b: .*b_0000\.nrrd holds 1 voxels that are NaN"):
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    assert sorted(times(folder)) == sorted(f"a{ending}" for ending in ENDINGS)


def test_a_label_of_another_shape_names_the_case(raw_dataset, make_plans, folder):
    write_labels(np.ones((4, 6, 4), np.uint8), raw_dataset.cases[0].label, GRID)
    with pytest.raises(UserError, match=r"Case a: .*\(4, 6, 4\)"):
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)


def test_a_full_disk_is_noticed_before_anything_is_written(raw_dataset, make_plans, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: usage(10, 10, 100))
    plans = make_plans()
    median = {"original_median_spacing_after_transp": (2.0, 1.0, 1.0), "original_median_shape_after_transp": (4, 6, 5)}
    plans = plans.model_copy(update=median)
    needed = stored_bytes(plans, plans.configuration("3d"))
    assert 0.5 * 240 * 4 < needed < 240 * 4  # 8 x 6 x 5 voxels of 4 bytes
    with pytest.raises(UserError, match=r"about 0\.0 GB.*0\.0 GB are free"):
        preprocess_dataset(raw_dataset, plans, "3d", folder, workers=1)
    assert not folder.exists()


def test_memory_estimate_counts_old_and_new_voxels(raw_dataset, make_plans):
    plans = make_plans((1.0, 0.5, 0.5))
    found = peak_bytes(raw_dataset.cases, plans, plans.configuration("3d")) - run.SLAB_BYTES
    assert found == (4 * 6 * 5 + 8 * 12 * 10) * 12


def test_a_file_where_the_folder_should_be(raw_dataset, make_plans, folder):
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(UserError, match="Can't"):
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)


def test_settings_are_plain_json(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    settings = json.loads((folder / run.OWN_FOLDER / run.SETTINGS_FILE).read_text())
    assert settings["spacing"] == [1.0, 1.0, 1.0]
    assert settings["locations"] == [1, 2]


def test_ground_truth_is_copied_byte_by_byte_once(raw_dataset, tmp_path):
    target = tmp_path / "gt_segmentations"
    copy_ground_truth(raw_dataset, target)
    assert sorted(times(target)) == ["a.nrrd", "b.nrrd", "c.nrrd"]
    assert (target / "b.nrrd").read_bytes() == raw_dataset.cases[1].label.read_bytes()
    inodes = {file.name: file.stat().st_ino for file in target.iterdir()}
    write_labels(np.ones((4, 6, 5), np.uint8), raw_dataset.cases[1].label, GRID)
    copy_ground_truth(raw_dataset, target)
    assert (target / "b.nrrd").read_bytes() == raw_dataset.cases[1].label.read_bytes()
    assert {file.name for file in target.iterdir() if file.stat().st_ino == inodes[file.name]} == {"a.nrrd", "c.nrrd"}


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".tif"])
def test_ground_truth_of_several_files_keeps_voxels_and_spacing(raw_dataset, tmp_path, ending):
    cases = []
    for case in raw_dataset.cases:
        label = tmp_path / "labels" / f"{case.id}{ending}"
        write_labels(read_labels(case.label).array[0], label, GRID)
        cases.append(replace(case, label=label))
    description = raw_dataset.description.model_copy(update={"file_ending": ending})
    copy_ground_truth(replace(raw_dataset, cases=tuple(cases), description=description), tmp_path / "truth")
    for case in raw_dataset.cases:
        found = read_labels(tmp_path / "truth" / f"{case.id}{ending}")
        assert np.array_equal(found.array, read_labels(case.label).array)
        assert found.geometry.spacing_mm == GRID.spacing_mm
