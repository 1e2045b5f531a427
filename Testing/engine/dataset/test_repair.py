"""Faults of a raw dataset that need no decision are put right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset import change
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.relabel import REST
from segautoconfiglib.dataset.repair import Repairs, repair_dataset
from segautoconfiglib.dataset.verify import verify_dataset
from segautoconfiglib.image.files import read_header, read_image, read_labels, write_image
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 1.0))
TILTED = Geometry((3.0, 1.0, 1.0), (-12.25, 7.5, 100.125), (
    0.8660254037844387, -0.5, 0.0, 0.4698463103929543, 0.8137976813493738, -0.3420201433256687,
    0.17101007166283433, 0.29619813272602386, 0.9396926207859084,
))  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def done(found: Repairs) -> list[str]:
    return [f"{one.case}: {text}" for one in found.cases for text in one.done]


def left(found: Repairs) -> list[str]:
    return [f"{problem.case}: {problem.message}" for one in found.cases for problem in one.left]


def repaired(folder: Path, **options: Any) -> Repairs:
    """Repair; a rehearsal says the same before and changes nothing, and nothing is left to do afterwards."""
    before = files(folder)
    rehearsal = repair_dataset(folder, **options)
    assert files(folder) == before
    found = repair_dataset(folder, apply=True, **options)
    assert done(found) == done(rehearsal)
    assert done(repair_dataset(folder)) == []
    return found


def test_a_faultless_dataset_stays(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset()
    before = files(folder)
    found = repair_dataset(folder, apply=True)
    assert (found.cases, found.description) == ((), ())
    assert files(folder) == before


def test_labels_on_another_grid(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    label = folder / "labelsTr" / "c0.nii.gz"
    old = read_labels(label).array[0]
    write_image(old.repeat(2, axis=2), label, Geometry((3.0, 1.0, 0.5), (-0.25, 0.0, 0.0)))
    kept = label.read_bytes()
    found = repaired(folder)
    assert done(found)[0].startswith(
        "c0: c0.nii.gz: resampled onto the image's grid (shape (2, 3, 8) against (2, 3, 4)"
    )
    np.testing.assert_array_equal(read_labels(label).array[0], old)
    assert (folder / "replaced" / "c0" / "labelsTr" / "c0.nii.gz").read_bytes() == kept
    assert verify_dataset(load_dataset(folder)).problems == []


@pytest.mark.parametrize("noise", [1e-7, 1e-5, 9e-4])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_noise_in_the_geometry(raw_dataset: Callable[..., Path], noise: float, ending: str) -> None:
    folder = raw_dataset(cases=1, channels=2, ending=ending)
    along = (1 - noise**2) ** 0.5
    turned = (along, noise, 0.0, -noise, along, 0.0, 0.0, 0.0, 1.0)
    write_image(np.ones((2, 3, 4), np.int16), folder / "imagesTr" / f"c0_0001{ending}", replace(GRID, direction=turned))
    labels = read_labels(folder / "labelsTr" / f"c0{ending}").array[0]
    write_image(labels, folder / "labelsTr" / f"c0{ending}", replace(GRID, origin=(noise, 0.0, 0.0)))
    found = repaired(folder)
    assert [text.split(": ", 2)[2] for text in done(found)] == [
        "direction as in the first channel",
        "origin as in the image",
    ]
    geometries = {str(read_header(file).geometry) for file in folder.glob(f"*Tr/*{ending}")}
    assert len(geometries) == 1
    assert sorted(files(folder / "replaced")) == [f"c0/imagesTr/c0_0001{ending}", f"c0/labelsTr/c0{ending}"]


def test_rounding_of_oblique_axes_is_no_fault(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    write_image(np.ones((2, 3, 4), np.int16), folder / "imagesTr" / "c0_0000.nii.gz", TILTED)
    write_image(np.ones((2, 3, 4), np.uint8), folder / "labelsTr" / "c0.nii.gz", TILTED)
    assert done(repair_dataset(folder)) == []


def test_fractions_become_whole_numbers(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2)
    values = np.zeros((2, 3, 4), np.float32)
    values[0, 0] = [0, 1.0000001, 2, 0]
    write_image(values, folder / "labelsTr" / "c0.nii.gz", GRID)
    write_image(values / 2, folder / "labelsTr" / "c1.nii.gz", GRID)
    found = repaired(folder)
    assert done(found) == ["c0: c0.nii.gz: float32 to whole numbers"]
    assert left(found) == ["c1: It holds numbers between labels, as interpolation leaves them."]
    assert read_header(folder / "labelsTr" / "c0.nii.gz").dtype == np.uint8


def test_values_are_mapped(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2)
    for case, value in (("c0", 255), ("c1", 9)):
        labels = np.zeros((2, 3, 4), np.uint8)
        labels[0, 0, :2] = value, 2
        write_image(labels, folder / "labelsTr" / f"{case}.nii.gz", GRID)
    found = repair_dataset(folder, values={255: 1}, apply=True)
    assert done(found) == ["c0: c0.nii.gz: values 255 to 1"]
    assert left(found) == ["c1: label values that dataset.json does not declare: 9."]
    assert read_labels(folder / "labelsTr" / "c0.nii.gz").array[0, 0, 0].tolist() == [1, 2, 0, 0]


def test_gaps_in_the_numbers_are_closed(raw_dataset: Callable[..., Path]) -> None:
    labels = {"background": 0, "whole": [3, 7], "core": 7, "ignore": 5}
    folder = raw_dataset(cases=1, labels=labels, regions_class_order=[3, 7])
    values = np.zeros((2, 3, 4), np.uint8)
    values[0, 0] = [3, 7, 5, 0]
    write_image(values, folder / "labelsTr" / "c0.nii.gz", GRID)
    found = repaired(folder)
    assert found.description == ("labels: background 0, whole [1, 2], core 2, ignore 3",)
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    assert content["regions_class_order"] == [1, 2]
    assert read_labels(folder / "labelsTr" / "c0.nii.gz").array[0, 0, 0].tolist() == [1, 2, 3, 0]


def test_named_values_are_numbered(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    values = np.zeros((2, 3, 4), np.uint8)
    values[0, 0] = [7, 9, 8, 0]
    write_image(values, folder / "labelsTr" / "c0.nii.gz", GRID)
    repair_dataset(folder, labels={"tumour": (9,), "organ": (7, 8)}, apply=True)
    assert load_dataset(folder).description.labels == {"background": 0, "tumour": 1, "organ": 2}
    assert read_labels(folder / "labelsTr" / "c0.nii.gz").array[0, 0, 0].tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"organ": (7,), "tumour": (9,)}, "hold the values 1, 2; none holds 7, 9, which --labels names."),
        ({"organ": (1,)}, "hold the values 1, 2; --labels does not say what 2 is."),
        ({"organ": (1,), "tumour": (2, 3)}, "hold the values 1, 2; none holds 3, which --labels names."),
    ],
)
@pytest.mark.parametrize("apply", [False, True])
def test_named_values_are_those_that_occur(
    raw_dataset: Callable[..., Path], labels: dict[str, tuple[int, ...]], says: str, apply: bool
) -> None:
    folder = raw_dataset(cases=2)
    before = files(folder)
    with pytest.raises(UserError) as caught:
        repair_dataset(folder, labels=labels, apply=apply)
    assert caught.value.message == f"The label maps {says}"
    assert files(folder) == before


def test_the_old_description_is_kept(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    first = (folder / "dataset.json").read_bytes()
    assert repair_dataset(folder, labels={"cyst": (1,), "core": (2,)}, apply=True).kept
    second = (folder / "dataset.json").read_bytes()
    assert repair_dataset(folder, labels={"all": (1, 2)}, apply=True).kept
    assert load_dataset(folder).description.labels == {"background": 0, "all": 1}
    kept = files(folder / "replaced")
    assert (kept["dataset.json"], kept["dataset_2.json"]) == (first, second)
    assert not repair_dataset(folder, apply=True).kept


def test_an_interrupted_repair_leaves_a_description(
    raw_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = raw_dataset(cases=1)
    first = (folder / "dataset.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(change, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            repair_dataset(folder, labels={"all": (1, 2)}, apply=True)
    assert (folder / "dataset.json").read_bytes() == first
    repair_dataset(folder)  # completes it
    assert load_dataset(folder).description.labels == {"background": 0, "all": 1}
    assert (folder / "replaced" / "dataset.json").read_bytes() == first
    assert not (folder / "replaced" / "dataset_2.json").exists()


def test_names_and_endings(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2, numTraining=9)
    (folder / "imagesTr" / "c0_0000.nii.gz").rename(folder / "imagesTr" / "c0.nii.gz")
    image = sitk.ReadImage(str(folder / "labelsTr" / "c1.nii.gz"))
    sitk.WriteImage(image, str(folder / "labelsTr" / "c1.nrrd"))
    (folder / "labelsTr" / "c1.nii.gz").unlink()
    found = repaired(folder)
    assert done(found) == ["c0: c0.nii.gz becomes c0_0000.nii.gz", "c1: c1.nrrd: saved as c1.nii.gz"]
    assert found.description == ("numTraining: 9 becomes 2",)
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == ["c0.nii.gz", "c1.nii.gz"]
    assert verify_dataset(load_dataset(folder)).problems == []


def as_nrrd(file: Path) -> Path:
    """The image saved as .nrrd in its place."""
    other = file.with_name(file.name.replace(".nii.gz", ".nrrd"))
    sitk.WriteImage(sitk.ReadImage(str(file)), str(other))
    file.unlink()
    return other


def test_images_of_another_ending(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2, channels=2)
    kept = [as_nrrd(folder / "imagesTr" / name).read_bytes() for name in ("c0_0000.nii.gz", "c1_0001.nii.gz")]
    found = repaired(folder)
    assert done(found) == ["c0: c0_0000.nrrd: saved as c0_0000.nii.gz", "c1: c1_0001.nrrd: saved as c1_0001.nii.gz"]
    assert (found.description, left(found)) == ((), [])
    assert load_dataset(folder).description.numTraining == 2
    assert verify_dataset(load_dataset(folder)).problems == []
    np.testing.assert_array_equal(
        read_image([folder / "imagesTr" / "c1_0001.nii.gz"]).array[0], np.arange(24).reshape(2, 3, 4) + 1
    )
    assert not list((folder / "imagesTr").glob("*.nrrd"))
    assert (folder / "replaced" / "c0" / "imagesTr" / "c0_0000.nrrd").read_bytes() == kept[0]
    assert (folder / "replaced" / "c1" / "imagesTr" / "c1_0001.nrrd").read_bytes() == kept[1]


def test_an_image_of_another_ending_without_a_channel_number(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    as_nrrd(folder / "imagesTr" / "c0_0000.nii.gz").rename(folder / "imagesTr" / "c0.nrrd")
    assert done(repaired(folder)) == ["c0: c0.nrrd: saved as c0_0000.nii.gz"]
    assert verify_dataset(load_dataset(folder)).problems == []


def test_an_image_that_does_not_fit_the_format_is_left(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2, ending=".nrrd")
    colours = sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True)
    colours.SetSpacing((1, 1, 3))
    sitk.WriteImage(colours, str(folder / "imagesTr" / "c0_0000.mha"))
    (folder / "imagesTr" / "c0_0000.nrrd").unlink()
    found = repair_dataset(folder, apply=True)
    assert left(found)[0] == "c0: 3 channels in one file, which does not end in .nrrd."
    assert (done(found), found.description) == ([], ())


def test_what_lacks_its_counterpart_is_left(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=3)
    (folder / "imagesTr" / "c0_0000.nii.gz").unlink()
    (folder / "labelsTr" / "c2.nii.gz").unlink()
    (folder / "labelsTs").mkdir()
    write_image(np.ones((2, 3, 4), np.uint8), folder / "labelsTs" / "t.nrrd", GRID)
    before = files(folder)
    found = repair_dataset(folder, apply=True)
    assert left(found) == [
        "c0: the label map has no image in imagesTr.",
        "c2: the image has no label map in labelsTr.",
        "t: the label map has no image in imagesTs.",
    ]
    assert found.description == ()
    assert files(folder) == before


def test_ranges_and_the_rest(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    values = np.zeros((2, 3, 4), np.uint8)
    values[0, 0] = [1, 7, 30, 0]
    write_image(values, folder / "labelsTr" / "c0.nii.gz", GRID)
    found = repair_dataset(folder, values={1: 1, 7: 2, REST: 0})
    assert done(found) == ["c0: c0.nii.gz: values 7 to 2, 30 to 0"]
    labels = {"low": (1,), "other": (range(2, 10),), "background": (REST,)}
    found = repair_dataset(folder, labels=labels, apply=True)
    assert done(found) == ["c0: c0.nii.gz: values 7 to 2, 30 to 0"]
    assert load_dataset(folder).description.labels == {"background": 0, "low": 1, "other": 2}
    assert read_labels(folder / "labelsTr" / "c0.nii.gz").array[0, 0, 0].tolist() == [1, 2, 0, 0]


def test_tif_files_keep_their_spacing(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1, ending=".tif")
    write_image(np.ones((2, 3, 4), np.float32), folder / "labelsTr" / "c0.tif", GRID)
    repaired(folder)
    assert read_header(folder / "labelsTr" / "c0.tif").geometry.spacing_mm == (3.0, 1.0, 1.0)
    assert sorted(files(folder / "replaced")) == ["c0/labelsTr/c0.json", "c0/labelsTr/c0.tif"]


def test_what_needs_a_decision_is_left(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2, channels=2)
    write_image(np.ones((2, 3, 5), np.int16), folder / "imagesTr" / "c0_0001.nii.gz", GRID)
    (folder / "imagesTr" / "c1_0000.nii.gz").write_bytes(b"")
    before = files(folder)
    found = repair_dataset(folder, apply=True)
    assert [text.split(":")[0] for text in left(found)] == ["c0", "c1"]
    assert files(folder) == before


def test_listed_files_are_refused(raw_dataset: Callable[..., Path]) -> None:
    listed = {"c0": {"images": ["imagesTr/c0_0000.nii.gz"], "label": "labelsTr/c0.nii.gz"}}
    with pytest.raises(UserError, match="lists files that may lie anywhere"):
        repair_dataset(raw_dataset(cases=1, dataset=listed))
