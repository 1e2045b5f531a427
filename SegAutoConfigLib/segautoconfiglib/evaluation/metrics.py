"""Overlap and surface metrics of a segmentation against the truth, for labels and regions.

Overlap: counts of voxels, Dice and IoU as nnU-Net defines them; NaN where a class is in neither.

Surface: HD95 and NSD as Metrics Reloaded recommends (Maier-Hein et al. 2024, Nature Methods 21, 195-212; NSD:
Nikolov et al. 2021, J Med Internet Res 23, e26151). A surface is the set of boundary voxels, those of the class
with a face neighbour outside it (beyond the image is outside); distances are between voxel centres, in millimetres.
HD95 is the larger of the two directed 95th percentiles. NSD is the share of both surfaces' voxels that lie within a
tolerance of the other surface. Both are NaN where a class is in neither; where it is in one alone NSD is 0 and HD95
NaN, as no distance exists: read HD95 together with NSD or Dice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from segautoconfiglib.dataset.labels import Label
from segautoconfiglib.defaults import EVALUATION

Box = tuple[slice, ...]


def class_metrics(
    truth: np.ndarray,
    prediction: np.ndarray,
    classes: Sequence[Label],
    *,
    spacing_mm: Sequence[float],
    ignore_label: int | None = None,
    tolerance_mm: float = EVALUATION.tolerance_mm,
    surface: bool = True,
) -> dict[Label, dict[str, float]]:
    """All metrics of all classes of one case.

    Args:
        truth: (z, y, x) integer labels. Where it is ``ignore_label``, nothing counts: neither truth nor prediction.
        prediction: (z, y, x) integer labels.
        classes: Labels, or regions as tuples of labels.
        spacing_mm: (z, y, x).
        ignore_label: None if there is none.
        tolerance_mm: Distance up to which surfaces agree, for NSD.
        surface: Also HD95 and NSD, which take most of the time.

    Returns:
        Per class: TP, FP, FN, TN, n_pred, n_ref (voxels), Dice, IoU, HD95 (millimetres), NSD.
    """
    known = sorted({0, *(label for entry in classes for label in _values(entry)), ignore_label or 0})
    truth, prediction = _numbered(truth, known), _numbered(prediction, known)
    counts = joint_counts(truth, prediction, len(known) + 1)
    if ignore_label is not None:
        ignored = known.index(ignore_label)
        counts[ignored] = 0
        prediction = np.where(truth == ignored, prediction.dtype.type(0), prediction)
    boxes = [ndimage.find_objects(labels, max_label=len(known)) for labels in (truth, prediction)] if surface else []
    flat = [size == 1 for size in truth.shape]
    metrics: dict[Label, dict[str, float]] = {}
    for entry in classes:
        members = [known.index(label) for label in _values(entry)]
        overlap = overlap_metrics(counts, members)
        if not surface:
            metrics[entry] = overlap
            continue
        distances = {"HD95": math.nan, "NSD": 0.0 if overlap["n_pred"] + overlap["n_ref"] else math.nan}
        if overlap["n_pred"] and overlap["n_ref"]:
            box = _union([found[label - 1] for found in boxes for label in members]) if all(members) else ...
            masks = [_mask(labels[box], members) for labels in (truth, prediction)]
            distances = surface_metrics(masks[0], masks[1], spacing_mm, tolerance_mm, flat=flat)
        metrics[entry] = overlap | distances
    return metrics


def joint_counts(truth: np.ndarray, prediction: np.ndarray, size: int) -> np.ndarray:
    """How often each pair of values occurs, in one pass over the volumes.

    Args:
        truth: Values from 0 to ``size`` - 1.
        prediction: Likewise, same shape.
        size: Number of values.

    Returns:
        (size, size) int64, rows by truth, columns by prediction.
    """
    counts = np.zeros(size * size, dtype=np.int64)
    truth, prediction = truth.ravel(), prediction.ravel()
    step = EVALUATION.count_chunk_voxels
    for start in range(0, truth.size, step):
        pairs = truth[start : start + step].astype(np.intp)
        pairs *= size
        pairs += prediction[start : start + step]
        counts += np.bincount(pairs, minlength=size * size)
    return counts.reshape(size, size)


def overlap_metrics(counts: np.ndarray, labels: Sequence[int]) -> dict[str, float]:
    """Counts, Dice and IoU of the union of ``labels``, from the table of :func:`joint_counts`."""
    rows = counts[list(labels)]
    columns = counts[:, list(labels)]
    true_positive = int(rows[:, list(labels)].sum())
    reference, predicted, total = int(rows.sum()), int(columns.sum()), int(counts.sum())
    false_negative, false_positive = reference - true_positive, predicted - true_positive
    wrong = false_negative + false_positive
    present = true_positive + wrong > 0
    return {
        "Dice": 2 * true_positive / (2 * true_positive + wrong) if present else math.nan,
        "IoU": true_positive / (true_positive + wrong) if present else math.nan,
        "TP": true_positive,
        "FP": false_positive,
        "FN": false_negative,
        "TN": total - true_positive - wrong,
        "n_pred": predicted,
        "n_ref": reference,
    }


def surface_metrics(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    *,
    flat: Sequence[bool] = (False, False, False),
) -> dict[str, float]:
    """HD95 and NSD of two masks that both have voxels.

    Args:
        truth: Boolean mask; it may be cut out of the image by any box that holds both masks.
        prediction: Likewise, same shape.
        spacing_mm: Per axis.
        tolerance_mm: For NSD.
        flat: Axes of an image of one slice; along them there is no outside.
    """
    points = [np.argwhere(boundary(mask, flat)) * np.asarray(spacing_mm, float) for mask in (truth, prediction)]
    # Trees of boundary points: an order of magnitude faster than distance maps of the box, which grow with its volume.
    trees = [KDTree(surface, balanced_tree=False, compact_nodes=False) for surface in points]
    to_truth = np.asarray(trees[0].query(points[1])[0])
    to_prediction = np.asarray(trees[1].query(points[0])[0])
    percentile = EVALUATION.hausdorff_percentile
    reach = tolerance_mm * (1 + 1e-9)  # a distance that equals the tolerance may be off by rounding
    within = int(np.count_nonzero(to_truth <= reach)) + int(np.count_nonzero(to_prediction <= reach))
    return {
        "HD95": float(max(np.percentile(to_truth, percentile), np.percentile(to_prediction, percentile))),
        "NSD": within / (len(to_truth) + len(to_prediction)),
    }


def boundary(mask: np.ndarray, flat: Sequence[bool] = (False, False, False)) -> np.ndarray:
    """The voxels of ``mask`` with a face neighbour outside it; beyond the array is outside, except on ``flat`` axes."""
    inner = mask.copy()
    for axis in (axis for axis in range(mask.ndim) if not flat[axis]):
        kept, whole = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] &= whole[:-1]
        kept[:-1] &= whole[1:]
        kept[0] = kept[-1] = False
    return mask & ~inner


def _values(entry: Label) -> tuple[int, ...]:
    return (entry,) if isinstance(entry, int) else tuple(entry)


def _numbered(labels: np.ndarray, known: Sequence[int]) -> np.ndarray:
    """Each value as its place in ``known`` (sorted, from 0), all others as ``len(known)``."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if known[-1] == len(known) - 1 and low >= 0 and high < len(known):
        return labels  # numbered without gaps, as dataset.json demands
    outside = known[-1] + 1
    places = np.full(outside + 1, len(known), dtype=np.int32)
    places[list(known)] = np.arange(len(known))
    return places[np.where((labels < 0) | (labels > outside), outside, labels)]


def _mask(labels: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    return labels == wanted[0] if len(wanted) == 1 else np.isin(labels, wanted)


def _union(boxes: Sequence[Box | None]) -> Box:
    """The smallest box that holds all boxes."""
    found = [box for box in boxes if box is not None]
    return tuple(
        slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*found, strict=True)
    )
