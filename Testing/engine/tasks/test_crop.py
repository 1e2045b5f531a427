"""The box around a rough structure: margins in mm, cut to whole voxels."""

from __future__ import annotations

import numpy as np

from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.crop import crop_box, cropped, cut_labels


def test_margin_is_cut_to_whole_voxels_and_ends_at_the_image() -> None:
    mask = np.zeros((50, 60, 70), bool)
    mask[20:23, 30, 5:40] = True

    box = crop_box(mask, Geometry((3.0, 1.5, 0.75)), 20.0)

    assert box == ((14, 29), (17, 44), (0, 66))  # margins of 6, 13 and 26 voxels


def test_spacing_counts_as_a_nifti_file_holds_it() -> None:
    mask = np.zeros((1, 1, 90), bool)
    mask[0, 0, 45] = True

    box = crop_box(mask, Geometry((1.0, 1.0, 0.8)), 20.0)

    assert box == ((0, 1), (0, 1), (21, 70))  # 0.8 in single precision is above 0.8: 24 voxels, not 25


def test_empty_mask_has_no_box() -> None:
    assert crop_box(np.zeros((2, 2, 2), bool), Geometry((1.0, 1.0, 1.0)), 20.0) is None


def test_cropped_image_stays_in_its_place_in_whole_numbers() -> None:
    image = Volume(
        np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5) - 0.5, Geometry((2.0, 1.0, 0.5), (1.0, 2.0, 3.0))
    )

    part = cropped(image, ((1, 3), (2, 4), (3, 5)))

    assert part.array.dtype == np.int16
    assert part.array[0, 0].tolist() == [[32, 33], [37, 38]]
    assert part.geometry.origin == (1.0 + 3 * 0.5, 2.0 + 2 * 1.0, 3.0 + 1 * 2.0)


def test_origin_of_a_turned_image_moves_along_its_axes() -> None:
    turned = Geometry((2.0, 1.0, 0.5), (0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))

    part = cropped(Volume(np.zeros((1, 3, 4, 5), np.int16), turned), ((1, 3), (2, 4), (3, 5)))

    assert part.geometry.origin == (-2.0, 1.5, 2.0)


def test_labels_at_a_cut_side_are_found() -> None:
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[0, 1, 1], labels[1, 3, 2], labels[1, 1, 4], labels[1, 1, 0] = 7, 3, 5, 9

    box = ((2, 5), (0, 4), (1, 6))

    assert cut_labels(labels, box, (5, 4, 6)) == [7, 9]  # 3 and 5 lie at sides of the image
