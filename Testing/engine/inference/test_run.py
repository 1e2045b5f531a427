"""From files, and from images in memory, to segmentations."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import weakref
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, ProblemsError, UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.dataset.dataset import Case, list_cases  # noqa: E402
from segautoconfiglib.image.files import read_header, read_image, read_labels, write_image  # noqa: E402
from segautoconfiglib.image.resample_image import resample_image  # noqa: E402
from segautoconfiglib.image.volume import Geometry, Volume  # noqa: E402
from segautoconfiglib.inference import run  # noqa: E402
from segautoconfiglib.inference.run import (  # noqa: E402
    PredictOptions,
    load_model,
    predict_cases,
    predict_image,
    predict_preprocessed,
)
from segautoconfiglib.preprocessing.case import preprocess_case  # noqa: E402
from segautoconfiglib.preprocessing.store import CaseStore  # noqa: E402

pytestmark = pytest.mark.torch


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_files_equal_the_plain_way(make_model, make_images, tmp_path, dimension, transpose):
    model = load_model(make_model(dimension, folds=(0, 1), transpose=transpose, spacing=(1.5, 1.2, 1.7)))
    [case] = list_cases(make_images(1), ".nii.gz", 1)
    [file] = predict_cases(model, [case], tmp_path / "out")
    image = read_image(case.images)
    prepared = preprocess_case(image, None, model.plans, model.configuration, None)
    record = prepared.record
    with torch.inference_mode():
        logits = torch.cat(list(model.slabs(prepared.data)), dim=1).numpy()
    resized = resample_image(logits, record.cropped_shape, record.network_spacing_mm, record.spacing_mm, order=1)
    found = read_labels(file)
    np.testing.assert_array_equal(found.array[0], record.restore_labels(resized.argmax(axis=0)))
    assert len(np.unique(found.array)) > 1
    assert not found.geometry.differences(image.geometry)
    assert names(tmp_path / "out") == ["c0.nii.gz", "dataset.json", "plans.json", "predict_from_raw_data_args.json"]


@pytest.mark.parametrize(
    ("ending", "depth"), [(".nii", 7), (".nrrd", 7), (".mha", 7), (".tif", 7), (".png", 1), (".bmp", 1)]
)
def test_formats(make_model, make_images, tmp_path, ending, depth):
    dimension = 2 if depth == 1 else 3
    model = load_model(make_model(dimension, ending=ending, spacing=(1.0, 1.0, 1.0)))
    cases = list_cases(make_images(1, ending=ending, shape=(depth, 12, 10)), ending, 1)
    [file] = predict_cases(model, cases, tmp_path / "out")
    assert file.name == f"c0{ending}"
    assert read_labels(file).array.shape == (1, depth, 12, 10)
    assert read_header(file).geometry.dimension == read_header(cases[0].images[0]).geometry.dimension


def test_probabilities_are_those_of_the_labels(make_model, make_images, tmp_path, monkeypatch):
    model = load_model(make_model(transpose=(1, 0, 2)))
    cases = list_cases(make_images(1), ".nii.gz", 1)
    predict_cases(model, cases, tmp_path / "out", options=PredictOptions(save_probabilities=True))
    values = np.load(tmp_path / "out" / "c0.npz")["probabilities"]
    labels = read_labels(tmp_path / "out" / "c0.nii.gz").array[0]
    assert values.dtype == np.float32
    assert values.shape == (3, 7, 12, 10)
    np.testing.assert_allclose(values.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(values.argmax(axis=0), labels)
    properties = pickle.loads((tmp_path / "out" / "c0.pkl").read_bytes())
    assert properties["spacing"] == [2.0, 1.0, 1.5]
    assert properties["shape_before_cropping"] == (12, 7, 10)
    monkeypatch.setattr(
        "segautoconfiglib.inference.probabilities.INFERENCE", replace(run.INFERENCE, probabilities_in_memory=0)
    )
    predict_cases(model, cases, tmp_path / "disk", options=PredictOptions(save_probabilities=True))
    np.testing.assert_array_equal(np.load(tmp_path / "disk" / "c0.npz")["probabilities"], values)
    assert names(tmp_path / "disk") == names(tmp_path / "out")


def test_probabilities_in_a_file_are_unmapped_whatever_happens(make_model, make_images, tmp_path, monkeypatch):
    """Windows removes no file that is mapped, and the error of removing it would hide the other."""
    model = load_model(make_model())
    cases = list_cases(make_images(1), ".nii.gz", 1)
    monkeypatch.setattr(
        "segautoconfiglib.inference.probabilities.INFERENCE", replace(run.INFERENCE, probabilities_in_memory=0)
    )
    seen = []

    def full(values, record, stem):
        seen.append(values)
        assert not values.base.closed
        raise UserError("the disk is full")

    monkeypatch.setattr(run, "write_probabilities", full)
    with pytest.raises(UserError, match="the disk is full"):
        predict_cases(model, cases, tmp_path / "out", options=PredictOptions(save_probabilities=True))
    assert seen[0].base.closed
    assert not list((tmp_path / "out").glob(".partial-*"))


def test_regions(make_model, make_images, tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    model = load_model(make_model(labels=labels, regions_class_order=[1, 2]))
    cases = list_cases(make_images(1), ".nii.gz", 1)
    predict_cases(model, cases, tmp_path, options=PredictOptions(save_probabilities=True))
    values = np.load(tmp_path / "c0.npz")["probabilities"]
    expected = np.where(values[1] > 0.5, 2, np.where(values[0] > 0.5, 1, 0))
    np.testing.assert_array_equal(read_labels(tmp_path / "c0.nii.gz").array[0], expected)


def test_images_in_memory_equal_files(make_model, make_images, tmp_path):
    model = load_model(make_model(channels=2))
    [case] = list_cases(make_images(1, channels=2), ".nii.gz", 2)
    [file] = predict_cases(model, [case], tmp_path / "out")
    expected = sitk.ReadImage(str(file))
    channels = [sitk.ReadImage(str(image)) for image in case.images]
    found = predict_image(channels, model, probabilities=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found.labels), sitk.GetArrayFromImage(expected))
    np.testing.assert_array_equal(found.probabilities.argmax(axis=0), sitk.GetArrayFromImage(expected))
    assert found.labels.GetDirection() == channels[0].GetDirection()
    assert found.labels.GetOrigin() == channels[0].GetOrigin()
    volume = read_image(case.images)
    as_volume = predict_image(volume, model)
    assert isinstance(as_volume.labels, Volume)
    np.testing.assert_array_equal(as_volume.labels.array[0], sitk.GetArrayFromImage(expected))
    assert as_volume.probabilities is None


def test_a_single_image_without_mirroring(make_model, make_images):
    model = load_model(make_model())
    [case] = list_cases(make_images(1), ".nii.gz", 1)
    image = sitk.ReadImage(str(case.images[0]))
    mirrored, plain = predict_image(image, model), predict_image(image, model, mirror=False)
    assert (sitk.GetArrayFromImage(mirrored.labels) != sitk.GetArrayFromImage(plain.labels)).any()
    unmirrored = replace(model, mirror_axes=())
    same = predict_image(image, unmirrored)
    assert (sitk.GetArrayFromImage(same.labels) == sitk.GetArrayFromImage(plain.labels)).all()


def test_an_array_gives_the_labels_of_its_volume(make_model):
    model = load_model(make_model(channels=2))
    array = np.random.default_rng(0).normal(100, 20, (2, 7, 12, 10)).astype(np.float32)
    expected = predict_image(Volume(array, Geometry((2.0, 1.0, 1.5))), model).labels.array[0]
    found = predict_image(array, model, spacing_mm=[2, 1, 1.5], probabilities=True)
    np.testing.assert_array_equal(found.labels, expected)
    assert found.probabilities.shape == (3, 7, 12, 10)


@pytest.mark.parametrize(
    ("image", "spacing", "says"),
    [
        (np.zeros((8, 8, 8)), (1, 1, 1), r"shape \(8, 8, 8\).*array\[None\]"),
        (np.zeros((1, 8, 8, 8)), None, "spacing is None.*spacing_mm="),
        (np.zeros((1, 8, 8, 8)), (1, 1), r"spacing is \(1, 1\)"),
        (np.zeros((1, 8, 8, 8)), (1, 0, 1), r"spacing is \(1, 0, 1\)"),
        ("case_0000.nii.gz", None, "A str is no image.*ReadImage"),
        (Path("case_0000.nii.gz"), None, "Path is no image.*ReadImage"),
        (["a", "b"], None, "A list is no image"),
        ([], None, "no image"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(make_model, image, spacing, says):
    with pytest.raises(UserError) as caught:
        predict_image(image, load_model(make_model()), spacing_mm=spacing)
    assert re.search(says, str(caught.value))


def test_channels_on_different_grids(make_model):
    model = load_model(make_model(channels=2))
    with pytest.raises(UserError, match="Channel 1 has not the grid of channel 0"):
        predict_image([sitk.Image(8, 8, 8, sitk.sitkFloat32), sitk.Image(8, 8, 9, sitk.sitkFloat32)], model)


def test_preprocessed_cases_equal_files(make_model, make_images, tmp_path):
    model = load_model(make_model(spacing=(1.1, 1.6, 1.2), transpose=(1, 2, 0)))
    cases = list_cases(make_images(2), ".nii.gz", 1)
    store = CaseStore(tmp_path / "store")
    for case in cases:
        image = read_image(case.images)
        labels = Volume((image.array > 100).astype(np.uint8), image.geometry)
        prepared = preprocess_case(image, labels, model.plans, model.configuration, model.label_spec)
        store.save(case.id, prepared, model.configuration.patch_size)
    from_files = predict_cases(model, cases, tmp_path / "a")
    from_store = predict_preprocessed(model, store, ["c0", "c1"], tmp_path / "b", save_probabilities=True)
    for a, b in zip(from_files, from_store, strict=True):
        np.testing.assert_array_equal(read_labels(a).array, read_labels(b).array)
    assert names(tmp_path / "b") == ["c0.nii.gz", "c0.npz", "c0.pkl", "c1.nii.gz", "c1.npz", "c1.pkl"]


def test_continue_leaves_finished_cases_out(make_model, make_images, tmp_path):
    model = load_model(make_model())
    cases = list_cases(make_images(3), ".nii.gz", 1)
    out = tmp_path / "out"
    predict_cases(model, cases[1:2], out)
    (out / "c1.nii.gz").write_bytes(b"mine")
    report = ListReporter()
    predict_cases(model, cases, out, options=PredictOptions(continue_=True), report=report)
    assert (out / "c1.nii.gz").read_bytes() == b"mine"
    assert list(dict.fromkeys(event["case"] for event in report.of("progress"))) == ["c0", "c2"]
    predict_cases(model, cases, out, options=PredictOptions(continue_=True, save_probabilities=True))
    assert (out / "c1.nii.gz").read_bytes() != b"mine"


@pytest.mark.parametrize(("part", "expected"), [(0, ["c0", "c2", "c4"]), (1, ["c1", "c3"])])
@pytest.mark.parametrize("workers", [None, 0])
def test_parts(make_model, make_images, tmp_path, part, expected, workers):
    model = load_model(make_model())
    cases = list_cases(make_images(5), ".nii.gz", 1)[::-1]
    report = ListReporter()
    options = PredictOptions(part=part, parts=2, mirror=False, workers=workers)
    files = predict_cases(model, cases, tmp_path / "out", options=options, report=report)
    assert [file.name for file in files] == [f"{name}.nii.gz" for name in expected]
    assert [event["done"] for event in report.of("progress")] == list(range(1, len(expected) + 1))
    assert report.of("done")[0]["cases"] == len(expected)
    assert [event["description"] for event in report.of("artifact")] == [f"{len(expected)} segmentations"]
    report.events.clear()
    predict_cases(model, cases, tmp_path / "out", options=replace(options, continue_=True), report=report)
    assert not report.of("artifact")


@pytest.mark.parametrize("options", [PredictOptions(part=2, parts=2), PredictOptions(parts=0), PredictOptions(step=2)])
def test_impossible_options_write_nothing(make_model, make_images, tmp_path, options):
    model = load_model(make_model())
    with pytest.raises(UserError):
        predict_cases(model, list_cases(make_images(1), ".nii.gz", 1), tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_cancelling_keeps_whole_cases_only(make_model, make_images, tmp_path):
    model = load_model(make_model())
    cases = list_cases(make_images(3), ".nii.gz", 1)
    cancel = CancelToken()

    def report(kind, **data):
        if kind == "progress" and data["done"] == 1:
            cancel.cancel()

    options = PredictOptions(save_probabilities=True)
    with pytest.raises(Cancelled):
        predict_cases(model, cases, tmp_path / "out", options=options, report=report, cancel=cancel)
    found = [name for name in names(tmp_path / "out") if not name.endswith(".json")]
    assert found == ["c0.nii.gz", "c0.npz", "c0.pkl"]


@pytest.mark.parametrize("workers", [None, 0])
def test_failing_cases_are_named_when_all_others_are_done(make_model, make_images, tmp_path, workers):
    model = load_model(make_model())
    images = make_images(4)
    for case in ("c1", "c2"):
        (images / f"{case}_0000.nii.gz").write_bytes(b"no image")
    cases = [Case(f"c{i}", (images / f"c{i}_0000.nii.gz",)) for i in range(4)]
    report = ListReporter()
    with pytest.raises(ProblemsError, match=r"^2 of 4 cases could not be predicted:") as caught:
        predict_cases(model, cases, tmp_path / "out", options=PredictOptions(workers=workers), report=report)
    assert [problem.case for problem in caught.value.problems] == ["c1", "c2"]
    assert all("c1_0000" in str(p) or "c2_0000" in str(p) for p in caught.value.problems)
    assert [name for name in names(tmp_path / "out") if name.endswith(".nii.gz")] == ["c0.nii.gz", "c3.nii.gz"]
    assert [event["message"][:9] for event in report.of("warning")] == ["Case c1: ", "Case c2: "]
    assert [event["done"] for event in report.of("progress")] == [1, 2, 3, 4]
    assert report.of("artifact")[0]["description"] == "2 segmentations"
    assert not report.of("done")


def test_the_images_of_a_failing_case_do_not_stay_in_memory(make_model, make_images, tmp_path, monkeypatch):
    model = load_model(make_model())
    cases = list_cases(make_images(2), ".nii.gz", 1)
    alive = []

    def failing(self, data, *arguments, **options):
        alive.append(weakref.ref(data))
        assert [data() is not None for data in alive] == [*[False] * (len(alive) - 1), True]
        raise UserError("no")

    monkeypatch.setattr(run.Model, "segment", failing)
    with pytest.raises(ProblemsError, match="2 of 2"):
        predict_cases(model, cases, tmp_path / "out", options=PredictOptions(workers=0))


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_other_files_than_the_models(make_model, make_images, tmp_path, monkeypatch, transpose):
    """Ending, probabilities and uncertainty, on the grid of the image."""
    model = load_model(make_model(folds=(0, 1), transpose=transpose))
    [case] = list_cases(make_images(1, ending=".nrrd"), ".nrrd", 1)
    everything = PredictOptions(
        file_ending=".nrrd", save_probabilities=True, probability_images=True, uncertainty_image=True
    )
    out = tmp_path / "out"
    assert predict_cases(model, [case], out, options=everything) == [out / "c0.nrrd"]
    images = ["c0.nrrd", "c0_probability_1.nrrd", "c0_probability_2.nrrd", "c0_uncertainty.nrrd"]
    assert [name for name in names(out) if name.endswith(".nrrd")] == images
    assert json.loads((out / "dataset.json").read_text())["file_ending"] == ".nrrd"
    expected = np.load(out / "c0.npz")["probabilities"]
    geometry = read_image(case.images).geometry
    for label in (1, 2):
        image = sitk.ReadImage(str(out / f"c0_probability_{label}.nrrd"))
        assert image.GetPixelID() == sitk.sitkFloat32
        found = read_image([out / f"c0_probability_{label}.nrrd"])
        np.testing.assert_array_equal(found.array[0], expected[label])
        assert not found.geometry.differences(geometry)
    uncertain = read_image([out / "c0_uncertainty.nrrd"]).array[0]
    entropy = -(expected * np.log(expected)).sum(axis=0) / np.log(3)
    np.testing.assert_allclose(uncertain, entropy, atol=1e-6)
    assert 0 < uncertain.min() < uncertain.max() <= 1
    np.testing.assert_array_equal(read_labels(out / "c0.nrrd").array[0], expected.argmax(axis=0))

    monkeypatch.setattr(run, "probabilities_array", lambda *arguments: nullcontext(pytest.fail(str(arguments))))
    monkeypatch.setattr(run.Model, "segment", lambda *_, **__: pytest.fail("it is there already"))
    predict_cases(model, [case], out, options=replace(everything, continue_=True))
    (out / "c0_uncertainty.nrrd").unlink()
    with pytest.raises(pytest.fail.Exception):
        predict_cases(model, [case], out, options=replace(everything, continue_=True))


def test_uncertainty_alone_needs_no_array_of_all_classes(make_model, make_images, tmp_path, monkeypatch):
    model = load_model(make_model())
    cases = list_cases(make_images(1), ".nii.gz", 1)
    wanted = []
    array = run.probabilities_array
    monkeypatch.setattr(run, "probabilities_array", lambda *a: wanted.append(a[-1]) or array(*a))
    predict_cases(model, cases, tmp_path / "out", options=PredictOptions(uncertainty_image=True))
    assert wanted == [False]
    assert "c0_uncertainty.nii.gz" in names(tmp_path / "out")


def test_maps_of_regions(make_model, make_images, tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    model = load_model(make_model(labels=labels, regions_class_order=[1, 2]))
    cases = list_cases(make_images(1), ".nii.gz", 1)
    options = PredictOptions(save_probabilities=True, probability_images=True, uncertainty_image=True)
    predict_cases(model, cases, tmp_path, options=options)
    values = np.load(tmp_path / "c0.npz")["probabilities"].astype(np.float64)
    for channel, label in enumerate((1, 2)):
        found = read_image([tmp_path / f"c0_probability_{label}.nii.gz"]).array[0]
        np.testing.assert_array_equal(found, values[channel].astype(np.float32))
    entropy = (-(values * np.log2(values) + (1 - values) * np.log2(1 - values))).max(axis=0)
    np.testing.assert_allclose(read_image([tmp_path / "c0_uncertainty.nii.gz"]).array[0], entropy, atol=1e-5)


def test_pictures_hold_no_fractions(make_model, make_images, tmp_path):
    model = load_model(make_model(2, ending=".png", spacing=(1.0, 1.0, 1.0)))
    cases = list_cases(make_images(1, ending=".png", shape=(1, 12, 10)), ".png", 1)
    options = PredictOptions(probability_images=True, uncertainty_image=True)
    predict_cases(model, cases, tmp_path / "out", options=options)
    assert set(names(tmp_path / "out")) >= {"c0.png", "c0_probability_1.nrrd", "c0_uncertainty.nrrd"}


def test_what_was_not_seen_is_certain(make_model, make_images, tmp_path):
    """Outside the box with voxels that are not 0 there is background."""
    images = make_images(1)
    array = np.zeros((7, 12, 10), np.float32)
    array[2:5, 3:9, 2:8] = np.random.default_rng(0).normal(100, 10, (3, 6, 6))
    write_image(array, images / "c0_0000.nii.gz", Geometry((2.0, 1.0, 1.5)))
    model = load_model(make_model())
    options = PredictOptions(probability_images=True, uncertainty_image=True)
    predict_cases(model, list_cases(images, ".nii.gz", 1), tmp_path / "out", options=options)
    inside = array != 0
    for name in ("uncertainty", "probability_1", "probability_2"):
        found = read_image([tmp_path / "out" / f"c0_{name}.nii.gz"]).array[0]
        assert (found[~inside] == 0).all()
        assert (found[inside] > 0).all()


def test_an_unknown_ending(make_model, make_images, tmp_path):
    with pytest.raises(UserError, match=r"ending in 'nrrd' can't be written. Known: .*\.nrrd"):
        PredictOptions(file_ending="nrrd").check()


def test_a_wrong_number_of_channels_is_named(make_model, make_images, tmp_path):
    model = load_model(make_model(channels=2))
    cases = list_cases(make_images(1), ".nii.gz")
    with pytest.raises(UserError, match=r"Case c0: .*1 channel,.*2"):
        predict_cases(model, cases, tmp_path / "out")


def test_what_lies_beside_the_predictions(make_model, make_images, tmp_path):
    folder = make_model()
    model = load_model(folder)
    predict_cases(model, list_cases(make_images(1), ".nii.gz", 1), tmp_path / "out")
    for name in ("plans.json", "dataset.json"):
        assert json.loads((tmp_path / "out" / name).read_text()) == json.loads((folder / name).read_text())
    arguments = json.loads((tmp_path / "out" / "predict_from_raw_data_args.json").read_text())
    assert arguments["save_probabilities"] is False
    assert arguments["num_parts"] == 1


def test_folds_are_found_and_averaged(make_model, make_images):
    folder = make_model(folds=(0, 2, "all"))
    report = ListReporter()
    model = load_model(folder, report=report)
    assert len(model.networks) == 2
    assert "Predicting with folds 0, 2 of " in report.of("log")[0]["message"]
    shutil.rmtree(folder / "fold_0")
    shutil.rmtree(folder / "fold_2")
    assert len(load_model(folder, report=report).networks) == 1
    assert "trained on all cases" in report.of("log")[1]["message"]
    with pytest.raises(UserError, match="fold_3"):
        load_model(folder, folds=[3])


def test_a_model_that_does_not_fit_its_dataset_json(make_model):
    folder = make_model(labels={"background": 0, "a": 1})
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"]["b"] = 2
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"fold_0.*2 output classes instead of 3"):
        load_model(folder)


def test_a_case_is_named_once(make_model, make_images, tmp_path):
    images = make_images(1)
    write_image(np.full((7, 12, 10), np.nan, np.float32), images / "c0_0000.nii.gz", Geometry((2.0, 1.0, 1.5)))
    with pytest.raises(UserError) as caught:
        predict_cases(load_model(make_model()), list_cases(images, ".nii.gz", 1), tmp_path / "out")
    assert caught.value.message.startswith(f"Case c0: {images / 'c0_0000.nii.gz'} holds 840 voxels that are NaN")
