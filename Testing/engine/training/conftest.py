"""A tiny preprocessed dataset: bright blobs on noise, with a small U-Net to train on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.preprocessing.case import PreprocessedCase
from segautoconfiglib.preprocessing.geometry import SpatialRecord
from segautoconfiglib.preprocessing.store import CaseStore

CASES = 6
PATCH = (8, 16, 16)


def blob_case(seed: int, shape: tuple[int, int, int] = (10, 18, 20)) -> PreprocessedCase:
    """A ball of label 1 with a core of label 2 in noise, and a corner that is marked as outside."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0.35, 0.65, 3) * shape
    distance = np.linalg.norm(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - centre, axis=-1)
    labels = (distance < 5).astype(np.int16) + (distance < 2.5)
    data = (labels + 0.1 * rng.standard_normal(shape)).astype(np.float32)[None]
    labels[:2, :2, :2] = -1
    locations: dict[Any, np.ndarray] = {
        label: np.concatenate([np.zeros((count, 1), int), np.argwhere(labels == label)], axis=1)
        for label in (1, 2)
        if (count := int((labels == label).sum()))
    }
    record = SpatialRecord(
        Geometry((1.0, 1.0, 1.0)), (0, 1, 2), shape, tuple((0, s) for s in shape), shape, (1.0, 1.0, 1.0)
    )
    return PreprocessedCase(data, labels[None], record, locations)


@pytest.fixture
def tiny_plans(network_json: Callable[..., dict[str, Any]]) -> Plans:
    """One 3D and one 2D configuration with networks of three stages of 4, 8 and 8 features."""

    def configuration(patch: tuple[int, ...], folder: str) -> dict[str, Any]:
        dimension = len(patch)
        return {
            "data_identifier": folder,
            "batch_size": 2,
            "patch_size": patch,
            "spacing": [1.0] * dimension,
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "batch_dice": True,
            "architecture": network_json(dimension, (4, 8, 8)),
        }

    return Plans.from_json(
        {
            "dataset_name": "Dataset999_Blobs",
            "plans_name": "nnUNetPlans",
            "configurations": {
                "3d_fullres": configuration(PATCH, "nnUNetPlans_3d_fullres"),
                "2d": configuration(PATCH[1:], "nnUNetPlans_2d"),
            },
        },
        "plans.json",
    )


def blob_description(**changes: Any) -> DatasetDescription:
    """Background, ball and core."""
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1, "core": 2},
        "numTraining": CASES,
        "file_ending": ".nii.gz",
    }
    return DatasetDescription.from_json({**content, **changes}, "dataset.json")


@pytest.fixture(scope="session")
def blob_store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """The preprocessed cases, for both configurations."""
    folder = tmp_path_factory.mktemp("preprocessed") / "Dataset999_Blobs"
    for name in ("nnUNetPlans_3d_fullres", "nnUNetPlans_2d"):
        store = CaseStore(folder / name)
        for index in range(CASES):
            store.save(f"blob_{index}", blob_case(index), PATCH)
    return CaseStore(folder / "nnUNetPlans_3d_fullres")


@pytest.fixture
def tiny_recipe() -> Recipe:
    """Four epochs of three steps."""
    return Recipe(epochs=4, iterations_per_epoch=3, validation_iterations=2, seed=7)


@pytest.fixture
def make_job(blob_store: CaseStore, tmp_path: Path, tiny_recipe: Recipe, tiny_plans: Plans) -> Any:
    """Makes TrainJobs on the tiny dataset; keyword arguments change them."""
    pytest.importorskip("torch")
    from segautoconfiglib.training.run import TrainJob

    job = TrainJob(
        dataset_folder=blob_store.folder.parent,
        plans=tiny_plans,
        configuration="3d_fullres",
        fold=0,
        description=blob_description(),
        model_folder=tmp_path / "model",
        recipe=tiny_recipe,
        device="cpu",
        workers=0,
    )
    return lambda **changes: replace(job, **changes)


@pytest.fixture
def linear_state() -> Callable[..., Any]:
    """``linear_state(weight, decay=None)``: the state of a network that multiplies its image with one weight.

    SGD with momentum 0.9 and learning rate 0.5; a running average of the weight if it has a decay.
    """
    torch = pytest.importorskip("torch")
    from segautoconfiglib.training.state import TrainingState, WeightAverage

    def make(weight: float, decay: float | None = None) -> TrainingState:
        network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(network.weight, weight)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
        average = None if decay is None else WeightAverage(network, decay)
        return TrainingState(network, network, optimizer, average=average)

    return make


@pytest.fixture
def describe() -> Any:
    """Makes a dataset.json for the blobs; keyword arguments change its entries."""
    return blob_description
