"""Resampling of label maps: a label needs only the at most eight old voxels around a new one."""

from __future__ import annotations

from itertools import product

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.resample_axes import (
    LinearWeights,
    Shape,
    Spacing,
    nearest_indices,
    separate_axis,
    slabs,
)


def resample_labels(
    labels: np.ndarray,
    new_shape: Shape,
    spacing_mm: Spacing,
    new_spacing_mm: Spacing,
    *,
    order: int = 1,
    order_z: int = 0,
    separate: bool | None = None,
) -> np.ndarray:
    """Resample a label map: the label with the largest interpolated share of a new voxel wins.

    Shares are those of linear interpolation between the eight old voxels around the new one's centre. Of labels
    with equal shares the old voxel nearest to the centre decides if it has one of them, else the smallest wins
    (batchgenerators 0.25.5, as nnU-Net uses it).

    Args:
        labels: (z, y, x) or (1, z, y, x), integers.
        new_shape: (z, y, x).
        spacing_mm: (z, y, x) of ``labels``.
        new_spacing_mm: (z, y, x) of the result.
        order: 1, or 0 for nearest neighbour.
        order_z: Along a separate axis; only 0.
        separate: See ``force`` of :func:`separate_axis`.

    Returns:
        Like ``labels``, of the new shape; ``labels`` itself where it has that shape already.

    Raises:
        UserError: another order was asked for.
    """
    if order not in (0, 1) or order_z != 0:
        raise UserError(
            f"Label maps can't be resampled with order {order} and order_z {order_z}.",
            "Set order to 0 or 1 and order_z to 0 in resampling_fn_seg_kwargs of the plans.",
        )
    if labels.ndim == 4:
        return resample_labels(labels[0], new_shape, spacing_mm, new_spacing_mm, order=order, separate=separate)[None]
    if labels.shape == tuple(new_shape):
        return labels
    axis = separate_axis(spacing_mm, new_spacing_mm, separate)
    linear = [order == 1 and a != axis and labels.shape[a] != new_shape[a] for a in range(3)]
    weights = [
        LinearWeights.between(old, new) if is_linear else LinearWeights.nearest(old, new)
        for old, new, is_linear in zip(labels.shape, new_shape, linear, strict=True)
    ]
    nearest = [nearest_indices(old, new) for old, new in zip(labels.shape, new_shape, strict=True)]
    result = np.empty(tuple(new_shape), labels.dtype)
    for start, stop in slabs(len(result), result[0].size):
        part = slice(start, stop)
        result[part] = _vote(labels, [weights[0].part(part), *weights[1:]], [nearest[0][part], *nearest[1:]])
    return result


def _vote(labels: np.ndarray, weights: list[LinearWeights], nearest: list[np.ndarray]) -> np.ndarray:
    """The winning label of each new voxel; where all old voxels around it agree there is nothing to count."""
    agreed = labels
    mixed = np.zeros((1, 1, 1), bool)
    for axis, weight in enumerate(weights):
        lower, upper = (agreed.take(index, axis) for index in (weight.lower, weight.upper))
        if axis > 0:
            mixed = mixed.take(weight.lower, axis) | mixed.take(weight.upper, axis)
        mixed = mixed | (lower != upper)
        agreed = lower
    places = np.nonzero(mixed)
    agreed[places] = _largest_share(labels, weights, nearest, places)
    return agreed


def _largest_share(
    labels: np.ndarray, weights: list[LinearWeights], nearest: list[np.ndarray], places: tuple[np.ndarray, ...]
) -> np.ndarray:
    """The label with the largest share at some new voxels (three index arrays), ties settled."""
    corners, shares = _corners(labels, weights, places)
    middle = labels[tuple(index[place] for index, place in zip(nearest, places, strict=True))]
    lowest, highest = corners.min(axis=0), corners.max(axis=0)
    two = ((corners == lowest) | (corners == highest)).all(axis=0)
    low_share, high_share = _share_of(lowest, corners, shares), _share_of(highest, corners, shares)
    tied = low_share == high_share
    winner = np.where(high_share > low_share, highest, lowest)
    winner[tied] = middle[tied]
    more = np.flatnonzero(~two)
    winner[more] = _largest_of_many(corners[:, more], shares[:, more], middle[more])
    return winner


def _corners(
    labels: np.ndarray, weights: list[LinearWeights], places: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of the old voxels around new ones: (corners, n) each, z slowest."""
    sides = []
    for weight, place in zip(weights, places, strict=True):
        pairs = [(weight.lower[place], weight.lower_weight[place])]
        if not weight.single:
            pairs.append((weight.upper[place], weight.upper_weight[place]))
        sides.append(pairs)
    corners = [
        (labels[z, y, x], z_weight * y_weight * x_weight)
        for (z, z_weight), (y, y_weight), (x, x_weight) in product(*sides)
    ]
    return np.stack([label for label, _ in corners]), np.stack([share for _, share in corners])


def _share_of(label: np.ndarray, corners: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The share of one label per new voxel, added up in the order of the corners, so that equal shares are equal."""
    total = np.zeros(label.shape)
    for corner, share in zip(corners, shares, strict=True):
        total += share * (corner == label)
    return total


def _largest_of_many(corners: np.ndarray, shares: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The winner where three or more labels meet."""
    totals = np.stack([_share_of(corner, corners, shares) for corner in corners])
    best = totals.max(axis=0)
    smallest = np.where(totals == best, corners, np.iinfo(corners.dtype).max).min(axis=0)
    return np.where(_share_of(middle, corners, shares) == best, middle, smallest).astype(corners.dtype)
