"""Which intensity normalisation a channel gets."""

from __future__ import annotations

from collections.abc import Sequence

from segautoconfiglib.defaults import PLANNING

Z_SCORE = "ZScoreNormalization"

#: nnU-Net's normalisation per channel name (in lower case); every other name gets :data:`Z_SCORE`.
SCHEMES = {
    "ct": "CTNormalization",
    "nonorm": "NoNormalization",
    "zscore": Z_SCORE,
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}


def normalization_schemes(channels: Sequence[str]) -> list[str]:
    """nnU-Net's class name of the normalisation, per channel name of dataset.json; case does not matter."""
    return [SCHEMES.get(channel.casefold(), Z_SCORE) for channel in channels]


def use_mask(schemes: Sequence[str], median_relative_size_after_cropping: float) -> list[bool]:
    """Whether a channel's statistics leave out zeros: in z-scored channels of images that lost much by cropping."""
    cropped = median_relative_size_after_cropping < PLANNING.mask_normalization_below
    return [cropped and scheme == Z_SCORE for scheme in schemes]
