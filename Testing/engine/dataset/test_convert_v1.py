"""Tasks of nnU-Net v1 become raw datasets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.convert_v1 import convert_v1, v1_name
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.verify import verify_dataset


def save(file: Path, value: int = 1, frames: int = 1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [sitk.GetImageFromArray(np.full((2, 3, 4), value + frame, np.int16)) for frame in range(frames)]
    sitk.WriteImage(sitk.JoinSeries(images) if frames > 1 else images[0], str(file))


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Path]:
    """``task(channels=1, without=(), **dataset_json)`` writes Task100_Liver with two training and two test cases."""

    def write(channels: int = 1, without: tuple[str, ...] = (), **changes: Any) -> Path:
        folder = tmp_path / "Task100_Liver"
        for case in ("a_1", "b_2"):
            for channel in range(channels):
                save(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", 10 + channel)
            save(folder / "labelsTr" / f"{case}.nii.gz")
        for channel in range(channels):
            save(folder / "imagesTs" / f"c_3_{channel:04d}.nii.gz", 20 + channel)
        content = {
            "name": "LIVER",
            "description": "",
            "tensorImageSize": "4D",
            "reference": "x",
            "licence": "y",
            "release": "1.0",
            "modality": {str(channel): f"M{channel}" for channel in range(channels)},
            "labels": {"0": "background", "1": "liver"},
            "numTraining": 2,
            "numTest": 1,
            "training": [
                {"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in ("a_1", "b_2")
            ],
            "test": ["./imagesTs/c_3.nii.gz"],
            **changes,
        }
        text = json.dumps({key: value for key, value in content.items() if key not in without}, indent=1)
        (folder / "dataset.json").write_text(text)
        return folder

    return write


def target(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "Dataset100_Liver"


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_tidy_task(task: Any, tmp_path: Path) -> None:
    source, report = task(channels=2), ListReporter()
    folder = convert_v1(source, target(tmp_path), report=report)
    before, after = files(source), files(folder)
    content = json.loads(after.pop("dataset.json"))
    del before["dataset.json"]
    assert after == before  # byte for byte
    assert content == {  # what nnunetv2 2.8.1 makes of it
        "name": "LIVER",
        "description": "",
        "reference": "x",
        "licence": "y",
        "release": "1.0",
        "channel_names": {"0": "M0", "1": "M1"},
        "labels": {"background": 0, "liver": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert report.of("warning") == []
    assert verify_dataset(load_dataset(folder)).problems == []


@pytest.mark.parametrize("labels", [{"0": "Background", "1": "liver"}, {"bg": 0, "liver": 1}])
def test_value_0_is_called_background(task: Any, tmp_path: Path, labels: dict[str, Any]) -> None:
    report = ListReporter()
    folder = convert_v1(task(labels=labels), target(tmp_path), report=report)
    assert load_dataset(folder).description.labels == {"background": 0, "liver": 1}
    name = labels.get("0", "bg")
    assert [data["message"] for data in report.of("log")] == [
        f"Label 0, {name!r} so far, is called background in the dataset."
    ]
    assert report.of("warning") == []


def test_optional_keys_may_be_missing(task: Any, tmp_path: Path) -> None:
    source = task(without=("tensorImageSize", "numTest", "test", "training", "numTraining", "name"))
    folder = convert_v1(source, target(tmp_path))
    assert load_dataset(folder).description.numTraining == 2


def test_untidiness_is_accepted_and_told(task: Any, tmp_path: Path) -> None:
    source = task(
        relase="0.0", without=("release",), numTraining=7,
        test=[{"image": "./imagesTs/c_3.nii.gz"}, {"image": "./imagesTs/d_0007.nii.gz"}],
    )  # fmt: skip
    save(source / "imagesTs" / "d_0007.nii.gz")
    file = source / "dataset.json"
    text = file.read_text().replace("\n}", ",\n}").replace('"x"', '"a, ]"')
    file.write_text(text)
    report = ListReporter()
    folder = convert_v1(source, target(tmp_path), report=report)
    assert [data["message"] for data in report.of("warning")] == [
        f"{file} has commas after the last entry of a list or object; they were passed over.",
        "The key relase was read as release.",
        "1 image in imagesTs without _0000 in the name (d_0007): added.",
        "numTraining is 7; there are 2 training cases.",
    ]
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["release"], content["reference"], content["numTraining"]) == ("0.0", "a, ]", 2)
    assert sorted(path.name for path in (folder / "imagesTs").iterdir()) == ["c_3_0000.nii.gz", "d_0007_0000.nii.gz"]


def test_several_channels_in_one_file_are_split(task: Any, tmp_path: Path) -> None:
    source = task(channels=2)
    for channel in range(2):
        (source / "imagesTs" / f"c_3_{channel:04d}.nii.gz").unlink()
    save(source / "imagesTs" / "c_3.nii.gz", 5, frames=2)
    folder = convert_v1(source, target(tmp_path))
    read = [sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "imagesTs" / f"c_3_000{c}.nii.gz"))) for c in range(2)]
    assert [int(array.max()) for array in read] == [5, 6]


def test_all_faults_at_once_and_nothing_written(task: Any, tmp_path: Path) -> None:
    source = task(channels=2, labels={"0": "background", "2": "liver"})
    (source / "imagesTr" / "a_1_0001.nii.gz").unlink()
    (source / "labelsTr" / "b_2.nii.gz").unlink()
    (source / "imagesTs" / "c_3_0000.nii.gz").write_bytes(b"")
    with pytest.raises(ProblemsError) as caught:
        convert_v1(source, target(tmp_path))
    found = [(problem.case, problem.message) for problem in caught.value.problems]
    assert found[0] == ("b_2", "the image has no label.")
    assert found[1] == ("a_1", "channel 1 is missing.")
    assert found[2][0] == "c_3"
    assert "not consecutive" in found[3][1]
    assert not target(tmp_path).exists()


def test_an_existing_dataset_is_not_touched(task: Any, tmp_path: Path) -> None:
    source = task()
    folder = convert_v1(source, target(tmp_path))
    before = files(folder)
    with pytest.raises(UserError, match="Dataset id 100 exists already"):
        convert_v1(source, folder)
    assert files(folder) == before
    (folder / "dataset.json").unlink()  # as after an interruption
    (folder / "imagesTr" / "a_1_0000.nii.gz").unlink()
    convert_v1(source, folder)
    assert files(folder) == before


def test_names(tmp_path: Path) -> None:
    assert v1_name(tmp_path / "Task7_My_Task") == "Dataset007_My_Task"
    with pytest.raises(UserError, match="no name of a v1 task"):
        v1_name(tmp_path / "Liver")
