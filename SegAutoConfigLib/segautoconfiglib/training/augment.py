"""What happens to a patch between the case and the network: the list of transforms, and the making of targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from batchgenerators.transforms.abstract_transforms import AbstractTransform, Compose

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import AUGMENTATION
from segautoconfiglib.training.augment_intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    LowResolution,
    Mirror,
)
from segautoconfiglib.training.augment_spatial import CutPatch
from segautoconfiglib.training.patch import PatchGeometry


def training_transforms(
    augmentation: str, geometry: PatchGeometry, label_spec: LabelSpec, masked_channels: Sequence[bool]
) -> AbstractTransform:
    """From a place in a case to ``data`` and ``target`` of a sample.

    Args:
        augmentation: "default" (nnU-Net's list), "fast" (its cheap part) or "none".
        geometry: Sizes, angles and mirror axes of patches.
        label_spec: What is learnt.
        masked_channels: Channels of the image that are set to 0 outside the mask used for normalisation.
    """
    before_mirroring: list[AbstractTransform] = []
    if augmentation != "none":
        before_mirroring = intensity_transforms(geometry, fast=augmentation == "fast")
    axes = [axis + 3 - geometry.dimension for axis in geometry.mirror_axes]
    return Compose(
        [
            CutPatch(geometry, augment=augmentation != "none"),
            *before_mirroring,
            *([Mirror(axes)] if axes else []),
            *([MaskOutside(masked_channels)] if any(masked_channels) else []),
            MakeTarget(label_spec, geometry.dimension),
        ]
    )


def intensity_transforms(geometry: PatchGeometry, *, fast: bool) -> list[AbstractTransform]:
    """nnU-Net's changes of intensities, in its order; ``fast`` leaves out the slow ones."""
    transforms: list[AbstractTransform] = [GaussianNoise(AUGMENTATION.noise_probability)]
    if not fast:
        transforms.append(GaussianBlur(AUGMENTATION.blur_probability))
    transforms.append(Brightness(AUGMENTATION.brightness_probability))
    transforms.append(Contrast(AUGMENTATION.contrast_probability))
    if not fast:
        transforms += [
            LowResolution(AUGMENTATION.low_resolution_probability, in_plane=geometry.in_plane),
            Gamma(AUGMENTATION.inverted_gamma_probability, inverted=True),
            Gamma(AUGMENTATION.gamma_probability, inverted=False),
        ]
    return transforms


def validation_transforms(geometry: PatchGeometry, label_spec: LabelSpec) -> AbstractTransform:
    """Cutting and making the target, nothing else."""
    return Compose([CutPatch(geometry, augment=False), MakeTarget(label_spec, geometry.dimension)])


class MaskOutside(AbstractTransform):
    """Sets chosen channels to 0 where the label is negative: outside the case or the mask used for normalisation.

    Args:
        channels: True for the channels of the image that are masked.
    """

    def __init__(self, channels: Sequence[bool]) -> None:
        self.channels = np.array(channels, dtype=bool)

    def __call__(self, *, image: np.ndarray, labels: np.ndarray, **sample: Any) -> dict[str, Any]:
        """The sample with its image masked."""
        outside = (labels < 0) & self.channels[:, None, None, None]
        return {**sample, "image": np.where(outside, np.float32(0), image), "labels": labels}


class MakeTarget(AbstractTransform):
    """Ends the list: ``data`` and ``target`` with the network's axes.

    Args:
        label_spec: What is learnt.
        dimension: 2 or 3, of the network.
    """

    def __init__(self, label_spec: LabelSpec, dimension: int) -> None:
        self.label_spec = label_spec
        self.dimension = dimension

    def __call__(self, *, image: np.ndarray, labels: np.ndarray, **sample: Any) -> dict[str, Any]:
        """``data`` (channel, *size) float32 and ``target`` as `make_target` returns it."""
        target = make_target(labels, self.label_spec)
        if self.dimension == 2:
            image, target = image[:, 0], target[:, 0]
        return {"data": np.ascontiguousarray(image), "target": np.ascontiguousarray(target)}


def make_target(labels: np.ndarray, label_spec: LabelSpec) -> np.ndarray:
    """What the loss compares with.

    Args:
        labels: (1, z, y, x); negative values count as background.
        label_spec: What is learnt.

    Returns:
        Without regions (1, z, y, x) int16; with regions (region [+ ignore], z, y, x) bool, the ignored voxels in the
        last channel if there is an ignore label.
    """
    labels = np.maximum(labels, 0)
    if not label_spec.has_regions:
        return labels
    channels = [np.isin(labels[0], np.atleast_1d(region)) for region in label_spec.foreground_regions]
    if label_spec.ignore_label is not None:
        channels.append(labels[0] == label_spec.ignore_label)
    return np.stack(channels)
