"""dataset.json and the cases of a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.dataset.dataset import list_cases, load_dataset, load_description
from segautoconfiglib.image.files import write_image
from segautoconfiglib.image.volume import Geometry

VALID = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"background": 0, "organ": 1},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def described(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "dataset.json").write_text(text)
        return tmp_path / "dataset.json"

    return write


def test_description_keeps_unknown_keys(described: Callable[[Any], Path]) -> None:
    content = {**VALID, "licence": "CC", "relase": "1.0", "regions_class_order": None}
    description = load_description(described(content))
    assert description.channels == ["CT", "PET"]
    assert description.label_spec.foreground == (1,)
    assert description.warnings == ()
    assert description.to_json() == content


def test_regions_survive_the_round_trip(described: Callable[[Any], Path]) -> None:
    content = {**VALID, "labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1, 2]}
    description = load_description(described(content))
    assert description.label_spec.foreground == ((1, 2), 2)
    assert description.to_json() == content


def test_v1_form_is_read_and_said(described: Callable[[Any], Path]) -> None:
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "a", "2": "b"}, "numTraining": 3}
    description = load_description(described(content))
    assert description.to_json() == {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "a": 1, "b": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    assert [text.split()[-1] for text in description.warnings] == ["channel_names.", "name.", "v1."]


def test_readers_that_can_and_cannot_be_followed(described: Callable[[Any], Path]) -> None:
    for name, asked, warnings in (
        ("SimpleITKIO", "SimpleITKIO", 0),
        ("None", None, 0),
        ("NibabelIOWithReorient", None, 1),
        ("MyReader", None, 1),
    ):
        description = load_description(described({**VALID, "overwrite_image_reader_writer": name}))
        assert (description.asked_reader, len(description.warnings)) == (asked, warnings)


def test_all_problems_of_the_file_at_once(described: Callable[[Any], Path]) -> None:
    content = {"channel_names": {"1": "CT", "2": 7}, "labels": {"a": 1}, "numTraining": "2", "dataset": {"x": {}}}
    with pytest.raises(ProblemsError, match=r"dataset\.json can't be used") as caught:
        load_description(described({**content, "file_ending": "nii.gz", "overwrite_image_reader_writer": 1}))
    text = str(caught.value)
    for part in (
        "'1', '2'",
        "channel 2 is 7",
        "no background",
        "numTraining: got '2'",
        '".nii.gz"',
        "x: dataset",
        "got 1",
    ):
        assert part in text
    assert all(problem.hint for problem in caught.value.problems)


@pytest.mark.parametrize("name", ["", ".hidden", "..", "../a", "/tmp/a", "siteA/case1", "a\\b", "C:a"])
def test_names_of_cases_that_would_lead_elsewhere(described: Callable[[Any], Path], name: str) -> None:
    entry = {"images": ["a_0000.nrrd"], "label": "a.nrrd"}
    description = load_description(described({**VALID, "dataset": {"a.b-c_1 ü": entry}}))
    assert list(description.dataset or {}) == ["a.b-c_1 ü"]
    with pytest.raises(ProblemsError, match="can't be the name of a case") as caught:
        load_description(described({**VALID, "dataset": {name: entry}}))
    assert [problem.message for problem in caught.value.problems] == [f"dataset: {name!r} can't be the name of a case."]


def test_missing_keys_are_listed(described: Callable[[Any], Path]) -> None:
    with pytest.raises(ProblemsError) as caught:
        load_description(described({"name": "x"}))
    assert [problem.message.split()[2] for problem in caught.value.problems] == [
        "channel_names",
        "labels",
        "numTraining",
        "file_ending",
    ]


def test_files_that_are_no_description(described: Callable[[Any], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.json does not exist"):
        load_description(tmp_path / "dataset.json")
    line = 2 if sys.version_info >= (3, 13) else 3  # of the comma, or of what follows it
    with pytest.raises(UserError, match=f"in line {line}") as caught:
        load_description(described('{"labels": {},\n"numTraining": 3,\n}'))
    assert "comma" in caught.value.hint
    with pytest.raises(ProblemsError, match="Expected an object"):
        load_description(described("[]"))


def test_published_descriptions_are_read(shared_data: Path) -> None:
    files = sorted((shared_data / "published-plans").glob("*/dataset.json"))
    assert files
    for file in files:
        assert load_description(file).to_json() == json.loads(file.read_text())


def test_cases_of_a_folder(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=2, channels=2)
    (folder / "imagesTr" / "._c0_0000.nii.gz").touch()
    (folder / "labelsTr" / "c1.nii.gz").rename(folder / "labelsTr" / "c1.NII.GZ")
    (folder / "imagesTr" / "c1_0001.nii.gz").rename(folder / "imagesTr" / "c1_0001.Nii.gz")
    dataset = load_dataset(folder)
    assert dataset.name == "Dataset007_Test"
    assert [case.id for case in dataset.cases] == ["c0", "c1"]
    assert [path.name for path in dataset.cases[1].images] == ["c1_0000.nii.gz", "c1_0001.Nii.gz"]
    assert dataset.cases[1].label == folder / "labelsTr" / "c1.NII.GZ"
    assert dataset.reader_name == "SimpleITKIO"


def test_ids_that_contain_each_other_do_not_mix(raw_dataset: Callable[..., Path]) -> None:
    folder = raw_dataset(cases=1)
    write_image(np.zeros((1, 1, 1)), folder / "imagesTr" / "c0_extra_0000.nii.gz", Geometry((1.0, 1.0, 1.0)))
    assert {case.id: len(case.images) for case in load_dataset(folder).cases} == {"c0": 1, "c0_extra": 1}


def test_listed_cases_with_variables_and_relative_paths(
    raw_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGAUTOCONFIG_TEST_FILES", str(tmp_path / "elsewhere"))
    entry = {"images": ["$SEGAUTOCONFIG_TEST_FILES/a.nrrd"], "label": "labelsTr/a.nrrd"}
    folder = raw_dataset(cases=0, dataset={"a": entry})
    (case,) = load_dataset(folder).cases
    assert (case.id, case.images) == ("a", (tmp_path / "elsewhere" / "a.nrrd",))
    assert case.label == folder / "labelsTr" / "a.nrrd"
    monkeypatch.delenv("SEGAUTOCONFIG_TEST_FILES")
    with pytest.raises(ProblemsError, match=r"a: \$SEGAUTOCONFIG_TEST_FILES/a\.nrrd: an environment variable"):
        load_dataset(folder)


def test_folders_that_hold_no_dataset(raw_dataset: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no dataset folder"):
        load_dataset(tmp_path / "absent")
    folder = raw_dataset(cases=1)
    image = folder / "imagesTr" / "c0_0000.nii.gz"
    image.rename(folder / "imagesTr" / "c0.nii.gz")
    with pytest.raises(UserError, match=r"has no case: c0\.nii\.gz lack the channel number.*CASE_0000\.nii\.gz"):
        load_dataset(folder)
    (folder / "imagesTr" / "c0.nii.gz").rename(folder / "imagesTr" / "c0.nrrd")
    with pytest.raises(UserError, match=r"no files ending in \.nii\.gz, but c0\.nrrd"):
        load_dataset(folder)
    (folder / "imagesTr" / "c0.nrrd").unlink()
    with pytest.raises(UserError, match="is empty"):
        load_dataset(folder)
    (folder / "imagesTr").rmdir()
    with pytest.raises(UserError, match="has no folder imagesTr"):
        load_dataset(folder)


def test_cases_for_prediction(raw_dataset: Callable[..., Path]) -> None:
    images = raw_dataset(cases=2, channels=2) / "imagesTr"
    assert [case.id for case in list_cases(images, ".nii.gz", 2)] == ["c0", "c1"]
    assert list_cases(images, ".nii.gz")[0].label is None
    (images / "c0_0000.nii.gz").unlink()
    (images / "c1_0001.nii.gz").unlink()
    with pytest.raises(ProblemsError) as caught:
        list_cases(images, ".nii.gz", 2)
    assert [str(problem).split(".nii.gz: ")[-1] for problem in caught.value.problems] == [
        "channel 0 is missing. Add the file."
    ]
    write_image(np.zeros((1, 1, 1)), images / "c0_0000.nii.gz", Geometry((1.0, 1.0, 1.0)))
    with pytest.raises(ProblemsError, match=r"c1_0000\.nii\.gz: 1 channel where 2 are expected"):
        list_cases(images, ".nii.gz", 2)
    with pytest.raises(ProblemsError, match="channel 1 is not expected"):
        list_cases(images, ".nii.gz", 1)


def test_one_colour_file_may_hold_all_channels(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a_0000.png")
    (case,) = list_cases(tmp_path, ".png", 3)
    assert [path.name for path in case.images] == ["a_0000.png"]
    with pytest.raises(ProblemsError, match="3 channels where 1 is expected"):
        list_cases(tmp_path, ".png", 1)
