"""Changes of intensities, resolution and orientation of a patch: parameters are drawn first, then applied.

Every transform is a pair: ``draw(rng, shape)`` makes the parameters, ``apply(image, parameters)`` is deterministic and
leaves its input as it is. Images are (channel, z, y, x) float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from batchgenerators.transforms.abstract_transforms import AbstractTransform

from segautoconfiglib.defaults import AUGMENTATION

Parameters = TypeVar("Parameters")
Range = tuple[float, float]

#: Keeps ranges and deviations away from zero in divisions (nnU-Net).
_TINY = 1e-7


class ImageTransform(AbstractTransform, ABC, Generic[Parameters]):
    """Changes a sample's image with a probability."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Parameters:
        """Parameters for an image of a shape (channel, z, y, x)."""

    @abstractmethod
    def apply(self, image: np.ndarray, parameters: Parameters) -> np.ndarray:
        """The changed image."""

    def __call__(self, *, rng: np.random.Generator, image: np.ndarray, **sample: Any) -> dict[str, Any]:
        """The sample with its image changed, or as it is."""
        if rng.random() < self.probability:
            image = self.apply(image, self.draw(rng, image.shape))
        return {**sample, "rng": rng, "image": image}


def draw_factor(rng: np.random.Generator, around_one: Range) -> float:
    """A factor below 1 or above 1 with equal probability, uniform on either side."""
    low, high = around_one
    return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))


def draw_factors(rng: np.random.Generator, around_one: Range, channels: int) -> list[float]:
    """One factor per channel."""
    return [draw_factor(rng, around_one) for _ in range(channels)]


def _per_channel(
    change: Callable[[np.ndarray, float], np.ndarray], image: np.ndarray, values: Sequence[float]
) -> np.ndarray:
    return np.stack([change(channel, value) for channel, value in zip(image, values, strict=True)])


class GaussianNoise(ImageTransform[tuple[float, int]]):
    """Adds noise of one standard deviation to all channels; parameters: the deviation and the noise's seed."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[float, int]:
        """(standard deviation, seed)."""
        return float(rng.uniform(*AUGMENTATION.noise_sigma)), int(rng.integers(2**63))

    def apply(self, image: np.ndarray, parameters: tuple[float, int]) -> np.ndarray:
        """The image plus noise."""
        sigma, seed = parameters
        noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(sigma)
        noise += image
        return noise


class GaussianBlur(ImageTransform[list["tuple[float, ...] | None"]]):
    """Blurs some channels; parameters: per channel a standard deviation (voxels) for each axis, or None.

    Args:
        probability: Of the sample.
        sigma: Range of the deviation.
        axes_alike: One deviation for all axes of a channel.
    """

    def __init__(self, probability: float, *, sigma: Range = AUGMENTATION.blur_sigma, axes_alike: bool = False) -> None:
        super().__init__(probability)
        self.sigma = sigma
        self.axes_alike = axes_alike

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[tuple[float, ...] | None]:
        """Deviations; axes of one voxel are left alone by `apply`."""
        drawn, repeated = (1, len(shape) - 1) if self.axes_alike else (len(shape) - 1, 1)
        return [
            tuple(rng.uniform(*self.sigma, size=drawn).tolist() * repeated)
            if rng.random() < AUGMENTATION.blur_channel_probability
            else None
            for _ in range(shape[0])
        ]

    def apply(self, image: np.ndarray, parameters: list[tuple[float, ...] | None]) -> np.ndarray:
        """The image with its chosen channels blurred, mirrored at the border."""
        blurred = image.copy()
        for channel, sigmas in enumerate(parameters):
            for axis, sigma in enumerate(sigmas or ()):
                if image.shape[axis + 1] > 1:
                    blurred[channel] = convolve(blurred[channel], gaussian_kernel(sigma), axis)
        return blurred


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Half of a Gaussian kernel that sums to 1, from its centre outwards.

    The whole kernel is AUGMENTATION.blur_kernel_width deviations wide, rounded to an odd number of voxels.
    """
    radius = max(1, round((AUGMENTATION.blur_kernel_width * sigma - 0.5) / 2))
    half = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return (half / (half[0] + 2 * half[1:].sum())).astype(np.float32)


def convolve(array: np.ndarray, half_kernel: np.ndarray, axis: int) -> np.ndarray:
    """Convolve along one axis with a symmetric kernel; beyond the border the array is mirrored about its edge voxel."""
    radius = min(len(half_kernel) - 1, array.shape[axis] - 1)
    margins = [(radius, radius) if index == axis else (0, 0) for index in range(array.ndim)]
    padded = np.pad(array, margins, mode="reflect")
    count = array.shape[axis]

    def shifted(by: int) -> np.ndarray:
        part = [slice(None)] * array.ndim
        part[axis] = slice(radius + by, radius + by + count)
        return padded[tuple(part)]

    result = array * half_kernel[0]
    for step in range(1, radius + 1):
        result += (shifted(-step) + shifted(step)) * half_kernel[step]
    return result


