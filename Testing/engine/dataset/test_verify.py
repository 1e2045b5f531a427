"""Each fault of a dataset is found in one run, with file, value and remedy."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, Problem, ProblemsError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.verify import VerificationReport, value_counts, verify_dataset
from segautoconfiglib.image.files import read_image, read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 1.0))
Raw = Callable[..., Path]


def check(folder: Path, workers: int = 1) -> VerificationReport:
    report = verify_dataset(load_dataset(folder), workers=workers)
    for problem in (*report.problems, *report.warnings):
        assert problem.hint or problem.file == "dataset.json", problem
    return report


def only(problems: list[Problem]) -> str:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return str(problems[0])


def image_of(folder: Path, case: str = "c0", channel: int = 0) -> Path:
    return folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz"


def label_of(folder: Path, case: str = "c0") -> Path:
    return folder / "labelsTr" / f"{case}.nii.gz"


def relabel(file: Path, *values: float) -> None:
    """Write the values to the first voxels of a label map, stored as float."""
    labels = read_labels(file)
    array = labels.array[0].astype(np.float32)
    array.flat[: len(values)] = values
    write_image(array, file, labels.geometry)


def test_a_faultless_dataset(raw_dataset: Raw) -> None:
    report = check(raw_dataset(cases=2, channels=2))
    assert (report.problems, report.warnings, report.cases) == ([], [], 2)
    report.raise_if_problems()


def test_everything_at_once_in_two_processes(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=5, numTraining=9)
    relabel(label_of(folder, "c0"), 7, 7, 0.0)
    relabel(label_of(folder, "c1"), 0.5)
    image_of(folder, "c2").write_bytes(image_of(folder, "c2").read_bytes()[:60])
    write_labels(np.zeros((2, 3, 5), int), label_of(folder, "c3"), GRID)
    label_of(folder, "c4").unlink()
    reporter = ListReporter()
    report = verify_dataset(load_dataset(folder), workers=2, report=reporter)
    text = "\n".join(map(str, report.problems))
    for part in (
        "numTraining is 9, but 5 cases",
        "c4: .*c4.nii.gz: the label file is missing",
        "c0: .*c0.nii.gz: label values that dataset.json does not declare: 7 .2 voxels.",
        "c1: .*c1.nii.gz holds 1 label values that are no whole numbers: 0.5",
        "c2: .*c2_0000.nii.gz is not a .nii.gz file, or its beginning is damaged",
        r"c3: .*c3.nii.gz: does not lie on the grid .*shape \(2, 3, 4\) against \(2, 3, 5\)",
    ):
        assert re.search(part, text), part
    assert len(report.problems) == 6
    assert "1 case (c3)" in only(report.warnings)
    assert [event["done"] for event in reporter.of("progress")] == [1, 2, 3, 4, 5]
    with pytest.raises(ProblemsError, match="Dataset007_Test has 6 problems"):
        report.raise_if_problems()


def test_geometry_noise_is_no_problem_but_a_shift_is(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=2)
    labels = read_labels(label_of(folder)).array[0]
    write_labels(labels, label_of(folder), Geometry((3.000001, 1.0, 1.0), (1e-6, 0.0, -1e-6)))
    assert check(folder).problems == []
    write_labels(labels, label_of(folder), Geometry((3.0, 1.0, 1.0), (0.0, 2.0, 0.0)))
    problem = only(check(folder).problems)
    assert "c0.nii.gz: does not lie on the grid of c0_0000.nii.gz: origin (0, 0, 0) against (0, 2, 0)" in problem
    assert "Resample" in problem


def test_channels_on_different_grids(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=1, channels=2)
    write_image(read_image([image_of(folder)]).array[0], image_of(folder, channel=1), Geometry((2.0, 1.0, 1.0)))
    problem = only(check(folder).problems)
    assert (
        "c0_0001.nii.gz: does not lie on the grid of c0_0000.nii.gz: spacing (3, 1, 1) against (2, 1, 1) mm" in problem
    )


def test_missing_and_unexpected_channels(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=3, channels=3)
    image_of(folder, "c0", 1).unlink()
    image_of(folder, "c1", 1).unlink()
    image_of(folder, "c1", 2).unlink()
    shutil.copy(image_of(folder, "c2", 2), image_of(folder, "c2", 3))
    problems = [str(problem) for problem in check(folder).problems]
    assert re.search(r"c0: .*c0_0001\.nii\.gz: channel 1 is missing", problems[0])
    assert re.search(r"c2: .*c2_0003\.nii\.gz: channel 3 is not expected", problems[1])
    assert re.search(r"c1_0000\.nii\.gz: 1 channel where 3 are expected.*Add the missing", problems[2])


def test_4d_file_where_channel_files_are_expected(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=1)
    frame = sitk.ReadImage(str(image_of(folder)))
    sitk.WriteImage(sitk.JoinSeries([frame, frame]), str(image_of(folder)))
    assert "2 channels where 1 is expected. Split a 4D file" in only(check(folder).problems)


@pytest.mark.parametrize("twin", ["c0_0000.nrrd", "c0_0000.NII.GZ", "C0_0000.nii.gz"])
def test_an_id_used_twice(raw_dataset: Raw, twin: str) -> None:
    folder = raw_dataset(cases=1)
    shutil.copy(image_of(folder), folder / "imagesTr" / twin)
    if twin.startswith("C"):
        shutil.copy(label_of(folder), folder / "labelsTr" / "C0.nii.gz")
    assert any("the id is used twice" in str(problem) for problem in check(folder).problems)


def test_an_id_with_the_ending_of_preprocessed_labels(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=2, numTraining=4)
    for case, new in (("c0", "c1_seg"), ("c0", "alone_seg")):
        shutil.copy(image_of(folder, case), image_of(folder, new))
        shutil.copy(label_of(folder, case), label_of(folder, new))
    problem = only(check(folder).problems)
    assert problem.startswith("c1_seg: its preprocessed image and the labels of case c1 would be one file. Rename it")


def test_label_under_another_name_or_format(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=3)
    label_of(folder, "c0").rename(folder / "labelsTr" / "c0_0000.nii.gz")
    write_labels(read_labels(label_of(folder, "c1")).array[0], folder / "labelsTr" / "c1.nrrd", GRID)
    label_of(folder, "c1").unlink()
    shutil.copy(label_of(folder, "c2"), folder / "labelsTr" / "c2.NII.GZ")
    report = check(folder)
    problems = [str(problem) for problem in report.problems]
    assert "has a channel number. Rename it to c0.nii.gz" in problems[0]
    assert "the label ends in .nrrd, the images in .nii.gz. Convert it" in problems[1]
    assert "the label is there twice: c2.NII.GZ, c2.nii.gz" in problems[2]
    assert len(problems) == 3
    assert report.warnings == []


def test_superfluous_and_misnamed_files(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=1)
    shutil.copy(image_of(folder), folder / "imagesTr" / "c9.nii.gz")
    shutil.copy(label_of(folder), label_of(folder, "orphan"))
    (folder / "labelsTr" / "notes.txt").touch()
    (folder / "imagesTr" / "x_0000.nrrd").touch()
    (folder / "imagesTr" / "._c0_0000.nii.gz").touch()
    report = check(folder)
    assert "c9.nii.gz: the file name has no channel number" in only(report.problems)
    assert "Rename it to c9_0000.nii.gz" in report.problems[0].hint
    assert [re.findall(r"[\w.]+\.(?:gz|txt|nrrd)", str(w))[0] for w in report.warnings] == [
        "x_0000.nrrd",
        "orphan.nii.gz",
        "notes.txt",
    ]


def test_folders_in_place_of_files(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=3)
    for file in (image_of(folder, "c1"), label_of(folder, "c2")):
        file.unlink()
        file.mkdir()
    problems = [str(problem) for problem in check(folder).problems]
    assert f"{image_of(folder, 'c1')}: this is a folder, no image file. Replace it by the file." in problems
    assert f"c2: {label_of(folder, 'c2')}: this is a folder, no label file. Replace it by the file." in problems
    assert len(problems) == 3  # and numTraining


def test_2d_images_among_volumes(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=3)
    flat = Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
    write_image(np.ones((1, 3, 4), np.int16), image_of(folder, "c1"), flat)
    write_labels(np.arange(12).reshape(1, 3, 4) % 3, label_of(folder, "c1"), flat)
    report = check(folder)
    assert report.problems == []
    assert "mixes 2D and 3D images: 1 case (c1) 2D, 2 cases (c0, c2) 3D." in only(report.warnings)


def test_values_nobody_declared(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=2)
    relabel(label_of(folder, "c0"), *range(100, 120))
    labels = np.zeros((2, 3, 4), int)
    labels[1] = 255
    write_labels(labels, label_of(folder, "c1"), GRID)
    problems = check(folder).problems
    assert "100 (1 voxels), 101 (1 voxels)" in problems[0].message
    assert problems[0].message.endswith("and 8 more values.")
    assert "dataset.json declares 0, 1, 2" in problems[0].hint
    assert "255 (12 voxels)" in problems[1].message
    assert "divide by 255" in problems[1].hint


def test_ignore_and_empty_labels(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=2, labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    relabel(label_of(folder, "c0"), 3)
    write_labels(np.zeros((2, 3, 4), int), label_of(folder, "c1"), GRID)
    report = check(folder)
    assert report.problems == []
    assert "labelsTr: empty labels (only background): 1 case (c1)." in only(report.warnings)


def test_a_structure_that_occurs_nowhere(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=2, labels={"background": 0, "a": 1, "b": 2, "cyst": 3})
    report = check(folder)
    assert report.problems == []
    assert "structures that occur in no case: cyst." in only(report.warnings)
    relabel(label_of(folder), 3)
    assert check(folder).warnings == []


def test_regions_occur_where_one_of_their_values_does(raw_dataset: Raw) -> None:
    labels = {"background": 0, "all": [1, 2, 3], "rim": [2, 4], "cyst": [3, 4], "spot": 4}
    report = check(raw_dataset(cases=1, labels=labels, regions_class_order=[1, 2, 3, 4]))
    assert "structures that occur in no case: cyst, spot." in only(report.warnings)


@pytest.mark.parametrize("values", [(0,), (0, 3)])
def test_a_dataset_without_any_structure_is_refused(raw_dataset: Raw, values: tuple[int, ...]) -> None:
    folder = raw_dataset(cases=2, labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    for case in ("c0", "c1"):
        write_labels(np.zeros((2, 3, 4), int), label_of(folder, case), GRID)
        relabel(label_of(folder, case), *values)
    report = check(folder)
    assert "labelsTr: all labels are empty (only background)" in only(report.problems)
    assert report.warnings == []


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_nan_and_infinity(raw_dataset: Raw, ending: str) -> None:
    folder = raw_dataset(cases=1, ending=ending)
    image = folder / "imagesTr" / f"c0_0000{ending}"
    array = np.zeros((2, 3, 4), np.float32)
    array[0, 0] = [np.nan, np.inf, -np.inf, np.nan]
    write_image(array, image, GRID)
    assert f"c0_0000{ending}: 2 voxels are NaN (no number) and 2 are infinite" in only(check(folder).problems)


def test_nan_in_a_label_map(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=1)
    relabel(label_of(folder), 0, 1, np.nan)
    assert "c0.nii.gz holds 1 label values that are no whole numbers: nan" in only(check(folder).problems)


def test_mixed_orientations_name_the_cases(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=3)
    for file in (image_of(folder, "c1"), label_of(folder, "c1")):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(file)), "RAS"), str(file))
    report = check(folder)
    assert report.problems == []
    warning = only(report.warnings)
    assert "LPS: 2 cases (c0, c2); RAS: 1 case (c1)" in warning
    assert "'LPS'" in warning


def test_listed_files(raw_dataset: Raw) -> None:
    entry = {"images": ["imagesTr/c0_0000.nii.gz"], "label": "labelsTr/c0.nii.gz"}
    lost = {"images": ["lost.nii.gz"], "label": "labelsTr/c1.nii.gz"}
    folder = raw_dataset(cases=2, dataset={"a": entry, "b": lost})
    assert "b: " in only(check(folder).problems)
    assert "lost.nii.gz does not exist" in only(check(folder).problems)
    content = json.loads((folder / "dataset.json").read_text())
    content["dataset"]["b"] = entry
    (folder / "dataset.json").write_text(json.dumps(content))
    assert all("listed twice, for a, b" in str(problem) for problem in check(folder).problems)
    assert len(check(folder).problems) == 2


def test_old_keys_are_said(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=1, channel_names=None, modality={"0": "MRI"})
    assert "The old key modality was read as channel_names." in only(check(folder).warnings)


def test_3d_tif_without_spacing(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=2, ending=".tif")
    (folder / "labelsTr" / "c1.json").unlink()
    problem = only(check(folder).problems)
    assert "spacing (3, 1, 1) against (1, 1, 1)" in problem
    assert "CASE.json" in problem
    for file in folder.rglob("c?.json"):
        file.unlink()
    report = check(folder)
    assert report.problems == []
    assert "count as 1 x 1 x 1 mm: 2 cases (c0, c1)" in only(report.warnings)


def test_colour_picture_in_a_grey_dataset(raw_dataset: Raw) -> None:
    folder = raw_dataset(cases=0, numTraining=1, file_ending=".png")
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "imagesTr" / "a_0000.png")
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(folder / "labelsTr" / "a.png")
    assert "3 channels where 1 is expected" in only(check(folder).problems)
    content = json.loads((folder / "dataset.json").read_text())
    content["channel_names"] = {"0": "R", "1": "G", "2": "B"}
    (folder / "dataset.json").write_text(json.dumps(content))
    assert check(folder).problems == []


def test_cancelling(raw_dataset: Raw) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        verify_dataset(load_dataset(raw_dataset()), workers=1, cancel=token)


@pytest.mark.parametrize("values", [[0, 0, 5, 2], [-3, 7, 7, 0], [0, 2**31 - 1, 0, -(2**31)]])
def test_value_counts(values: list[int]) -> None:
    labels = np.array(values, np.int32).reshape(1, 2, 1, 2)
    numbers, counts = np.unique(labels, return_counts=True)
    assert value_counts(labels) == dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def test_real_files(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Real"
    for name, image, label in (
        ("oblique", "cord_t2s/image.nii.gz", "cord_t2s/label_greymatter.nii.gz"),
        ("permuted", "cord_t2/image.nii.gz", "cord_t2/label_cord.nii.gz"),
        ("mixed_up", "cord_t2/image.nii.gz", "cord_mt/label_cord.nii.gz"),
    ):
        for source, target in ((image, image_of(folder, name)), (label, label_of(folder, name))):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared_data / "mr-anisotropic" / source, target)
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "cord": 1}, "numTraining": 3}
    (folder / "dataset.json").write_text(json.dumps({**content, "file_ending": ".nii.gz"}))
    report = check(folder)
    assert only(report.problems).startswith("mixed_up: ")
    assert "shape (52, 55, 60) against (5, 40, 40)" in report.problems[0].message
    assert "different orientations" in only(report.warnings)


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("LA", "2 channels (grey and alpha, the transparency) where 1 is expected."),
        ("RGBA", "4 channels (red, green, blue and alpha, the transparency) where 1 is expected."),
        ("RGB", "3 channels where 1 is expected."),
    ],
)
def test_an_alpha_channel_is_called_so(raw_dataset: Callable[..., Path], mode: str, says: str) -> None:
    folder = raw_dataset(cases=0, ending=".png", numTraining=1)
    for part, kind in (("imagesTr/c0_0000.png", mode), ("labelsTr/c0.png", "L")):
        (folder / part).parent.mkdir()
        Image.new(kind, (6, 5), 1).save(folder / part)
    (problem,) = [found for found in verify_dataset(load_dataset(folder)).problems if "channels" in found.message]
    assert problem.message == says
    assert problem.hint.startswith("Save the picture without its alpha channel.") == (mode != "RGB")
