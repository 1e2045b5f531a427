"""Prediction of one image in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.image.files import sitk_from_labels, volume_from_sitk
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.inference.cascade import checked_labels, network_input, predicted_labels
from segautoconfiglib.inference.model import Model
from segautoconfiglib.inference.predictor import STAGE, tile_progress
from segautoconfiglib.inference.prepare import memory_errors


@dataclass(frozen=True)
class Prediction:
    """What is found in one image.

    Attributes:
        labels: Like the image that was given: a SimpleITK image, a Volume (1, z, y, x), or an array (z, y, x).
        probabilities: (class or region, z, y, x) float32 where they were asked for.
    """

    labels: Any
    probabilities: np.ndarray | None = None


def predict_image(
    image: Volume | np.ndarray | sitk.Image | Sequence[sitk.Image],
    model: Model,
    *,
    spacing_mm: Sequence[float] | None = None,
    mirror: bool = True,
    step: float = INFERENCE.step,
    probabilities: bool = False,
    previous: Volume | np.ndarray | sitk.Image | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Prediction:
    """Segment one image in memory.

    Args:
        image: A SimpleITK image, one SimpleITK image per channel, an array (channel, z, y, x), or a Volume.
        model: From :func:`load_model`.
        spacing_mm: Voxel edges (z, y, x) of an array; other images know theirs.
        mirror: Average over mirrored images, along the axes the network was trained for.
        step: Distance of tiles, share of the patch.
        probabilities: Return those too.
        previous: Of a cascade: the labels of the previous stage on the image's grid, arrays (z, y, x). None: that stage
            predicts them first.
        report: Gets "progress" events.
        cancel: Asked between tiles.

    Returns:
        The labels on the image's grid, in the form in which the image was given.

    Raises:
        UserError: the image is none of these, an array has no spacing, the channels are not those that the model was
            trained with, or the memory does not suffice.
        Cancelled: on request.

    Example:
        Segment a file with all folds of a model::

            import SimpleITK as sitk
            from segautoconfiglib.inference.run import load_model, predict_image

            model = load_model("Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres", device="cpu")
            prediction = predict_image(sitk.ReadImage("case_0000.nii.gz"), model)
            sitk.WriteImage(prediction.labels, "case.nii.gz")

        An array of your own, axes (channel, z, y, x)::

            labels = predict_image(array, model, spacing_mm=(3.0, 0.8, 0.8)).labels
    """
    volume = _as_volume(image, spacing_mm)
    classes = model.label_spec.output_channels
    with memory_errors(model.device, volume.shape, classes):
        if previous is None:
            below = predicted_labels(volume, model, mirror=mirror, step=step, cancel=cancel)
        else:
            below = _given_labels(previous, volume, model)
        data, record = network_input(volume, below, model)
        values = np.empty((classes, *volume.shape), np.float32) if probabilities else None
        found = model.segment(
            data,
            record,
            mirror=mirror,
            step=step,
            probabilities=values,
            progress=tile_progress(report, "image", 0, 1),
            cancel=cancel,
        )
    report("progress", stage=STAGE, done=1, total=1, case="image")
    if isinstance(image, Volume):
        return Prediction(Volume(found[None], volume.geometry), values)
    if isinstance(image, np.ndarray):
        return Prediction(found, values)
    return Prediction(sitk_from_labels(found, volume.geometry), values)


def _given_labels(labels: Any, image: Volume, model: Model) -> Volume:
    """The previous stage's labels in any form. Raises: UserError: the model takes none, or they do not fit."""
    if model.configuration.previous_stage is None:
        raise UserError(f"{model.configuration_name} takes no labels of a previous stage.", "Leave out previous.")
    if isinstance(labels, np.ndarray):
        labels = Volume(labels[None], image.geometry)
    return checked_labels(_as_volume(labels, None), image, model, "previous")


def _as_volume(image: Any, spacing_mm: Sequence[float] | None) -> Volume:
    """An image of any kind that `predict_image` takes."""
    if isinstance(image, Volume):
        return image
    if isinstance(image, np.ndarray):
        return _array_volume(image, spacing_mm)
    channels = [image] if isinstance(image, sitk.Image) else image
    if not isinstance(channels, (list, tuple)) or not all(isinstance(channel, sitk.Image) for channel in channels):
        raise UserError(
            f"A {type(image).__name__} is no image in memory.",
            "Give a SimpleITK image (SimpleITK.ReadImage reads a file), one for each channel, or an array "
            "(channel, z, y, x) with spacing_mm.",
        )
    volumes = [volume_from_sitk(channel) for channel in channels]
    if not volumes:
        raise UserError("There is no image.", "Give one for each channel.")
    for number, volume in enumerate(volumes[1:], start=1):
        differences = volumes[0].geometry.differences(volume.geometry)
        if differences or volumes[0].shape != volume.shape:
            raise UserError(
                f"Channel {number} has not the grid of channel 0 (shape {volume.shape} against {volumes[0].shape}"
                f"{''.join('; ' + text for text in differences)}).",
                "Resample all channels to one grid.",
            )
    return Volume(np.concatenate([volume.array for volume in volumes]), volumes[0].geometry)


def _array_volume(array: np.ndarray, spacing_mm: Sequence[float] | None) -> Volume:
    if array.ndim != 4:
        raise UserError(
            f"The array has the shape {array.shape}; its axes must be (channel, z, y, x).",
            "array[None] adds the axis of a single channel, array[:, None] that of a single slice.",
        )
    z, y, x = spacing_mm if spacing_mm is not None and len(spacing_mm) == 3 else (0.0, 0.0, 0.0)
    if not all(0 < edge < math.inf for edge in (z, y, x)):
        raise UserError(
            f"The array's spacing is {spacing_mm}.", "Give spacing_mm=(z, y, x), the edges of a voxel in millimetres."
        )
    return Volume(array, Geometry((float(z), float(y), float(x))))
