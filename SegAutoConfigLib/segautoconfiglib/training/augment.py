"""What happens to a patch between the case and the network: the list of transforms, and the making of targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from batchgenerators.transforms.abstract_transforms import AbstractTransform, Compose

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import AUGMENTATION
from segautoconfiglib.planning.choices import AUGMENTATIONS
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.augment_cascade import AppendPreviousStage, cascade_transforms
from segautoconfiglib.training.augment_intensity import (
    Brightness,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    LowResolution,
    Mirror,
)
from segautoconfiglib.training.augment_spatial import CutPatch, SpatialRanges
from segautoconfiglib.training.patch import PatchGeometry

#: Makes transforms of ``image`` and ``labels`` for patches of a geometry.
Transforms = Callable[[PatchGeometry], Sequence[AbstractTransform]]


@dataclass(frozen=True)
class Augmentation:
    """What is done to patches, in this order.

    Attributes:
        spatial: How they are rotated and scaled while they are cut; None: not at all.
        before_mirroring, after_mirroring: Further transforms; mirroring is the recipe's choice.
        previous_stage: Give the previous stage's labels faults, in a cascade.
        label_share: Probability of each of these labels; None: AUGMENTATION.cascade_label_probability.
    """

    spatial: SpatialRanges | None = None
    before_mirroring: Transforms = lambda geometry: ()
    after_mirroring: Transforms = lambda geometry: ()
    previous_stage: bool = False
    label_share: float | None = None


def named_augmentation(name: str) -> Augmentation:
    """An augmentation by its name in AUGMENTATIONS; a function there is a list of transforms after the usual cutting.

    Raises:
        UserError: unknown name.
    """
    found = AUGMENTATIONS.get(name)
    if isinstance(found, Augmentation):
        return found
    return Augmentation(SpatialRanges(), before_mirroring=found, previous_stage=True)


def chosen_augmentation(recipe: Recipe) -> Augmentation:
    """The augmentation that a recipe names, with its interpolation. Raises: UserError: unknown name."""
    found = named_augmentation(recipe.augmentation)
    if found.spatial is None:
        return found
    return replace(
        found, spatial=replace(found.spatial, image_order=recipe.image_order, label_order=recipe.label_order)
    )


def training_transforms(
    augmentation: Augmentation | str,
    geometry: PatchGeometry,
    label_spec: LabelSpec,
    masked_channels: Sequence[bool],
    *,
    cascade: bool = False,
) -> AbstractTransform:
    """From a place in a case to ``data`` and ``target`` of a sample.

    Args:
        augmentation: What is done, or its name in AUGMENTATIONS.
        geometry: Sizes, angles and mirror axes of patches.
        label_spec: What is learnt.
        masked_channels: Channels of the image that are set to 0 outside the mask used for normalisation.
        cascade: The labels' second channel is the previous stage's; it becomes an input of the network.
    """
    done = named_augmentation(augmentation) if isinstance(augmentation, str) else augmentation
    axes = [axis + 3 - geometry.dimension for axis in geometry.mirror_axes]
    return Compose(
        [
            CutPatch(geometry, done.spatial),
            *done.before_mirroring(geometry),
            *([Mirror(axes)] if axes else []),
            *done.after_mirroring(geometry),
            *([MaskOutside(masked_channels)] if any(masked_channels) else []),
            *(_previous_stage(label_spec, done) if cascade else []),
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


def _all_intensities(geometry: PatchGeometry) -> list[AbstractTransform]:
    return intensity_transforms(geometry, fast=False)


def _fast_intensities(geometry: PatchGeometry) -> list[AbstractTransform]:
    return intensity_transforms(geometry, fast=True)


NONE = Augmentation()
FAST = Augmentation(SpatialRanges(), _fast_intensities, previous_stage=True)
DEFAULT = Augmentation(SpatialRanges(), _all_intensities, previous_stage=True)


def validation_transforms(
    geometry: PatchGeometry, label_spec: LabelSpec, *, cascade: bool = False
) -> AbstractTransform:
    """Cutting and making the target, nothing else; in a cascade with the previous stage's labels as they are."""
    previous = _previous_stage(label_spec, NONE) if cascade else []
    return Compose([CutPatch(geometry, None), *previous, MakeTarget(label_spec, geometry.dimension)])


def _previous_stage(label_spec: LabelSpec, augmentation: Augmentation) -> list[AbstractTransform]:
    values = label_spec.foreground_labels
    if not augmentation.previous_stage:
        return [AppendPreviousStage(values)]
    return cascade_transforms(values, augmentation.label_share)


class MaskOutside(AbstractTransform):
    """Sets chosen channels to 0 where the label is negative: outside the case or the mask used for normalisation.

    Args:
        channels: True for the channels of the image that are masked.
    """

    def __init__(self, channels: Sequence[bool]) -> None:
        self.channels = np.array(channels, dtype=bool)

    def __call__(self, *, image: np.ndarray, labels: np.ndarray, **sample: Any) -> dict[str, Any]:
        """The sample with its image masked."""
        outside = (labels[:1] < 0) & self.channels[:, None, None, None]
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
