"""Preprocessing of one case: a pure function from volumes and plans to what the network is trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.labels import Label, LabelSpec
from segautoconfiglib.defaults import PREPROCESSING
from segautoconfiglib.image.crop import Box, bounding_box, crop, fill_holes, nonzero_mask
from segautoconfiglib.image.resample_image import resample_image
from segautoconfiglib.image.resample_labels import resample_labels
from segautoconfiglib.image.volume import Volume
from segautoconfiglib.planning.plans import (
    NO_RESAMPLING,
    RESAMPLING_FUNCTION,
    TORCH_RESAMPLING,
    Configuration,
    Plans,
)
from segautoconfiglib.planning.spacing import resampled_shape
from segautoconfiglib.preprocessing.geometry import SpatialRecord, Triple
from segautoconfiglib.preprocessing.normalize import check_scheme, normalize

Number = TypeVar("Number", int, float)

#: Label of voxels that are zero in all channels, connected with the outside, and carry no label (nnU-Net).
OUTSIDE = -1

#: Voxels whose labels are looked at at a time: bounds the memory.
VOXELS_PER_PART = 1_000_000


@dataclass(frozen=True)
class PreprocessedCase:
    """A case on the network's grid; axes are the plans' transposed ones.

    Attributes:
        data: (channels, z, y, x) float32, normalised.
        labels: (1, z, y, x) int16 with :data:`OUTSIDE`; None for a case without a label.
        record: How it came about.
        class_locations: Per label or region some of its voxels, int64 (n, 4), rows (0, z, y, x).
    """

    data: np.ndarray
    labels: np.ndarray | None
    record: SpatialRecord
    class_locations: dict[Label, np.ndarray]


def preprocess_case(
    image: Volume, labels: Volume | None, plans: Plans, configuration: Configuration, label_spec: LabelSpec | None
) -> PreprocessedCase:
    """Transpose, crop to what is not zero, normalise, resample; nnU-Net's order of steps.

    Args:
        image: As read from the files, all channels.
        labels: On the same grid; None for prediction.
        plans: For the order of the axes and the training set's intensities.
        configuration: For spacing, normalisation and resampling.
        label_spec: Says for which labels or regions locations are kept; None for prediction.

    Returns:
        The case; the inputs are left as they are.

    Raises:
        UserError: shapes or number of channels do not fit, or the plans ask for something unknown.
    """
    _check_input(image, labels, configuration)
    array = image.array.transpose(0, *(axis + 1 for axis in plans.transpose_forward))
    mask = nonzero_mask(array)
    record = _spatial_record(image, bounding_box(mask), plans, configuration)
    array, mask = crop(array, record.box), crop(mask, record.box)
    inside = fill_holes(mask) if labels is not None or any(configuration.use_mask_for_norm) else None
    data = _normalized_and_resampled(array, inside, plans, configuration, record)
    if labels is None:
        return PreprocessedCase(data, None, record, {})
    marked = _with_outside(crop(labels.array[0].transpose(plans.transpose_forward), record.box), inside)
    options = resampling_options(configuration.resampling_fn_seg, configuration.resampling_fn_seg_kwargs)
    resampled = resample_labels(marked, record.resampled_shape, record.spacing_mm, record.network_spacing_mm, **options)
    locations = class_locations(resampled, location_keys(label_spec)) if label_spec else {}
    return PreprocessedCase(data, np.ascontiguousarray(resampled[None]), record, locations)


def _spatial_record(image: Volume, box: Box, plans: Plans, configuration: Configuration) -> SpatialRecord:
    """Where the case goes."""
    forward = plans.transpose_forward
    full_shape = _triple(image.shape[axis] for axis in forward)
    spacing = _triple(image.geometry.spacing_mm[axis] for axis in forward)
    cropped = _triple(stop - start for start, stop in box)
    shape, target = network_grid(cropped, spacing, configuration)
    if min(shape) < 1:
        raise UserError(
            f"An image of {cropped} voxels of {_text(spacing)} mm (z, y, x) vanishes at {_text(target)} mm.",
            "Check the spacing in the file's header, or remove the case.",
        )
    return SpatialRecord(image.geometry, forward, full_shape, box, shape, target)


def network_grid(
    shape: Sequence[int], spacing_mm: Sequence[float], configuration: Configuration
) -> tuple[Triple, tuple[float, float, float]]:
    """Shape and spacing after resampling. In a 2D configuration the spacing of the slices stays as it is.

    Args:
        shape: Voxels after cropping; axes are the plans' transposed ones.
        spacing_mm: Before resampling, same axes.
        configuration: Says which spacing is wanted.
    """
    spacing = _triple(spacing_mm)
    target = _triple((*spacing[: 3 - len(configuration.spacing)], *configuration.spacing))
    if configuration.resampling_fn_data == NO_RESAMPLING:
        target = spacing
    return _triple(resampled_shape(shape, spacing, target)), target


def _triple(values: Iterable[Number]) -> tuple[Number, Number, Number]:
    first, second, third = values
    return first, second, third


def _check_input(image: Volume, labels: Volume | None, configuration: Configuration) -> None:
    channels = len(configuration.normalization_schemes)
    if len(image.array) != channels:
        raise UserError(
            f"The image has {counted(len(image.array), 'channel')}, the plans are made for {channels}.",
            "Give one file per channel, in the order of channel_names in dataset.json.",
        )
    if labels is not None and labels.shape != image.shape:
        raise UserError(
            f"The label has shape {labels.shape}, the image {image.shape} (z, y, x).",
            "Export the label on the grid of the image.",
        )


def check_settings(plans: Plans, configuration: Configuration, channels: int) -> None:
    """Find out before any case is touched whether its preprocessing is known.

    Args:
        plans: For the training set's intensities.
        configuration: For normalisation and resampling.
        channels: Of the dataset.

    Raises:
        UserError: another number of channels, or an unknown normalisation or resampling.
    """
    schemes = configuration.normalization_schemes
    if len(schemes) != channels:
        raise UserError(
            f"normalization_schemes of plans {plans.plans_name!r} names {counted(len(schemes), 'channel')} "
            f"({', '.join(schemes)}), dataset.json {channels}.",
            "Correct the plans, or plan the dataset again.",
        )
    for number, scheme in enumerate(schemes):
        check_scheme(scheme, plans.foreground_intensity_properties_per_channel.get(str(number)))
    resampling_options(configuration.resampling_fn_data, configuration.resampling_fn_data_kwargs)
    resampling_options(configuration.resampling_fn_seg, configuration.resampling_fn_seg_kwargs)


def _normalized_and_resampled(
    array: np.ndarray, inside: np.ndarray | None, plans: Plans, configuration: Configuration, record: SpatialRecord
) -> np.ndarray:
    """One channel after the other, so that only one is held in both forms."""
    data = np.empty((len(array), *record.resampled_shape), np.float32)
    options = resampling_options(configuration.resampling_fn_data, configuration.resampling_fn_data_kwargs)
    late = configuration.normalize_after_resampling
    if late and inside is not None:
        inside = _resampled_mask(inside, configuration, record)

    def normalized(number: int, channel: np.ndarray) -> np.ndarray:
        return normalize(
            channel,
            configuration.normalization_schemes[number],
            inside=inside if configuration.use_mask_for_norm[number] else None,
            properties=plans.foreground_intensity_properties_per_channel.get(str(number)),
        )

    for number, channel in enumerate(array):
        channel = channel.astype(np.float32) if late else normalized(number, channel)
        data[number] = resample_image(
            channel[None], record.resampled_shape, record.spacing_mm, record.network_spacing_mm, **options
        )[0]
        if late:
            data[number] = normalized(number, data[number])
            if inside is not None and configuration.use_mask_for_norm[number]:
                data[number][~inside] = 0
    return data


def _resampled_mask(inside: np.ndarray, configuration: Configuration, record: SpatialRecord) -> np.ndarray:
    options = resampling_options(configuration.resampling_fn_seg, configuration.resampling_fn_seg_kwargs)
    shape, spacings = record.resampled_shape, (record.spacing_mm, record.network_spacing_mm)
    return resample_labels(inside.astype(np.int16), shape, *spacings, **options) > 0


def resampling_options(function: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of our resampling that correspond to a function and its arguments in plans."""
    if function == RESAMPLING_FUNCTION:
        return {
            "order": arguments.get("order", 3),
            "order_z": arguments.get("order_z", 0),
            "separate": arguments.get("force_separate_z"),
        }
    if function in (TORCH_RESAMPLING, NO_RESAMPLING):
        return {"order": 1, "separate": arguments.get("force_separate_z", False)}
    raise UserError(
        f"Unknown resampling function {function!r} in the plans.",
        f"Known: {RESAMPLING_FUNCTION}, {TORCH_RESAMPLING}, {NO_RESAMPLING}.",
    )


