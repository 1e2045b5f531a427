"""Files that lie anywhere become cases of a dataset: folders, masks, lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.from_csv import cases_from_csv, groups_from_csv
from segautoconfiglib.dataset.from_folder import cases_from_folder
from segautoconfiglib.dataset.from_masks import cases_from_masks, structures_of
from segautoconfiglib.dataset.making import make_dataset
from segautoconfiglib.dataset.relabel import named_values
from segautoconfiglib.dataset.source_cases import Making
from segautoconfiglib.dataset.verify import verify_dataset
from segautoconfiglib.image.files import read_header, read_image, read_labels, write_image
from segautoconfiglib.image.volume import Geometry

GRID = Geometry((3.0, 1.0, 0.5), (1.0, 2.0, 3.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
IMAGE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def labels(*values: int) -> np.ndarray:
    """A label map that begins with these values."""
    array = np.zeros(24, np.int16)
    array[: len(values)] = values
    return array.reshape(2, 3, 4)


def put(folder: Path, **files: np.ndarray) -> Path:
    """Write images of these names; a double underscore stands for a folder."""
    for name, array in files.items():
        write_image(array, folder / f"{name.replace('__', '/')}.nii.gz", GRID)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Where the new dataset will be."""
    return tmp_path / "raw" / "Dataset007_Test"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the files are."""
    return tmp_path / "source"


def stored(dataset: Path, case: str) -> list[int]:
    """The first values of a case's label map."""
    return [int(value) for value in read_labels(next((dataset / "labelsTr").glob(f"{case}.*"))).array.ravel()[:5]]


def described(dataset: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((dataset / "dataset.json").read_text())
    return content


def messages(report: ListReporter, kind: str) -> list[str]:
    return [data["message"] for data in report.of(kind)]


@pytest.fixture
def refused(tmp_path: Path, dataset: Path) -> Callable[[Callable[[], Any]], list[str]]:
    """Something is refused and leaves nothing; returns ``case: message`` of each problem."""

    def check(attempt: Callable[[], Any]) -> list[str]:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ProblemsError) as caught:
            attempt()
        assert [path for path in sorted(tmp_path.rglob("*")) if not path.name.endswith(".lock")] == before
        assert all(problem.hint for problem in caught.value.problems)
        return [f"{problem.case}: {problem.message}" for problem in caught.value.problems]

    return check


