"""Cases of a staging folder become part of a raw dataset."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, ProblemsError, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.lock import alone
from segautoconfiglib.dataset import add_check, change
from segautoconfiglib.dataset.add import add_cases
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.membership import Membership
from segautoconfiglib.dataset.verify import verify_dataset

LABELS = {"background": 0, "organ": 1, "tumour": 2}


def listing(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def described(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return content


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Where a new dataset will be."""
    return tmp_path / "raw" / "Dataset007_Test"


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., list[str]]:
    """Adding is refused, and nothing is written; returns ``case: message`` of each problem."""

    def check(source: Path, folder: Path) -> list[str]:
        before = listing(tmp_path)
        with pytest.raises(ProblemsError) as caught:
            add_cases(source, folder)
        assert listing(tmp_path) == before
        assert all(problem.hint for problem in caught.value.problems)
        return [f"{problem.case}: {problem.message}" for problem in caught.value.problems]

    return check


def test_a_new_dataset(staging: Any, tmp_path: Path, dataset: Path) -> None:
    segments = {"organ": {"color": [0.5, 0.25, 1.0], "terminology": "Segmentation category~..."}}
    source = staging.stage(
        tmp_path / "staging", "a", "b", "t", channels=2, file_ending=".nii.gz", segments=segments,
        cases={"t": {"test": True, "labels": None}},
    )  # fmt: skip
    report = ListReporter()
    result = add_cases(source, dataset, report=report)
    assert result == Membership(("a", "b", "t"), (), training=2, test=1, splits=False)
    assert described(dataset) == {
        "channel_names": {"0": "MR0", "1": "MR1"},
        "labels": LABELS,
        "numTraining": 2,
        "numTest": 1,
        "file_ending": ".nii.gz",
        "segments": segments,
    }
    assert sorted(listing(dataset)) == [
        "dataset.json",
        *(f"imagesTr/{case}_{channel:04d}.nii.gz" for case in "ab" for channel in range(2)),
        *(f"imagesTs/t_{channel:04d}.nii.gz" for channel in range(2)),
        *(f"labelsTr/{case}.nii.gz" for case in "ab"),
    ]
    assert not verify_dataset(load_dataset(dataset), workers=1).problems
    assert [event["stage"] for event in report.of("started")] == ["check", "add-cases"]
    assert [event["case"] for event in report.of("progress")] == ["a", "b", "t"] * 2
    assert not list(dataset.parent.glob(".*"))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".nhdr", ".mhd"])
@pytest.mark.parametrize("direction", ["plain", "flipped", "permuted", "oblique"])
def test_voxels_and_grid_stay_what_they_are(
    staging: Any, tmp_path: Path, dataset: Path, ending: str, direction: str
) -> None:
    source = staging.stage(tmp_path / "staging", "a", file_ending=ending)
    original, marked = staging.image(staging.voxels(5), direction), staging.image(staging.labels(5), direction)
    sitk.WriteImage(original, str(source / "a_0000.nrrd"))
    sitk.WriteImage(marked, str(source / "a_labels.nrrd"))
    add_cases(source, dataset)
    for written, expected in ((f"imagesTr/a_0000{ending}", original), (f"labelsTr/a{ending}", marked)):
        found = sitk.ReadImage(str(dataset / written))
        assert found.GetPixelID() == expected.GetPixelID()
        assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
        for quantity in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert np.allclose(getattr(found, quantity)(), getattr(expected, quantity)(), atol=1e-5)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_images_keep_their_type(staging: Any, tmp_path: Path, dataset: Path, ending: str, dtype: Any) -> None:
    source = staging.stage(tmp_path / "staging", "a", file_ending=ending)
    array = staging.voxels(3, dtype) / (3 if dtype().dtype.kind == "f" else 1)
    sitk.WriteImage(staging.image(array.astype(dtype)), str(source / "a_0000.nrrd"))
    add_cases(source, dataset)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "imagesTr" / f"a_0000{ending}")))
    assert found.dtype == dtype
    assert np.array_equal(found, array.astype(dtype))


def test_label_files_are_as_small_as_their_values_allow(staging: Any, tmp_path: Path, dataset: Path) -> None:
    many = {"background": 0, **{f"part {number}": number for number in range(1, 301)}}
    source = staging.stage(tmp_path / "staging", "a", "b", labels=many)
    sitk.WriteImage(staging.image(staging.labels(1).astype(np.float64)), str(source / "a_labels.nrrd"))
    sitk.WriteImage(staging.image(staging.labels(1).astype(np.int32) * 150), str(source / "b_labels.nrrd"))
    add_cases(source, dataset)
    types = [sitk.ReadImage(str(dataset / "labelsTr" / f"{case}.nrrd")).GetPixelIDTypeAsString() for case in "ab"]
    assert types == ["8-bit unsigned integer", "16-bit unsigned integer"]


