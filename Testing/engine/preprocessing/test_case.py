"""Preprocessing of one case."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import PREPROCESSING
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.preprocessing import case as module
from segautoconfiglib.preprocessing.case import class_locations, location_keys, preprocess_case

SPEC = LabelSpec({"background": 0, "a": 1, "b": 2})
GRID = Geometry((2.0, 1.0, 1.0))


def volumes(geometry: Geometry = GRID) -> tuple[Volume, Volume]:
    """An image that is zero outside a box with one zero inside, labels with one voxel outside the box."""
    image = np.zeros((1, 6, 7, 8), np.float32)
    image[0, 1:5, 1:6, 2:7] = np.arange(100).reshape(4, 5, 5) + 1
    image[0, 3, 3, 3] = 0
    labels = np.zeros((1, 6, 7, 8), np.uint8)
    labels[0, 2, 2, 3:5] = 1, 2
    return Volume(image, geometry), Volume(labels, geometry)


def test_without_resampling_everything_is_exact(make_plans):
    image, labels = volumes()
    plans = make_plans((2.0, 1.0, 1.0), scheme="NoNormalization")
    case = preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert case.record.box == ((1, 5), (1, 6), (2, 7))
    assert case.record.full_shape == (6, 7, 8)
    assert case.record.resampled_shape == (4, 5, 5)
    assert np.array_equal(case.data, image.array[:, 1:5, 1:6, 2:7])
    assert np.array_equal(case.labels, labels.array[:, 1:5, 1:6, 2:7])
    assert case.labels.dtype == np.int16
    assert case.class_locations[1].tolist() == [[0, 1, 1, 1]]
    assert case.class_locations[2].tolist() == [[0, 1, 1, 2]]


def test_outside_is_what_is_zero_and_open_to_the_border(make_plans):
    image, labels = volumes()
    image.array[0, 1, 1, 2:4] = 0  # a corner of the box
    labels.array[0, 1, 1, 2] = 1  # labelled: stays
    plans = make_plans((2.0, 1.0, 1.0), mask=True)
    case = preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert np.argwhere(case.labels == -1).tolist() == [[0, 0, 0, 1]]
    assert case.data[0, 0, 0, 1] == 0  # masked normalisation keeps the raw value outside ...
    assert case.data[0, 2, 2, 1] != 0  # ... and changes the filled hole


def test_transposition_and_target_spacing_are_recorded(make_plans):
    image, labels = volumes()
    plans = make_plans((0.5, 2.0, 1.0), transpose=(2, 0, 1))
    case = preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert case.record.spacing_mm == (1.0, 2.0, 1.0)
    assert case.record.cropped_shape == (5, 4, 5)
    assert case.data.shape == (1, 10, 4, 5)
    assert case.labels.shape == (1, 10, 4, 5)
    assert case.record.network_spacing_mm == (0.5, 2.0, 1.0)


def test_2d_keeps_the_spacing_between_slices(make_plans):
    image, labels = volumes()
    plans = make_plans((0.5, 0.5))
    case = preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert case.data.shape == (1, 4, 10, 10)
    assert case.record.network_spacing_mm == (2.0, 0.5, 0.5)


def test_without_labels_for_prediction(make_plans):
    image, labels = volumes()
    plans = make_plans((1.0, 1.0, 1.0), mask=True)
    configuration = plans.configuration("3d")
    case = preprocess_case(image, None, plans, configuration, None)
    assert case.labels is None
    assert case.class_locations == {}
    assert np.array_equal(case.data, preprocess_case(image, labels, plans, configuration, SPEC).data)


def test_the_inputs_are_left_alone(make_plans):
    image, labels = volumes()
    before = image.array.copy(), labels.array.copy()
    plans = make_plans((1.0, 1.3, 1.0), mask=True, transpose=(1, 0, 2))
    preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert np.array_equal(image.array, before[0])
    assert np.array_equal(labels.array, before[1])


def test_an_empty_image_is_kept_whole(make_plans):
    image, labels = volumes()
    image.array[...] = 0
    plans = make_plans((2.0, 1.0, 1.0), mask=True)
    case = preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert case.record.box == ((0, 6), (0, 7), (0, 8))
    assert not case.data.any()
    assert (case.labels == -1).sum() == case.labels.size - 2


def test_order_1_for_nnunets_torch_resampling(make_plans):
    image, _ = volumes()
    plans = [
        make_plans(
            (1.0, 1.3, 1.0),
            resampling_fn_data=function,
            resampling_fn_data_kwargs={"order": 1, "force_separate_z": False},
        )
        for function in ("resample_torch_fornnunet", "resample_data_or_seg_to_shape")
    ]
    first, second = (preprocess_case(image, None, p, p.configuration("3d"), None).data for p in plans)
    assert np.array_equal(first, second)


def test_no_resampling(make_plans):
    image, labels = volumes()
    plans = make_plans((1.0, 1.3, 1.0), resampling_fn_data="no_resampling_hack", resampling_fn_seg="no_resampling_hack")
    case = preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert case.data.shape == (1, 4, 5, 5)
    assert case.record.network_spacing_mm == (2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, "1 channel,.*made for 2"),
        ({"scheme": "MyNorm"}, "MyNorm"),
        ({"resampling_fn_data": "my_resampling"}, "my_resampling"),
        ({"spacing": (100.0, 1.0, 1.0)}, "vanishes at"),
    ],
)
def test_what_does_not_fit(make_plans, options, message):
    image, labels = volumes()
    plans = make_plans(**options)
    with pytest.raises(UserError, match=message) as error:
        preprocess_case(image, labels, plans, plans.configuration("3d"), SPEC)
    assert error.value.hint


def test_labels_of_another_shape(make_plans):
    image, labels = volumes()
    plans = make_plans()
    with pytest.raises(UserError, match=r"\(6, 7, 7\).*\(6, 7, 8\)"):
        preprocess_case(image, Volume(labels.array[..., :-1], GRID), plans, plans.configuration("3d"), SPEC)


def test_label_values_beyond_int16(make_plans):
    image, labels = volumes()
    plans = make_plans()
    large = Volume(labels.array.astype(np.int32) * 40000, GRID)
    with pytest.raises(UserError, match="80000"):
        preprocess_case(image, large, plans, plans.configuration("3d"), SPEC)


def test_location_keys():
    regions = LabelSpec({"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}, (1, 2))
    assert location_keys(SPEC) == [1, 2]
    assert location_keys(regions) == [(1, 2), 2, (-1, 0, 1, 2)]


@pytest.mark.parametrize("part", [7, 1000])
def test_class_locations_are_the_draws_of_choice(monkeypatch, part):
    monkeypatch.setattr(module, "VOXELS_PER_PART", part)
    monkeypatch.setattr(module, "PREPROCESSING", replace(PREPROCESSING, min_locations=20))
    labels = np.random.default_rng(0).integers(-1, 6, (5, 6, 7)).astype(np.int16)
    keys = [3, 9, (4, 1), 1, (-1, 0, 1, 2, 3, 4)]
    found = class_locations(labels, keys)
    random = np.random.RandomState(PREPROCESSING.seed)
    for key in keys:
        places = [np.argwhere(labels[None] == label) for label in (key if isinstance(key, tuple) else (key,))]
        pool = np.concatenate(places)
        expected = pool[random.choice(len(pool), 20, replace=False)] if len(pool) else pool
        assert np.array_equal(found[key], expected)
        assert found[key].dtype == np.int64
    assert list(found) == keys


def test_class_locations_take_little_memory(monkeypatch):
    monkeypatch.setattr(module, "VOXELS_PER_PART", 10_000)
    labels = np.ones((100, 100, 100), np.int16)
    tracemalloc.start()
    class_locations(labels, [1, 2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9 * labels.size


def test_class_locations_of_many_voxels_are_a_share():
    labels = np.zeros((120, 120, 120), np.int16)
    labels[:101] = 1  # 1 454 400 voxels
    labels[110, 0, :7] = 2
    found = class_locations(labels, [1, 2, 3, (2, 1)])
    assert {key: len(rows) for key, rows in found.items()} == {1: 14544, 2: 7, 3: 0, (2, 1): 14545}
    assert len(np.unique(found[1], axis=0)) == 14544
    assert (labels[tuple(found[1][:, 1:].T)] == 1).all()
    assert (found[2][:, :3] == [0, 110, 0]).all()
    assert found[3].shape == (0, 4)
    assert set(labels[tuple(found[2, 1][:, 1:].T)]) <= {1, 2}
