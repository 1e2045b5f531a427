"""Sizes of loaded patches: nnU-Net's values."""

from __future__ import annotations

import math

import pytest

from segautoconfiglib.training.patch import patch_geometry


@pytest.mark.parametrize(
    ("patch", "loaded", "in_plane"),
    [
        ((128, 128, 128), (205, 205, 205), False),
        ((80, 192, 160), (194, 289, 210), False),
        ((96, 160, 160), (191, 257, 219), False),
        ((20, 320, 256), (20, 376, 376), True),
        ((28, 256, 256), (28, 301, 301), True),
        ((512, 512), (1, 602, 602), True),
        ((320, 256), (1, 376, 376), True),
        ((192, 96), (1, 247, 112), True),
    ],
)
def test_loaded_size(patch: tuple[int, ...], loaded: tuple[int, ...], in_plane: bool):
    geometry = patch_geometry(patch, augment=True, mirror=True)
    assert geometry.loaded == loaded
    assert geometry.in_plane == in_plane
    assert geometry.patch == ((1, *patch) if len(patch) == 2 else patch)


def test_without_augmentation_nothing_more_is_loaded():
    geometry = patch_geometry((20, 320, 256), augment=False, mirror=False)
    assert geometry.loaded == geometry.patch == (20, 320, 256)
    assert geometry.mirror_axes == ()


@pytest.mark.parametrize(
    ("patch", "degrees"),
    [
        ((64, 64, 64), (30, 30, 30)),
        ((20, 64, 64), (180,)),
        ((22, 64, 64), (30, 30, 30)),
        ((64, 64), (180,)),
        ((64, 32), (15,)),
        ((48, 32), (180,)),
    ],
)
def test_rotation(patch: tuple[int, ...], degrees: tuple[int, ...]):
    geometry = patch_geometry(patch, augment=True, mirror=True)
    assert geometry.rotation == pytest.approx([math.radians(angle) for angle in degrees])


def test_mirror_axes_are_counted_as_the_network_counts():
    assert patch_geometry((64, 64, 64), augment=True, mirror=True).mirror_axes == (0, 1, 2)
    assert patch_geometry((64, 64), augment=True, mirror=True).mirror_axes == (0, 1)
    assert patch_geometry((64, 64, 64), augment=True, mirror="zy").mirror_axes == (0, 1)
    assert patch_geometry((64, 64), augment=True, mirror="zy").mirror_axes == (0,)
    assert patch_geometry((64, 64), augment=True, mirror="z").mirror_axes == ()


def test_flat_patches_may_be_rotated_in_space():
    geometry = patch_geometry((20, 320, 256), augment=True, mirror=True, dummy_2d=False)
    assert not geometry.in_plane
    assert geometry.rotation == pytest.approx((math.radians(30),) * 3)
    assert geometry.loaded[0] > 20


def test_a_smaller_scale_needs_a_larger_box():
    geometry = patch_geometry((128, 128, 128), augment=True, mirror=True, margin=0.7)
    assert geometry.loaded == (249, 249, 249)  # 128 * (cos 30 + sin 30) / 0.7
