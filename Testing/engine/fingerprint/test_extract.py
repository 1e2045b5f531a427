"""Measuring datasets."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.dataset import Case, Dataset, DatasetDescription
from segautoconfiglib.fingerprint import extract
from segautoconfiglib.fingerprint.extract import (
    CaseMeasurement,
    Samples,
    draw_samples,
    extract_fingerprint,
    intensity_properties,
    measure_case,
    summarize,
    workers_for_cases,
)
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry

FIXTURES = Path(__file__).parent / "fixtures"
GRID = Geometry((3.0, 1.0, 2.0))


def write_case(
    folder: Path, name: str = "a", image: np.ndarray | None = None, labels: np.ndarray | None = None
) -> Case:
    if image is None:
        image = np.zeros((3, 4, 5), np.float32)
        image[1:, 1:3, 2:] = np.arange(12).reshape(2, 2, 3) + 1
    if labels is None:
        labels = (image > 6).astype(np.uint8)
    case = Case(name, (folder / f"{name}_0000.nrrd",), folder / f"{name}.nrrd")  # ITK turns NaN in NIfTI files into 0
    write_image(image, case.images[0], GRID)
    assert case.label is not None
    write_labels(labels, case.label, GRID)
    return case


def dataset_of(folder: Path, *cases: Case) -> Dataset:
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "a": 1},
        "numTraining": len(cases),
        "file_ending": ".nrrd",
    }
    return Dataset("Dataset001_Test", folder, DatasetDescription.from_json(content, "dataset.json"), cases)


def test_draws_equal_nnunet():
    numbers = np.load(FIXTURES / "samples.npz")
    found = draw_samples(numbers["image"], numbers["labels"][0], 500)
    for samples, expected in zip(found, numbers["samples"], strict=True):
        values, counts = np.unique(expected, return_counts=True)
        assert np.array_equal(samples.values, values)
        assert np.array_equal(samples.counts, counts)
        assert samples.counts.dtype == np.uint8


@pytest.mark.parametrize("part", [7, 100])
def test_drawing_in_parts_gives_the_same_numbers(part, monkeypatch):
    numbers = np.load(FIXTURES / "samples.npz")
    image, labels = numbers["image"][:, :1, :2, :3], numbers["labels"][0, :1, :2, :3]
    whole = draw_samples(image, labels, 1000)
    monkeypatch.setattr(extract, "SAMPLES_PER_PART", part)
    for a, b in zip(whole, draw_samples(image, labels, 1000), strict=True):
        assert np.array_equal(a.values, b.values)
        assert np.array_equal(a.counts, b.counts)


def test_drawing_takes_little_memory_where_everything_is_labelled(monkeypatch):
    monkeypatch.setattr(extract, "SAMPLES_PER_PART", 10_000)
    image, labels = np.ones((1, 100, 100, 100), np.float32), np.ones((100, 100, 100), np.uint8)
    tracemalloc.start()
    draw_samples(image, labels, labels.size)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 18 * labels.size


@pytest.mark.parametrize(
    ("kind", "channels", "per_voxel"), [("f4", 1, 20), ("f8", 1, 20), ("f8", 3, 60), ("u1", 3, 28)]
)
def test_memory_estimate_knows_how_numbers_are_stored(tmp_path, kind, channels, per_voxel):
    frame = sitk.GetImageFromArray(np.zeros((2, 3, 4), kind))
    sitk.WriteImage(sitk.JoinSeries([frame] * channels), str(tmp_path / "a_0000.nii"))
    assert extract._peak_bytes([Case("a", (tmp_path / "a_0000.nii",))]) == 24 * per_voxel


def test_statistics_are_those_of_the_single_values():
    random = np.random.default_rng(0)
    values = random.normal(100, 20, 999).astype(np.float32).round()
    parts = [np.unique(part, return_counts=True) for part in np.split(values, [100, 450])]
    found = intensity_properties([Samples(v, c.astype(np.uint8)) for v, c in parts])
    assert found["median"] == np.median(values)
    assert found["percentile_00_5"] == pytest.approx(np.percentile(values.astype(float), 0.5), abs=1e-9)
    assert found["percentile_99_5"] == pytest.approx(np.percentile(values.astype(float), 99.5), abs=1e-9)
    assert found["mean"] == pytest.approx(values.mean(dtype=float))
    assert found["std"] == pytest.approx(values.std(dtype=float))
    assert (found["min"], found["max"]) == (values.min(), values.max())


def test_measurement_of_a_case(tmp_path):
    found = measure_case(write_case(tmp_path), 50)
    assert found.shape_after_crop == (2, 2, 3)
    assert found.spacing_mm == (3.0, 1.0, 2.0)
    assert found.relative_size == 12 / 60
    assert set(found.samples[0].values) <= {7, 8, 9, 10, 11, 12}
    assert found.samples[0].counts.sum() == 50


def test_a_dataset_of_one_case(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "FINGERPRINT", type(extract.FINGERPRINT)(foreground_samples=1000))
    report = ListReporter()
    found = extract_fingerprint(dataset_of(tmp_path, write_case(tmp_path)), workers=1, report=report)
    assert found.shapes_after_crop == ((2, 2, 3),)
    assert found.foreground_intensity_properties_per_channel["0"]["max"] == 12
    assert [event["case"] for event in report.of("progress")] == ["a"]


def test_a_case_without_labels_adds_no_samples_but_counts(tmp_path):
    empty = write_case(tmp_path, "b", labels=np.zeros((3, 4, 5), np.uint8))
    measured = [measure_case(write_case(tmp_path), 50), measure_case(empty, 50)]
    found = summarize("x", measured)
    assert len(found.spacings) == 2
    assert found.foreground_intensity_properties_per_channel["0"]["min"] == 7


def test_nothing_labelled_at_all_is_an_error_with_a_remedy():
    nothing = CaseMeasurement(
        (1, 1, 1), (1.0, 1.0, 1.0), 1.0, (Samples(np.empty(0, np.float32), np.empty(0, np.uint8)),)
    )
    with pytest.raises(UserError, match=r"Dataset001.*nothing to learn.*labelsTr"):
        summarize("Dataset001", [nothing, nothing])


def test_no_cases(tmp_path):
    with pytest.raises(UserError, match="no training cases"):
        extract_fingerprint(dataset_of(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_name_case_and_file(tmp_path, value):
    image = np.ones((3, 4, 5), np.float32)
    image[1, 1, 1] = value
    with pytest.raises(UserError, match=r"Case sick: .*sick_0000\.nrrd holds 1 voxels") as error:
        measure_case(write_case(tmp_path, "sick", image=image), 10)
    assert error.value.hint


def test_label_of_another_shape(tmp_path):
    with pytest.raises(UserError, match=r"Case a: .*\(3, 4, 4\).*\(3, 4, 5\)"):
        measure_case(write_case(tmp_path, labels=np.ones((3, 4, 4), np.uint8)), 10)


def test_small_datasets_are_not_worth_a_second_process(tmp_path):
    case = write_case(tmp_path)
    assert workers_for_cases([case], 1, None) == 1
    assert workers_for_cases([case], 1, 7) == 1


def test_the_file_is_nnunets(tmp_path):
    file = tmp_path / "dataset_fingerprint.json"
    Fingerprint.load(FIXTURES / "hippocampus.json").save(file, sort_keys=True)
    assert json.loads(file.read_text()) == json.loads((FIXTURES / "hippocampus.json").read_text())


@pytest.mark.usefixtures("all_samples")
def test_numbers_equal_nnunet_on_real_cases(shared_data):
    folder = shared_data / "Task04_Hippocampus"
    names = [
        f"hippocampus_{number}" for number in ("001", "003", "004", "007", "008", "011", "015", "017", "019", "020")
    ]
    cases = [Case(n, (folder / "imagesTr" / f"{n}.nii.gz",), folder / "labelsTr" / f"{n}.nii.gz") for n in names]
    found = extract_fingerprint(dataset_of(folder, *cases), workers=1).to_json()
    expected = json.loads((FIXTURES / "hippocampus.json").read_text())
    assert len(found.pop("sources")) == 32  # ours
    intensities = found.pop("foreground_intensity_properties_per_channel")["0"]
    assert intensities == pytest.approx(expected.pop("foreground_intensity_properties_per_channel")["0"], rel=1e-6)
    assert found == expected