def test_images_and_label_maps_in_two_folders(source: Path, dataset: Path) -> None:
    put(source, i__b=IMAGE, i__a=IMAGE + 1, l__a_seg=labels(0, 1), l__b_seg=labels(2, 1), l__c_seg=labels(1))
    report = ListReporter()
    cases = cases_from_folder(source / "i", source / "l", report=report)
    making = Making(channels=("MRI",), labels={"organ": (1,), "tumour": (2,)})
    result = make_dataset(cases, dataset, making, report=report)
    assert (result.cases, result.training, result.test) == (("a", "b"), 2, 0)
    assert described(dataset) == {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1, "tumour": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert stored(dataset, "b") == [2, 1, 0, 0, 0]
    np.testing.assert_array_equal(read_image([dataset / "imagesTr" / "a_0000.nii.gz"]).array[0], IMAGE + 1)
    assert verify_dataset(load_dataset(dataset)).problems == []
    assert messages(report, "warning") == ["1 label map without an image: c_seg."]
    assert sorted(path.name for path in dataset.iterdir()) == ["dataset.json", "imagesTr", "labelsTr"]
    assert [path for path in dataset.parent.parent.iterdir() if path.name.startswith(".making")] == []


def test_one_folder_with_both(source: Path, dataset: Path) -> None:
    put(source, a=IMAGE, a_seg=labels(1), b=IMAGE, b_seg=labels(1))
    make_dataset(cases_from_folder(source), dataset)
    assert described(dataset)["labels"] == {"background": 0, "label_1": 1}


def test_values_are_numbered_as_they_are_named(source: Path, dataset: Path) -> None:
    put(source, i__a=IMAGE, l__a=labels(4, 2, 1, 7))
    making = Making(labels={"core": (1, 4), "oedema": (2,), "background": (0, 7)})
    make_dataset(cases_from_folder(source / "i", source / "l"), dataset, making)
    assert described(dataset)["labels"] == {"background": 0, "core": 1, "oedema": 2}
    assert stored(dataset, "a") == [1, 2, 1, 0, 0]


def test_ranges_and_the_rest(source: Path, dataset: Path) -> None:
    put(source, i__a=IMAGE, l__a=labels(4, 2, 1, 117))
    making = Making(labels=named_values(["low=1", "other=2-9", "background=rest"]))
    make_dataset(cases_from_folder(source / "i", source / "l"), dataset, making)
    assert described(dataset)["labels"] == {"background": 0, "low": 1, "other": 2}
    assert stored(dataset, "a") == [2, 2, 1, 0, 0]


def test_values_without_a_name_are_all_told(source: Path, dataset: Path, refused: Any) -> None:
    put(source, i__a=IMAGE, l__a=labels(*range(1, 24)))
    cases = cases_from_folder(source / "i", source / "l")
    (problem,) = refused(lambda: make_dataset(cases, dataset, Making(labels={"low": (1,)})))
    assert (
        problem == f"a: The label map holds values that have no name: {', '.join(map(str, range(2, 22)))} and 2 more."
    )


def test_the_rest_of_the_masks(source: Path) -> None:
    put(source, p__image=IMAGE, p__masks__a=IMAGE, p__masks__b=IMAGE, p__masks__c=IMAGE)
    (case,) = cases_from_masks(source, labels=structures_of(["other=rest", "b"]))
    assert {name: [file.name for file in many] for name, many in case.masks.items()} == {
        "other": ["a.nii.gz", "c.nii.gz"],
        "b": ["b.nii.gz"],
    }


def test_masks_of_255_need_no_word(source: Path, dataset: Path) -> None:
    put(source, i__a=IMAGE, l__a=labels(255))
    make_dataset(cases_from_folder(source / "i", source / "l"), dataset)
    assert stored(dataset, "a") == [1, 0, 0, 0, 0]


def test_values_with_gaps_must_be_named(source: Path, dataset: Path) -> None:
    put(source, i__a=IMAGE, l__a=labels(1, 4))
    cases = cases_from_folder(source / "i", source / "l")
    with pytest.raises(UserError, match="hold the values 1, 4") as caught:
        make_dataset(cases, dataset)
    assert "--labels name1=1 name2=4" in caught.value.hint
    assert not dataset.exists()


def test_labels_on_another_grid(source: Path, dataset: Path, refused: Any) -> None:
    put(source, i__a=IMAGE)
    fine = Geometry((3.0, 0.5, 0.25), GRID.origin, GRID.direction)
    write_image(labels(1).repeat(2, axis=1).repeat(2, axis=2), source / "l" / "a.nii.gz", fine)
    cases = cases_from_folder(source / "i", source / "l")
    (problem,) = refused(lambda: make_dataset(cases, dataset))
    assert problem.startswith("a: It does not lie on the image's grid: shape (2, 3, 4) against (2, 6, 8)")
    make_dataset(cases, dataset, Making(resample=True))
    assert stored(dataset, "a") == [1, 0, 0, 0, 0]
    assert verify_dataset(load_dataset(dataset)).problems == []


def test_all_problems_at_once(source: Path, dataset: Path, refused: Any) -> None:
    put(source, i__a=IMAGE, i__b=IMAGE, i__c=IMAGE, l__a=labels(1, 9), l__b=labels(3))
    (source / "l" / "c.nii.gz").write_bytes(b"no image")
    cases = cases_from_folder(source / "i", source / "l")
    found = refused(lambda: make_dataset(cases, dataset, Making(labels={"organ": (1,)})))
    assert [text.split(":")[0] for text in found] == ["a", "b", "c"]
    assert found[0] == "a: The label map holds values that have no name: 9."


def test_images_without_labels(source: Path, dataset: Path, refused: Any) -> None:
    put(source, i__a=IMAGE, i__b=IMAGE, l__a=labels(1))
    (problem,) = refused(lambda: cases_from_folder(source / "i", source / "l"))
    assert problem == "b: the image has no label map of its name."
    result = make_dataset(cases_from_folder(source / "i", source / "l", unlabelled_as_test=True), dataset)
    assert (result.training, result.test) == (1, 1)
    assert (dataset / "imagesTs" / "b_0000.nii.gz").is_file()


def test_more_cases_keep_the_numbers(source: Path, dataset: Path, refused: Any) -> None:
    put(source, i__a=IMAGE, l__a=labels(1))
    make_dataset(cases_from_folder(source / "i", source / "l"), dataset, Making(labels={"organ": (1,)}))
    put(source, j__b=IMAGE, m__b=labels(1, 2))
    making = Making(labels={"tumour": (1,), "organ": (2,)})
    make_dataset(cases_from_folder(source / "j", source / "m"), dataset, making)
    assert described(dataset)["labels"] == {"background": 0, "organ": 1, "tumour": 2}
    assert stored(dataset, "b") == [2, 1, 0, 0, 0]
    cases = cases_from_folder(source / "j", source / "m")
    assert refused(lambda: make_dataset(cases, dataset, making)) == ["b: the dataset has a case of this name."]


def test_renamed_and_some_for_testing(source: Path, dataset: Path) -> None:
    put(source, **{f"i__{name}": IMAGE for name in "abcde"}, **{f"l__{name}": labels(1) for name in "abcde"})
    report = ListReporter()
    making = Making(rename="my organ", test=("40%",))
    result = make_dataset(cases_from_folder(source / "i", source / "l"), dataset, making, report=report)
    assert (result.training, result.test) == (3, 2)
    assert result.cases == tuple(f"my_organ_00{number}" for number in range(1, 6))
    assert "a becomes my_organ_001." in messages(report, "log")


def test_colour_pictures_of_mixed_kinds(source: Path, dataset: Path) -> None:
    (source / "i").mkdir(parents=True)
    (source / "l").mkdir()
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 1] = 200
    Image.fromarray(picture).save(source / "i" / "a.png")
    Image.fromarray(picture).save(source / "i" / "b.jpg", quality=95)
    for name in "ab":
        mask = np.zeros((4, 5), np.uint8)
        mask[1] = 255
        Image.fromarray(mask).save(source / "l" / f"{name}_mask.bmp")
    make_dataset(cases_from_folder(source / "i", source / "l"), dataset)
    assert described(dataset)["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert described(dataset)["file_ending"] == ".png"
    assert sorted(path.name for path in (dataset / "imagesTr").iterdir())[:3] == [f"a_000{i}.png" for i in range(3)]
    assert (read_image([dataset / "imagesTr" / "a_0001.png"]).array == 200).all()
    assert set(read_labels(dataset / "labelsTr" / "b.png").array.ravel()) == {0, 1}
    assert verify_dataset(load_dataset(dataset)).problems == []


def test_totalsegmentator_layout_and_precedence(source: Path, dataset: Path) -> None:
    put(source, p1__ct=IMAGE - 1000, p1__segmentations__liver=labels(1, 1), p1__segmentations__spleen=labels(0, 1, 1))
    put(source, p2__ct=IMAGE - 1000, p2__segmentations__liver=labels(1), p2__segmentations__lung=labels(1))
    report = ListReporter()
    cases = cases_from_masks(source, labels={"spleen": ("spleen",), "liver": ("liver",)}, report=report)
    make_dataset(cases, dataset, report=report)
    assert described(dataset)["labels"] == {"background": 0, "spleen": 1, "liver": 2}
    assert described(dataset)["channel_names"] == {"0": "CT"}
    assert stored(dataset, "p1") == [2, 2, 1, 0, 0]
    assert stored(dataset, "p2") == [2, 0, 0, 0, 0]
    assert messages(report, "warning") == [
        "Masks overlap in 1 case (p1) (liver over spleen: 1 voxel).",
        "No mask of spleen in 1 case (p2).",
    ]
    assert any("left out: lung" in text for text in messages(report, "log"))


def test_files_of_a_case_in_one_folder(source: Path, dataset: Path, refused: Any) -> None:
    put(source, p1__t1=IMAGE, p1__t2=IMAGE + 5, p1__left=labels(1), p1__right=labels(0, 255))
    found = refused(lambda: cases_from_masks(source))
    assert found[0] == "p1: There is no image, or it can't be told from the masks."
    cases = cases_from_masks(source, images=("t1", "t2.nii.gz"), labels=structures_of(["kidney=left,right"]))
    make_dataset(cases, dataset)
    assert described(dataset)["channel_names"] == {"0": "t1", "1": "t2"}
    assert stored(dataset, "p1") == [1, 1, 0, 0, 0]


def test_a_folder_per_structure(source: Path, dataset: Path, refused: Any) -> None:
    put(source, images__a=IMAGE, images__b=IMAGE, organ__a=labels(1), organ__b=labels(1), tumour__b_mask=labels(1))
    make_dataset(cases_from_masks(source), dataset)
    assert described(dataset)["labels"] == {"background": 0, "organ": 1, "tumour": 2}
    assert (stored(dataset, "a"), stored(dataset, "b")) == ([1, 0, 0, 0, 0], [2, 0, 0, 0, 0])
    found = refused(lambda: cases_from_masks(source, labels=structures_of(["vessel"])))
    assert found == [": no case has a mask 'vessel'."]


def test_names_that_the_dataset_has(source: Path, dataset: Path) -> None:
    put(source, images__a=IMAGE, organ__a=labels(1))
    make_dataset(cases_from_masks(source), dataset)
    remove = "`python -m segautoconfiglib remove-cases Dataset007_Test CASE`"
    hint = f"Name the new cases otherwise (--rename NAME), or first take out the old: {remove}"
    taken = ("a", "the dataset has a case of this name.", hint)

    def found(**wanted: Any) -> list[tuple[str, str, str]]:
        with pytest.raises(ProblemsError) as caught:
            make_dataset(cases_from_masks(source, **wanted), dataset)
        return [(problem.case, problem.message, problem.hint) for problem in caught.value.problems]

    assert found() == [taken]
    others = ("", "the labels tumour are new; those of the dataset are organ.",
              "Cases with other labels may need a dataset of their own.")  # fmt: skip
    assert found(labels=structures_of(["tumour=organ"])) == [others, taken]
    make_dataset(cases_from_masks(source), dataset, Making(rename="b"))
    assert load_dataset(dataset).description.numTraining == 2


def test_grey_masks_need_a_threshold(source: Path, dataset: Path, refused: Any) -> None:
    put(source, images__a=IMAGE, organ__a=labels(127, 255))
    cases = cases_from_masks(source)
    assert refused(lambda: make_dataset(cases, dataset)) == ["a: The mask has several values beside 0: 127, 255."]
    make_dataset(cases, dataset, Making(threshold=127))
    assert stored(dataset, "a") == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_with_patients(source: Path, dataset: Path, delimiter: str) -> None:
    put(source, **{f"f__{case}": IMAGE for case in "abcdef"}, **{f"f__{case}s": labels(1) for case in "abcdef"})
    rows = [("Case ID", "image", "Segmentation", "Subject", "set", "age")]
    rows += [
        (f"c{i}", f"f/{case}.nii.gz", f"f/{case}s.nii.gz", f"p{i // 2}", "", "9") for i, case in enumerate("abcde")
    ]
    rows += [("c5", "f/f.nii.gz", "", "p9", "test", "")]
    (source / "list.csv").write_text("\ufeff" + "\n".join(delimiter.join(row) for row in rows) + "\n\n", "utf-8")
    report = ListReporter()
    cases, channels = cases_from_csv(source / "list.csv", report=report)
    assert channels == ()
    assert messages(report, "log") == [
        "Columns of list.csv: images: image; id: Case ID; label: Segmentation; patient: Subject; split: set; "
        "not used: age."
    ]
    result = make_dataset(cases, dataset)
    assert (result.training, result.test, result.splits) == (5, 1, False)
    splits = json.loads((dataset / "splits_final.json").read_text())
    assert sorted(split["val"] for split in splits) == [["c0", "c1"], ["c2", "c3"], ["c4"]]
    assert groups_from_csv(source / "list.csv")["c3"] == "p1"


def test_all_cases_of_one_patient(source: Path, dataset: Path) -> None:
    put(source, a=IMAGE, b=IMAGE, m=labels(1))
    (source / "list.csv").write_text("image,label,patient\na.nii.gz,m.nii.gz,p1\nb.nii.gz,m.nii.gz,p1\n")
    report = ListReporter()
    make_dataset(cases_from_csv(source / "list.csv")[0], dataset, report=report)
    assert messages(report, "warning") == ["All training cases are of patient 'p1' (column patient): no folds written."]
    assert described(dataset)["numTraining"] == 2
    assert not (dataset / "splits_final.json").exists()


def test_where_paths_of_a_list_start(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "in").mkdir(parents=True)
    (source / "list.csv").write_text("image,label\na.nii.gz,m.nii.gz\n")
    monkeypatch.chdir(source / "in")
    with pytest.raises(ProblemsError) as caught:
        cases_from_csv(Path("../list.csv"))
    assert caught.value.hint == f"Paths start at {source.resolve()}."
    assert [(problem.message, problem.file) for problem in caught.value.problems] == [
        ("line 2: there is no such file.", "../a.nii.gz"),
        ("line 2: there is no such file.", "../m.nii.gz"),
    ]


def test_a_list_with_channels_masks_and_validation(source: Path, dataset: Path) -> None:
    put(source, a=IMAGE, b=IMAGE + 1, m=labels(1, 1), n=labels(0, 1))
    text = "image_T1,image_FLAIR,mask_organ,mask_tumour,id,split\n"
    text += "".join(
        f"a.nii.gz,b.nii.gz,m.nii.gz,n.nii.gz,{case},{part}\n" for case, part in (("x", "train"), ("y", "val"))
    )
    (source / "list.csv").write_text(text)
    cases, channels = cases_from_csv(source / "list.csv")
    assert channels == ("T1", "FLAIR")
    make_dataset(cases, dataset, Making(channels=channels))
    assert described(dataset)["channel_names"] == {"0": "T1", "1": "FLAIR"}
    assert stored(dataset, "x") == [1, 2, 0, 0, 0]
    np.testing.assert_array_equal(read_image([dataset / "imagesTr" / "x_0001.nii.gz"]).array[0], IMAGE + 1)
    assert json.loads((dataset / "splits_final.json").read_text()) == [{"train": ["x"], "val": ["y"]}]


def test_faults_of_a_list_with_their_lines(source: Path, refused: Any) -> None:
    put(source, a=IMAGE, m=labels(1))
    text = "image,label,split\na.nii.gz,m.nii.gz,\na.nii.gz,m.nii.gz,maybe\nb.nii.gz,,train\n"
    (source / "list.csv").write_text(text)
    assert [text.split(": ", 1)[1] for text in refused(lambda: cases_from_csv(source / "list.csv"))] == [
        "line 3: 'maybe' is no part.",
        "line 4: there is no such file.",
        "line 4: there is no label.",
        "line 3: the name stands in line 2 as well.",
    ]
    (source / "more.csv").write_text("image2,Image 1,image_id,imagery\nm.nii.gz,a.nii.gz,x,\n")
    (problem,) = refused(lambda: cases_from_csv(source / "more.csv"))
    assert problem == ": line 2: there is no label."
    (source / "other.csv").write_text("file,truth\n")
    with pytest.raises(UserError, match="has no column for images, but file, truth"):
        cases_from_csv(source / "other.csv")


def test_dicom_series_as_images(source: Path, dataset: Path, dicom_series: Any) -> None:
    volume = dicom_series(source / "i" / "p1", (0, 2, 6))
    write_image(np.ones((3, 3, 4), np.uint8), source / "l" / "p1.nrrd", read_header(source / "i" / "p1").geometry)
    report = ListReporter()
    make_dataset(cases_from_folder(source / "i", source / "l"), dataset, report=report)
    assert described(dataset)["channel_names"] == {"0": "CT"}
    np.testing.assert_array_equal(read_image([dataset / "imagesTr" / "p1_0000.nii.gz"]).array[0], volume)
    [message] = messages(report, "warning")
    assert message.startswith("p1: ")
    assert "2 to 4 mm apart" in message or "1 slice missing" in message


def test_dicom_beside_masks_and_named_in_a_list(source: Path, dataset: Path, dicom_series: Any) -> None:
    dicom_series(source / "p1" / "scan", number=1, name="Scout")
    dicom_series(source / "p1" / "scan", (0, 1), number=2, name="Lung")
    grid = read_header(source / "p1" / "scan" / "Lung").geometry
    write_image(np.ones((2, 3, 4), np.uint8), source / "p1" / "masks" / "lung.nii.gz", grid)
    (source / "list.csv").write_text("image,mask_lung,id\np1/scan/Lung,p1/masks/lung.nii.gz,a\n")
    cases, _ = cases_from_csv(source / "list.csv")
    make_dataset(cases, dataset)
    assert read_image([dataset / "imagesTr" / "a_0000.nii.gz"]).shape == (2, 3, 4)
    [case] = cases_from_masks(source)
    assert (case.images, list(case.masks)) == ((source / "p1" / "scan",), ["lung"])


def test_real_dicom_with_masks(shared_data: Path, tmp_path: Path, dataset: Path) -> None:
    folder = shared_data / "dicom-seg"
    (tmp_path / "list.csv").write_text(
        f"image\tmask_liver\tmask_spine\tid\n{folder}/ct-3slice\t{folder}/liver_seg.nrrd\t{folder}/spine_seg.nrrd\tq\n"
    )
    cases, _ = cases_from_csv(tmp_path / "list.csv")
    make_dataset(cases, dataset)
    made = read_labels(dataset / "labelsTr" / "q.nii.gz").array[0]
    liver, spine = (read_labels(folder / f"{name}_seg.nrrd").array[0] > 0 for name in ("liver", "spine"))
    np.testing.assert_array_equal(made, np.where(spine, 2, liver))


@pytest.mark.parametrize("words", [None, ["liver"], ["low=1", "background=rest"]])
def test_a_real_dicom_seg(shared_data: Path, tmp_path: Path, dataset: Path, words: list[str] | None) -> None:
    folder = shared_data / "dicom-seg"
    (tmp_path / "list.csv").write_text(f"image,label,id\n{folder}/ct-3slice,{folder}/liver.dcm,q\n")
    cases, _ = cases_from_csv(tmp_path / "list.csv")
    make_dataset(cases, dataset, Making(labels=named_values(words) if words else None))
    name = words[0].partition("=")[0] if words else "Liver"
    assert described(dataset)["labels"] == {"background": 0, name: 1}
    made = read_labels(dataset / "labelsTr" / "q.nii.gz").array[0]
    np.testing.assert_array_equal(made, read_labels(folder / "liver_seg.nrrd").array[0])


def test_segments_are_taken_by_their_names(
    dicom_series: Callable[..., np.ndarray], dicom_seg: Callable[..., None], source: Path, dataset: Path, refused: Any
) -> None:
    dicom_series(source / "i" / "a")
    frames = [(2, (10, -20, 35)), (1, (10, -20, 30))]
    dicom_seg(source / "l" / "a.dcm", {1: "Liver", 2: "Spine"}, frames, step_mm=2.5)
    cases = cases_from_folder(source / "i", source / "l")
    making = Making(labels=named_values(["spine"]), resample=True)
    (problem,) = refused(lambda: make_dataset(cases, dataset, making))
    assert problem == "a: The label map holds values that have no name: 1 (Liver)."
    make_dataset(cases, dataset, Making(labels=named_values(["spine", "liver"]), resample=True))
    made = read_labels(next((dataset / "labelsTr").iterdir())).array[0]
    assert [np.unique(slice_).tolist() for slice_ in made] == [[0, 2], [0], [0, 1]]


def test_what_a_killed_run_has_left_is_removed(source: Path, dataset: Path) -> None:
    put(source, images__a=IMAGE, organ__a=labels(1))
    dataset.parent.mkdir(parents=True, exist_ok=True)
    left = dataset.parent / ".making-0123abcd"
    left.mkdir()
    (left / "a.nii.gz").write_text("half")
    make_dataset(cases_from_masks(source), dataset)
    assert not left.exists()
