from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.records import read_json, write_json
from segautoconfiglib.dataset.dataset import list_cases, load_dataset
from segautoconfiglib.dataset.synthetic import hold_out_cases, make_demo_dataset, synthesize_case
from segautoconfiglib.image.files import read_image, read_labels


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "Dataset999_Demo"
    make_demo_dataset(folder, cases=3, held_out=2, seed=5)
    return folder


def test_the_dataset_has_training_and_held_out_cases(demo_folder: Path) -> None:
    dataset = load_dataset(demo_folder)
    assert [case.id for case in dataset.cases] == ["demo_000", "demo_001", "demo_002"]
    assert [case.id for case in list_cases(demo_folder / "imagesTs", ".nii.gz")] == ["demo_003", "demo_004"]
    assert sorted(file.name for file in (demo_folder / "labelsTs").iterdir()) == ["demo_003.nii.gz", "demo_004.nii.gz"]
    assert dataset.description.label_spec.names == {1: "capsule", 2: "core"}
    assert read_json(demo_folder / "dataset.json")["numTraining"] == 3


def test_files_hold_what_was_synthesized(demo_folder: Path) -> None:
    image, labels, geometry = synthesize_case(np.random.default_rng((5, 1)))
    stored = read_image([demo_folder / "imagesTr" / "demo_001_0000.nii.gz"])
    truth = read_labels(demo_folder / "labelsTr" / "demo_001.nii.gz")
    np.testing.assert_array_equal(stored.array[0], image)
    np.testing.assert_array_equal(truth.array[0], labels)
    assert geometry.differences(stored.geometry) == []
    assert stored.geometry.differences(truth.geometry) == []


def test_cases_differ_in_size_and_spacing_but_not_in_orientation() -> None:
    cases = [synthesize_case(np.random.default_rng((0, number))) for number in range(4)]
    assert len({image.shape for image, _, _ in cases}) > 1
    for image, _, geometry in cases:
        assert image.dtype == np.int16
        thickness, row, column = geometry.spacing_mm
        assert row == column
        assert 2.5 < thickness / row < 4.1
        matrix = np.reshape(geometry.direction, (3, 3))
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert not np.allclose(matrix, np.eye(3), atol=0.05)  # oblique
        np.testing.assert_array_equal(np.abs(matrix).argmax(0), [0, 1, 2])
        assert (np.diag(matrix) > 0.8).all()


@pytest.mark.parametrize("number", range(5))
def test_the_core_lies_inside_the_capsule(number: int) -> None:
    _, labels, _ = synthesize_case(np.random.default_rng((1, number)))
    assert (labels == 2).sum() > 150
    assert (labels == 1).sum() > 1000
    in_plane = ndimage.generate_binary_structure(2, 1)[None]
    around = ndimage.binary_dilation(labels == 2, in_plane)
    assert (labels[around] > 0).all()


def test_intensities_alone_do_not_tell_the_structures() -> None:
    for number in range(3):
        image, labels, _ = synthesize_case(np.random.default_rng((2, number)))
        best = 0.0
        for threshold in np.percentile(image, np.arange(80, 100)):
            bright = image > threshold
            best = max(best, 2 * (bright & (labels > 0)).sum() / (bright.sum() + (labels > 0).sum()))
        assert best < 0.9


def test_every_case_is_reported(tmp_path: Path) -> None:
    report = ListReporter()
    make_demo_dataset(tmp_path / "Dataset001_X", cases=1, held_out=1, report=report)
    assert [event["case"] for event in report.of("progress")] == ["demo_000", "demo_001"]


def make_raw(folder: Path, count: int) -> Path:
    for number in range(count):
        for name in (f"imagesTr/c{number}_0000.nrrd", f"imagesTr/c{number}_0001.nrrd", f"labelsTr/c{number}.nrrd"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    write_json(folder / "dataset.json", {"file_ending": ".nrrd", "numTraining": count, "licence": "kept"})
    return folder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_held_out_cases_move_once(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", 10)
    (raw / "imagesTs").mkdir()
    (raw / "imagesTs" / "unknown_0000.nrrd").touch()
    chosen = hold_out_cases(raw, share=0.2, seed=1)
    assert len(chosen) == 2
    assert names(raw / "labelsTs") == [f"{case}.nrrd" for case in chosen]
    assert names(raw / "imagesTs") == [f"{case}_000{channel}.nrrd" for case in chosen for channel in (0, 1)]
    assert len(names(raw / "labelsTr")) == 8
    assert len(names(raw / "imagesTr")) == 16
    assert names(raw / "imagesUnlabelled") == ["unknown_0000.nrrd"]
    assert read_json(raw / "dataset.json") == {"file_ending": ".nrrd", "numTraining": 8, "licence": "kept"}
    assert hold_out_cases(raw, share=0.9, seed=2) == chosen
    assert len(names(raw / "labelsTr")) == 8


@pytest.mark.parametrize("moves", range(8))  # one folder, four images, two labels; 7: only dataset.json is left
def test_an_interrupted_hold_out_is_finished_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    expected, raw = make_raw(tmp_path / "expected", 10), make_raw(tmp_path / "raw", 10)
    for folder in (expected, raw):
        (folder / "imagesTs").mkdir()
        (folder / "imagesTs" / "unknown_0000.nrrd").touch()
    hold_out_cases(expected, share=0.2, seed=1)
    rename, done = Path.rename, []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def move(source: Path, target: Path) -> Path:
        done.append(source)
        return stop() if len(done) > moves else rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", move)
        patch.setattr("segautoconfiglib.dataset.synthetic.write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            hold_out_cases(raw, share=0.2, seed=1)
    hold_out_cases(raw, share=0.2, seed=1)
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "imagesUnlabelled"):
        assert names(raw / folder) == names(expected / folder)
    assert read_json(raw / "dataset.json") == read_json(expected / "dataset.json")


def test_too_few_cases_to_hold_one_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only 2"):
        hold_out_cases(make_raw(tmp_path / "raw", 2))
