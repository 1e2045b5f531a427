"""Resampling: exact small cases, and what nnunetv2 2.8.1 with batchgenerators 0.25.5 gives."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import zoom
from threadpoolctl import threadpool_info, threadpool_limits

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image import resample_axes
from segautoconfiglib.image import resample_image as images
from segautoconfiglib.image.resample_axes import LinearWeights, interpolation_matrix, nearest_indices, separate_axis
from segautoconfiglib.image.resample_image import resample_image, small_products
from segautoconfiglib.image.resample_labels import resample_labels

NUMBERS = np.load(Path(__file__).parent / "fixtures" / "resampling.npz")
CHANGES = json.loads(str(NUMBERS["changes"]))
ISO = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "force", "axis"),
    [
        ((1, 1, 1), (1, 1, 1), None, None),
        ((3, 1, 1), (1, 1, 1), None, None),  # a ratio of 3 is not above 3
        ((3.1, 1, 1), (1, 1, 1), None, 0),
        ((1, 1, 1), (1, 5, 1), None, 1),
        ((5, 1, 1), (1, 5, 1), None, 0),  # what is there decides first
        ((5, 5, 1), (1, 1, 5), None, None),  # two coarse axes
        ((0.24, 1.25, 1.25), (1, 1, 1), None, None),
        ((5, 1, 1), (1, 1, 1), False, None),
        ((1.2, 1, 1), (1, 1, 1), True, 0),
        ((1, 1, 1), (1, 1, 9), True, None),
    ],
)
def test_separate_axis(spacing, new_spacing, force, axis):
    assert separate_axis(spacing, new_spacing, force) == axis


def test_nearest_indices_take_the_upper_of_two_halves():
    assert nearest_indices(4, 2).tolist() == [1, 3]
    assert nearest_indices(2, 4).tolist() == [0, 0, 1, 1]
    assert nearest_indices(3, 3).tolist() == [0, 1, 2]


def test_linear_weights_repeat_the_border():
    weights = LinearWeights.between(2, 4)
    assert weights.lower.tolist() == [0, 0, 0, 1]
    assert weights.upper.tolist() == [1, 1, 1, 1]
    assert weights.upper_weight.tolist() == [0, 0.25, 0.75, 0]
    assert (weights.lower_weight + weights.upper_weight == 1).all()
    assert not weights.single
    assert LinearWeights.between(5, 5).single
    assert LinearWeights.nearest(5, 3).single
    assert weights.part(slice(1, 3)).upper_weight.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_matrix_is_the_interpolation_of_every_signal(order):
    signal = np.random.default_rng(0).random(30)
    expected = zoom(signal, 17 / 30, order=order, mode="nearest", grid_mode=True)
    assert np.abs(interpolation_matrix(30, 17, order) @ signal - expected).max() < 1e-8


def test_matrices_keep_constants_and_hold_no_tiny_numbers():
    matrix = interpolation_matrix(200, 90, 3)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-7)
    assert np.abs(matrix[matrix != 0]).min() > 1e-10


def test_a_ramp_is_interpolated_linearly():
    ramp = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
    resized = resample_image(ramp, (1, 1, 8), ISO, ISO, order=1)
    assert resized.ravel().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_unchanged_shape_is_returned_as_it_is():
    image = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    labels = np.zeros((3, 4, 5), np.int16)
    assert resample_image(image, (3, 4, 5), ISO, (2.0, 2.0, 2.0)) is image
    assert resample_labels(labels, (3, 4, 5), ISO, ISO) is labels


def test_values_stay_within_the_range_of_the_volume():
    image = np.zeros((1, 6, 6, 6), np.float32)
    image[0, 3:] = 1
    resized = resample_image(image, (11, 6, 6), ISO, ISO)
    assert resized.min() == 0
    assert resized.max() == 1


def test_values_stay_within_the_range_of_each_slice_where_slices_are_separate():
    image = np.zeros((1, 2, 8, 8), np.float32)
    image[0, 0, :, 4:], image[0, 1] = 1, 10
    resized = resample_image(image, (2, 13, 13), (9.0, 1.0, 1.0), (9.0, 0.6, 0.6))
    assert resized[0, 0].max() == 1
    assert (resized[0, 1] == 10).all()


def test_the_input_is_left_alone():
    image = np.random.default_rng(0).random((1, 5, 6, 7))
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7))
    before = image.copy(), labels.copy()
    resample_image(image, (3, 8, 9), ISO, ISO)
    resample_labels(labels, (3, 8, 9), ISO, ISO)
    assert np.array_equal(image, before[0])
    assert np.array_equal(labels, before[1])


def test_order_along_the_separate_axis():
    image = np.array([0.0, 4.0], np.float32).reshape(1, 2, 1, 1)
    spacing, new_spacing = (10.0, 1.0, 1.0), (5.0, 1.0, 1.0)
    assert resample_image(image, (4, 1, 1), spacing, new_spacing).ravel().tolist() == [0, 0, 4, 4]
    assert resample_image(image, (4, 1, 1), spacing, new_spacing, order_z=1).ravel().tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize("index", range(len(CHANGES)))
@pytest.mark.parametrize("slab", [1, resample_axes.SLAB_VOXELS])
def test_equal_to_nnunet(index, slab, monkeypatch):
    monkeypatch.setattr(resample_axes, "SLAB_VOXELS", slab)
    _, spacing, new_shape, new_spacing = CHANGES[index]
    image, labels = NUMBERS[f"image {index}"], NUMBERS[f"labels {index}"]
    for order in (1, 3):
        resized = resample_image(image, new_shape, spacing, new_spacing, order=order)
        assert resized.dtype == np.float32
        assert np.abs(resized - NUMBERS[f"order {order} {index}"]).max() < 1e-5
    resized_labels = resample_labels(labels, new_shape, spacing, new_spacing)
    assert resized_labels.dtype == labels.dtype
    assert np.array_equal(resized_labels, NUMBERS[f"resized labels {index}"])


def test_memory_order_does_not_matter():
    image, labels = NUMBERS["image 0"], NUMBERS["labels 0"]
    _, spacing, new_shape, new_spacing = CHANGES[0]
    turned = np.asfortranarray(image), np.asfortranarray(labels)
    assert np.array_equal(
        resample_image(turned[0], new_shape, spacing, new_spacing),
        resample_image(image, new_shape, spacing, new_spacing),
    )
    assert np.array_equal(resample_labels(turned[1], new_shape, spacing, new_spacing), NUMBERS["resized labels 0"])


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([5, 5, 5, 5], 5),
        ([1, 1, 1, 2], 1),
        ([1, 1, 2, 2], 2),  # equal shares: the nearest voxel, the last one here, has a 2
        ([2, 2, 1, 1], 1),
        ([1, 1, 2, 3], 1),
        ([2, 1, 3, 4], 4),  # equal shares of four labels: again the nearest voxel
    ],
)
def test_ties_go_to_the_nearest_voxel(corners, expected):
    labels = np.array(corners).reshape(1, 2, 2)
    assert resample_labels(labels, (1, 1, 1), ISO, ISO).item() == expected


def test_ties_without_the_nearest_voxel_go_to_the_smallest_label():
    labels = np.array([3, 1, 1, 1, 2, 2, 2, 3]).reshape(2, 2, 2)  # 1 and 2 share 3/8 each, the nearest voxel is a 3
    assert resample_labels(labels, (1, 1, 1), ISO, ISO).item() == 1


def test_order_0_takes_the_nearest_voxel():
    labels = np.arange(4).reshape(1, 1, 4)
    assert resample_labels(labels, (1, 1, 2), ISO, ISO, order=0).ravel().tolist() == [1, 3]


@pytest.mark.parametrize("options", [{"order": 3}, {"order_z": 1}])
def test_other_orders_are_refused_for_labels(options):
    with pytest.raises(UserError, match="resampling_fn_seg_kwargs"):
        resample_labels(np.zeros((2, 2, 2), int), (1, 1, 1), ISO, ISO, **options)


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_products_use_one_thread_also_where_a_helper_resamples(monkeypatch):
    seen = []
    monkeypatch.setattr(images, "_resize_volume", lambda volume, out, order: seen.append(blas_threads()))
    arguments = (np.zeros((1, 2, 2, 2), np.float32), (3, 3, 3), ISO, ISO)
    with threadpool_limits(2, "blas"):
        if blas_threads() != {2}:
            pytest.skip("the library for matrix products has one thread, or none of its own")
        resample_image(*arguments)
        with small_products():
            helper = threading.Thread(target=resample_image, args=arguments)
            helper.start()
            helper.join()
        assert seen == [{1}, {1}]
        assert blas_threads() == {2}
