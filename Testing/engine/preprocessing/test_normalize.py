"""Normalisation schemes."""

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.preprocessing import normalize as module
from segautoconfiglib.preprocessing.normalize import normalize

VALUES = np.array([0, 0, 2, 4, 6, 8], np.float32).reshape(1, 2, 3)
PROPERTIES = {"mean": 3.0, "std": 2.0, "percentile_00_5": 1.0, "percentile_99_5": 7.0}


def flat(values):
    return values.ravel().tolist()


def test_z_score_of_everything(monkeypatch):
    monkeypatch.setattr(module, "PART_VOXELS", 4)
    found = normalize(VALUES, "ZScoreNormalization")
    assert np.allclose(found, (VALUES - VALUES.mean()) / VALUES.std(), atol=1e-6)
    assert found.dtype == np.float32


def test_z_score_inside_a_mask_leaves_the_outside_at_its_value():
    found = normalize(VALUES, "ZScoreNormalization", inside=VALUES > 0)
    root = np.sqrt(5)
    assert flat(found) == pytest.approx([0, 0, -3 / root, -1 / root, 1 / root, 3 / root])


def test_z_score_of_an_empty_mask_changes_nothing():
    assert flat(normalize(VALUES * 0, "ZScoreNormalization", inside=VALUES > 99)) == [0] * 6


def test_z_score_of_a_constant_image_is_zero():
    assert flat(normalize(VALUES * 0 + 5, "ZScoreNormalization")) == [0] * 6


def test_ct_clips_to_the_training_sets_percentiles():
    assert flat(normalize(VALUES, "CTNormalization", properties=PROPERTIES)) == [-1, -1, -0.5, 0.5, 1.5, 2]


def test_ct_without_the_training_sets_intensities():
    with pytest.raises(UserError, match="lack std"):
        normalize(VALUES, "CTNormalization", properties={**PROPERTIES, "std": None})


def test_rescaling_to_0_1():
    assert flat(normalize(VALUES - 2, "RescaleTo01Normalization")) == [0, 0, 0.25, 0.5, 0.75, 1]
    assert flat(normalize(VALUES * 0 + 3, "RescaleTo01Normalization")) == [0] * 6


def test_rgb():
    assert normalize(VALUES * 31.875, "RGBTo01Normalization").max() == 1
    for wrong in (VALUES - 1, VALUES * 32):
        with pytest.raises(UserError, match="0 to 255"):
            normalize(wrong, "RGBTo01Normalization")


def test_none_is_a_copy():
    found = normalize(VALUES, "NoNormalization")
    assert np.array_equal(found, VALUES)
    assert not np.shares_memory(found, VALUES)


@pytest.mark.parametrize("scheme", module.SCHEMES)
def test_inputs_are_left_alone(scheme):
    before = VALUES.copy()
    normalize(VALUES, scheme, inside=VALUES > 0, properties=PROPERTIES)
    assert np.array_equal(VALUES, before)


def test_unknown_scheme_names_the_known():
    with pytest.raises(UserError, match=r"'MyNorm'.*CTNormalization"):
        normalize(VALUES, "MyNorm")