def _with_outside(labels: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """A copy as int16 with :data:`OUTSIDE` where nothing is labelled outside the mask."""
    largest = int(labels.max())
    if largest > np.iinfo(np.int16).max:
        raise UserError(f"The label value {largest} is too large.", "Number the labels 0, 1, 2, ... up to 32767.")
    marked = labels.astype(np.int16)
    if inside is not None and not inside.all():
        marked[(marked == 0) & ~inside] = OUTSIDE
    return marked


def location_keys(label_spec: LabelSpec) -> list[Label]:
    """The labels or regions whose locations are kept; with an ignore label also "annotated", all labels together."""
    keys: list[Label] = list(label_spec.foreground)
    if label_spec.ignore_label is not None:
        keys.append((OUTSIDE, *label_spec.all_labels))
    return keys


def class_locations(labels: np.ndarray, keys: list[Label]) -> dict[Label, np.ndarray]:
    """Draw voxels of each label or region without replacement (nnU-Net's draws), for choosing training patches.

    Args:
        labels: (z, y, x) integers.
        keys: Labels, or tuples of labels.

    Returns:
        Per key int64 (n, 4), rows (0, z, y, x); n = 0 where the label does not occur.
    """
    places = _places(labels, sorted({label for key in keys for label in _members(key)}))
    random = np.random.RandomState(PREPROCESSING.seed)
    locations = {}
    for key in keys:
        pool = np.concatenate([part for label in _members(key) for part in places[label]])
        count = max(min(PREPROCESSING.min_locations, len(pool)), math.ceil(len(pool) * PREPROCESSING.location_share))
        random.shuffle(pool)  # the draws of choice(len(pool), count, replace=False), in place
        drawn = np.unravel_index(pool[:count], labels.shape)
        locations[key] = np.stack([np.zeros_like(drawn[0]), *drawn], axis=1)
    return locations


def _places(labels: np.ndarray, wanted: Sequence[int]) -> dict[int, list[np.ndarray]]:
    """The indices into the flat array of each label's voxels, ascending, in parts.

    Args:
        labels: (z, y, x) integers.
        wanted: Ascending.
    """
    flat = labels.reshape(-1)
    index_type = np.min_scalar_type(-flat.size)
    places: dict[int, list[np.ndarray]] = {label: [] for label in wanted}
    for start in range(0, flat.size, VOXELS_PER_PART):
        part = flat[start : start + VOXELS_PER_PART]
        order = np.flatnonzero(np.isin(part, wanted))
        order = order[np.argsort(part[order], kind="stable")]
        ends = np.searchsorted(part[order], wanted, side="right")
        for label, block in zip(wanted, np.split((start + order).astype(index_type), ends), strict=False):
            places[label].append(block)
    return places


def _members(key: Label) -> tuple[int, ...]:
    return key if isinstance(key, tuple) else (key,)


def _text(numbers: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in numbers) + ")"
