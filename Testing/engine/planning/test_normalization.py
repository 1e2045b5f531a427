from __future__ import annotations

from segautoconfiglib.planning.normalization import normalization_schemes, use_mask


def test_schemes_by_channel_name():
    names = ["CT", "ct", "MRI", "noNorm", "zscore", "rescale_to_0_1", "RGB_to_0_1", "CT2", ""]
    z_score = "ZScoreNormalization"
    assert normalization_schemes(names) == [
        "CTNormalization",
        "CTNormalization",
        z_score,
        "NoNormalization",
        z_score,
        "RescaleTo01Normalization",
        "RGBTo01Normalization",
        z_score,
        z_score,
    ]


def test_mask_is_for_z_scores_of_cropped_images():
    schemes = ["ZScoreNormalization", "CTNormalization"]
    assert use_mask(schemes, 0.7) == [True, False]
    assert use_mask(schemes, 0.75) == [False, False]
