"""The record of spatial steps, and its way through nnU-Net's properties."""

from dataclasses import replace

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.crop import crop
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.preprocessing.geometry import OWN_KEY, SpatialRecord

GEOMETRY = Geometry((3.0, 2.0, 1.0), (5.0, 6.0, 7.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
RECORD = SpatialRecord(
    GEOMETRY, (2, 0, 1), (7, 5, 6), ((1, 6), (0, 5), (2, 4)), (10, 5, 2), (0.5, 3.0, 2.0)
)  # file shape (5, 6, 7)


def test_derived_values_are_in_transposed_axes():
    assert RECORD.spacing_mm == (1.0, 3.0, 2.0)
    assert RECORD.cropped_shape == (5, 5, 2)


def test_restoring_undoes_transposition_and_crop():
    labels = np.random.default_rng(0).integers(1, 9, (5, 6, 7))
    cropped = crop(labels.transpose(RECORD.transpose), RECORD.box)
    restored = RECORD.restore_labels(cropped)
    assert restored.shape == (5, 6, 7)
    assert restored.flags.c_contiguous
    inside = restored > 0
    assert inside.sum() == cropped.size
    assert np.array_equal(restored[inside], labels[inside])


def test_round_trip_through_properties():
    properties = RECORD.to_properties()
    assert properties["sitk_stuff"]["spacing"] == (1.0, 2.0, 3.0)
    assert properties["spacing"] == [3.0, 2.0, 1.0]
    assert properties["bbox_used_for_cropping"] == [[1, 6], [0, 5], [2, 4]]
    assert SpatialRecord.from_properties(properties, (10, 5, 2)) == RECORD


def test_two_dimensional_files():
    flat = Geometry((999.0, 0.5, 0.25), (1.0, 2.0), (1.0, 0.0, 0.0, 1.0), 2)
    record = SpatialRecord(flat, (0, 1, 2), (1, 4, 4), ((0, 1), (0, 4), (0, 4)), (1, 4, 4), (999.0, 0.5, 0.25))
    properties = record.to_properties()
    assert properties["sitk_stuff"]["spacing"] == (0.25, 0.5)
    assert SpatialRecord.from_properties(properties, (1, 4, 4)) == record


def test_nnunets_own_properties_need_the_order_of_axes():
    properties = {key: value for key, value in RECORD.to_properties().items() if key != OWN_KEY}
    del properties["nibabel_stuff"]
    found = SpatialRecord.from_properties(properties, (10, 5, 2), (2, 0, 1))
    assert found == RECORD
    with pytest.raises(UserError, match="written by nnunetv2"):
        SpatialRecord.from_properties(properties, (10, 5, 2))


def test_properties_of_nnunets_nifti_reader():
    affine = np.array([[0, -2.0, 0, -5], [-1.0, 0, 0, -6], [0, 0, -3.0, 7], [0, 0, 0, 1]])
    properties = {key: value for key, value in RECORD.to_properties().items() if key != "sitk_stuff"}
    found = SpatialRecord.from_properties({**properties, "nibabel_stuff": {"original_affine": affine}}, (10, 5, 2))
    assert found == RECORD


def test_nnunets_nifti_reader_can_write_with_what_is_stored():
    found = RECORD.to_properties()["nibabel_stuff"]["original_affine"]
    # What nibabel 5.4 reads from a NIfTI file that ITK wrote with GEOMETRY.
    assert found.tolist() == [[0, -2, 0, -5], [-1, 0, 0, -6], [0, 0, -3, 7], [0, 0, 0, 1]]
    assert found.dtype == np.float64
    oblique = Geometry((3.0, 2.0, 0.5), (5.0, 6.0, 7.0), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
    found = replace(RECORD, geometry=oblique).to_properties()["nibabel_stuff"]["original_affine"]
    assert found == pytest.approx(
        np.array([[-0.4, 1.2, 0, -5], [-0.3, -1.6, 0, -6], [0, 0, 3, 7], [0, 0, 0, 1]]), abs=1e-12
    )


@pytest.mark.parametrize(
    ("spacing", "shape", "dimension"),
    [
        ([999, 1, 1], (1, 8, 8), 2),  # of a picture
        ([1, 1, 1], (5, 8, 8), 3),  # of a 3D tif
        ([1, 1, 1], (1, 8, 8), 3),
        ([999, 1, 1], (5, 8, 8), 3),
    ],
)
def test_properties_of_nnunets_picture_and_tif_readers(spacing, shape, dimension):
    properties = {
        "spacing": spacing,
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, edge] for edge in shape],
    }
    found = SpatialRecord.from_properties(properties, shape, (0, 1, 2)).geometry
    assert found.dimension == dimension
    assert found.spacing_mm == tuple(spacing)
    assert (len(found.origin), len(found.direction)) == (dimension, dimension**2)


@pytest.mark.parametrize("change", [{"spacing": [1.0]}, {"bbox_used_for_cropping": None}, {"sitk_stuff": {}}])
def test_damaged_properties(change):
    with pytest.raises(UserError, match="not usable"):
        SpatialRecord.from_properties({**RECORD.to_properties(), **change}, (10, 5, 2))
