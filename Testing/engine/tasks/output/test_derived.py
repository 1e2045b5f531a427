"""Body and skin of the task "body"."""

from __future__ import annotations

import numpy as np

from segautoconfiglib.tasks.output.derived import derived_masks, skin

NAMES = {1: "body_trunc", 2: "body_extremities"}


def test_the_body_is_trunk_and_limbs() -> None:
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[1], labels[2, 2, 2], labels[4, 4, 4] = 1, 2, 3
    masks = derived_masks(labels, np.zeros(labels.shape), NAMES)
    np.testing.assert_array_equal(masks["body"], (labels == 1) | (labels == 2))
    assert derived_masks(labels, np.zeros(labels.shape), {1: "liver"}) == {}


def test_the_skin_is_a_shell_of_three_voxels() -> None:
    body = np.zeros((15, 15, 15), bool)
    body[3:12, 3:12, 3:12] = True
    shell = skin(body, np.zeros(body.shape))
    along = shell[7, 7]  # from one outside of the body to two inside
    np.testing.assert_array_equal(np.flatnonzero(along), [2, 3, 4, 10, 11, 12])
    assert not shell[7, 2, 2]  # grown along the axes only


def test_air_metal_and_specks_are_no_skin() -> None:
    body = np.zeros((15, 15, 15), bool)
    body[3:12, 3:12, 3:12] = True
    image = np.full(body.shape, -200.0)  # excluded, as is 250
    image[7, 7, 2:4] = image[7, 8, 2:5] = 249  # five voxels, too few
    assert not skin(body, image).any()
    image[7, 9, 2] = -199
    assert skin(body, image).sum() == 6
    image[7, 9, 2] = 250
    assert not skin(body, image).any()
