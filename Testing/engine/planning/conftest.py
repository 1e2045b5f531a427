"""Datasets of identical cases, as dataset.json and fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.fingerprint.fingerprint import Fingerprint

FIXTURES = Path(__file__).parent / "fixtures"

INTENSITIES = {
    "max": 9.0,
    "mean": 4.0,
    "median": 4.0,
    "min": 0.0,
    "percentile_00_5": 1.0,
    "percentile_99_5": 8.0,
    "std": 2.0,
}


def _description(cases: int, channels: Sequence[str], labels: int) -> DatasetDescription:
    names = ["background", *(f"organ{number}" for number in range(1, labels))]
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {name: number for number, name in enumerate(names)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    return DatasetDescription.from_json(content, "dataset.json")


def _fingerprint(spacing: Sequence[float], shape: Sequence[int], cases: int, channels: int, kept: float) -> Fingerprint:
    content = {
        "foreground_intensity_properties_per_channel": {str(index): INTENSITIES for index in range(channels)},
        "median_relative_size_after_cropping": kept,
        "shapes_after_crop": [list(shape)] * cases,
        "spacings": [list(spacing)] * cases,
    }
    return Fingerprint.from_json(content, "dataset_fingerprint.json")


MakeDataset = Callable[..., tuple[DatasetDescription, Fingerprint]]


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    """``make(spacing, shape, cases=20, channels=("MRI",), labels=2, kept=1.0)`` -> dataset.json and fingerprint."""

    def make(
        spacing: Sequence[float],
        shape: Sequence[int],
        *,
        cases: int = 20,
        channels: Sequence[str] = ("MRI",),
        labels: int = 2,
        kept: float = 1.0,
    ) -> tuple[DatasetDescription, Fingerprint]:
        return _description(cases, channels, labels), _fingerprint(spacing, shape, cases, len(channels), kept)

    return make


@pytest.fixture(scope="session")
def plan_vectors() -> dict[str, Any]:
    """What nnunetv2 2.8.1's five planners chose for 15 datasets of identical cases."""
    return json.loads((FIXTURES / "plan_vectors.json").read_text())
