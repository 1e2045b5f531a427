"""nnU-Net's strong augmentation "DA5": more of what the default does, and changes that it lacks.

Every change of intensities is a pair of ``draw`` and ``apply``, see :mod:`segautoconfiglib.training.augment_intensity`.
Three things differ from nnU-Net's: of its two changes of gamma both worked on the inverted image, where one was meant
for the image as it is; the median is taken along one axis after another, which is a hundred times faster; and axes
change places, which is a reflection, only where both are mirrored.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from batchgenerators.transforms.abstract_transforms import AbstractTransform

from segautoconfiglib.defaults import STRONG_AUGMENTATION as STRONG
from segautoconfiglib.training.augment import Augmentation
from segautoconfiglib.training.augment_intensity import (
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    ImageTransform,
    LowResolution,
)
from segautoconfiglib.training.augment_spatial import SpatialRanges
from segautoconfiglib.training.patch import PatchGeometry


def before_mirroring(geometry: PatchGeometry) -> list[AbstractTransform]:
    """DA5's transforms between cutting and mirroring."""
    turns = _turns(geometry)
    contrast = {"factors": STRONG.contrast_range, "channel_probability": STRONG.channel_probability}
    return [
        *turns,
        OneOf(
            [
                MedianFilter(STRONG.median_probability),
                GaussianBlur(STRONG.blur_probability, sigma=STRONG.blur_sigma, axes_alike=True),
            ]
        ),
        GaussianNoise(STRONG.noise_probability),
        AddedBrightness(STRONG.added_brightness_probability),
        OneOf([Contrast(STRONG.contrast_probability, clip=clip, **contrast) for clip in (True, False)]),  # type: ignore[arg-type]
        LowResolution(
            STRONG.low_resolution_probability, in_plane=geometry.in_plane, scales=STRONG.low_resolution_range
        ),
        Gamma(STRONG.gamma_probability, inverted=True),
        Gamma(STRONG.gamma_probability, inverted=False),
    ]


def after_mirroring(geometry: PatchGeometry) -> list[AbstractTransform]:
    """DA5's local changes."""
    return [
        BlankBoxes(STRONG.blank_probability),
        BrightnessGradient(STRONG.gradient_probability),
        LocalGamma(STRONG.local_gamma_probability),
        Sharpening(STRONG.sharpening_probability),
    ]


DA5 = Augmentation(
    SpatialRanges(
        rotation_probability=STRONG.rotation_probability,
        axis_probability=STRONG.axis_probability,
        scaling_probability=STRONG.scaling_probability,
        scaling_range=STRONG.scaling_range,
        scale_axes_alike=False,
        margin=STRONG.patch_margin,
    ),
    before_mirroring,
    after_mirroring,
    previous_stage=True,
    label_share=1.0,
)


def _turns(geometry: PatchGeometry) -> list[AbstractTransform]:
    """Turns and exchanges of equally long axes; an exchange is a reflection: only mirrored axes take part."""
    axes = equal_axes(geometry)
    turns: list[AbstractTransform] = [QuarterTurns(STRONG.turn_probability, axes)] if axes else []
    mirrored = tuple(axis for axis in axes if axis - 3 + geometry.dimension in geometry.mirror_axes)
    return [*turns, SwapAxes(STRONG.swap_probability, mirrored)] if len(mirrored) > 1 else turns


def equal_axes(geometry: PatchGeometry) -> tuple[int, ...]:
    """The axes of (z, y, x) along which patches have the same, most frequent edge; empty if all edges differ."""
    edges = dict(enumerate(geometry.patch[3 - geometry.dimension :], start=3 - geometry.dimension))
    edge, count = Counter(edges.values()).most_common(1)[0]
    return tuple(axis for axis in edges if edges[axis] == edge) if count > 1 else ()


class _Rearrangement(AbstractTransform):
    """Changes the places of image and labels alike.

    Args:
        probability: Of the sample.
        axes: Of (z, y, x), two or three, with equal edges.
    """

    def __init__(self, probability: float, axes: Sequence[int]) -> None:
        self.probability = probability
        self.axes = tuple(axes)


class QuarterTurns(_Rearrangement):
    """Turns by none to three quarters within a plane of two of the axes."""

    def draw(self, rng: np.random.Generator) -> tuple[int, tuple[int, int]]:
        """(number of quarters, the two axes)."""
        quarters = int(rng.integers(4))
        first, second = sorted(rng.choice(self.axes, size=2, replace=False).tolist())
        return quarters, (first, second)

    def __call__(
        self, *, rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, **sample: Any
    ) -> dict[str, Any]:
        """The sample, turned or as it is."""
        if rng.random() < self.probability:
            quarters, (first, second) = self.draw(rng)
            plane = (first + 1, second + 1)
            image, labels = np.rot90(image, quarters, plane), np.rot90(labels, quarters, plane)
        return {**sample, "rng": rng, "image": image, "labels": labels}


