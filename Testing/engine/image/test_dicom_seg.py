"""DICOM SEG files as label maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.dicom_seg import is_segmentation, segment_names
from segautoconfiglib.image.files import read_labels

Writer = Callable[..., None]


def test_a_real_file(shared_data: Path) -> None:
    file, expected = shared_data / "dicom-seg" / "liver.dcm", shared_data / "dicom-seg" / "liver_seg.nrrd"
    assert segment_names(file) == {1: "Liver"}
    read, truth = read_labels(file), read_labels(expected)
    np.testing.assert_array_equal(read.array, truth.array)
    assert read.geometry.differences(truth.geometry) == []
    assert not is_segmentation(shared_data / "dicom-seg" / "ct-3slice" / "01.dcm")
    assert segment_names(expected) == {}


def test_frames_are_put_in_their_places(dicom_seg: Writer, tmp_path: Path) -> None:
    frames = [(2, (1, 2, 9)), (5, (1, 2, 3)), (2, (1, 2, 3), slice(2, 3)), (5, (1, 2, 6), slice(0, 0))]
    dicom_seg(tmp_path / "a.dcm", {2: "Spine", 5: "Liver"}, [*frames, (5, (1, 2, 15))])
    assert segment_names(tmp_path / "a.dcm") == {2: "Spine", 5: "Liver"}
    read = read_labels(tmp_path / "a.dcm")
    assert read.array[0, :, 0].tolist() == [[5, 5, 2, 0], [0] * 4, [2, 2, 0, 0], [0] * 4, [5, 5, 0, 0]]
    assert read.geometry.spacing_mm == (3.0, 0.75, 0.5)
    assert read.geometry.origin == (1.0, 2.0, 3.0)
    assert read.geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_slices_that_have_no_frames(dicom_seg: Writer, tmp_path: Path) -> None:
    dicom_seg(tmp_path / "a.dcm", {1: "Lung"}, [(1, (0, 0, 0)), (1, (0, 0, 5))], step_mm=2.5)
    read = read_labels(tmp_path / "a.dcm")
    assert (read.shape, read.geometry.spacing_mm) == ((3, 3, 4), (2.5, 0.75, 0.5))
    assert read.array[0, :, 0, 0].tolist() == [1, 0, 1]


def test_the_only_segment_is_1(dicom_seg: Writer, tmp_path: Path) -> None:
    dicom_seg(tmp_path / "a.dcm", {7: "Lung"}, [(7, (0, 0, 0))])
    assert segment_names(tmp_path / "a.dcm") == {1: "Lung"}
    assert read_labels(tmp_path / "a.dcm").array[0, 0, 0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("frames", "fractions", "says"),
    [
        ([(1, (0, 0, 0)), (1, (0, 0, 2)), (2, (0, 0, 0), slice(1, 3))], False, "overlapping segments: Liver and Spine"),
        ([(1, (0, 0, 0)), (2, (0, 0, 2)), (2, (0, 0, 5))], False, "at unequal distances"),
        ([(1, (0, 0, 0)), (2, (0, 0, 2))], True, "of fractions"),
        ([(1, (0, 0, "x"))], False, "segments can't be told"),
        ([(1, (0, 0, 0)), (2, (0, 0, 0))], False, "that ITK can't read"),
    ],
)
def test_what_is_no_label_map(dicom_seg: Writer, tmp_path: Path, frames: list, fractions: bool, says: str) -> None:
    dicom_seg(tmp_path / "a.dcm", {1: "Liver", 2: "Spine"}, frames, fractions=fractions)
    with pytest.raises(UserError, match=says) as caught:
        read_labels(tmp_path / "a.dcm")
    assert "is a DICOM SEG" in caught.value.message
    assert "export the segmentation as a label map" in caught.value.hint