def test_a_file_with_all_channels_is_split(staging: Any, tmp_path: Path, dataset: Path) -> None:
    source = staging.stage(tmp_path / "staging", "a", channels=2, cases={"a": {"images": ["both.nrrd"]}})
    sitk.WriteImage(
        sitk.Compose(staging.image(staging.voxels(1)), staging.image(staging.voxels(2))), str(source / "both.nrrd")
    )
    add_cases(source, dataset)
    for channel in range(2):
        found = sitk.ReadImage(str(dataset / "imagesTr" / f"a_{channel:04d}.nrrd"))
        assert np.array_equal(sitk.GetArrayFromImage(found), staging.voxels(channel + 1))


def test_pictures(staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=0, ending=".png")
    source = staging.stage(tmp_path / "staging", "a", "b", "c", channel_names={"0": "MR0"})
    for case, array in (("a", staging.voxels(1, np.uint8)[:1]), ("b", staging.voxels(1)[:1] / np.float32(2))):
        sitk.WriteImage(staging.image(array), str(source / f"{case}_0000.nrrd"))
        sitk.WriteImage(staging.image(staging.labels()[:1]), str(source / f"{case}_labels.nrrd"))
    with pytest.raises(ProblemsError) as caught:
        add_cases(source, folder)
    assert [(problem.case, problem.message) for problem in caught.value.problems] == [
        ("b", "1 slices of float32 can't be stored as .png."),
        ("c", "2 slices of int16 can't be stored as .png."),
    ]
    content = json.loads((source / "cases.json").read_text())
    (source / "cases.json").write_text(json.dumps({**content, "cases": content["cases"][:1]}))
    add_cases(source, folder)
    found = load_dataset(folder)
    assert not verify_dataset(found, workers=1).problems
    assert (
        sitk.GetArrayFromImage(sitk.ReadImage(str(found.cases[0].images[0]))).tolist() == staging.voxels(1)[0].tolist()
    )


def test_more_cases_for_a_dataset(staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=3, name="mine", segments={"organ": {"color": [1, 0, 0]}, "tumour": {"color": [0, 0, 1]}})
    before = listing(folder)
    source = staging.stage(
        tmp_path / "staging", "n", "c1", file_ending=".mha", channel_names={"0": "mr0"},
        cases={"c1": {"replace": True}}, labels={**LABELS, "vein": 3},
        segments={"tumour": {"terminology": "t"}, "vein": {"color": [0, 1, 0]}},
    )  # fmt: skip
    sitk.WriteImage(staging.image(staging.labels(0, highest=3)), str(source / "n_labels.nrrd"))
    result = add_cases(source, folder)
    assert result == Membership(("n",), ("c1",), training=4, test=0, splits=False)
    content = described(folder)
    assert content == {
        **json.loads(before["dataset.json"]),
        "numTraining": 4,
        "labels": {**LABELS, "vein": 3},
        "segments": {
            "organ": {"color": [1, 0, 0]},
            "tumour": {"color": [0, 0, 1], "terminology": "t"},
            "vein": {"color": [0, 1, 0]},
        },
    }
    after = listing(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        "dataset.json", "imagesTr/n_0000.nii.gz", "labelsTr/n.nii.gz", "imagesTr/c1_0000.nii.gz", "labelsTr/c1.nii.gz",
        "removed/c1/imagesTr/c1_0000.nii.gz", "removed/c1/labelsTr/c1.nii.gz",
    }  # fmt: skip
    for name in ("imagesTr/c1_0000.nii.gz", "labelsTr/c1.nii.gz"):
        assert after[f"removed/c1/{name}"] == before[name]
    assert not verify_dataset(load_dataset(folder), workers=1).problems


