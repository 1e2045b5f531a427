"""Labels of a previous stage as input of a cascade, and the faults that training gives them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import AUGMENTATION
from segautoconfiglib.preprocessing.stages import StackedLabels
from segautoconfiglib.training.augment import training_transforms, validation_transforms
from segautoconfiglib.training.augment_cascade import (
    OPERATIONS,
    AppendPreviousStage,
    DropComponents,
    Morphology,
    cascade_transforms,
    closed,
    dilate,
    erode,
    opened,
)
from segautoconfiglib.training.augment_spatial import SpatialParameters, cut, sample_case
from segautoconfiglib.training.patch import patch_geometry

LABELS = LabelSpec({"background": 0, "organ": 1, "core": 2})
REGIONS = LabelSpec({"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}, (1, 2))


def ball(radius: float) -> np.ndarray:
    edge = int(radius)
    offsets = np.stack(np.meshgrid(*[np.arange(-edge, edge + 1)] * 3, indexing="ij"))
    return (offsets**2).sum(0) <= radius**2


def blobs(shape: tuple[int, int, int] = (12, 15, 17)) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(shape), 1.5) > 0.05


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.3, 4.0])
def test_operations_are_those_with_a_ball(radius: float) -> None:
    mask, structure = blobs(), ball(radius)

    def grow(some: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(some, structure)

    def shrink(some: np.ndarray) -> np.ndarray:
        return ndimage.binary_erosion(some, structure, border_value=1)

    assert np.array_equal(dilate(mask, radius), grow(mask))
    assert np.array_equal(erode(mask, radius), shrink(mask))
    assert np.array_equal(opened(mask, radius), grow(shrink(mask)))
    assert np.array_equal(closed(mask, radius), shrink(grow(mask)))


def test_single_slices_have_a_disk() -> None:
    mask = np.zeros((1, 9, 9), bool)
    mask[0, 4, 4] = True
    assert dilate(mask, 2.0).sum() == 13
    assert dilate(mask, 8.0).all()


@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
def test_only_a_part_is_worked_on(operation: int) -> None:
    image = np.zeros((1, 24, 26, 28), np.float32)
    image[0, 2:14, 5:20, 11:28] = blobs()
    expected = OPERATIONS[operation](image[0] > 0, 3.7)
    changed = Morphology(1.0, 1, 1.0).apply(image, [(0, operation, 3.7)])
    assert np.array_equal(changed[0] > 0, expected)


def test_what_a_structure_gains_the_others_lose() -> None:
    image = np.zeros((3, 1, 1, 9), np.float32)
    image[0] = 5
    image[1, 0, 0, 2:4] = 1
    image[2, 0, 0, 4:7] = 1
    before = image.copy()
    changed = Morphology(1.0, 2, 1.0).apply(image, [(0, OPERATIONS.index(dilate), 1.0)])
    assert changed[1, 0, 0].tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert changed[2, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0]
    assert (changed[0] == 5).all()
    assert np.array_equal(image, before)


def test_morphology_is_drawn_as_nnunet_does() -> None:
    drawn = [Morphology(0.4, 3, 0.5).draw(np.random.default_rng(seed), (4, 8, 8, 8)) for seed in range(400)]
    counts = np.bincount([label for some in drawn for label, _, _ in some], minlength=3)
    assert (abs(counts / 400 - 0.5) < 0.1).all()
    assert {operation for some in drawn for _, operation, _ in some} == {0, 1, 2, 3}
    radii = [radius for some in drawn for _, _, radius in some]
    assert 1 <= min(radii) < 1.5
    assert 7.5 < max(radii) < 8
    assert {some[0][0] for some in drawn if len(some) == 3} == {0, 1, 2}  # in any order


def test_only_small_components_are_dropped() -> None:
    image = np.zeros((2, 1, 10, 10), np.float32)
    image[1, 0, 0, :3] = 1
    image[1, 0, 3, 3] = image[1, 0, 4, 4] = 1  # touch at a corner: one component
    image[1, 0, 6:, :] = 1  # 40 % of the patch
    transform = DropComponents(1.0, 1, 1.0)
    first, second = (transform.apply(image, [(0, place)])[1, 0] for place in (0.0, 0.99))
    assert (image[1, 0] - first).nonzero()[0].tolist() == [0, 0, 0]
    assert (image[1, 0] - second).nonzero()[0].tolist() == [3, 4]
    everything = np.ones((1, 1, 4, 4), np.float32)
    assert transform.apply(everything, [(0, 0.5)]).all()


def test_labels_become_channels() -> None:
    labels = np.array([[0, 1, 2], [-1, 2, 0]], np.int16).reshape(2, 1, 1, 3)
    image = np.full((1, 1, 1, 3), 7, np.float32)
    sample = AppendPreviousStage([1, 2])(image=image, labels=labels, case=None)
    assert sample["image"][:, 0, 0].tolist() == [[7, 7, 7], [0, 0, 0], [0, 1, 0]]
    assert sample["labels"].tolist() == labels[:1].tolist()


def test_order_and_probabilities() -> None:
    append, morphology, drop = cascade_transforms((1, 2))
    assert isinstance(append, AppendPreviousStage)
    assert (morphology.probability, morphology.share, morphology.labels) == (0.4, 0.5, 2)
    assert (drop.probability, drop.share, drop.labels) == (0.2, 0.5, 2)
    assert AUGMENTATION.dropped_component_share == 0.15
    assert cascade_transforms((1,), 1.0)[1].share == 1


@pytest.fixture
def case() -> SimpleNamespace:
    """Labels, and previous labels that are other numbers in the same places."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (1, 10, 18, 20)).astype(np.int16)
    stacked = StackedLabels(labels, ((labels[0] + 1) % 3).astype(np.uint8))
    return SimpleNamespace(data=random.standard_normal((1, 10, 18, 20)).astype(np.float32), labels=stacked)


