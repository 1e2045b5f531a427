"""Targets, masks, and the list as a whole."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.training.augment import (
    MaskOutside,
    intensity_transforms,
    make_target,
    training_transforms,
    validation_transforms,
)
from segautoconfiglib.training.patch import patch_geometry

LABELS = LabelSpec.from_json({"background": 0, "a": 1, "b": 2})
LINE = np.array([-1, 0, 1, 2, 3], np.int16).reshape(1, 1, 1, 5)


def test_target_of_labels_has_no_outside():
    target = make_target(LINE[..., :4], LABELS)
    assert target.dtype == np.int16
    assert target.ravel().tolist() == [0, 0, 1, 2]


def test_target_of_regions_and_ignore():
    spec = LabelSpec.from_json({"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, [1, 2])
    target = make_target(LINE, spec)
    assert target.dtype == bool
    assert target[:, 0, 0].astype(int).tolist() == [[0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]


def test_target_keeps_the_ignore_label():
    spec = LabelSpec.from_json({"background": 0, "a": 1, "b": 2, "ignore": 3})
    assert make_target(LINE, spec).ravel().tolist() == [0, 0, 1, 2, 3]


def test_mask_sets_chosen_channels_to_zero_outside():
    image = np.ones((2, 1, 1, 5), np.float32)
    masked = MaskOutside([False, True])(image=image, labels=LINE)["image"]
    assert masked[0].ravel().tolist() == [1, 1, 1, 1, 1]
    assert masked[1].ravel().tolist() == [0, 1, 1, 1, 1]


def test_order_of_the_list():
    geometry = patch_geometry((8, 8, 8), augment=True, mirror=True)
    names = [type(transform).__name__ for transform in intensity_transforms(geometry, fast=False)]
    assert names == [
        "GaussianNoise", "GaussianBlur", "Brightness", "Contrast", "LowResolution", "Gamma", "Gamma",
    ]  # fmt: skip


def two_dimensional_case() -> SimpleNamespace:
    rng = np.random.default_rng(0)
    return SimpleNamespace(
        data=rng.standard_normal((1, 3, 12, 12), dtype=np.float32),
        labels=rng.integers(0, 3, (1, 3, 12, 12)).astype(np.int16),
    )


def test_2d_samples_lose_the_slice_axis():
    geometry = patch_geometry((8, 6), augment=True, mirror=True)
    transform = training_transforms("default", geometry, LABELS, [True])
    for seed in range(10):
        sample = transform(case=two_dimensional_case(), start=[1, 0, 0], rng=np.random.default_rng(seed))
        assert sample["data"].shape == (1, 8, 6)
        assert sample["data"].dtype == np.float32
        assert sample["target"].shape == (1, 8, 6)
        assert set(np.unique(sample["target"])) <= {0, 1, 2}


def test_without_augmentation_a_sample_is_a_part_of_the_case():
    geometry = patch_geometry((8, 6), augment=False, mirror=False)
    case = two_dimensional_case()
    for transform in (
        training_transforms("none", geometry, LABELS, [False]),
        validation_transforms(geometry, LABELS),
    ):
        sample = transform(case=case, start=[1, 2, 3], rng=np.random.default_rng(0))
        np.testing.assert_array_equal(sample["data"][0], case.data[0, 1, 2:10, 3:9])
        np.testing.assert_array_equal(sample["target"][0], case.labels[0, 1, 2:10, 3:9])