def test_all_problems_at_once(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    folder = raw_dataset(cases=1, channels=2)
    ids = ("ok", "c0", "lost", "cut", "grid", "mark", "nan", "value", "one", "../up", "a|b", "OK", "C0", "bare", "none")
    source = staging.stage(
        tmp_path / "staging", *(case for case in ids if "/" not in case), channels=2,
        cases={"one": {"images": ["one_0000.nrrd"]}, "bare": {"labels": None}, "none": {"images": []}},
    )  # fmt: skip
    content = json.loads((source / "cases.json").read_text())
    content["cases"].insert(9, {**content["cases"][0], "id": "../up"})
    (source / "cases.json").write_text(json.dumps(content))
    (source / "lost_0001.nrrd").unlink()
    cut = source / "cut_0000.nrrd"
    cut.write_bytes(cut.read_bytes()[:-9])
    sitk.WriteImage(staging.image(staging.voxels(1), "oblique"), str(source / "grid_0001.nrrd"))
    sitk.WriteImage(staging.image(staging.labels()[:, :2]), str(source / "mark_labels.nrrd"))
    array = staging.voxels(1, np.float32)
    array[0, 0, :2] = np.nan, np.inf
    sitk.WriteImage(staging.image(array), str(source / "nan_0001.nrrd"))
    sitk.WriteImage(staging.image(staging.labels(1, highest=4)), str(source / "value_labels.nrrd"))
    found = refused(source, folder)
    parts = [
        "../up: '../up' can't be the name",
        "a|b: 'a|b' can't be the name",
        "c0: the dataset has a case of this name",
        "C0: the dataset has a case c0, which differs only",
        "ok: the name is used 2 times",
        "bare: there is no label map",
        "none: there is no image",
        f"lost: {source / 'lost_0001.nrrd'} does not exist",
        f"cut: {cut}",
        "grid: does not lie on the grid of grid_0000.nrrd: direction",
        "mark: does not lie on the grid of mark_0000.nrrd: shape (2, 3, 4) against (2, 2, 4)",
        "nan: 1 voxels are NaN (no number) and 1 are infinite",
        "value: label values that dataset.json does not declare: 3 (",
        "one: 1 channel where 2 are expected",
    ]
    missing = [part for part in parts if not any(text.startswith(part) for text in found)]
    assert not missing, found
    cases = {text.partition(":")[0] for text in found}
    assert cases == {part.partition(":")[0] for part in parts}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({}, {"channel_names": {"0": "CT"}}, "the channels are CT; those of the dataset are MR0"),
        ({}, {"channel_names": {"0": "MR0", "1": "MR1"}}, "the channels are MR0, MR1"),
        ({}, {"labels": {"background": 0, "tumour": 1}}, "label 'tumour' is 1; in the dataset it is 2"),
        ({}, {"labels": {**LABELS, "Organ": 3}}, "label 'Organ' differs from 'organ' only in upper and lower case"),
        ({}, {"labels": {**LABELS, "vein": 2}}, "'tumour' and 'vein' have the same value"),
        ({}, {"labels": {**LABELS, "vein": 4}}, "not consecutive"),
        (
            {"labels": {**LABELS, "ignore": 3}},
            {"labels": {**LABELS, "vein": 3, "ignore": 4}},
            "the dataset has an ignore label, so it can't get further labels (vein)",
        ),
        (
            {"labels": {"background": 0, "organ": [1, 2], "tumour": 2}, "regions_class_order": [1, 2]},
            {"labels": {"background": 0, "organ": [1, 2], "tumour": 2}, "regions_class_order": [2, 1]},
            "region 'organ' is written as 2; in the dataset as 1",
        ),
    ],
)
def test_contradictions(
    staging: Any,
    tmp_path: Path,
    raw_dataset: Callable[..., Path],
    refused: Callable[..., Any],
    old: Any,
    new: Any,
    says: str,
) -> None:
    assert any(says in text for text in refused(staging.stage(tmp_path / "staging", "n", **new), raw_dataset(**old)))


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ({}, {"labels": {**LABELS, "ignore": 3}}, ({**LABELS, "ignore": 3}, None)),
        ({"labels": {**LABELS, "ignore": 3}}, {"labels": LABELS}, ({**LABELS, "ignore": 3}, None)),
        ({}, {"labels": {"background": 0, "vein": 3, "ignore": 4}}, ({**LABELS, "vein": 3, "ignore": 4}, None)),
        (
            {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]},
            {"labels": {"background": 0, "whole": [1, 2], "core": 2, "vein": 3}, "regions_class_order": [1, 2, 3]},
            ({"background": 0, "whole": [1, 2], "core": 2, "vein": 3}, [1, 2, 3]),
        ),
        ({}, {"labels": None, "channel_names": None}, (LABELS, None)),
    ],
)
def test_labels_grow_at_the_end(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path], old: Any, new: Any, result: Any
) -> None:
    folder = raw_dataset(**old)
    add_cases(staging.stage(tmp_path / "staging", "n", **new), folder)
    content = described(folder)
    assert (content["labels"], content.get("regions_class_order")) == result
    assert list(content["labels"]) == list(result[0])