class SwapAxes(_Rearrangement):
    """Puts the axes into another order."""

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The new order of (channel, z, y, x)."""
        order = [0, 1, 2, 3]
        for axis, drawn in zip(self.axes, rng.permutation(self.axes).tolist(), strict=True):
            order[axis + 1] = drawn + 1
        return tuple(order)

    def __call__(
        self, *, rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, **sample: Any
    ) -> dict[str, Any]:
        """The sample, its axes exchanged or as they are."""
        if rng.random() < self.probability:
            order = self.draw(rng)
            image, labels = image.transpose(order), labels.transpose(order)
        return {**sample, "rng": rng, "image": image, "labels": labels}


class OneOf(AbstractTransform):
    """Tries one of several transforms, each with its own probability.

    Args:
        transforms: All alike.
    """

    def __init__(self, transforms: Sequence[AbstractTransform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, *, rng: np.random.Generator, **sample: Any) -> dict[str, Any]:
        """The sample after the transform that was drawn."""
        result: dict[str, Any] = self.transforms[int(rng.integers(len(self.transforms)))](rng=rng, **sample)
        return result


def _drawn(rng: np.random.Generator) -> bool:
    """Whether a channel is changed."""
    return bool(rng.random() < STRONG.channel_probability)


class MedianFilter(ImageTransform["list[int | None]"]):
    """Medians of some channels; parameters: per channel the edge of the window (voxels), or None."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[int | None]:
        """One edge per channel."""
        low, high = STRONG.median_sizes
        return [int(rng.integers(low, high + 1)) if _drawn(rng) else None for _ in range(shape[0])]

    def apply(self, image: np.ndarray, parameters: list[int | None]) -> np.ndarray:
        """The image with its chosen channels filtered along one axis after another, mirrored at the border."""
        result = image.copy()
        for channel, edge in enumerate(parameters):
            for axis in range(image.ndim - 1) if edge is not None else ():
                if image.shape[axis + 1] > 1:
                    result[channel] = running_median(result[channel], edge or 1, axis)
        return result


