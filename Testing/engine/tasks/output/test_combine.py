"""Several structures as one mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.image.files import write_labels
from segautoconfiglib.image.label_names import write_label_names
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.tasks.catalogue import find_task
from segautoconfiglib.tasks.output.combine import GROUPS, combine_masks, members

GRID = Geometry((3.0, 1.0, 2.0))
NAMES = {1: "femur_left", 2: "femur_right", 3: "hip_left", 4: "hip_right", 5: "heart"}


def some_labels() -> np.ndarray:
    return np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 6


def write_folder(folder: Path, ending: str = ".nii.gz") -> None:
    for label, name in NAMES.items():
        write_labels(some_labels() == label, folder / f"{name}{ending}", GRID)


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [("pelvis", (1, 2, 3, 4)), ("heart", (5,)), ("hip_left", (3,)), (["hip_left", "heart"], (3, 5))],
)
def test_the_union_of_structures(wanted: str | list[str], labels: tuple[int, ...], tmp_path: Path) -> None:
    write_folder(tmp_path / "masks")
    write_label_names(some_labels(), tmp_path / "all.nii.gz", GRID, NAMES)
    for source in ("masks", "all.nii.gz"):
        mask = combine_masks(tmp_path / source, wanted)
        assert (mask.array.dtype, mask.geometry.spacing_mm) == (np.uint8, GRID.spacing_mm)
        np.testing.assert_array_equal(mask.array[0], np.isin(some_labels(), labels))


def test_masks_count_above_a_half(tmp_path: Path) -> None:
    values = np.array([[[0.0, 0.5, 0.51, 1.0, 255.0, -3.0]]])
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(combine_masks(tmp_path, "a").array[0, 0, 0], [0, 0, 1, 1, 1, 0])


def test_all_members_must_be_there(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "hip_left.nii.gz").unlink()
    (tmp_path / "femur_left.nii.gz").unlink()
    with pytest.raises(ProblemsError) as caught:
        combine_masks(tmp_path, "pelvis")
    assert [problem.message for problem in caught.value.problems] == ["femur_left is missing.", "hip_left is missing."]
    with pytest.raises(ProblemsError, match="Near: hip_right"):
        combine_masks(tmp_path, "hip_rihgt")


def test_a_label_file_without_names_is_refused(tmp_path: Path) -> None:
    write_labels(some_labels(), tmp_path / "x.nii.gz", GRID)
    with pytest.raises(UserError, match="does not say what its labels are called"):
        combine_masks(tmp_path / "x.nii.gz", "heart")


def test_masks_of_different_images_are_refused(tmp_path: Path) -> None:
    write_labels(some_labels() == 1, tmp_path / "a.nii.gz", GRID)
    write_labels(some_labels() == 1, tmp_path / "b.nii.gz", Geometry((3.0, 1.0, 2.0), (5.0, 0.0, 0.0)))
    write_labels(some_labels()[1:] == 1, tmp_path / "c.nii.gz", GRID)
    with pytest.raises(UserError, match="a and b differ: origin"):
        combine_masks(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"a and c differ: \(3, 4, 5\) against \(2, 4, 5\)"):
        combine_masks(tmp_path, ["a", "c"])


def test_nothing_to_combine_is_refused() -> None:
    with pytest.raises(UserError, match="No structures"):
        members([], ["a"], "x")


def test_groups_hold_structures_of_the_tasks() -> None:
    total, body, chambers = (
        list(find_task(name).classes.values()) for name in ("total", "body", "heartchambers_highres")
    )
    counts = {
        "lung": 5,
        "lung_left": 2,
        "lung_right": 3,
        "vertebrae": 26,
        "ribs": 24,
        "vertebrae_ribs": 50,
        "pelvis": 4,
    }
    assert {name: len(members(name, total, "x")) for name in counts} == counts
    assert members("body", body, "x") == ("body_trunc", "body_extremities")
    assert members("heart", total, "x") == ("heart",)
    assert len(members("heart", chambers, "x")) == 5
    known = {*total, *body, *chambers}
    for other in ("total_v3", "total_mr"):
        known |= set(find_task(other).classes.values())
    assert {name for forms in GROUPS.values() for form in forms for name in form} <= known
    assert "vertebrae_L6" in members("vertebrae", list(find_task("total_v3").classes.values()), "x")
    assert members("lung", list(find_task("total_mr").classes.values()), "x") == ("lung_left", "lung_right")


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothere does not exist"):
        combine_masks(tmp_path / "nothere", "lung")
