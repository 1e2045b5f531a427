"""Preprocessing datasets: continuing, rebuilding, refusing."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, ProblemsError, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.image.files import read_image, read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.preprocessing import run
from segautoconfiglib.preprocessing.run import (
    copy_ground_truth,
    label_bytes,
    peak_bytes,
    preprocess_dataset,
    stored_bytes,
)
from segautoconfiglib.preprocessing.store import OWN_FOLDER, CaseStore

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


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scheme": "Foo"}, "Unknown normalisation 'Foo'"),
        ({"scheme": "CTNormalization"}, "CTNormalization needs the training set's intensities"),
        ({"channels": 2}, "names 2 channels .*, dataset.json 1"),
        ({"resampling_fn_seg": "mine"}, "Unknown resampling function 'mine'"),
        ({"spacing": (-1.0, 1.0, 1.0)}, "spacing.0"),
    ],
)
def test_plans_that_can_not_be_followed_leave_the_cases_as_they_are(raw_dataset, make_plans, folder, settings, says):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    with pytest.raises(UserError) as caught:
        preprocess_dataset(raw_dataset, make_plans(**settings), "3d", folder, workers=1)
    assert re.search(says, str(caught.value))
    assert times(folder) == before


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


def test_an_edited_label_is_noticed(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    later = time.time() + 5
    os.utime(raw_dataset.cases[1].label, (later, later))
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    changed = {name for name, after in times(folder).items() if after != before[name]}
    assert changed == {f"b{ending}" for ending in ENDINGS}


def test_an_older_file_put_in_place_is_noticed(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    os.utime(raw_dataset.cases[2].images[0], (1_000_000_000, 1_000_000_000))
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    assert {name[0] for name, after in times(folder).items() if after != before[name]} == {"c"}


def test_a_case_without_a_note_of_its_sources_is_made_again(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    (folder / OWN_FOLDER / "sources" / "a.json").unlink()  # as if killed in between
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    assert {name[0] for name, after in times(folder).items() if after != before[name]} == {"a"}


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".tif"])
def test_files_beside_the_named_one_count(raw_dataset, make_plans, folder, ending):
    cases = []
    for case in raw_dataset.cases:
        image = raw_dataset.folder / "other" / f"{case.id}_0000{ending}"
        write_image(read_image(case.images).array[0], image, GRID)
        cases.append(replace(case, images=(image,)))
    dataset = replace(raw_dataset, cases=tuple(cases))
    preprocess_dataset(dataset, make_plans(), "3d", folder, workers=1)
    before = times(folder)
    preprocess_dataset(dataset, make_plans(), "3d", folder, workers=1)
    assert times(folder) == before
    (beside,) = set((raw_dataset.folder / "other").glob("b*")) - {dataset.cases[1].images[0]}
    os.utime(beside, (1_000_000_000, 1_000_000_000))
    preprocess_dataset(dataset, make_plans(), "3d", folder, workers=1)
    assert {name[0] for name, after in times(folder).items() if after != before[name]} == {"b"}


def test_a_missing_raw_file_is_named(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    raw_dataset.cases[1].label.unlink()
    with pytest.raises(UserError, match=r"b\.nrrd"):
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)


SLOW = """
import json, pickle, sys, time
from pathlib import Path
from segautoconfiglib.preprocessing.run import preprocess_dataset
signs, name = Path(sys.argv[1]), sys.argv[2]
dataset, plans, folder = pickle.loads((signs / "task.pkl").read_bytes())

def report(kind, **data):
    with (signs / f"{name}.jsonl").open("a") as log:
        log.write(json.dumps({"kind": kind, **data}) + "\\n")
    while kind == "progress" and not (signs / "go").exists():
        time.sleep(0.02)

preprocess_dataset(dataset, plans, "3d", folder, workers=1, report=report)
"""


def wait_for(file, text):
    until = time.monotonic() + 30
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < until, f"{text} is not in {file}"
        time.sleep(0.02)


@pytest.fixture
def start(raw_dataset, make_plans, folder, tmp_path):
    """start(name) preprocesses in a process that writes its events to <name>.jsonl; file "go" lets all end."""
    (tmp_path / "task.pkl").write_bytes(pickle.dumps((raw_dataset, make_plans(), folder)))
    started = []

    def run_process(name):
        started.append(subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path), name]))
        return started[-1]

    yield run_process
    for process in started:
        process.kill()
        process.wait()


def cases_made(events):
    return [event["case"] for event in map(json.loads, events.read_text().splitlines()) if event["kind"] == "progress"]


@pytest.mark.parametrize("killed", [False, True])
def test_two_processes_share_the_work(start, folder, tmp_path, killed):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    one = start("first")
    wait_for(first, '"case": "a"')
    two = start("second")
    wait_for(second, f"waiting for another process that is at it (process {one.pid} ")
    if killed:
        one.kill()
    (tmp_path / "go").touch()
    assert two.wait(60) == 0
    assert (one.wait(60) == 0) is not killed
    expected = (["a"], ["b", "c"]) if killed else (["a", "b", "c"], [])
    assert (cases_made(first), cases_made(second)) == expected
    assert CaseStore(folder).case_ids() == ["a", "b", "c"]


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


def test_cases_of_an_older_nnunet_are_left_alone(raw_dataset, make_plans, folder):
    folder.mkdir(parents=True)
    for name in ("a.npz", "a.pkl", "b.npz", "b.pkl"):
        (folder / name).write_bytes(b"old")
    with pytest.raises(UserError, match=r"before 2\.6 \(a\.npz\)") as caught:
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    assert "nnUNet_preprocessed" in caught.value.hint
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == dict.fromkeys(
        ("a.npz", "a.pkl", "b.npz", "b.pkl"), b"old"
    )


def test_two_cases_that_share_a_file_are_refused(raw_dataset, make_plans, folder):
    cases = (*raw_dataset.cases, replace(raw_dataset.cases[0], id="a_seg"))
    with pytest.raises(ProblemsError, match="a_seg: its preprocessed image and the labels of case a would be one file"):
        preprocess_dataset(replace(raw_dataset, cases=cases), make_plans(), "3d", folder, workers=1)
    assert not folder.parent.exists()


def test_labels_that_will_be_copied_count(raw_dataset):
    assert label_bytes(raw_dataset.cases[:2]) == sum(case.label.stat().st_size for case in raw_dataset.cases[:2])


def test_memory_estimate_counts_old_and_new_voxels(raw_dataset, make_plans):
    plans = make_plans((1.0, 0.5, 0.5))
    found = peak_bytes(raw_dataset.cases, plans, plans.configuration("3d")) - run.SLAB_BYTES
    assert found == (4 * 6 * 5 + 8 * 12 * 10) * 12


def test_memory_estimate_of_wide_numbers_is_that_of_reading(raw_dataset, make_plans, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SLAB_BYTES", 0)
    frame = sitk.GetImageFromArray(np.zeros((4, 6, 5)))  # float64
    sitk.WriteImage(sitk.JoinSeries([frame] * 3), str(tmp_path / "a_0000.nii"))
    plans = make_plans((1.0, 1.0, 1.0), channels=3)
    case = replace(raw_dataset.cases[0], images=(tmp_path / "a_0000.nii",))
    assert peak_bytes([case], plans, plans.configuration("3d")) == 120 * 3 * (4 + 2 * 8)


def test_a_file_where_the_folder_should_be(raw_dataset, make_plans, folder):
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(UserError, match="Can't"):
        preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)


def test_settings_are_plain_json(raw_dataset, make_plans, folder):
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    settings = json.loads((folder / OWN_FOLDER / "settings.json").read_text())
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
