"""Intensity normalisation of one channel; the names are those in plans (nnU-Net)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import PREPROCESSING

Properties = Mapping[str, float]


def normalize(
    channel: np.ndarray, scheme: str, *, inside: np.ndarray | None = None, properties: Properties | None = None
) -> np.ndarray:
    """Normalise one channel.

    Args:
        channel: (z, y, x).
        scheme: A name in :data:`SCHEMES`.
        inside: (z, y, x) bool, where the z-score is computed and applied; None: everywhere. Other schemes ignore it.
        properties: The training set's intensities of this channel, from the plans; only CTNormalization needs them.

    Returns:
        A new contiguous float32 array.

    Raises:
        UserError: unknown scheme, missing properties, or values that do not fit the scheme.
    """
    check_scheme(scheme, properties)
    values = np.array(channel, dtype=np.float32, order="C")
    SCHEMES[scheme](values, inside, properties or {})
    return values


def check_scheme(scheme: str, properties: Properties | None) -> None:
    """Raises: UserError: unknown scheme, or properties that it needs are missing; arguments as in `normalize`."""
    if scheme not in SCHEMES:
        raise UserError(f"Unknown normalisation {scheme!r} in the plans.", f"Known: {', '.join(SCHEMES)}.")
    missing = [key for key in NEEDED_PROPERTIES.get(scheme, ()) if (properties or {}).get(key) is None]
    if missing:
        raise UserError(
            f"{scheme} needs the training set's intensities; the plans lack {', '.join(missing)}.",
            "Plan the dataset again, so that foreground_intensity_properties_per_channel is complete.",
        )


def _z_score(values: np.ndarray, inside: np.ndarray | None, properties: Properties) -> None:
    if inside is None:
        mean, std = _mean_and_std(values)
        values -= mean
        values /= max(std, PREPROCESSING.smallest_divisor)
    elif inside.any():  # an empty image keeps its zeros
        part = values[inside]
        mean, std = _mean_and_std(part)
        values[inside] = (part - mean) / max(std, PREPROCESSING.smallest_divisor)


def _mean_and_std(values: np.ndarray) -> tuple[np.float32, np.float32]:
    """Mean and population standard deviation, added up in float64 without a copy of the array."""
    mean = values.mean(dtype=np.float64)
    squares = sum(float(np.square(part, dtype=np.float64).sum()) for part in _centred_parts(values, mean))
    return np.float32(mean), np.float32(np.sqrt(squares / values.size))


def _centred_parts(values: np.ndarray, mean: np.float64):  # type: ignore[no-untyped-def]  # a generator of arrays
    flat = values.reshape(-1)
    for start in range(0, flat.size, PART_VOXELS):
        yield flat[start : start + PART_VOXELS] - mean


def _ct(values: np.ndarray, inside: np.ndarray | None, properties: Properties) -> None:
    np.clip(values, properties["percentile_00_5"], properties["percentile_99_5"], out=values)
    values -= properties["mean"]
    values /= max(properties["std"], PREPROCESSING.smallest_divisor)


def _rescale_to_01(values: np.ndarray, inside: np.ndarray | None, properties: Properties) -> None:
    values -= values.min()
    values /= max(values.max(), PREPROCESSING.smallest_divisor)


def _rgb_to_01(values: np.ndarray, inside: np.ndarray | None, properties: Properties) -> None:
    low, high = values.min(), values.max()
    if low < 0 or high > 255:
        raise UserError(
            f"RGBTo01Normalization expects values from 0 to 255, found {low:g} to {high:g}.",
            "Give the channel another name in dataset.json (channel_names), then plan again.",
        )
    values /= 255


def _none(values: np.ndarray, inside: np.ndarray | None, properties: Properties) -> None:
    pass


#: Voxels worked on at a time in double precision.
PART_VOXELS = 1_000_000

#: nnU-Net's class name: what is done to a float32 array, in place.
SCHEMES: dict[str, Callable[[np.ndarray, np.ndarray | None, Properties], None]] = {
    "ZScoreNormalization": _z_score,
    "CTNormalization": _ct,
    "RescaleTo01Normalization": _rescale_to_01,
    "RGBTo01Normalization": _rgb_to_01,
    "NoNormalization": _none,
}
#: Which of the training set's intensities a scheme needs.
NEEDED_PROPERTIES = {"CTNormalization": ("mean", "std", "percentile_00_5", "percentile_99_5")}