def running_median(array: np.ndarray, window: int, axis: int) -> np.ndarray:
    """Median of ``window`` neighbours along an axis; of an even number the upper one of the two in the middle."""
    count = array.shape[axis]
    before = window // 2
    margins = [(before, window - 1 - before) if index == axis else (0, 0) for index in range(array.ndim)]
    padded = np.pad(array, margins, mode="symmetric")
    parts = [padded.take(range(first, first + count), axis) for first in range(window)]
    for start in range(window):  # sorts the parts against each other, all voxels at once
        for index in range(start % 2, window - 1, 2):
            low, high = parts[index], parts[index + 1]
            parts[index], parts[index + 1] = np.minimum(low, high), np.maximum(low, high)
    return parts[window // 2]


class AddedBrightness(ImageTransform[list[float]]):
    """Adds a number to each channel; parameters: the numbers."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[float]:
        """One number per channel, 0 for those that stay."""
        sigma = STRONG.added_brightness_sigma
        return [float(rng.normal(0, sigma)) if _drawn(rng) else 0.0 for _ in range(shape[0])]

    def apply(self, image: np.ndarray, parameters: list[float]) -> np.ndarray:
        """The image plus the numbers."""
        return image + np.array(parameters, dtype=np.float32)[:, None, None, None]


Box = tuple[slice, ...]


class BlankBoxes(ImageTransform[list[list[Box]]]):
    """Fills boxes with their mean; parameters: per channel the boxes (z, y, x)."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[list[Box]]:
        """A few boxes per channel, none for those that stay."""
        low, high = STRONG.blank_boxes
        counts = [int(rng.integers(low, high + 1)) if _drawn(rng) else 0 for _ in range(shape[0])]
        return [[tuple(self._side(rng, edge) for edge in shape[1:]) for _ in range(count)] for count in counts]

    def _side(self, rng: np.random.Generator, edge: int) -> slice:
        least, most = (edge // part for part in STRONG.blank_edges)
        size = int(rng.integers(max(1, least), max(2, most, least + 1)))
        start = int(rng.integers(edge - size + 1))
        return slice(start, start + size)

    def apply(self, image: np.ndarray, parameters: list[list[Box]]) -> np.ndarray:
        """The image with its boxes filled, one after the other."""
        result = image.copy()
        for channel, boxes in zip(result, parameters, strict=True):
            for box in boxes:
                channel[box] = channel[box].mean()
        return result


@dataclass(frozen=True)
class Bump:
    """A Gaussian bump.

    Attributes:
        centre: (z, y, x), voxels; may lie outside the patch.
        sigma: Standard deviations (z, y, x), voxels.
        strength: What is done where the bump is highest: a number to add, or a power.
    """

    centre: tuple[float, ...]
    sigma: tuple[float, ...]
    strength: float

    def weights(self, shape: Sequence[int]) -> np.ndarray:
        """(z, y, x) float32: 0 where the bump is lowest in the patch, 1 where it is highest; 0 if it is even."""
        profiles = []
        for count, centre, sigma in zip(shape, self.centre, self.sigma, strict=True):
            exponent = -0.5 * ((np.arange(count) - centre) / sigma) ** 2
            profiles.append(np.exp(exponent - exponent.max()))
        product: np.ndarray = reduce(np.multiply.outer, profiles)
        lowest = product.min()
        return ((product - lowest) / max(1 - lowest, 1e-8)).astype(np.float32)


def draw_bump(rng: np.random.Generator, shape: Sequence[int], strength: float) -> Bump:
    """A bump somewhere in or near a patch of a shape (z, y, x)."""
    centre = [float(rng.uniform(*STRONG.bump_place)) * edge for edge in shape]
    least = [max(1.0, np.floor(edge * STRONG.bump_scale)) for edge in shape]
    sigma = [float(np.exp(rng.uniform(np.log(low), np.log(edge)))) for low, edge in zip(least, shape, strict=True)]
    return Bump(tuple(centre), tuple(sigma), strength)


class _Local(ImageTransform["list[Bump | None]"]):
    """Changes some channels where a bump is; parameters: per channel the bump, or None."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[Bump | None]:
        """One bump per channel."""
        return [draw_bump(rng, shape[1:], self._strength(rng)) if _drawn(rng) else None for _ in range(shape[0])]

    def apply(self, image: np.ndarray, parameters: list[Bump | None]) -> np.ndarray:
        """The image with its chosen channels changed."""
        result = image.copy()
        for channel, bump in enumerate(parameters):
            if bump is not None:
                result[channel] = self._change(image[channel], bump)
        return result

    @abstractmethod
    def _strength(self, rng: np.random.Generator) -> float:
        """What is done where a bump is highest."""

    @abstractmethod
    def _change(self, channel: np.ndarray, bump: Bump) -> np.ndarray:
        """The channel (z, y, x), changed as far as the bump is high."""


class BrightnessGradient(_Local):
    """Adds the bump, at its highest its strength."""

    def _strength(self, rng: np.random.Generator) -> float:
        sign = -1 if rng.random() < 0.5 else 1
        return sign * float(rng.uniform(*STRONG.gradient_strength))

    def _change(self, channel: np.ndarray, bump: Bump) -> np.ndarray:
        return channel + np.float32(bump.strength) * bump.weights(channel.shape)


class LocalGamma(_Local):
    """Raises values to a power within the channel's range, as far as the bump is high."""

    def _strength(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(*(STRONG.local_gamma_low if rng.random() < 0.5 else STRONG.local_gamma_high)))

    def _change(self, channel: np.ndarray, bump: Bump) -> np.ndarray:
        low = channel.min()
        extent = max(channel.max() - low, np.float32(1e-8))
        share = (channel - low) / extent
        changed: np.ndarray = np.power(share, np.float32(bump.strength)) - share
        return (share + changed * bump.weights(channel.shape)) * extent + low


class Sharpening(ImageTransform[list[float]]):
    """Adds to each channel its differences from the neighbouring voxels; parameters: how much of them."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[float]:
        """One strength per channel, 0 for those that stay."""
        return [float(rng.uniform(*STRONG.sharpening_range)) if _drawn(rng) else 0.0 for _ in range(shape[0])]

    def apply(self, image: np.ndarray, parameters: list[float]) -> np.ndarray:
        """The sharpened image; beyond the border it goes on as at its edge."""
        result = image.copy()
        for channel, strength in enumerate(parameters):
            for axis in range(image.ndim - 1) if strength else ():
                step = np.float32(strength) * np.diff(image[channel], axis=axis)
                inner = [slice(None)] * (image.ndim - 1)
                for part, sign in ((slice(1, None), 1), (slice(None, -1), -1)):
                    inner[axis] = part
                    result[channel][tuple(inner)] += sign * step
        return result