def test_what_a_new_dataset_lacks(staging: Any, tmp_path: Path, dataset: Path, refused: Callable[..., Any]) -> None:
    found = refused(staging.stage(tmp_path / "staging", "a", labels=None, file_ending=".jpg"), dataset)
    assert [text.partition("; ")[0] for text in found] == [
        ": The key labels is missing.",
        ": file_ending: files ending in '.jpg' can't be read.",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [("{}", "cases: Field required"), ('{"cases": []}', "it names no case"), ("[", "not valid JSON")],
)
def test_cases_json_of_another_form(tmp_path: Path, dataset: Path, content: str, says: str) -> None:
    (tmp_path / "cases.json").write_text(content)
    with pytest.raises(UserError) as caught:
        add_cases(tmp_path, dataset)
    assert says in str(caught.value)
    assert not dataset.parent.exists()


def test_files_of_others_are_not_overwritten(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    files = {"c0": {"images": ["imagesTr/n_0000.nii.gz"], "label": "labelsTr/c0.nii.gz"}}
    folder = raw_dataset(cases=1, dataset=files)
    (folder / "imagesTr" / "c0_0000.nii.gz").rename(folder / "imagesTr" / "n_0000.nii.gz")
    (folder / "labelsTr" / "m.nii.gz").write_bytes(b"")
    source = staging.stage(tmp_path / "staging", "n", "m", cases={"n": {"replace": True}})
    assert refused(source, folder) == [
        "n: there is such a file, of case c0.",
        "m: there is such a file, which belongs to no case.",
    ]


def test_a_dataset_with_a_file_list(staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2)
    elsewhere = tmp_path / "elsewhere"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).rename(elsewhere.with_name(part))
    names = {
        f"c{number}": {"images": [f"../imagesTr/c{number}_0000.nii.gz"], "label": f"../labelsTr/c{number}.nii.gz"}
        for number in range(2)
    }
    (folder / "dataset.json").write_text(json.dumps({**described(folder), "dataset": names}))
    outside = listing(tmp_path / "imagesTr")
    add_cases(
        staging.stage(tmp_path / "staging", "n", "c1", "t", cases={"c1": {"replace": True}, "t": {"test": True}}),
        folder,
    )
    content = described(folder)
    assert content["dataset"] == {
        "c0": names["c0"],
        "c1": {"images": ["imagesTr/c1_0000.nii.gz"], "label": "labelsTr/c1.nii.gz"},
        "n": {"images": ["imagesTr/n_0000.nii.gz"], "label": "labelsTr/n.nii.gz"},
    }
    assert (content["numTraining"], content["numTest"]) == (3, 1)
    assert not verify_dataset(load_dataset(folder), workers=1).problems
    assert listing(tmp_path / "imagesTr") == outside


def test_a_case_becomes_a_test_case_and_comes_back(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]
) -> None:
    folder = raw_dataset(cases=2)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["c0"], "val": ["c1"]}]))
    source = staging.stage(tmp_path / "staging", "c1", cases={"c1": {"replace": True, "test": True}})
    result = add_cases(source, folder)
    assert result == Membership((), ("c1",), training=1, test=1, splits=True)
    assert json.loads((folder / "splits_final.json").read_text()) == [{"train": ["c0"], "val": []}]
    kept = ["removed/c1/imagesTr/c1_0000.nii.gz", "removed/c1/labelsTr/c1.nii.gz"]
    names = sorted(name for name in listing(folder) if "c1" in name)
    assert names == ["imagesTs/c1_0000.nii.gz", "labelsTs/c1.nii.gz", *kept]
    add_cases(staging.stage(tmp_path / "back", "c1", cases={"c1": {"replace": True}}), folder)
    assert sorted(name for name in listing(folder) if "c1" in name) == [
        "imagesTr/c1_0000.nii.gz",
        "labelsTr/c1.nii.gz",
        *kept,
        "removed/c1_2/imagesTs/c1_0000.nii.gz",
        "removed/c1_2/labelsTs/c1.nii.gz",
    ]
    assert (described(folder)["numTraining"], described(folder)["numTest"]) == (2, 0)


def test_old_forms_of_dataset_json_are_brought_up_to_date(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]
) -> None:
    folder = raw_dataset(
        channel_names=None, file_ending=None, modality={"0": "MR0"},
        labels={"0": "background", "1": "organ", "2": "tumour"}, licence="kept",
    )  # fmt: skip
    add_cases(staging.stage(tmp_path / "staging", "n"), folder)
    assert described(folder) == {
        "channel_names": {"0": "MR0"}, "labels": LABELS, "numTraining": 4, "file_ending": ".nii.gz", "licence": "kept",
    }  # fmt: skip


