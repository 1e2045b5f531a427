"""Which files a task writes, and what is in them."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.image.files import read_labels
from segautoconfiglib.image.label_names import read_label_names, write_label_names
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.tasks.output.label_files import output_files, tracked, write_masks

GRID = Geometry((3.0, 1.0, 2.0), (1.0, 2.0, 3.0))
NAMES = {1: "spleen", 4: "liver", 9: "colon"}


def some_labels() -> np.ndarray:
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1:3], labels[2, 3, 4], labels[1, 2, 2] = 1, 4, 7
    return labels


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_every_structure_gets_a_mask_found_or_not(ending: str, tmp_path: Path) -> None:
    labels, report = some_labels(), ListReporter()
    files = write_masks(labels, tmp_path / "out", GRID, NAMES, ending=ending, workers=2, report=report)
    assert [file.name for file in files] == [f"spleen{ending}", f"liver{ending}", f"colon{ending}"]
    assert sorted(tmp_path.rglob("*.*")) == sorted(files)
    for label, file in zip(NAMES, files, strict=True):
        mask = read_labels(file)
        np.testing.assert_array_equal(mask.array[0], labels == label)
        assert mask.geometry.differences(GRID) == []
    assert [event["done"] for event in report.of("progress")] == [1, 2, 3]


def test_one_file_has_all_structures_and_their_names(tmp_path: Path) -> None:
    file = tmp_path / "x.nii.gz"
    write_label_names(some_labels(), file, GRID, NAMES)
    np.testing.assert_array_equal(read_labels(file).array[0], some_labels())
    assert read_label_names(file) == NAMES


def test_writing_can_be_stopped(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        write_masks(some_labels(), tmp_path, GRID, NAMES, cancel=cancel)


def test_formats_of_two_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.mhd"):
        write_masks(some_labels(), tmp_path, GRID, NAMES, ending=".mhd")


def test_nothing_more_is_written_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while an earlier mask is still being written."""
    tried, another = [], Event()

    def full(_: np.ndarray, file: Path, *__: Any, **___: Any) -> None:
        tried.append(file.name)
        if file.name == "s1.nii.gz":
            another.wait(0.5)
        elif file.name == "s2.nii.gz":
            raise UserError("The disk is full.")
        else:
            another.set()

    monkeypatch.setattr("segautoconfiglib.tasks.output.label_files.write_label_names", full)
    names = {label: f"s{label}" for label in range(1, 100)}
    with pytest.raises(UserError, match="full"):
        write_masks(some_labels(), tmp_path, GRID, names, workers=2)
    assert sorted(tried) == ["s1.nii.gz", "s2.nii.gz"]


@pytest.mark.parametrize(
    ("output", "types", "multilabel", "expected"),
    [
        ("out", ("nifti",), False, {"nifti": "out"}),
        ("out", ("nifti",), True, {"nifti": "out/total_segmentation.nii.gz"}),
        ("x.seg.nrrd", ("nifti",), True, {"nifti": "x.seg.nrrd"}),
        ("out.v2", ("dicom_seg",), False, {"dicom_seg": "out.v2/total_segmentation_seg.dcm"}),
        ("a.dcm", ("dicom_rtstruct",), False, {"dicom_rtstruct": "a.dcm"}),
        (
            "a.seg.nrrd", ("nifti", "dicom_seg"), False, {"nifti": "a.seg.nrrd", "dicom_seg": "a_seg.dcm"}
        ),
        ("a.DCM", ("nifti", "dicom_seg"), False, {"nifti": "a.nii.gz", "dicom_seg": "a_seg.dcm"}),
        (
            "b/a.nii.gz", ("nifti", "dicom_seg", "dicom_rtstruct"), False,
            {"nifti": "b/a.nii.gz", "dicom_seg": "b/a_seg.dcm", "dicom_rtstruct": "b/a_rtstruct.dcm"},
        ),
        (
            "out", ("dicom_seg", "nifti"), True,
            {"dicom_seg": "out/total_segmentation_seg.dcm", "nifti": "out/total_segmentation.nii.gz"},
        ),
    ],
)  # fmt: skip
def test_where_files_go(output: str, types: tuple, multilabel: bool, expected: dict[str, str], tmp_path: Path) -> None:
    found = output_files(tmp_path / output, types, multilabel=multilabel)
    assert found == {kind: tmp_path / file for kind, file in expected.items()}


@pytest.mark.parametrize(
    ("output", "types"),
    [
        ("x.dcm", ("nifti",)),
        ("x1.txt", ("nifti",)),
        ("total.img", ("nifti", "dicom_seg")),
        ("x.json", ("dicom_seg",)),
        ("x.png", ("nifti",)),
        ("x.tif", ("nifti",)),
        ("x.mhd", ("nifti",)),
        ("x.jpg", ("nifti", "dicom_seg")),
        ("x.nii.gz", ("dicom_seg",)),
        ("x.seg.nrrd", ("dicom_rtstruct",)),
        ("x.nii.gz", ("dicom_seg", "dicom_rtstruct")),
    ],
)
def test_endings_of_other_formats_are_refused(output: str, types: tuple, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end with \."):
        output_files(tmp_path / output, types, multilabel=True)


def test_a_folder_may_look_like_a_file(tmp_path: Path) -> None:
    for name in ("x.nii.gz", "x.txt"):
        (tmp_path / name).mkdir()
        assert output_files(tmp_path / name) == {"nifti": tmp_path / name}
        file = tmp_path / name / "total_segmentation.nii.gz"
        assert output_files(tmp_path / name, multilabel=True) == {"nifti": file}


@pytest.mark.parametrize("name", ["out", "1.2.840.10008", "v1.5", "out.v2", "dr.johnson", ".cache"])
def test_a_new_folder_has_no_ending(name: str, tmp_path: Path) -> None:
    assert output_files(tmp_path / name) == {"nifti": tmp_path / name}


def test_one_file_for_many_masks_is_refused(tmp_path: Path) -> None:
    for name in ("x.nii.gz", "x1.txt", "x.TXT"):
        with pytest.raises(UserError, match="every structure gets a file of its own"):
            output_files(tmp_path / name)
    with pytest.raises(UserError, match="Unknown output type stl"):
        output_files(tmp_path, ("stl",))  # type: ignore[arg-type]


def test_labels_one_by_one() -> None:
    report, cancel = ListReporter(), CancelToken()
    labels = tracked(NAMES, "draw", report, cancel)
    assert [next(labels), next(labels)] == [1, 4]
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(labels)
    assert report.of("started") == [{"stage": "draw", "total": 3}]
    assert [(event["done"], event["case"]) for event in report.of("progress")] == [(1, "spleen"), (2, "liver")]