def test_both_label_maps_are_cut_alike(case: SimpleNamespace) -> None:
    _, labels = cut(case, (-2, 3, 4), (6, 5, 5))
    assert labels.shape == (2, 6, 5, 5)
    assert (labels[:, :2] == -1).all()
    assert np.array_equal((labels[0, 2:] + 1) % 3, labels[1, 2:])
    assert np.array_equal(case.labels[:], np.concatenate([case.labels.labels, case.labels.previous[None]]))


def test_both_label_maps_are_turned_alike(case: SimpleNamespace) -> None:
    matrix = SpatialParameters((0.3, -0.2, 0.1), 1.2).matrix
    _, both = sample_case(case, (4.0, 9.0, 9.0), matrix, (6, 8, 8))
    for index, labels in enumerate((case.labels.labels, case.labels.previous[None].astype(np.int16))):
        alone = SimpleNamespace(data=case.data, labels=labels)
        assert np.array_equal(both[index], sample_case(alone, (4.0, 9.0, 9.0), matrix, (6, 8, 8))[1][0])


@pytest.mark.parametrize(("spec", "targets"), [(LABELS, 1), (REGIONS, 3)], ids=["labels", "regions"])
def test_samples_of_a_cascade(case: SimpleNamespace, spec: LabelSpec, targets: int) -> None:
    geometry = patch_geometry((8, 16, 16), augment=True, mirror=True)
    transform = training_transforms("default", geometry, spec, [True], cascade=True)
    for seed in range(4):
        sample = transform(case=case, start=(-1, 0, 0), rng=np.random.default_rng(seed))
        assert sample["data"].shape == (3, 8, 16, 16)
        assert sample["data"].dtype == np.float32
        assert set(np.unique(sample["data"][1:])) <= {0, 1}
        assert sample["target"].shape == (targets, 8, 16, 16)


def test_validation_samples_have_the_labels_as_they_are(case: SimpleNamespace) -> None:
    geometry = patch_geometry((8, 16, 16), augment=False, mirror=False)
    transform = validation_transforms(geometry, LABELS, cascade=True)
    sample = transform(case=case, start=(0, 0, 0), rng=np.random.default_rng(0))
    previous = case.labels.previous[:8, :16, :16]
    assert np.array_equal(sample["data"][1:], np.stack([previous == 1, previous == 2]))
    assert np.array_equal(sample["target"], case.labels.labels[:, :8, :16, :16])


def test_faults_are_drawn_and_made_as_before() -> None:
    rng = np.random.default_rng(5)
    chosen = [int(label) for label in rng.permutation(3) if rng.random() < 0.8]
    expected = [(label, int(rng.integers(4)), float(rng.uniform(*AUGMENTATION.morphology_radius))) for label in chosen]
    assert Morphology(1.0, 3, 0.8).draw(np.random.default_rng(5), (4, 8, 8, 8)) == expected
    rng = np.random.default_rng(5)
    chosen = [int(label) for label in rng.permutation(3) if rng.random() < 0.8]
    expected_drops = [(label, float(rng.random())) for label in chosen]
    assert DropComponents(1.0, 3, 0.8).draw(np.random.default_rng(5), (4, 8, 8, 8)) == expected_drops
    empty = np.zeros((4, 2, 2, 2), np.float32)
    for transform in (Morphology(1.0, 3, 0.8), DropComponents(1.0, 3, 0.8)):
        assert not transform.apply(empty, transform.draw(np.random.default_rng(5), empty.shape)).any()
