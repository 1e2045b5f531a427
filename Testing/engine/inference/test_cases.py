"""Which cases a model can segment, and what is said about the others."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.dataset.structure import unused_files
from segautoconfiglib.inference.cases import oddities, usable_cases


def found(folder, *channels, ending=".nii.gz"):
    cases, problems = usable_cases(folder, ending, channels)
    return [case.id for case in cases], [str(problem) for problem in problems]


def test_all_channels_are_there(make_images):
    folder = make_images(2, channels=2)
    assert found(folder, "T1", "T2") == (["c0", "c1"], [])
    [case, _], _ = usable_cases(folder, ".nii.gz", ["T1", "T2"])
    assert [file.name for file in case.images] == ["c0_0000.nii.gz", "c0_0001.nii.gz"]


def test_others_are_used_where_one_lacks_a_channel(make_images):
    folder = make_images(3, channels=2)
    (folder / "c0_0001.nii.gz").unlink()
    (folder / "c2_0000.nii.gz").unlink()
    assert found(folder, "T1", "T2") == (
        ["c1"],
        [
            "c0: The model needs 2 channels: T1, T2; it has only _0000. Add c0_0001.nii.gz (T2).",
            "c2: The model needs 2 channels: T1, T2; it has only _0001. Add c2_0000.nii.gz (T1).",
        ],
    )


def test_too_many_channels(make_images):
    folder = make_images(1, channels=2)
    with pytest.raises(ProblemsError) as caught:
        found(folder, "CT")
    text = "c0: The model needs 1 channel: CT; it has _0000, _0001. Remove c0_0001.nii.gz."
    assert [str(problem) for problem in caught.value.problems] == [text]
    assert str(folder) in caught.value.message


def test_a_file_with_all_channels(make_images):
    folder = make_images(1)
    both = sitk.GetImageFromArray(np.zeros((2, 4, 4, 4), np.float32), isVector=False)
    sitk.WriteImage(both, str(folder / "c1_0000.nii.gz"))
    assert found(folder, "T1", "T2")[0] == ["c1"]
    cases, problems = found(folder, "CT")
    assert cases == ["c0"]
    assert problems == ["c1: The model needs 1 channel: CT; c1_0000.nii.gz has 2 channels. "
                        "Give each channel as a file of its own."]  # fmt: skip


def test_unreadable_and_doubled_files(make_images):
    folder = make_images(3)
    (folder / "c0_0000.nii.gz").write_bytes(b"no image")
    shutil.copyfile(folder / "c1_0000.nii.gz", folder / "c1_0000.NII.GZ")
    cases, problems = found(folder, "CT")
    assert cases == ["c2"]
    assert "c0_0000.nii.gz" in problems[0]
    assert problems[1].startswith("c1: the id is used twice: c1_0000.NII.GZ, c1_0000.nii.gz.")


def test_no_cases(tmp_path):
    with pytest.raises(UserError, match="no image folder"):
        found(tmp_path / "none", "CT")
    with pytest.raises(UserError, match="is empty"):
        found(tmp_path, "CT")


def test_the_folder_is_a_dicom_series_itself(tmp_path, dicom_series):
    dicom_series(tmp_path / "patient 1", (0, 1, 3, 4))
    assert found(tmp_path / "patient 1", "CT") == (["patient 1"], [])
    cases, _ = usable_cases(tmp_path / "patient 1", ".nii.gz", ["CT"])
    assert cases[0].images == (tmp_path / "patient 1",)
    assert [problem.case for problem in oddities(cases)] == ["patient 1"]
    assert unused_files(tmp_path / "patient 1", ".nii.gz") == []
    with pytest.raises(ProblemsError, match="The model needs 2 channels"):
        found(tmp_path / "patient 1", "T1", "T2")


def test_folders_of_dicom_files(tmp_path, dicom_series):
    dicom_series(tmp_path / "p1", (0, 1, 3, 4))
    dicom_series(tmp_path / "p2_0000")
    (tmp_path / "notes").mkdir()
    cases, problems = usable_cases(tmp_path, ".nii.gz", ["CT"])
    assert [(case.id, case.images) for case in cases] == [("p1", (tmp_path / "p1",)), ("p2", (tmp_path / "p2_0000",))]
    assert problems == []
    [odd] = oddities(cases)
    assert (odd.case, odd.message) == ("p1", "1 slice missing, it seems (slices are 1 mm apart, once 2 mm).")
    with pytest.raises(ProblemsError) as caught:
        usable_cases(tmp_path, ".nii.gz", ["PET", "CT"])
    assert [problem.case for problem in caught.value.problems] == ["p1", "p2"]
