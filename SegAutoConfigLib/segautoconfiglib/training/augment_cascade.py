"""The previous stage's label map as an input of a cascade: as channels, then with faults like those of a network.

Every transform that changes the channels is a pair of ``draw`` and ``apply`` as in `augment_intensity`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from batchgenerators.transforms.abstract_transforms import AbstractTransform
from scipy import ndimage

from segautoconfiglib.defaults import AUGMENTATION
from segautoconfiglib.image.crop import bounding_box
from segautoconfiglib.preprocessing.stages import one_hot
from segautoconfiglib.training.augment_intensity import ImageTransform

#: A squared distance (voxels) above all that are asked for.
_FAR = 2**15


def cascade_transforms(values: Sequence[int], label_share: float | None = None) -> list[AbstractTransform]:
    """What follows the changes of the image in the training of a cascade, in nnU-Net's order.

    Args:
        values: Of the foreground labels.
        label_share: Probability per label; None: AUGMENTATION.cascade_label_probability.
    """
    share = AUGMENTATION.cascade_label_probability if label_share is None else label_share
    return [
        AppendPreviousStage(values),
        Morphology(AUGMENTATION.morphology_probability, len(values), share),
        DropComponents(AUGMENTATION.drop_component_probability, len(values), share),
    ]


class AppendPreviousStage(AbstractTransform):
    """Moves the second channel of the labels to the image, as one channel per label.

    Args:
        values: Of the foreground labels.
    """

    def __init__(self, values: Sequence[int]) -> None:
        self.values = tuple(values)

    def __call__(self, *, image: np.ndarray, labels: np.ndarray, **sample: Any) -> dict[str, Any]:
        """The sample with more channels in its image, and the first channel of its labels."""
        image = np.concatenate([image, one_hot(labels[1], self.values)])
        return {**sample, "image": image, "labels": labels[:1]}


class _Faults(ImageTransform["list[tuple[Any, ...]]"]):
    """Changes the structures of some labels.

    Parameters: for some labels, in random order, the label's number and what the kind of fault needs.

    Args:
        probability: Per sample.
        labels: Number of the image's last channels that are label maps.
        share: Probability of each label.
    """

    def __init__(self, probability: float, labels: int, share: float) -> None:
        super().__init__(probability)
        self.labels = labels
        self.share = share

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
        """(label, ...) for each label that is changed."""
        chosen = [int(label) for label in rng.permutation(self.labels) if rng.random() < self.share]
        return [(label, *self._fault(rng)) for label in chosen]

    def apply(self, image: np.ndarray, parameters: list[tuple[Any, ...]]) -> np.ndarray:
        """The image with its last channels changed."""
        image = image.copy()
        maps = image[len(image) - self.labels :]
        for label, *fault in parameters:
            if maps[label].any():
                self._change(maps, label, *fault)
        return image

    @abstractmethod
    def _fault(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """The parameters of one label."""

    @abstractmethod
    def _change(self, maps: np.ndarray, label: int, *fault: Any) -> None:
        """Change the label's map, which is not empty, among all maps (label, z, y, x), in place."""


class Morphology(_Faults):
    """Grows, shrinks, opens or closes structures: an operation's number and a radius (voxels).

    What one gains, the others lose.
    """

    def _fault(self, rng: np.random.Generator) -> tuple[int, float]:
        return int(rng.integers(len(OPERATIONS))), float(rng.uniform(*AUGMENTATION.morphology_radius))

    def _change(self, maps: np.ndarray, label: int, *fault: Any) -> None:
        operation, radius = fault
        before = maps[label] > 0
        after = _in_box(OPERATIONS[operation], before, radius)
        maps[:, after & ~before] = 0
        maps[label] = after


class DropComponents(_Faults):
    """Removes one random component among those that fill little of the patch: which one, from 0 to 1."""

    def _fault(self, rng: np.random.Generator) -> tuple[float]:
        return (float(rng.random()),)

    def _change(self, maps: np.ndarray, label: int, *fault: Any) -> None:
        _drop(maps[label], *fault)


def _drop(structure: np.ndarray, place: float) -> None:
    """Remove one of the small components, in place. structure: (z, y, x), not empty; place: from 0 to below 1."""
    box = tuple(slice(low, high) for low, high in bounding_box(structure > 0))
    components, count = ndimage.label(structure[box] > 0, np.ones((3,) * structure.ndim))
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    small = 1 + np.flatnonzero(sizes < AUGMENTATION.dropped_component_share * structure.size)
    if len(small):
        structure[box][components == small[int(place * len(small))]] = 0


def _in_box(operation: Callable[[np.ndarray, float], np.ndarray], mask: np.ndarray, radius: float) -> np.ndarray:
    """The operation on the part of the mask that it can change."""
    margin = int(radius) + 1
    ranges = zip(bounding_box(mask), mask.shape, strict=True)
    box = tuple(slice(max(low - margin, 0), min(high + margin, size)) for (low, high), size in ranges)
    result = np.zeros_like(mask)
    result[box] = operation(mask[box], radius)
    return result


def dilate(mask: np.ndarray, radius: float) -> np.ndarray:
    """All voxels whose centre is at most ``radius`` voxels from that of a True one (a ball as structuring element)."""
    squares = np.where(mask, np.uint16(0), np.uint16(_FAR))
    for axis in range(mask.ndim):
        nearest = squares.copy()
        for step in range(1, min(int(radius), mask.shape[axis] - 1) + 1):
            ahead = (*[slice(None)] * axis, slice(step, None))
            behind = (*[slice(None)] * axis, slice(None, -step))
            for to, of in ((ahead, behind), (behind, ahead)):
                np.minimum(nearest[to], squares[of] + np.uint16(step * step), out=nearest[to])
        squares = nearest
    return squares <= radius * radius


def erode(mask: np.ndarray, radius: float) -> np.ndarray:
    """All voxels that are farther than ``radius`` from a False one; outside the array all counts as True."""
    return ~dilate(~mask, radius)


def opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """Eroded, then dilated: thin parts are gone."""
    return dilate(erode(mask, radius), radius)


def closed(mask: np.ndarray, radius: float) -> np.ndarray:
    """Dilated, then eroded: narrow gaps are filled."""
    return erode(dilate(mask, radius), radius)


#: What may happen to a structure, each with the same probability.
OPERATIONS = (dilate, erode, closed, opened)
