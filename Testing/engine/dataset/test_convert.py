"""Decathlon folders become raw datasets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, ProblemsError, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.convert import convert_msd
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.verify import verify_dataset
from segautoconfiglib.image.files import read_header, read_image


def frame(value: int) -> sitk.Image:
    image = sitk.GetImageFromArray(np.full((2, 3, 4), value, np.int16))
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((-7.0, 2.0, 1.5))
    image.SetDirection((-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0))
    return image


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Path]:
    """``task(cases=2, channels=1, tests=0, **dataset_json)`` writes Task05_Prostate."""

    def write(cases: int = 2, channels: int = 1, tests: int = 0, **changes: Any) -> Path:
        folder = tmp_path / "Task05_Prostate"
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        names = [f"prostate_{index:02d}" for index in range(cases + tests)]
        for index, name in enumerate(names):
            frames = [frame(10 * index + channel) for channel in range(channels)]
            image = sitk.JoinSeries(frames) if channels > 1 else frames[0]
            part = folder / ("imagesTr" if index < cases else "imagesTs")
            part.mkdir(exist_ok=True)
            sitk.WriteImage(image, str(part / f"{name}.nii.gz"))
            if index < cases:
                sitk.WriteImage(sitk.Cast(frame(1), sitk.sitkUInt8), str(folder / "labelsTr" / f"{name}.nii.gz"))
        content = {
            "name": "PROSTATE",
            "relase": "1.0",
            "tensorImageSize": "4D",
            "modality": {str(channel): f"M{channel}" for channel in range(channels)},
            "labels": {"0": "background", "1": "PZ"},
            "numTraining": 99,
            "numTest": 9,
            "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names[:cases]],
            "test": [f"./imagesTs/{n}.nii.gz" for n in names[cases:]],
            **changes,
        }
        (folder / "dataset.json").write_text(json.dumps(content))
        return folder

    return write


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_value_0_is_called_background(task: Callable[..., Path], tmp_path: Path) -> None:
    report = ListReporter()
    folder = convert_msd(task(labels={"0": "Background", "1": "PZ"}), tmp_path / "raw", workers=1, report=report)
    assert load_dataset(folder).description.labels == {"background": 0, "PZ": 1}
    assert [data["message"] for data in report.of("log")] == [
        "Label 0, 'Background' so far, is called background in the dataset."
    ]


def test_channels_are_split_and_keep_type_and_geometry(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(cases=2, channels=2, tests=1)
    for junk in ("._prostate_00.nii.gz", "_prostate_00.nii.gz", ".DS_Store"):
        (source / "imagesTr" / junk).touch()
    folder = convert_msd(source, tmp_path / "raw", workers=1)
    assert folder == tmp_path / "raw" / "Dataset005_Prostate"
    assert tree(folder) == [
        "dataset.json",
        *(f"imagesTr/prostate_0{case}_000{channel}.nii.gz" for case in range(2) for channel in range(2)),
        *(f"imagesTs/prostate_02_000{channel}.nii.gz" for channel in range(2)),
        "labelsTr/prostate_00.nii.gz",
        "labelsTr/prostate_01.nii.gz",
    ]
    assert json.loads((folder / "dataset.json").read_text()) == {
        "name": "PROSTATE",
        "relase": "1.0",
        "tensorImageSize": "4D",
        "channel_names": {"0": "M0", "1": "M1"},
        "labels": {"background": 0, "PZ": 1},
        "numTraining": 2,
        "numTest": 1,
        "file_ending": ".nii.gz",
    }
    for channel in range(2):
        file = folder / "imagesTr" / f"prostate_01_000{channel}.nii.gz"
        assert read_header(file).dtype == np.int16
        volume = read_image([file])
        assert np.all(volume.array == 10 + channel)
        single = read_header(source / "labelsTr" / "prostate_01.nii.gz").geometry
        assert volume.geometry.differences(single, 1e-6) == []
    assert verify_dataset(load_dataset(folder), workers=1).problems == []


def test_3d_files_are_copied_byte_for_byte(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task()
    folder = convert_msd(source, tmp_path / "raw")
    for case in ("prostate_00", "prostate_01"):
        image = folder / "imagesTr" / f"{case}_0000.nii.gz"
        assert image.read_bytes() == (source / "imagesTr" / f"{case}.nii.gz").read_bytes()
        assert image.stat().st_nlink == 1
        assert (folder / "labelsTr" / f"{case}.nii.gz").read_bytes() == (
            source / "labelsTr" / f"{case}.nii.gz"
        ).read_bytes()


def test_other_formats_become_nifti(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(cases=1)
    old = source / "imagesTr" / "prostate_00.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(old)), str(old).replace(".nii.gz", ".mha"))
    old.unlink()
    folder = convert_msd(source, tmp_path / "raw")
    assert np.all(read_image([folder / "imagesTr" / "prostate_00_0000.nii.gz"]).array == 0)


def test_test_images_as_objects_or_absent(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(test=[{"image": "./imagesTs/lost.nii.gz"}])
    reporter = ListReporter()
    folder = convert_msd(source, tmp_path / "raw", report=reporter)
    assert not (folder / "imagesTs").exists()
    (warning,) = reporter.of("warning")
    assert "lost" in warning["message"]


def test_own_id_and_name(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(cases=1)
    assert convert_msd(source, tmp_path / "raw", dataset_id=1234).name == "Dataset1234_Prostate"
    other = source.rename(tmp_path / "MyFolder")
    with pytest.raises(UserError, match="'MyFolder' is not a Decathlon name"):
        convert_msd(other, tmp_path / "raw", dataset_id=7)
    with pytest.raises(UserError, match="make no dataset name"):
        convert_msd(other, tmp_path / "raw", dataset_id=7, name="a/b")
    assert convert_msd(other, tmp_path / "raw", dataset_id=7, name="B_c").name == "Dataset007_B_c"


def test_all_problems_before_anything_is_written(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(cases=4, labels={"0": "background", "2": "PZ"})
    (source / "labelsTr" / "prostate_00.nii.gz").unlink()
    cut = source / "imagesTr" / "prostate_01.nii.gz"
    cut.write_bytes(cut.read_bytes()[:70])
    sitk.WriteImage(sitk.JoinSeries([frame(0), frame(1)]), str(source / "imagesTr" / "prostate_02.nii.gz"))
    (source / "imagesTr" / "prostate_03.nii.gz").unlink()
    with pytest.raises(ProblemsError, match="can't be converted") as caught:
        convert_msd(source, tmp_path / "raw")
    text = [str(problem) for problem in caught.value.problems]
    for part in (
        "prostate_00: the image has no label",
        "prostate_03: dataset.json lists it, but it is not in imagesTr",
        "dataset.json: labels: the numbers 0, 2 are not consecutive",
        r"prostate_01: .* is damaged",
        r"prostate_02: .*: the file has 2 channels where 1 are expected",
    ):
        assert any(re.search(part, line) for line in text), (part, text)
    assert len(text) == 5
    assert not (tmp_path / "raw").exists()


def test_unlisted_images_without_label_are_left_out_with_a_warning(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(cases=2)
    sitk.WriteImage(frame(0), str(source / "imagesTr" / "stray.nii.gz"))
    sitk.WriteImage(frame(0), str(source / "labelsTr" / "lone.nii.gz"))
    reporter = ListReporter()
    folder = convert_msd(source, tmp_path / "raw", report=reporter)
    assert [re.findall("stray|lone", event["message"]) for event in reporter.of("warning")] == [["stray"], ["lone"]]
    assert len(load_dataset(folder).cases) == 2


def test_an_id_that_exists_is_refused(task: Callable[..., Path], tmp_path: Path) -> None:
    source = task(cases=1)
    folder = convert_msd(source, tmp_path / "raw")
    before = tree(folder)
    with pytest.raises(UserError, match=r"id 5 exists already: .*Dataset005_Prostate"):
        convert_msd(source, tmp_path / "raw")
    with pytest.raises(UserError, match="id 5 exists already"):
        convert_msd(source, tmp_path / "raw", name="Other")
    assert tree(tmp_path / "raw" / "Dataset005_Prostate") == before


def test_a_stopped_conversion_leaves_whole_files_and_is_completed_later(
    task: Callable[..., Path], tmp_path: Path
) -> None:
    source = task(cases=3)
    token = CancelToken()

    def stop_after_two(kind: str, **data: Any) -> None:
        if kind == "progress" and data["done"] == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        convert_msd(source, tmp_path / "raw", report=stop_after_two, cancel=token)
    folder = tmp_path / "raw" / "Dataset005_Prostate"
    assert tree(folder) == ["imagesTr/prostate_00_0000.nii.gz", "imagesTr/prostate_01_0000.nii.gz"]
    (folder / "imagesTr" / ".partial-x-prostate_02_0000.nii.gz").touch()  # of a process that was killed
    assert convert_msd(source, tmp_path / "raw") == folder
    assert len(load_dataset(folder).cases) == 3


def test_a_foreign_folder_without_dataset_json_is_not_touched(task: Callable[..., Path], tmp_path: Path) -> None:
    mine = tmp_path / "raw" / "Dataset005_Prostate" / "imagesTr" / "mine_0000.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(UserError, match="exists already"):
        convert_msd(task(cases=1), tmp_path / "raw")
    assert tree(tmp_path / "raw") == ["Dataset005_Prostate/imagesTr/mine_0000.nii.gz"]


def test_folders_that_are_no_task(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        convert_msd(tmp_path / "Task01_Absent", tmp_path / "raw")
    (tmp_path / "Task01_Empty").mkdir()
    with pytest.raises(UserError, match=r"dataset\.json does not exist"):
        convert_msd(tmp_path / "Task01_Empty", tmp_path / "raw")


def test_hippocampus(shared_data: Path, tmp_path: Path) -> None:
    folder = convert_msd(shared_data / "Task04_Hippocampus", tmp_path)
    assert folder.name == "Dataset004_Hippocampus"
    dataset = load_dataset(folder)
    assert len(dataset.cases) == dataset.description.numTraining == 200
    assert dataset.description.label_spec.names == {1: "Anterior", 2: "Posterior"}
    report = verify_dataset(dataset)
    assert (report.problems, report.warnings) == ([], [])
