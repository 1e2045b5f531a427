"""Along which axes classes have fixed sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.preprocessing.case import PreprocessedCase
from segautoconfiglib.preprocessing.geometry import SpatialRecord
from segautoconfiglib.preprocessing.store import CaseStore
from segautoconfiglib.training.symmetry import class_distances, mirrorable_axes

SHAPE = (8, 8, 8)


def two_blocks(first: tuple[int, int, int], second: tuple[int, int, int]) -> PreprocessedCase:
    """A block of 2 x 2 x 2 voxels of class 1 and one of class 2, at these places (z, y, x)."""
    labels = np.zeros(SHAPE, np.int16)
    for label, (z, y, x) in ((1, first), (2, second)):
        labels[z : z + 2, y : y + 2, x : x + 2] = label
    locations = {label: np.insert(np.argwhere(labels == label), 0, 0, axis=1) for label in (1, 2)}
    box = tuple((0, size) for size in SHAPE)
    record = SpatialRecord(Geometry((1.0, 1.0, 1.0)), (0, 1, 2), SHAPE, box, SHAPE, (1.0, 1.0, 1.0))
    return PreprocessedCase(np.zeros((1, *SHAPE), np.float32), labels[None], record, locations)


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    """Ten cases: class 2 above class 1 along z in half of them, along y in nine, along x in all by a little."""
    store = CaseStore(tmp_path)
    for number in range(10):
        z, y = (0, 6) if number % 2 else (6, 0), (6, 0) if number == 3 else (0, 6)
        store.save(f"c{number}", two_blocks((z[0], y[0], 3), (z[1], y[1], 3)), SHAPE)
    return store


def test_distances_count_in_standard_deviations() -> None:
    """Along z the voxels lie at 0, 1, 6, 7 (standard deviation 3.04), the centres are 6 apart."""
    locations = two_blocks((0, 2, 2), (6, 2, 2)).class_locations
    distances = class_distances({**locations, (-1, 0, 1): locations[1], 3: locations[1][:0]})
    assert list(distances) == [(1, 2)]
    np.testing.assert_allclose(distances[1, 2], [-6 / np.sqrt(9.25), 0, 0])


def test_fixed_sides_are_not_mirrored(store: CaseStore) -> None:
    ids = store.case_ids()
    assert mirrorable_axes(store, ids, 3) == (0, 2)
    assert mirrorable_axes(store, ids, 2) == (1,)
    assert mirrorable_axes(store, [case for case in ids if case != "c3"][:4], 3) == (0, 2)
    assert mirrorable_axes(store, ["c3", "c4"], 3) == (0, 1, 2)


@pytest.mark.parametrize(
    ("limit", "opened"), [(3, ["c0", "c4", "c8"]), (5, ["c0", "c2", "c4", "c6", "c8"]), (6, 5), (10, 10)]
)
def test_no_more_cases_are_opened_than_wanted(
    store: CaseStore, monkeypatch: pytest.MonkeyPatch, limit: int, opened: list[str] | int
) -> None:
    seen, read = [], CaseStore.open
    monkeypatch.setattr(CaseStore, "open", lambda store, case: seen.append(case) or read(store, case))
    monkeypatch.setattr("segautoconfiglib.training.symmetry.BUDGET", replace(BUDGET, symmetry_cases=limit))
    mirrorable_axes(store, store.case_ids(), 3)
    assert (len(seen) if isinstance(opened, int) else seen) == opened


def test_one_inside_the_other_can_be_mirrored(blob_store: CaseStore) -> None:
    assert mirrorable_axes(blob_store, blob_store.case_ids(), 3) == (0, 1, 2)
    assert mirrorable_axes(blob_store, blob_store.case_ids(), 2) == (0, 1)
