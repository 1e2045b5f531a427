"""Cases that nnU-Net has preprocessed: used as they are where they fit, else made again with a reason."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.dataset.dataset import Dataset, DatasetDescription
from segautoconfiglib.image.files import read_image, write_image
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.preprocessing.geometry import OWN_KEY
from segautoconfiglib.preprocessing.run import preprocess_dataset
from segautoconfiglib.preprocessing.store import OWN_FOLDER, CaseStore


@pytest.fixture
def folder(raw_dataset: Dataset, make_plans: Callable[..., Plans], tmp_path: Path) -> Path:
    """The three cases preprocessed, without all that nnU-Net does not write."""
    folder = tmp_path / "preprocessed" / "plans_3d"
    preprocess_dataset(raw_dataset, make_plans(), "3d", folder, workers=1)
    shutil.rmtree(folder / OWN_FOLDER)
    for file in folder.glob("*.pkl"):
        properties = pickle.loads(file.read_bytes())
        del properties[OWN_KEY]
        file.write_bytes(pickle.dumps(properties))
    return folder


def made_again(dataset: Dataset, plans: Plans, folder: Path) -> tuple[str, str]:
    """The cases whose files are others after preprocessing, and the first line of the log."""
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.*")}
    report = ListReporter()
    preprocess_dataset(dataset, plans, "3d", folder, workers=1, report=report)
    changed = {case for case in "abc" if before.get(f"{case}.pkl") != (folder / f"{case}.pkl").stat().st_mtime_ns}
    return "".join(sorted(changed)), report.of("log")[0]["message"]


def test_fitting_cases_are_used(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    plans = make_plans()
    assert made_again(raw_dataset, plans, folder) == (
        "",
        "plans_3d holds cases of nnU-Net; 3 of 3 are used as they are.",
    )
    assert made_again(raw_dataset, plans, folder) == ("", "3d: 3 of 3 cases are preprocessed already.")
    assert CaseStore(folder, plans.transpose_forward).open("a").record.network_spacing_mm == (1.0, 1.0, 1.0)
    later = time.time() + 5
    os.utime(raw_dataset.cases[1].label or "", (later, later))
    assert made_again(raw_dataset, plans, folder)[0] == "b"


def test_missing_cases_are_added(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    (folder / "b_seg.b2nd").unlink()
    assert made_again(raw_dataset, make_plans(), folder) == (
        "b",
        "plans_3d holds cases of nnU-Net; 2 of 3 are used as they are.",
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"spacing": (2.0, 1.0, 1.0)}, r"case a: its shape is (1, 8, 6, 5), the plans ask for (1, 4, 6, 5)"),
        ({"transpose": (1, 0, 2)}, "its image has another size or spacing"),
        ({"scheme": "RescaleTo01Normalization"}, "its voxels are not what these plans make of its files"),
        ({"resampling_fn_data_kwargs": {"order": 0}}, "its voxels are not what these plans make of its files"),
    ],
)
def test_cases_of_other_plans_are_made_again(
    raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path, changed: dict[str, Any], reason: str
) -> None:
    again, message = made_again(raw_dataset, make_plans(**changed), folder)
    assert again == "abc"
    assert "0 of 3 are used" in message
    assert reason in message


def test_other_labels(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    content = {**raw_dataset.description.to_json(), "labels": {"background": 0, "organ": 1, "tumour": 2, "vessel": 3}}
    dataset = replace(raw_dataset, description=DatasetDescription.from_json(content, "dataset.json"))
    again, message = made_again(dataset, make_plans(), folder)
    assert again == "abc"
    assert "labels are not those of dataset.json" in message


def test_a_replaced_image(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    file = raw_dataset.cases[2].images[0]
    array = read_image([file]).array[0]
    write_image(array, file, Geometry((2.5, 1.0, 1.0)))
    os.utime(file, (1_000_000_000, 1_000_000_000))
    again, message = made_again(raw_dataset, make_plans(), folder)
    assert again == "c"
    assert "2 of 3 are used" in message
    assert "case c: its image has another size or spacing by now" in message


def test_a_later_label(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    later = time.time() + 5
    os.utime(raw_dataset.cases[0].label or "", (later, later))
    again, message = made_again(raw_dataset, make_plans(), folder)
    assert again == "a"
    assert "case a: its files were changed later" in message


def test_a_damaged_case(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    (folder / "c.b2nd").write_bytes(b"nonsense")
    again, message = made_again(raw_dataset, make_plans(), folder)
    assert again == "c"
    assert "c.b2nd" in message


def test_the_store_is_as_before(raw_dataset: Dataset, make_plans: Callable[..., Plans], folder: Path) -> None:
    before = CaseStore(folder, (0, 1, 2)).open("b").data[:]
    made_again(raw_dataset, make_plans(), folder)
    assert np.array_equal(CaseStore(folder).open("b").data[:], before)
