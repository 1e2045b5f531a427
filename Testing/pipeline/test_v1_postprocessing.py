"""nnUNet_predict applies the postprocessing that was found for the model, as nnU-Net v1 does; no command of v2 does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.evaluation.postprocessing import keep_largest
from segautoconfiglib.image.files import read_labels

PREDICT = ("--disable_tta", "-device", "cpu")
ORGAN = {"postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
         "postprocessing_kwargs": [{"labels_or_regions": 1}]}  # fmt: skip
NOTHING: dict[str, list[Any]] = {"postprocessing_fns": [], "postprocessing_kwargs": []}

pytestmark = pytest.mark.torch


@pytest.fixture
def images(trained: Path) -> Path:
    """A workspace whose model has a postprocessing of fold 0, and one, that counts, of two folds."""
    results = trained / "nnUNet_results" / "Dataset007_Test"
    (results / "nnUNetTrainer__tiny__3d_fullres").rename(results / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    for folds, content in (("0", NOTHING), ("0_1", ORGAN)):
        folder = results / "nnUNetTrainer__nnUNetPlans__3d_fullres" / f"crossval_results_folds_{folds}"
        folder.mkdir()
        (folder / "postprocessing.json").write_text(json.dumps(content))
    return trained / "nnUNet_raw" / "Dataset007_Test" / "imagesTr"


def test_of_the_model(images: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    v2 = ("nnUNetv2_predict", "-d", 7, "-c", "3d_fullres", "-i", images, "-o", tmp_path / "v2", *PREDICT)
    assert cli(*v2).code == 0
    raw = [read_labels(tmp_path / "v2" / f"c{number}.nii.gz").array[0] for number in range(5)]
    expected = [keep_largest(labels, 1) for labels in raw]
    assert any(not np.array_equal(one, other) for one, other in zip(raw, expected, strict=True))  # it matters

    given = ("nnUNet_predict", "-t", 7, "-i", images, "-o", tmp_path / "v1", *PREDICT)
    outcome = cli(*given, "--num_parts", 2, "--part_id", 1)
    assert outcome.code == 0, outcome.err
    assert "crossval_results_folds_0_1" in outcome.err
    assert sorted(file.name for file in (tmp_path / "v1").glob("*.nii.gz")) == ["c1.nii.gz", "c3.nii.gz"]
    shutil.copyfile(tmp_path / "v2" / "c0.nii.gz", tmp_path / "v1" / "c0.nii.gz")  # as a killed run leaves one
    assert cli(*given).code == 0
    for number, labels in enumerate(expected):
        assert np.array_equal(read_labels(tmp_path / "v1" / f"c{number}.nii.gz").array[0], labels)


def test_also_where_a_case_can_not_be_predicted(images: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    (images / "c0_0000.nii.gz").write_bytes(b"no image")
    outcome = cli("nnUNet_predict", "-t", 7, "-i", images, "-o", tmp_path / "v1", *PREDICT)
    assert outcome.code == 2
    assert "c0" in outcome.err
    for file in (tmp_path / "v1").glob("*.nii.gz"):
        labels = read_labels(file).array[0]
        assert np.array_equal(labels, keep_largest(labels, 1))
