"""Prediction in stages: what the previous stage finds becomes an input of the next one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import ProblemsError, UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.dataset.dataset import list_cases  # noqa: E402
from segautoconfiglib.image.files import read_image, read_labels, write_labels  # noqa: E402
from segautoconfiglib.image.resample_image import resample_image  # noqa: E402
from segautoconfiglib.image.volume import Geometry, Volume  # noqa: E402
from segautoconfiglib.inference.cascade import NextStage, WithLabels  # noqa: E402
from segautoconfiglib.inference.run import (  # noqa: E402
    PredictOptions,
    load_model,
    predict_cases,
    predict_image,
    predict_preprocessed,
)
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import nnunet_weights, write_checkpoint  # noqa: E402
from segautoconfiglib.planning.plans import Plans  # noqa: E402
from segautoconfiglib.preprocessing.case import preprocess_case  # noqa: E402
from segautoconfiglib.preprocessing.stages import PredictedStage, one_hot  # noqa: E402
from segautoconfiglib.preprocessing.store import CaseStore  # noqa: E402

CASCADE, LOWRES = "3d_cascade_fullres", "3d_lowres"
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "b": 2}, "regions_class_order": [1, 2]}

pytestmark = pytest.mark.torch


@pytest.fixture
def make_cascade(make_model: Callable[..., Path]) -> Callable[..., Path]:
    """``make_cascade(folds=(0,), **dataset_json)`` writes both models; the cascade's folder."""

    def make(folds: tuple[int, ...] = (0,), **description: Any) -> Path:
        template = make_model(folds=(), transpose=(1, 0, 2), **description)
        plans = json.loads((template / "plans.json").read_text())
        entry = plans["configurations"].pop("3d_fullres")
        plans["configurations"] = {
            LOWRES: {**entry, "spacing": [2.5, 2.5, 2.5], "next_stage": CASCADE},
            CASCADE: {**entry, "previous_stage": LOWRES},
        }
        (template / "plans.json").write_text(json.dumps(plans))
        for name, channels in ((LOWRES, 1), (CASCADE, 3)):
            folder = shutil.copytree(template, template.with_name(f"nnUNetTrainer__nnUNetPlans__{name}"))
            classes = 2 if "regions_class_order" in description else 3
            for fold in folds:
                torch.manual_seed(fold + channels)
                architecture = Plans.load(folder / "plans.json").configuration(name).architecture
                network = build_network(architecture, channels, classes, deep_supervision=True)
                for part in network.parameters():  # so that the labels that go in show in those that come out
                    if part.ndim > 1:
                        torch.nn.init.normal_(part, std=0.5)
                content = {
                    "network_weights": nnunet_weights(network),
                    "init_args": {"configuration": name, "fold": fold},
                    "trainer_name": "nnUNetTrainer",
                    "inference_allowed_mirroring_axes": (0, 1, 2),
                }
                write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", content)
        shutil.rmtree(template)
        return template.with_name(f"nnUNetTrainer__nnUNetPlans__{CASCADE}")

    return make


def lowres(cascade: Path) -> Path:
    return cascade.with_name(f"nnUNetTrainer__nnUNetPlans__{LOWRES}")