def test_own_splits_get_the_new_cases(staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=4)  # c3 is left out on purpose
    folds = [{"train": ["c0"], "val": ["c1", "c2"]}, {"train": ["c1", "c2"], "val": ["c0"]}]
    (folder / "splits_final.json").write_text(json.dumps(folds))
    assert add_cases(staging.stage(tmp_path / "staging", "m", "n", "t", cases={"t": {"test": True}}), folder).splits
    assert json.loads((folder / "splits_final.json").read_text()) == [
        {"train": ["c0", "m"], "val": ["c1", "c2", "n"]},
        {"train": ["c1", "c2", "n"], "val": ["c0", "m"]},
    ]


def test_a_folder_that_is_no_dataset(staging: Any, tmp_path: Path, dataset: Path) -> None:
    (dataset / "imagesTr").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds files, but no dataset\.json"):
        add_cases(staging.stage(tmp_path / "staging", "a"), dataset)


def test_too_little_room(
    staging: Any, tmp_path: Path, dataset: Path, refused: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = staging.stage(tmp_path / "staging", "a")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    assert refused(source, dataset) == [": the new files need up to 0.0 GB, 0.0 GB are free."]


def test_a_stop_between_two_cases_changes_nothing(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path]
) -> None:
    folder = raw_dataset()
    before, cancel = listing(folder), CancelToken()

    def report(kind: str, **data: Any) -> None:
        if kind == "progress" and data["stage"] == "add-cases":
            cancel.cancel()

    with pytest.raises(Cancelled):
        add_cases(staging.stage(tmp_path / "staging", "m", "n"), folder, report=report, cancel=cancel)
    assert listing(folder) == before
    with pytest.raises(Cancelled):
        add_cases(
            tmp_path / "staging", folder.with_name("Dataset008_New"), report=report, cancel=CancelToken() and cancel
        )
    assert not folder.with_name("Dataset008_New").exists()


KILLED = """
import os, sys
from pathlib import Path
from segautoconfiglib.dataset import add, change
place, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
count = 0
def die(*arguments, **options):
    global count
    count += 1
    if count > int(place.partition(":")[2] or 0):
        os._exit(9)
    return original(*arguments, **options)
module, name = {"convert": (add, "write_labels"), "note": (change, "_complete"), "move": (change, "_move"),
                "json": (change, "write_json")}[place.partition(":")[0]]
original = getattr(module, name)
setattr(module, name, die)
add.add_cases(source, folder, workers=0)
"""


@pytest.mark.parametrize("place", ["convert:1", "note:1", "move:1", "move:3", "json"])
def test_a_run_that_was_killed_is_completed_by_the_next(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path], place: str
) -> None:
    folder = raw_dataset(cases=2)
    source = staging.stage(tmp_path / "staging", "n", "c1", cases={"c1": {"replace": True}})
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, place, str(source), str(folder)], env=dict(os.environ), check=False, timeout=60
    )
    assert killed.returncode == 9
    assert len(load_dataset(folder).cases) in (2, 3)
    result = add_cases(source, folder)
    assert result.training == 3
    assert "n" in result.cases
    found = load_dataset(folder)
    assert not verify_dataset(found, workers=1).problems
    assert not (folder / change.PENDING).exists()
    for number, case in enumerate(("n", "c1")):
        written = sitk.ReadImage(str(folder / "imagesTr" / f"{case}_0000.nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(written), staging.voxels(number))


def test_one_process_at_a_time(
    staging: Any, tmp_path: Path, raw_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = raw_dataset()
    monkeypatch.setattr(change, "LOCK_PATIENCE_S", 0.1)
    with (
        alone(folder.with_name(f".{folder.name}.lock"), "Another"),
        pytest.raises(UserError, match="another process is at it"),
    ):
        add_cases(staging.stage(tmp_path / "staging", "n"), folder)


def test_several_processes(staging: Any, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add_check, "workers_for_files", lambda files, size, requested: 2)
    assert add_cases(staging.stage(tmp_path / "staging", "a", "b", "c"), dataset).training == 3
    assert not verify_dataset(load_dataset(dataset), workers=1).problems


def test_empty_label_maps_are_mentioned(staging: Any, tmp_path: Path, dataset: Path) -> None:
    source, report = staging.stage(tmp_path / "staging", "a", "b"), ListReporter()
    sitk.WriteImage(staging.image(0 * staging.labels()), str(source / "b_labels.nrrd"))
    add_cases(source, dataset, report=report)
    assert [event["message"] for event in report.of("warning")] == ["Only background in the label maps of b."]
