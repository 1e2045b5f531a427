"""The strong augmentation: each change on its own with known results, and the list as a whole."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.training.augment import named_augmentation, training_transforms
from segautoconfiglib.training.augment_intensity import Contrast, Gamma, GaussianBlur, LowResolution
from segautoconfiglib.training.augment_spatial import SpatialParameters, draw_spatial
from segautoconfiglib.training.augment_strong import (
    DA5,
    AddedBrightness,
    BlankBoxes,
    BrightnessGradient,
    Bump,
    LocalGamma,
    MedianFilter,
    OneOf,
    QuarterTurns,
    Sharpening,
    SwapAxes,
    before_mirroring,
    draw_bump,
    equal_axes,
    running_median,
)
from segautoconfiglib.training.patch import patch_geometry

IMAGE = np.random.default_rng(0).standard_normal((2, 5, 6, 7), dtype=np.float32)
CUBE = np.random.default_rng(1).standard_normal((2, 4, 6, 6), dtype=np.float32)
NOWHERE = Bump((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0)


def geometry(*patch: int) -> Any:
    return patch_geometry(patch, augment=True, mirror=True, margin=0.7)


@pytest.mark.parametrize(
    ("transform", "neutral", "tolerance"),
    [
        (MedianFilter(1), [None, None], 0),
        (MedianFilter(1), [1, 1], 0),
        (AddedBrightness(1), [0.0, 0.0], 0),
        (BlankBoxes(1), [[], []], 0),
        (BrightnessGradient(1), [None, NOWHERE], 0),
        (LocalGamma(1), [None, Bump((2.0, 2.0, 2.0), (1.0, 1.0, 1.0), 1.0)], 1e-6),
        (Sharpening(1), [0.0, 0.0], 0),
        (Contrast(1, clip=False), [1.0, 1.0], 1e-6),
    ],
)
def test_neutral_parameters_change_nothing(transform: Any, neutral: Any, tolerance: float):
    before = IMAGE.copy()
    np.testing.assert_allclose(transform.apply(IMAGE, neutral), IMAGE, atol=tolerance)
    np.testing.assert_array_equal(before, IMAGE)


@pytest.mark.parametrize("window", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("axis", [0, 2])
def test_median_along_an_axis_is_scipys(window: int, axis: int):
    size = [1, 1, 1]
    size[axis] = window
    np.testing.assert_array_equal(running_median(IMAGE[0], window, axis), ndimage.median_filter(IMAGE[0], size=size))


def test_median_removes_a_point_and_keeps_an_edge():
    image = np.zeros((1, 6, 6, 6), np.float32)
    image[..., 3:] = 1
    image[0, 2, 2, 1] = 9
    expected = np.zeros_like(image)
    expected[..., 3:] = 1
    np.testing.assert_array_equal(MedianFilter(1).apply(image, [3]), expected)


def test_added_brightness():
    np.testing.assert_allclose(AddedBrightness(1).apply(IMAGE, [0.5, -1.0])[1], IMAGE[1] - 1, atol=1e-6)


def test_boxes_are_filled_with_their_mean_one_after_the_other():
    image = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)
    boxes = [(slice(0, 1), slice(0, 1), slice(0, 4)), (slice(0, 1), slice(0, 1), slice(3, 5))]
    filled = BlankBoxes(1).apply(image, [boxes])
    np.testing.assert_allclose(filled.ravel(), [1.5, 1.5, 1.5, 2.75, 2.75, 5, 6, 7])


def test_boxes_have_a_tenth_to_a_third_of_the_patch():
    rng = np.random.default_rng(0)
    drawn = BlankBoxes(1).draw(rng, (400, 1, 30, 60))
    some = [boxes for boxes in drawn if boxes]
    assert 150 < len(some) < 250
    assert {len(boxes) for boxes in some} == {1, 2, 3, 4}
    sides = [[side.stop - side.start for side in box] for boxes in some for box in boxes]
    assert np.min(sides, 0).tolist() == [1, 3, 6]
    assert np.max(sides, 0).tolist() == [1, 9, 19]
    assert all(
        side.stop <= edge for boxes in some for box in boxes for side, edge in zip(box, (1, 30, 60), strict=True)
    )


def test_a_bump_goes_from_0_to_1():
    weights = Bump((2.0, 1.0, 0.0), (1.0, 2.0, 3.0), 1.0).weights((5, 4, 6))
    assert weights[2, 1, 0] == weights.max() == 1
    assert weights[0, 3, 5] == weights.min() == 0

    def profile(distance: float, sigma: float) -> float:
        return math.exp(-0.5 * (distance / sigma) ** 2)

    lowest = profile(2, 1) * profile(2, 2) * profile(5, 3)
    expected = (profile(1, 1) * profile(1, 2) * profile(2, 3) - lowest) / (1 - lowest)
    assert weights[3, 2, 2] == pytest.approx(expected)
    far = Bump((-900.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0).weights((5, 4, 6))
    assert far.max() == 1
    assert not Bump((3.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0).weights((1, 1, 1)).any()


def test_bumps_are_drawn_near_the_patch():
    rng = np.random.default_rng(0)
    bumps = [draw_bump(rng, (1, 60, 120), 1.0) for _ in range(800)]
    centres, sigmas = np.array([bump.centre for bump in bumps]), np.array([bump.sigma for bump in bumps])
    assert (centres.min(0) > [-0.5, -30, -60]).all()
    assert (centres.max(0) < [1.5, 90, 180]).all()
    assert centres[:, 1].max() > 85
    assert sigmas.min(0) == pytest.approx([1, 10, 20], rel=0.02)
    assert sigmas.max(0) == pytest.approx([1, 60, 120], rel=0.02)
    assert np.median(sigmas[:, 1]) == pytest.approx(math.sqrt(10 * 60), rel=0.1)  # uniform in the logarithm


def test_gradients_add_the_bump():
    bump = Bump((2.0, 1.0, 0.0), (1.0, 2.0, 3.0), -4.0)
    changed = BrightnessGradient(1).apply(IMAGE, [bump, None])
    np.testing.assert_allclose(changed[0], IMAGE[0] - 4 * bump.weights(IMAGE.shape[1:]), atol=1e-6)
    strengths = [each.strength for each in BrightnessGradient(1).draw(np.random.default_rng(0), (900, 4, 4, 4)) if each]
    assert 1 <= np.abs(strengths).min() < 1.1
    assert 4.9 < np.abs(strengths).max() <= 5
    assert np.mean(np.array(strengths) < 0) == pytest.approx(0.5, abs=0.07)


def test_local_gamma_works_where_the_bump_is():
    bump = Bump((2.0, 1.0, 0.0), (0.5, 0.5, 0.5), 3.0)
    changed = LocalGamma(1).apply(IMAGE, [bump, None])
    low, extent = IMAGE[0].min(), np.ptp(IMAGE[0])
    assert changed[0, 2, 1, 0] == pytest.approx(((IMAGE[0, 2, 1, 0] - low) / extent) ** 3 * extent + low, abs=1e-5)
    assert changed[0, 0, 5, 6] == pytest.approx(IMAGE[0, 0, 5, 6], abs=1e-6)
    drawn = LocalGamma(1).draw(np.random.default_rng(0), (900, 4, 4, 4))
    powers = np.array([each.strength for each in drawn if each])
    assert ((powers < 0.8) | (powers > 1.5)).all()
    assert (powers.min() < 0.05, powers.max() > 3.9) == (True, True)
    assert np.mean(powers < 1) == pytest.approx(0.5, abs=0.07)


def test_sharpening_adds_the_differences_from_neighbours():
    image = np.zeros((1, 3, 3, 3), np.float32)
    image[0, 1, 1, 1] = 1
    sharpened = Sharpening(1).apply(image, [0.5])[0]
    assert sharpened[1, 1, 1] == 1 + 0.5 * 6
    assert sharpened[0, 1, 1] == sharpened[1, 1, 2] == -0.5
    assert sharpened[0, 0, 1] == 0
    edge = np.array([2.0, 0.0, 0.0], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(Sharpening(1).apply(edge, [1.0]).ravel(), [4, -2, 0])


def test_contrast_may_leave_the_range_and_leave_out_channels():
    image = np.array([0.0, 1.0, 5.0], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(Contrast(1, clip=False).apply(image, [2.0]).ravel(), [-2, 0, 8])
    factors = Contrast(1, factors=(0.5, 2.0), channel_probability=0.5).draw(np.random.default_rng(0), (800, 1, 1, 1))
    assert np.mean(np.array(factors) == 1) == pytest.approx(0.5, abs=0.06)
    assert (0.5 <= min(factors) < 0.52, 1.95 < max(factors) <= 2) == (True, True)


def test_ranges_of_blur_and_low_resolution():
    rng = np.random.default_rng(0)
    sigmas = [each for each in GaussianBlur(1, sigma=(0.3, 1.5), axes_alike=True).draw(rng, (400, 2, 2, 2)) if each]
    assert all(len(each) == 3 and len(set(each)) == 1 for each in sigmas)
    assert (min(each[0] for each in sigmas) < 0.35, max(each[0] for each in sigmas) > 1.45) == (True, True)
    scales = [each for each in LowResolution(1, in_plane=False, scales=(0.25, 1.0)).draw(rng, (400, 2, 2, 2)) if each]
    assert 0.25 <= min(scales) < 0.3


@pytest.mark.parametrize(
    ("patch", "axes"),
    [((32, 32, 32), (0, 1, 2)), ((20, 64, 64), (1, 2)), ((64, 20, 64), (0, 2)), ((8, 16, 32), ()), ((16, 16), (1, 2)),
     ((16, 20), ())],
)  # fmt: skip
def test_equal_axes(patch: tuple[int, ...], axes: tuple[int, ...]):
    assert equal_axes(geometry(*patch)) == axes
    turns = [each for each in before_mirroring(geometry(*patch)) if isinstance(each, (QuarterTurns, SwapAxes))]
    assert len(turns) == (2 if axes else 0)


@pytest.mark.parametrize("kind", [QuarterTurns, SwapAxes])
def test_turned_images_and_labels_stay_together(kind: Any):
    transform, rng, seen = kind(1.0, (1, 2)), np.random.default_rng(0), set()
    labels = np.rint(CUBE[:1] * 10).astype(np.int16)
    for _ in range(60):
        changed = transform(rng=rng, image=CUBE, labels=labels)
        np.testing.assert_array_equal(np.rint(changed["image"][:1] * 10), changed["labels"])
        assert changed["image"].shape == CUBE.shape
        seen.add(changed["image"].tobytes())
    assert len(seen) == (4 if kind is QuarterTurns else 2)
    assert QuarterTurns(0.0, (1, 2))(rng=rng, image=CUBE, labels=labels)["image"] is CUBE


def test_all_orders_of_three_axes_occur():
    rng = np.random.default_rng(0)
    orders = {SwapAxes(1, (0, 1, 2)).draw(rng) for _ in range(200)}
    assert len(orders) == 6
    assert all(order[0] == 0 for order in orders)


def test_one_of_several_is_tried():
    transform = OneOf([AddedBrightness(1), AddedBrightness(0)])
    changed = [transform(rng=np.random.default_rng(seed), image=IMAGE)["image"] is not IMAGE for seed in range(400)]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.08)


def test_every_axis_is_scaled_and_rotated_by_itself():
    rng, drawn = np.random.default_rng(0), []
    for _ in range(4000):
        drawn.append(draw_spatial(rng, geometry(32, 32, 32), DA5.spatial))  # type: ignore[arg-type]
    scaled = [each.scale for each in drawn if each is not None and each.scale != 1.0]
    rotated = np.array([each.angles for each in drawn if each is not None and any(each.angles)])
    assert len(scaled) / len(drawn) == pytest.approx(0.2, abs=0.02)
    assert all(len(set(each)) == 3 for each in scaled)
    assert (0.7 <= np.min(scaled) < 0.71, 1.42 < np.max(scaled) <= 1.43) == (True, True)
    assert len(rotated) / len(drawn) == pytest.approx(0.4 * (1 - 0.5**3), abs=0.03)
    assert np.mean(rotated != 0) == pytest.approx(0.5 / (1 - 0.5**3), abs=0.03)


def test_scales_of_axes_come_before_the_rotation():
    matrix = SpatialParameters((0.3, 0.0, 0.0), (1.0, 2.0, 3.0)).matrix
    np.testing.assert_allclose(matrix[:, 0], [1, 0, 0])
    np.testing.assert_allclose(matrix[:, 1], [0, 2 * math.cos(0.3), 2 * math.sin(0.3)])
    np.testing.assert_allclose(matrix[:, 2], [0, -3 * math.sin(0.3), 3 * math.cos(0.3)])
    flat = SpatialParameters((0.0,), (2.0, 3.0)).matrix
    np.testing.assert_allclose(flat, np.diag((1, 2, 3)))


def test_the_second_gamma_is_not_inverted():
    inverted = [each.inverted for each in before_mirroring(geometry(8, 8, 8)) if isinstance(each, Gamma)]
    assert inverted == [True, False]


@pytest.mark.parametrize("patch", [(8, 10, 10), (12, 12), (9, 9, 9)])
def test_samples_of_the_whole_list(patch: tuple[int, ...]):
    rng = np.random.default_rng(0)
    shape = (1, 3, 14, 14) if len(patch) == 2 else (1, 14, 14, 14)
    case = SimpleNamespace(
        data=rng.standard_normal(shape, dtype=np.float32), labels=rng.integers(0, 3, shape).astype(np.int16)
    )
    assert named_augmentation("da5") is DA5
    spec = LabelSpec.from_json({"background": 0, "a": 1, "b": 2})
    transform = training_transforms("da5", geometry(*patch), spec, [True])
    samples = []
    for seed in range(25):
        pair = [transform(case=case, start=[0, 0, 0], rng=np.random.default_rng(seed)) for _ in range(2)]
        np.testing.assert_array_equal(pair[0]["data"], pair[1]["data"])
        np.testing.assert_array_equal(pair[0]["target"], pair[1]["target"])
        samples.append(pair[0])
    assert all(sample["data"].shape == sample["target"].shape == (1, *patch) for sample in samples)
    assert all(sample["data"].dtype == np.float32 and np.isfinite(sample["data"]).all() for sample in samples)
    assert set(np.unique([sample["target"] for sample in samples])) == {0, 1, 2}


@pytest.mark.parametrize(
    ("patch", "mirror", "swapped"),
    [
        ((6, 6, 6), True, (0, 1, 2)),
        ((6, 6, 6), "zy", (0, 1)),
        ((4, 6, 6), "zy", ()),
        ((6, 6, 6), False, ()),
        ((4, 6, 6), False, ()),
        ((6, 6), False, ()),
        ((6, 6), True, (1, 2)),
        ((6, 6), "yx", (1, 2)),
        ((6, 6), "x", ()),
    ],
)
def test_patches_are_reflected_only_where_they_are_mirrored(patch: tuple[int, ...], mirror: Any, swapped: Any):
    some = patch_geometry(patch, augment=True, mirror=mirror, margin=0.7)
    turns = [each for each in before_mirroring(some) if isinstance(each, (QuarterTurns, SwapAxes))]
    assert [each.axes for each in turns if isinstance(each, SwapAxes)] == ([swapped] if swapped else [])
    places = np.stack(np.meshgrid(*map(np.arange, some.patch), indexing="ij")).astype(np.float32)
    rng, signs, seen = np.random.default_rng(0), set(), set()
    for _ in range(200):
        sample: dict[str, Any] = {"rng": rng, "image": places, "labels": places[:1]}
        for turn in turns:
            sample = turn(**sample)
        moved = sample["image"]  # of each voxel where it came from
        steps = [moved[:, 1, 0, 0] - moved[:, 0, 0, 0]] if len(patch) == 3 else [np.eye(3)[0]]
        matrix = np.stack([*steps, moved[:, 0, 1, 0] - moved[:, 0, 0, 0], moved[:, 0, 0, 1] - moved[:, 0, 0, 0]])
        signs.add(round(np.linalg.det(matrix)))
        seen.add(matrix.tobytes())
    assert signs == ({1, -1} if swapped else {1})
    assert len(seen) >= 4
