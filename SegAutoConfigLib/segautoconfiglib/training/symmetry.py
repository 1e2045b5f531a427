"""Axes along which a dataset's labels mean the same in a mirror."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.preprocessing.store import CaseStore


def mirrorable_axes(store: CaseStore, case_ids: Sequence[str], dimension: int) -> tuple[int, ...]:
    """The axes along which no two classes have fixed sides.

    Where one class lies in front of another in every case, a mirrored image teaches the opposite: the network can then
    tell the classes apart by their shapes alone, which takes it many more steps.

    Args:
        store: Preprocessed cases.
        case_ids: Those to look at; at most ``BUDGET.symmetry_cases`` of them are.
        dimension: Of the network, 2 or 3.

    Returns:
        Axes as the network counts them, (z, y, x) or (y, x).
    """
    step = max(1, math.ceil(len(case_ids) / BUDGET.symmetry_cases))
    distances: dict[tuple[Any, Any], list[np.ndarray]] = {}
    for case_id in case_ids[::step]:
        for pair, distance in class_distances(store.open(case_id).class_locations).items():
            distances.setdefault(pair, []).append(distance)
    fixed = np.zeros(3, dtype=bool)
    for found in distances.values():
        sides = np.abs(np.sign(found).mean(axis=0)) >= 2 * BUDGET.symmetry_agreement - 1
        fixed |= sides & (np.abs(np.median(found, axis=0)) >= BUDGET.symmetry_distance)
    return tuple(axis for axis in range(dimension) if not fixed[axis + 3 - dimension])


def class_distances(locations: Mapping[Any, np.ndarray]) -> dict[tuple[Any, Any], np.ndarray]:
    """How far apart the centres of each two classes of a case are.

    Args:
        locations: Per class (n, 4) voxels: (0, z, y, x). Lists of annotated voxels (keys that hold -1) do not count.

    Returns:
        Per pair of classes (z, y, x), in standard deviations of the positions of both classes' voxels.
    """
    places = {key: array[:, 1:] for key, array in locations.items() if len(array) and -1 not in np.atleast_1d(key)}
    result = {}
    for first, second in combinations(sorted(places, key=str), 2):
        spread = np.concatenate([places[first], places[second]]).std(axis=0)
        centres = places[first].mean(axis=0) - places[second].mean(axis=0)
        result[first, second] = centres / np.maximum(spread, 1e-6)
    return result
