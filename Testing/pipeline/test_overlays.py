"""The command overlays: pictures of a dataset, of preprocessed cases and of predictions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segautoconfiglib.image.files import read_labels, write_image, write_labels
from segautoconfiglib.image.volume import Geometry

pytest.importorskip("matplotlib")

Cli = Callable[..., Any]
Refused = Callable[..., str]
ALONE = ("--workers", 1)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_every_case_of_a_dataset_gets_a_picture(raw: Path, cli: Cli, tmp_path: Path) -> None:
    outcome = cli("overlays", 7, "-o", tmp_path / "png", *ALONE, "--events", "jsonl")
    assert outcome.code == 0
    assert names(tmp_path / "png") == [f"c{number}.png" for number in range(5)]
    assert [event["pictures"] for event in outcome.of("done") if event["stage"] == "overlays"] == [5]
    assert {event["done"] for event in outcome.of("progress")} == {1, 2, 3, 4, 5}


def test_preprocessed_cases(raw: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    assert cli("plan", 7).code == 0
    words = ("overlays", 7, "-o", tmp_path / "png", "--preprocessed", *ALONE)
    refused(*words, says=["has no preprocessed cases", "Preprocess the dataset"])
    assert cli("preprocess", 7, "-c", "2d", *ALONE).code == 0
    refused(*words, says=["3d_fullres has no preprocessed cases"])
    assert cli(*words, "-c", "2d").code == 0
    assert len(names(tmp_path / "png")) == 5
    refused(*words, "-c", "4d", says=["4d"])


def test_configurations_that_inherit_are_drawn_under_nnunets_name(raw: Path, cli: Cli, workspace: Path) -> None:
    assert cli("plan", 7).code == 0
    file = workspace / "nnUNet_preprocessed" / raw.name / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["mine"] = {"inherits_from": "2d", "batch_size": 3}
    file.write_text(json.dumps(plans))
    assert cli("preprocess", 7, "-c", "mine", *ALONE).code == 0
    assert cli("nnUNetv2_plot_overlay_pngs", "-d", 7, "-o", raw / "png", "-c", "mine", "-np", 1).code == 0
    assert len(names(raw / "png")) == 5


def test_regions_ignored_voxels_and_the_second_channel(
    raw_dataset: Callable[..., Path], cli: Cli, refused: Refused, tmp_path: Path
) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    raw_dataset(channels=2, labels=labels, regions_class_order=[1, 2])
    words = ("overlays", 7, "-o", tmp_path / "png", *ALONE)
    assert cli(*words, "--channel", 1, "--intensity", 0).code == 0
    refused(*words, "--channel", 2, says=["no channel 2", "0 (MRI), 1 (MRI)"])


def test_pictures_in_two_dimensions(raw: Path, cli: Cli, tmp_path: Path) -> None:
    flat = Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
    shutil.rmtree(raw / "imagesTr")
    shutil.rmtree(raw / "labelsTr")
    cells = np.zeros((1, 40, 60), np.uint8)
    cells[0, 10:20, 10:40] = 1
    write_image(np.random.default_rng(0).integers(0, 90, cells.shape, np.uint8), raw / "imagesTr" / "a_0000.png", flat)
    write_labels(cells, raw / "labelsTr" / "a.png", flat)
    description = (raw / "dataset.json").read_text().replace(".nii.gz", ".png")
    (raw / "dataset.json").write_text(description.replace('"numTraining": 5', '"numTraining": 1'))
    assert cli("overlays", 7, "-o", tmp_path / "png", *ALONE).code == 0
    width, height = Image.open(tmp_path / "png" / "a.png").size
    assert width > height


@pytest.fixture
def predictions(raw: Path, tmp_path: Path) -> Path:
    """c0 perfect, c1 empty, c2 moved; t0 is a case of imagesTs without truth."""
    folder = tmp_path / "predictions"
    for case in ("c0", "c1", "c2"):
        labels = read_labels(raw / "labelsTr" / f"{case}.nii.gz")
        array = np.roll(labels.array[0], 1, axis=1) * (case != "c1") if case != "c0" else labels.array[0]
        write_labels(array, folder / f"{case}.nii.gz", labels.geometry)
    (raw / "imagesTs").mkdir()
    shutil.copyfile(raw / "imagesTr" / "c4_0000.nii.gz", raw / "imagesTs" / "t0_0000.nii.gz")
    shutil.copyfile(raw / "labelsTr" / "c4.nii.gz", folder / "t0.nii.gz")
    return folder


def test_predictions_are_drawn_beside_the_truth_the_worst_first(
    predictions: Path, cli: Cli, refused: Refused, raw: Path, tmp_path: Path
) -> None:
    words = ("overlays", 7, "--predictions", predictions, *ALONE)
    assert cli(*words, "-o", tmp_path / "png").code == 0
    assert names(tmp_path / "png") == ["001_c1.png", "002_c2.png", "003_c0.png", "004_t0.png"]
    assert cli(*words, "-o", tmp_path / "one", "--most", 1).code == 0
    assert names(tmp_path / "one") == ["001_c1.png"]
    given = (*words, "--truth", raw / "labelsTr", "--images", raw / "imagesTr")
    assert cli(*given, "-o", tmp_path / "given").code == 0
    assert names(tmp_path / "given") == ["001_c1.png", "002_c2.png", "003_c0.png"]
    refused(*words, "-o", tmp_path / "x", "--images", predictions, says=["no case", "channel number"])
    refused("overlays", 7, "-o", tmp_path / "x", "--most", 3, says=["--most belong to --predictions"])
    says = ["case has an image", "--images FOLDER", "--truth FOLDER"]
    refused("overlays", 7, "-o", tmp_path / "x", "--predictions", raw / "imagesTr", says=says)


def test_cases_that_cannot_be_drawn_are_named_and_the_others_drawn(raw: Path, cli: Cli, tmp_path: Path) -> None:
    labels = read_labels(raw / "labelsTr" / "c1.nii.gz")
    write_labels(labels.array[0][:4], raw / "labelsTr" / "c1.nii.gz", labels.geometry)
    (raw / "labelsTr" / "c3.nii.gz").unlink()
    outcome = cli("overlays", 7, "-o", tmp_path / "png", *ALONE)
    assert outcome.code == 2
    assert "2 of 5 cases could not be drawn" in outcome.err
    assert "c1: " in outcome.err
    assert "c3: the label file is missing" in outcome.err
    assert names(tmp_path / "png") == ["c0.png", "c2.png", "c4.png"]