@pytest.mark.parametrize("description", [{}, REGIONS], ids=["labels", "regions"])
def test_both_stages_at_once_are_both_stages(
    make_cascade: Callable[..., Path],
    make_images: Callable[..., Path],
    tmp_path: Path,
    description: dict[str, Any],
) -> None:
    folder, cases = make_cascade(**description), list_cases(make_images(2), ".nii.gz", 1)
    model, options = load_model(folder), PredictOptions(mirror=False)
    together = predict_cases(model, cases, tmp_path / "both", options=options)
    first = predict_cases(load_model(lowres(folder)), cases, tmp_path / "first", options=options)
    assert [file.name for file in together] == ["c0.nii.gz", "c1.nii.gz"]
    options = PredictOptions(mirror=False, previous_predictions=tmp_path / "first")
    second = predict_cases(load_model(folder, previous=False), cases, tmp_path / "second", options=options)
    found = [[read_labels(file).array for file in files] for files in (together, second, first)]
    assert all(np.array_equal(*pair) for pair in zip(found[0], found[1], strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(found[0], found[2], strict=True))
    arguments = json.loads((tmp_path / "second" / "predict_from_raw_data_args.json").read_text())
    assert arguments["folder_with_segs_from_prev_stage"] == str(tmp_path / "first")

    image = read_image(cases[0].images)
    assert np.array_equal(predict_image(image, model, mirror=False).labels.array, found[0][0])
    given = predict_image(image, load_model(folder, previous=False), mirror=False, previous=found[2][0][0])
    assert np.array_equal(given.labels.array, found[0][0])
    other = predict_image(image, model, mirror=False, previous=np.zeros_like(found[2][0][0]))
    assert not np.array_equal(other.labels.array, found[0][0])


def test_the_network_gets_the_labels_as_preprocessing_brings_them(
    make_cascade: Callable[..., Path], make_images: Callable[..., Path], tmp_path: Path
) -> None:
    model, case = load_model(make_cascade()), list_cases(make_images(1), ".nii.gz", 1)[0]
    image = read_image(case.images)
    labels = predict_image(image, load_model(lowres(model.folder.path))).labels
    made = preprocess_case(image, labels, model.plans, model.configuration, None)
    data = np.concatenate([made.data, one_hot(made.labels[0], (1, 2))])
    assert np.array_equal(model.segment(data, made.record), predict_image(image, model).labels.array[0])


def test_channels_are_made_where_they_are_read() -> None:
    random = np.random.default_rng(0)
    image, labels = random.random((2, 5, 6, 7), np.float32), random.integers(0, 3, (5, 6, 7))
    data = WithLabels(image, labels, (1, 2))
    assert data.shape == (4, 5, 6, 7)
    box = (slice(None), slice(1, 3), slice(0, 6), slice(2, 4))
    assert np.array_equal(data[box], np.concatenate([image, one_hot(labels, (1, 2))])[box])


@pytest.mark.parametrize("description", [{}, REGIONS], ids=["labels", "regions"])
def test_logits_are_brought_to_the_next_grid(
    make_cascade: Callable[..., Path],
    tmp_path: Path,
    description: dict[str, Any],
) -> None:
    folder = lowres(make_cascade(**description))
    model, store = load_model(folder), CaseStore(tmp_path / "store")
    geometry = Geometry((7.0, 1.0, 1.5))  # its thick slices do not count: neither stage has them
    image = Volume(np.random.default_rng(0).random((1, 4, 12, 10), np.float32), geometry)
    empty = Volume(np.zeros((1, *image.shape), np.uint8), geometry)
    made = preprocess_case(image, empty, model.plans, model.configuration, None)
    store.save("c0", made, (8, 8, 8))
    next_configuration = model.plans.configuration(CASCADE)
    shape = preprocess_case(image, None, model.plans, next_configuration, None).data.shape[1:]
    stage = NextStage(next_configuration, PredictedStage(folder, CASCADE))
    assert stage.grid(made.record) == shape
    (file,) = predict_preprocessed(model, store, ["c0"], tmp_path / "out", next_stages=[stage])

    logits = np.concatenate([slab.numpy() for slab in model.slabs(made.data)], axis=1)
    spacing = made.record.network_spacing_mm
    resized = np.concatenate([resample_image(each[None], shape, spacing, spacing, order=1) for each in logits])
    expected = resized.argmax(0)
    if description:
        expected = np.where(resized[1] > 0, 2, resized[0] > 0)
    assert np.array_equal(stage.output.open("c0")[...], expected)
    assert stage.output.open("c0").dtype == np.uint8
    assert np.array_equal(read_labels(file).array[0], model.segment(made.data, made.record))


def test_stored_cases_have_stored_predictions(make_cascade: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_cascade()
    model, store = load_model(folder, previous=False), CaseStore(tmp_path / "store")
    random = np.random.default_rng(0)
    geometry = Geometry((2.0, 1.0, 1.5))
    image = Volume(random.random((1, 7, 12, 10), np.float32), geometry)
    labels = Volume(random.integers(0, 3, (1, 7, 12, 10)).astype(np.uint8), geometry)
    made = preprocess_case(image, labels, model.plans, model.configuration, None)
    store.save("c", made, (8, 8, 8))
    previous = PredictedStage(tmp_path / "stage", CASCADE)
    with pytest.raises(UserError, match="Case c has no prediction of the previous stage"):
        predict_preprocessed(model, store, ["c"], tmp_path / "out", previous=previous)
    previous.save("c", np.maximum(made.labels[0], 0).astype(np.uint8), (8, 8, 8))
    (file,) = predict_preprocessed(model, store, ["c"], tmp_path / "out", previous=previous)
    data = np.concatenate([made.data, one_hot(made.labels[0], (1, 2))])
    assert np.array_equal(read_labels(file).array[0], model.segment(data, made.record))


def test_folds_of_both_stages(make_cascade: Callable[..., Path]) -> None:
    folder = make_cascade(folds=(0, 1))
    model = load_model(folder)
    assert (len(model.networks), len(model.previous.networks)) == (2, 2)
    assert model.previous.configuration_name == LOWRES
    assert len(load_model(folder, folds=[1]).previous.networks) == 1
    assert load_model(folder, previous=False).previous is None
    shutil.rmtree(lowres(folder) / "fold_1")
    assert len(load_model(folder).previous.networks) == 1
    with pytest.raises(UserError, match=r"3d_lowres.*fold_1"):
        load_model(folder, folds=[1])


def test_a_cascade_alone(make_cascade: Callable[..., Path], make_images: Callable[..., Path], tmp_path: Path) -> None:
    folder, cases = make_cascade(), list_cases(make_images(1), ".nii.gz", 1)
    model = load_model(folder, previous=False)
    with pytest.raises(UserError, match="needs the labels that 3d_lowres predicts"):
        predict_cases(model, cases, tmp_path / "out")
    with pytest.raises(UserError, match="needs the labels that 3d_lowres predicts"):
        predict_image(read_image(cases[0].images), model)
    lowres(folder).rename(folder.with_name(f"nnUNetTrainerNoDA__nnUNetPlans__{LOWRES}"))
    with pytest.raises(UserError, match=r"is a cascade.*no model folder.*3d_lowres.*-prev_stage_predictions"):
        load_model(folder)


def test_cascades_of_version_1_have_a_trainer_of_their_own(make_cascade: Callable[..., Path]) -> None:
    folder, report = make_cascade(), ListReporter()
    other = lowres(folder).rename(folder.with_name(f"nnUNetTrainerV2__nnUNetPlans__{LOWRES}"))
    folder = folder.rename(folder.with_name(f"nnUNetTrainerV2CascadeFullRes__nnUNetPlans__{CASCADE}"))
    assert load_model(folder, report=report).previous.folder.path == other
    message = f"The stage before {folder.name} is {other.name}, of another trainer."
    assert message in [entry["message"] for entry in report.of("log")]
    shutil.copytree(other, lowres(folder).with_name(f"nnUNetTrainerV2CascadeFullRes__nnUNetPlans__{LOWRES}"))
    assert load_model(folder).previous.folder.path.name.startswith("nnUNetTrainerV2CascadeFullRes__")


def test_stages_that_come_before_each_other(make_cascade: Callable[..., Path]) -> None:
    folder = make_cascade()
    for model in (folder, lowres(folder)):
        plans = json.loads((model / "plans.json").read_text())
        plans["configurations"][LOWRES]["previous_stage"] = CASCADE
        (model / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match=f"{CASCADE} -> {LOWRES} -> {CASCADE}"):
        load_model(folder)
    assert load_model(folder, previous=False).previous is None


def test_three_stages(make_cascade: Callable[..., Path]) -> None:
    folder = make_cascade()
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["third"] = {**plans["configurations"][CASCADE], "previous_stage": CASCADE}
    last = shutil.copytree(folder, folder.with_name("nnUNetTrainer__nnUNetPlans__third"))
    (last / "plans.json").write_text(json.dumps(plans))
    file = last / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    torch.save({**content, "init_args": {"configuration": "third", "fold": 0}}, file)
    model = load_model(last)
    names = [each.configuration_name for each in (model, model.previous, model.previous.previous)]
    assert names == ["third", CASCADE, LOWRES]
    assert model.previous.previous.previous is None


def test_predictions_that_do_not_fit(
    make_cascade: Callable[..., Path], make_images: Callable[..., Path], tmp_path: Path
) -> None:
    cases = list_cases(make_images(3), ".nii.gz", 1)
    folder, given = make_cascade(), tmp_path / "given"
    model = load_model(folder, previous=False)

    def predict(some: Any = model) -> None:
        predict_cases(some, cases, tmp_path / "out", options=PredictOptions(previous_predictions=given))

    with pytest.raises(UserError, match="There is no folder"):
        predict()
    write_labels(np.zeros((7, 12, 9), np.uint8), given / "c0.nii.gz", read_image(cases[0].images).geometry)
    write_labels(np.full((7, 12, 10), 3, np.uint8), given / "c1.nii.gz", read_image(cases[0].images).geometry)
    with pytest.raises(ProblemsError, match="3 of 3 cases") as caught:
        predict()
    for part in ("7x12x9 voxels, the image 7x12x10", "values from 3 to 3, the model knows", "c2.nii.gz is missing"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="3d_lowres takes no predictions of a previous stage"):
        predict(load_model(lowres(folder)))
    image, first = read_image(cases[0].images), load_model(lowres(folder))
    with pytest.raises(UserError, match="takes no labels of a previous stage"):
        predict_image(image, first, previous=np.zeros(image.shape, np.uint8))