class Brightness(ImageTransform[list[float]]):
    """Multiplies each channel; parameters: the factors."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[float]:
        """One factor per channel."""
        return draw_factors(rng, AUGMENTATION.brightness_range, shape[0])

    def apply(self, image: np.ndarray, parameters: list[float]) -> np.ndarray:
        """The image times the factors."""
        return image * np.array(parameters, dtype=np.float32)[:, None, None, None]


class Contrast(ImageTransform[list[float]]):
    """Stretches each channel about its mean; parameters: the factors.

    Args:
        probability: Of the sample.
        factors: Their range, which includes 1.
        channel_probability: Of each channel; the others have the factor 1.
        clip: Keep within the channel's range.
    """

    def __init__(
        self,
        probability: float,
        *,
        factors: Range = AUGMENTATION.contrast_range,
        channel_probability: float = 1.0,
        clip: bool = True,
    ) -> None:
        super().__init__(probability)
        self.factors = factors
        self.channel_probability = channel_probability
        self.clip = clip

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[float]:
        """One factor per channel."""
        drawn = draw_factors(rng, self.factors, shape[0])
        if self.channel_probability == 1:
            return drawn
        return [factor if rng.random() < self.channel_probability else 1.0 for factor in drawn]

    def apply(self, image: np.ndarray, parameters: list[float]) -> np.ndarray:
        """The stretched image."""
        return _per_channel(stretch_contrast if self.clip else stretch, image, parameters)


def stretch_contrast(channel: np.ndarray, factor: float) -> np.ndarray:
    """``(channel - mean) * factor + mean``, clipped to the old range."""
    stretched = stretch(channel, factor)
    return np.clip(stretched, channel.min(), channel.max(), out=stretched)


def stretch(channel: np.ndarray, factor: float) -> np.ndarray:
    """``(channel - mean) * factor + mean``."""
    mean = channel.mean()
    stretched: np.ndarray = channel - mean
    stretched *= np.float32(factor)
    stretched += mean
    return stretched


class LowResolution(ImageTransform[list["float | None"]]):
    """Resamples some channels to fewer voxels and back; parameters: per channel the scale, or None.

    Args:
        probability: Of the sample.
        in_plane: Leave axis z as it is.
        scales: Range of the scale.
    """

    def __init__(
        self, probability: float, *, in_plane: bool, scales: Range = AUGMENTATION.low_resolution_range
    ) -> None:
        super().__init__(probability)
        self.in_plane = in_plane
        self.scales = scales

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[float | None]:
        """One scale per channel, for all axes."""
        return [
            float(rng.uniform(*self.scales)) if rng.random() < AUGMENTATION.low_resolution_channel_probability else None
            for _ in range(shape[0])
        ]

    def apply(self, image: np.ndarray, parameters: list[float | None]) -> np.ndarray:
        """Nearest neighbours down, linear up."""
        result = image.copy()
        for channel, scale in enumerate(parameters):
            if scale is not None:
                result[channel] = self._coarsen(image[channel], scale)
        return result

    def _coarsen(self, channel: np.ndarray, scale: float) -> np.ndarray:
        axes = range(1 if self.in_plane else 0, channel.ndim)
        sizes = {axis: max(1, round(channel.shape[axis] * scale)) for axis in axes}
        coarse = channel
        for axis, size in sizes.items():
            index = ((np.arange(size) + 0.5) * (channel.shape[axis] / size)).astype(np.intp)
            coarse = coarse.take(index, axis)
        for axis in sizes:
            coarse = resize_linear(coarse, channel.shape[axis], axis)
        return coarse


def resize_linear(array: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation along one axis, from voxel centre to voxel centre; constant beyond the outermost ones."""
    old = array.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
    low = np.minimum(position.astype(np.intp), max(old - 2, 0))
    shape = [-1 if index == axis else 1 for index in range(array.ndim)]
    fraction = (position - low).astype(np.float32).reshape(shape)
    first = array.take(low, axis)
    difference = array.take(np.minimum(low + 1, old - 1), axis)
    difference -= first
    difference *= fraction
    difference += first
    return difference


class Gamma(ImageTransform[list[float]]):
    """Raises each channel's values to a power within their range, keeping mean and deviation; parameters: the powers.

    Args:
        probability: Of the sample.
        inverted: Work on the negative image, so that bright parts are stretched rather than dark ones.
    """

    def __init__(self, probability: float, *, inverted: bool) -> None:
        super().__init__(probability)
        self.inverted = inverted

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[float]:
        """One power per channel."""
        return draw_factors(rng, AUGMENTATION.gamma_range, shape[0])

    def apply(self, image: np.ndarray, parameters: list[float]) -> np.ndarray:
        """The changed image."""
        return (
            -_per_channel(change_gamma, -image, parameters)
            if self.inverted
            else _per_channel(change_gamma, image, parameters)
        )


def change_gamma(channel: np.ndarray, power: float) -> np.ndarray:
    """Values to a power within the channel's range, then shifted and scaled to the old mean and deviation."""
    low = channel.min()
    extent = channel.max() - low
    changed = channel - low
    changed /= max(extent, _TINY)
    np.power(changed, np.float32(power), out=changed)
    changed *= extent
    changed += low
    changed -= changed.mean()
    changed *= channel.std() / max(changed.std(), _TINY)
    changed += channel.mean()
    return changed


class Mirror(AbstractTransform):
    """Flips image and labels, each of some axes with AUGMENTATION.mirror_probability.

    Args:
        axes: Of (z, y, x), counted from 0.
    """

    def __init__(self, axes: Sequence[int]) -> None:
        self.axes = tuple(axes)

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The axes to flip."""
        return tuple(axis for axis in self.axes if rng.random() < AUGMENTATION.mirror_probability)

    def __call__(
        self, *, rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, **sample: Any
    ) -> dict[str, Any]:
        """The sample with both flipped alike."""
        flipped = tuple(axis + 1 for axis in self.draw(rng))
        return {**sample, "rng": rng, "image": np.flip(image, flipped), "labels": np.flip(labels, flipped)}
