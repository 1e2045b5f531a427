"""Which slice of a case to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segautoconfiglib.dataset.labels import Label, LabelSpec
from segautoconfiglib.evaluation.metrics import joint_counts, overlap_metrics
from segautoconfiglib.image.volume import Geometry


@dataclass(frozen=True)
class Slices:
    """A volume to show, and along which axis it is cut.

    Attributes:
        image: (z, y, x), one channel.
        spacing_mm: (z, y, x).
        axis: Slices are cut across it.
    """

    image: np.ndarray
    spacing_mm: Sequence[float]
    axis: int

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Spacing (rows, columns) within a slice."""
        rows, columns = np.delete(np.asarray(self.spacing_mm, float), self.axis).tolist()
        return rows, columns

    @property
    def whole(self) -> tuple[slice, ...]:
        """All of a slice."""
        return tuple(slice(0, length) for length in np.delete(self.image.shape, self.axis).tolist())

    def at(self, place: int) -> str:
        """How a slice is called, for example "z = 12"; empty where there is only one."""
        return "" if self.image.shape[self.axis] == 1 else f"{'zyx'[self.axis]} = {place}"


def slice_axis(shape: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """The axis across which slices look best: that of a single slice, else the coarsest, else the first."""
    flat = [axis for axis, length in enumerate(shape) if length == 1]
    return flat[0] if flat else int(np.argmax(spacing_mm))


def upside_down(geometry: Geometry, axis: int) -> list[int]:
    """Array axes within the slices to flip, so that people see them as usual.

    Anterior (in slices along the body: superior) is up and the patient's right is on the left.

    Args:
        geometry: Of the image; 2D images stay as they are.
        axis: Across which slices are cut.
    """
    if geometry.dimension != 3:
        return []
    directions = np.reshape(
        geometry.direction, (3, 3)
    ).T  # row i: where index i (x, y, z) leads to, in (left, back, up)
    flipped = []
    for index, direction in enumerate(directions):
        leads_to = int(np.argmax(np.abs(direction)))
        wanted = -1 if leads_to == 2 else 1  # rows go down, columns to the right
        if 2 - index != axis and np.sign(direction[leads_to]) != wanted:
            flipped.append(2 - index)
    return sorted(flipped)


def fullest_slice(labels: np.ndarray, classes: Sequence[Label], axis: int) -> int:
    """The slice with the highest share of a class's voxels, averaged over classes; the middle if there are none.

    Args:
        labels: (z, y, x) integers; values below 0 are outside.
        classes: Labels, or regions as tuples of labels.
        axis: Across which slices are cut.
    """
    counts = _counts_per_slice(labels, axis, 1 + max((int(np.max(entry)) for entry in classes), default=0))
    per_class = [counts[:, np.atleast_1d(entry)].sum(1) for entry in classes]
    shares = [found / found.sum() for found in per_class if found.any()]
    return int(np.argmax(np.mean(shares, axis=0))) if shares else labels.shape[axis] // 2


def worst_slice(truth: np.ndarray, prediction: np.ndarray, axis: int, ignore_label: int | None = None) -> int | None:
    """The slice in which most voxels differ; None where none does. Voxels whose truth is ``ignore_label`` agree."""
    wrong = truth != prediction
    if ignore_label is not None:
        wrong &= truth != ignore_label
    counts = wrong.sum(tuple(other for other in range(3) if other != axis))
    return int(np.argmax(counts)) if counts.any() else None


def case_dice(truth: np.ndarray, prediction: np.ndarray, spec: LabelSpec) -> dict[str, float]:
    """Dice of each class by name; NaN where it is in neither truth nor prediction."""
    size = 1 + int(max(truth.max(), prediction.max(), *spec.all_labels, spec.ignore_label or 0))
    counts = joint_counts(truth, prediction, size)
    if spec.ignore_label is not None:
        counts[spec.ignore_label] = 0
    return {
        spec.names[entry]: overlap_metrics(counts, np.atleast_1d(entry).tolist())["Dice"] for entry in spec.foreground
    }


def _counts_per_slice(labels: np.ndarray, axis: int, size: int) -> np.ndarray:
    """(slices, size): how often each value below ``size`` occurs in each slice; others count as 0."""
    rows = []
    for part in np.moveaxis(labels, axis, 0):
        values = np.where((part < 0) | (part >= size), 0, part).ravel().astype(np.intp)
        rows.append(np.bincount(values, minlength=size))
    return np.array(rows)
