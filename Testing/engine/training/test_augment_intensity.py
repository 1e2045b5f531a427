"""Each change of intensity: neutral parameters, known values, nnunetv2's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.training.augment_intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    LowResolution,
    Mirror,
    draw_factor,
    gaussian_kernel,
    resize_linear,
)

NUMBERS = np.load(Path(__file__).with_name("nnunet_numbers.npz"))
IMAGE = np.random.default_rng(0).standard_normal((2, 5, 6, 7), dtype=np.float32)


@pytest.mark.parametrize(
    ("transform", "neutral", "tolerance"),
    [
        (GaussianNoise(1), (0.0, 5), 0),
        (GaussianBlur(1), [None, None], 0),
        (GaussianBlur(1), [(1e-3,) * 3] * 2, 0),
        (Brightness(1), [1.0, 1.0], 0),
        (Contrast(1), [1.0, 1.0], 1e-6),
        (LowResolution(1, in_plane=False), [None, None], 0),
        (LowResolution(1, in_plane=False), [1.0, 1.0], 1e-6),
        (Gamma(1, inverted=False), [1.0, 1.0], 1e-5),
        (Gamma(1, inverted=True), [1.0, 1.0], 1e-5),
    ],
)
def test_neutral_parameters_change_nothing(transform, neutral, tolerance):
    before = IMAGE.copy()
    np.testing.assert_allclose(transform.apply(IMAGE, neutral), IMAGE, atol=tolerance)
    np.testing.assert_array_equal(before, IMAGE)


@pytest.mark.parametrize(
    ("name", "transform", "parameters"),
    [
        ("blur", GaussianBlur(1), [(0.8, 0.8, 0.8)]),
        ("brightness", Brightness(1), [1.2]),
        ("contrast", Contrast(1), [1.25]),
        ("low_resolution", LowResolution(1, in_plane=False), [0.6]),
        ("gamma", Gamma(1, inverted=False), [1.3]),
        ("gamma_inverted", Gamma(1, inverted=True), [0.8]),
    ],
)
def test_equals_nnunet(name, transform, parameters):
    image = NUMBERS["image"]
    before = image.copy()
    np.testing.assert_allclose(transform.apply(image, parameters), NUMBERS[name], atol=5e-6)
    np.testing.assert_array_equal(before, image)


def test_parameters_are_drawn_per_channel_within_their_ranges():
    rng = np.random.default_rng(1)
    shape = (500, 2, 2, 2)
    assert all(0.75 <= factor <= 1.25 for factor in Brightness(1).draw(rng, shape))
    assert all(0.7 <= power <= 1.5 for power in Gamma(1, inverted=False).draw(rng, shape))
    blurred = [sigmas for sigmas in GaussianBlur(1).draw(rng, shape) if sigmas is not None]
    assert 200 < len(blurred) < 300
    assert all(0.5 <= sigma <= 1 for sigmas in blurred for sigma in sigmas)
    coarsened = [scale for scale in LowResolution(1, in_plane=False).draw(rng, shape) if scale is not None]
    assert 200 < len(coarsened) < 300
    assert all(0.5 <= scale <= 1 for scale in coarsened)


def test_factors_are_below_one_half_of_the_time():
    rng = np.random.default_rng(2)
    factors = np.array([draw_factor(rng, (0.7, 1.5)) for _ in range(2000)])
    assert np.mean(factors < 1) == pytest.approx(0.5, abs=0.04)
    assert factors.min() > 0.7
    assert factors.max() < 1.5


def test_noise_has_its_deviation_and_its_seed():
    image = np.zeros((1, 40, 40, 40), np.float32)
    first, again, other = (GaussianNoise(1).apply(image, (0.1, seed)) for seed in (1, 1, 2))
    assert first.std() == pytest.approx(0.1, rel=0.02)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(("sigma", "radius"), [(0.5, 1), (0.75, 2), (1.0, 3)])
def test_kernel_width_and_sum(sigma: float, radius: int):
    half = gaussian_kernel(sigma)
    assert len(half) == radius + 1
    assert half[0] + 2 * half[1:].sum() == pytest.approx(1)
    assert half[1] / half[0] == pytest.approx(np.exp(-0.5 / sigma**2))


def test_blur_of_a_point_is_the_kernel():
    image = np.zeros((1, 1, 1, 9), np.float32)
    image[0, 0, 0, 4] = 1
    half = gaussian_kernel(1.0)
    expected = [0, *half[:0:-1], *half, 0]
    np.testing.assert_allclose(GaussianBlur(1).apply(image, [(1.0, 1.0, 1.0)])[0, 0, 0], expected, atol=1e-7)


def test_contrast_stays_in_the_range():
    image = np.array([0.0, 1.0, 5.0], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(Contrast(1).apply(image, [2.0]).ravel(), [0, 0, 5])


def test_gamma_keeps_mean_and_deviation():
    changed = Gamma(1, inverted=False).apply(IMAGE, [0.8, 1.4])
    for before, after in zip(IMAGE, changed, strict=True):
        assert after.mean() == pytest.approx(before.mean(), abs=1e-5)
        assert after.std() == pytest.approx(before.std(), rel=1e-5)
        assert (np.argsort(after.ravel()) == np.argsort(before.ravel())).all()


def test_gamma_of_a_constant_image_is_finite():
    assert np.isfinite(Gamma(1, inverted=True).apply(np.full((1, 2, 2, 2), 3.0, np.float32), [1.5])).all()


def test_low_resolution_in_the_plane_keeps_slices_apart():
    image = np.zeros((1, 2, 8, 8), np.float32)
    image[0, 1] = 1
    np.testing.assert_array_equal(LowResolution(1, in_plane=True).apply(image, [0.5]), image)


def test_resize_linear_by_hand():
    np.testing.assert_allclose(resize_linear(np.array([0.0, 4.0], np.float32), 4, 0), [0, 1, 3, 4])
    np.testing.assert_allclose(resize_linear(np.array([2.0], np.float32), 3, 0), [2, 2, 2])


def test_mirror_flips_image_and_labels_alike():
    labels = IMAGE[:1]
    seen = set()
    for seed in range(60):
        sample = Mirror((1, 2))(rng=np.random.default_rng(seed), image=IMAGE, labels=labels)
        axes = Mirror((1, 2)).draw(np.random.default_rng(seed))
        seen.add(axes)
        np.testing.assert_array_equal(sample["image"], np.flip(IMAGE, [axis + 1 for axis in axes]))
        np.testing.assert_array_equal(sample["labels"], sample["image"][:1])
    assert seen == {(), (1,), (2,), (1, 2)}


def test_transforms_happen_with_their_probability():
    class Count(Brightness):
        def apply(self, image, parameters):
            return image + 1

    rng = np.random.default_rng(0)
    zero = np.zeros((1, 1, 1, 1), np.float32)
    total = sum(Count(0.15)(rng=rng, image=zero)["image"].item() for _ in range(4000))
    assert total / 4000 == pytest.approx(0.15, abs=0.02)
