"""Commands that make raw datasets of what people have, and put them right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segautoconfiglib.image.files import read_header, read_labels, write_image
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 1.0))
JSONL = ("--events", "jsonl")
NEW = "Dataset009_New"


def write(file: Path, *values: int, geometry: Geometry = GRID) -> None:
    """A volume (2, 3, 4) that begins with these values."""
    array = np.zeros(24, np.int16)
    array[: len(values)] = values
    write_image(array.reshape(2, 3, 4), file, geometry)


def first(file: Path) -> list[int]:
    return [int(value) for value in read_labels(file).array.ravel()[:3]]


@pytest.fixture
def new(workspace: Path) -> Path:
    """The raw folder of the dataset that is made."""
    return workspace / "nnUNet_raw" / NEW


def test_from_folder_then_split_repair_and_verify(cli: Any, tmp_path: Path, new: Path) -> None:
    for case in "abcd":
        write(tmp_path / "i" / f"{case}.nii.gz", -900, 50)
        write(tmp_path / "l" / f"{case}_seg.nrrd", 255)
    words = (tmp_path / "i", tmp_path / "l", "--labels", "organ=255", "--rename", "case", "--workers", 0)
    outcome = cli("from-folder", NEW, *words, *JSONL)
    assert outcome.code == 0, outcome.err
    done = next(data for data in outcome.of("done") if data["stage"] == "from-folder")
    assert (done["dataset"], done["training"], done["test"]) == (NEW, 4, 0)
    assert any(data["message"].startswith("Channels: CT (guessed") for data in outcome.of("log"))

    assert cli("split", 9, "--test", "25%", "--folds", 3).code == 0
    assert len(list((new / "labelsTr").iterdir())) == 3
    assert len(list((new / "labelsTs").iterdir())) == 1
    assert len(json.loads((new / "splits_final.json").read_text())) == 3

    label = next((new / "labelsTr").iterdir())
    write(label, 7, geometry=Geometry((3.0, 1.0, 1.0), (1e-4, 0.0, 0.0)))
    kept = label.read_bytes()
    outcome = cli("repair", 9, "--map", "7=1", *JSONL)
    assert label.read_bytes() == kept
    name = label.name.removesuffix(".nii.gz")
    expected = f"{name}: {label.name}: values 7 to 1; origin as in the image"
    assert expected in [data["message"] for data in outcome.of("log")]
    assert cli("repair", 9, "--map", "7=1", "--apply").code == 0
    assert first(label) == [1, 0, 0]
    assert (new / "replaced" / name / "labelsTr" / label.name).read_bytes() == kept
    assert cli("verify", 9).code == 0


def test_a_repair_of_nothing_names_no_folder_of_old_files(cli: Any, raw: Path) -> None:
    def done(*words: str) -> dict[str, Any]:
        outcome = cli("repair", 7, *words, *JSONL)
        assert outcome.code == 0, outcome.err
        return next(data for data in outcome.of("done") if data["stage"] == "repair")

    assert "replaced" not in done()
    assert "replaced" not in done("--apply")
    assert "replaced" not in done("--labels", "organ=1,2")
    assert done("--labels", "organ=1,2", "--apply")["replaced"] == str(raw / "replaced")
    assert (raw / "replaced" / "dataset.json").is_file()


def test_from_masks(cli: Any, tmp_path: Path, new: Path) -> None:
    write(tmp_path / "s" / "p1" / "ct.nii.gz", -900)
    write(tmp_path / "s" / "p1" / "segmentations" / "left.nii.gz", 1)
    write(tmp_path / "s" / "p1" / "segmentations" / "right.nii.gz", 0, 255)
    write(tmp_path / "s" / "p1" / "segmentations" / "stone.nii.gz", 0, 1)
    words = ("--labels", "kidney=left,right", "stone", "--channels", "CT", "--ending", "nrrd", "--workers", 0)
    outcome = cli("from-masks", NEW, tmp_path / "s", *words, *JSONL)
    assert outcome.code == 0, outcome.err
    assert first(new / "labelsTr" / "p1.nrrd") == [1, 2, 0]
    assert [data["message"] for data in outcome.of("warning")] == [
        "Masks overlap in 1 case (p1) (stone over kidney: 1 voxel)."
    ]


def test_from_csv(cli: Any, tmp_path: Path, new: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.nrrd", 5)
        write(tmp_path / f"{name}-label.nrrd", 1)
    (tmp_path / "list.csv").write_text("image;label\na.nrrd;a-label.nrrd\nb.nrrd;b-label.nrrd\n")
    assert cli("from-csv", NEW, tmp_path / "list.csv", "--labels", "organ", "--workers", 0).code == 0
    assert sorted(path.name for path in (new / "labelsTr").iterdir()) == ["a.nrrd", "b.nrrd"]


@pytest.mark.parametrize("words", [("convert-v1", NEW), ("nnUNetv2_convert_old_nnUNet_dataset", NEW), ("convert-v1",)])
def test_v1_tasks(cli: Any, tmp_path: Path, raw: Path, new: Path, words: tuple[str, ...]) -> None:
    task = tmp_path / "Task009_New"
    shutil.move(raw, task)
    content = json.loads((task / "dataset.json").read_text())
    old = {"modality": content["channel_names"], "labels": {"0": "background", "1": "organ", "2": "core"}}
    (task / "dataset.json").write_text(json.dumps(old))
    command, *name = words
    outcome = cli(command, task, *name)
    assert outcome.code == 0, outcome.err
    assert json.loads((new / "dataset.json").read_text()) == content
    assert cli("verify", 9).code == 0


def test_dicom_folders_are_segmented(cli: Any, trained: Path, tmp_path: Path, dicom_series: Any) -> None:
    dicom_series(tmp_path / "in" / "p1", (0, 3, 6, 9))
    model = next((trained / "nnUNet_results").glob("*/*__*__*"))
    words = (
        "-i",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--model",
        model,
        "-f",
        0,
        "--device",
        "cpu",
        "--workers",
        0,
    )
    outcome = cli("predict", *words)
    assert outcome.code == 0, outcome.err
    made, asked = read_header(tmp_path / "out" / "p1.nii.gz"), read_header(tmp_path / "in" / "p1")
    assert made.shape == asked.shape == (4, 3, 4)
    assert asked.geometry.differences(made.geometry) == []


class TestBadInput:
    """One clear error, nothing written."""

    def test_folders_that_do_not_fit(self, refused: Any, tmp_path: Path) -> None:
        write(tmp_path / "i" / "a.nii.gz", 1)
        write(tmp_path / "l" / "b.nii.gz", 1)
        refused("from-folder", NEW, tmp_path / "none", tmp_path / "l", says=["There is no folder"])
        refused("from-folder", NEW, tmp_path / "i", tmp_path / "l", says=["a: ", "no label map of its name"])
        refused("from-folder", NEW, tmp_path / "i", says=["do not tell images from label maps"])
        refused("from-folder", NEW, tmp_path / "i", tmp_path / "l", "--labels", "a=x", says=["'a=x'"])
        refused("from-masks", NEW, tmp_path / "i", says=["has no images with masks"])
        refused("from-csv", NEW, tmp_path / "list.csv", says=["Can't read"])
        refused("convert-v1", tmp_path / "i", says=["no name of a v1 task"])

    def test_names_that_are_taken(self, refused: Any, raw: Path, tmp_path: Path) -> None:
        write(tmp_path / "i" / "c0.nii.gz", 1)
        write(tmp_path / "l" / "c0.nii.gz", 1)
        folders = (tmp_path / "i", tmp_path / "l", "--workers", 0)
        refused("from-folder", 7, *folders, says=["c0", "has a case of this name"])
        refused("from-folder", "Dataset007_Other", *folders, says=["number 7"])
        refused("from-folder", 99, *folders, says=["no dataset with id 99"])

    def test_an_alpha_channel_is_called_so(self, refused: Any, tmp_path: Path) -> None:
        for folder, mode in (("i", "LA"), ("l", "L")):
            (tmp_path / folder).mkdir()
            Image.new(mode, (6, 5), 1 if mode == "L" else (9, 128)).save(tmp_path / folder / "a.png")
        said = "for 2 in the images (grey and alpha, the transparency)"
        refused("from-folder", NEW, tmp_path / "i", tmp_path / "l", "--channels", "grey", says=[said, "without its"])

    def test_repairs_and_splits(self, refused: Any, raw: Path) -> None:
        refused("repair", 7, "--map", "x", says=["'x' is no change of a label value"])
        refused("repair", 7, "--apply", "--dry-run", says=["contradict"])
        refused("split", 7, says=["Nothing to do"])
        refused("split", 7, "--test", "100%", says=["5 of 5 cases"])
        refused("split", 7, "--test", "c9", "c0", says=["c9"])
        refused("split", 7, "--folds", "5", "--group", "x", says=["'x' finds nothing", "c4"])


def test_folds_that_lose_all_their_cases_are_told(cli: Any, tmp_path: Path, new: Path) -> None:
    for case in ("p1_a", "p1_b", "p2_a", "p2_b", "p3_a"):
        write(tmp_path / "i" / f"{case}.nii.gz", 5)
        write(tmp_path / "l" / f"{case}.nii.gz", 1)
    assert cli("from-folder", NEW, tmp_path / "i", tmp_path / "l", "--channels", "MRI").code == 0
    assert cli("split", 9, "--folds", 3, "--group", "(p[0-9])").code == 0
    folds = [fold["val"] for fold in json.loads((new / "splits_final.json").read_text())]
    alone = folds.index(["p3_a"])
    outcome = cli("split", 9, "--test", "p1_a", *JSONL)
    assert not [data for data in outcome.of("warning") if "empty" in data["message"]]
    outcome = cli("split", 9, "--test", "p3_a", *JSONL)
    (warning,) = [data for data in outcome.of("warning") if "empty" in data["message"]]
    assert warning["message"] == f"Fold {alone} of splits_final.json is empty now."
    assert f"split {NEW} --folds 2 --overwrite" in warning["hint"]
