"""Overlapping labels in one label map: every combination of labels that occurs gets a number of its own."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Labels import BACKGROUND_NAME, IGNORE_NAME, LabelTable


def filledParts(array: np.ndarray, layer: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The parts of both arrays (k, j, i) where `layer` has something: plane by plane, cut to rows and columns."""
    for plane, numbers in zip(array, layer, strict=True):
        rows = np.flatnonzero(numbers.any(axis=1))
        if rows.size:
            columns = np.flatnonzero(numbers.any(axis=0))
            part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            yield plane[part], numbers[part]


class RegionCodes:
    """The combinations of labels of all cases of an export.

    While cases are read, combinations are numbered as they come (*codes*); `finalValues` then gives each one that
    really occurs its number in the dataset: those of an existing dataset first, then the others, fewest labels first.

    Args:
        labelTable: Its values (`LabelTable.value`) are the members of combinations.
    """

    def __init__(self, labelTable: LabelTable) -> None:
        self.table = labelTable
        self.ignore = labelTable.ignoreValue()
        self._combinations: list[frozenset[int]] = [frozenset()]
        self._codes = {frozenset(): 0}
        self._used: set[frozenset[int]] = set()
        places = {label.name: labelTable.value(label) for label in labelTable.labels}
        self._fixed = [frozenset(places[name] for name in names) for names in labelTable.combinations]

    def add(self, codes: np.ndarray, layer: np.ndarray, values: np.ndarray) -> None:
        """Put a layer of segments, which don't overlap each other, on top of the codes of a case.

        Args:
            codes: uint16 (k, j, i), all 0 before the first layer; changed in place.
            layer: The same shape, any unsigned or non-negative numbers.
            values: For each number in `layer` its value by the label table (0: nothing).
        """
        width = int(values.max(initial=0)) + 1
        for plane, numbers in filledParts(codes, layer):
            pairs = plane.astype(np.int64) * width + values[numbers]
            plane[:] = self._next(np.flatnonzero(np.bincount(pairs.ravel())).tolist(), width)[pairs]

    def _next(self, pairs: Iterable[int], width: int) -> np.ndarray:
        """The code that follows from each pair code * width + value."""
        found = {pair: self._code(self._combinations[pair // width] | ({pair % width} - {0})) for pair in pairs}
        table = np.zeros(max(found) + 1, np.uint16)
        table[list(found)] = list(found.values())
        return table

    def _code(self, combination: frozenset[int]) -> int:
        if combination not in self._codes:
            self._codes[combination] = len(self._combinations)
            self._combinations.append(combination)
        return self._codes[combination]

    def finishCase(self, codes: np.ndarray) -> bool:
        """Note which combinations a case has; False if it has no label at all."""
        counts = self.counts(codes)
        self._used |= set(counts)
        return any(self._labelled(combination) for combination in counts)

    def counts(self, codes: np.ndarray) -> dict[frozenset[int], int]:
        """Voxels of each combination (label values) in the codes of a case."""
        total = sum(np.bincount(plane.ravel(), minlength=len(self._combinations)) for plane in codes)
        return {self._combinations[code]: int(count) for code, count in enumerate(total) if count}

    def _labelled(self, combination: frozenset[int]) -> bool:
        return bool(combination) and self.ignore not in combination

    # -- the numbers in the dataset

    @property
    def combinations(self) -> list[frozenset[int]]:
        """What the values 1, 2, ... of the dataset stand for."""
        new = {combination for combination in self._used if self._labelled(combination)} - set(self._fixed)
        return self._fixed + sorted(new, key=lambda combination: (len(combination), sorted(combination)))

    def finalValues(self) -> np.ndarray:
        """For each code the value in the dataset's label maps."""
        values: dict[frozenset[int], int] = {}
        for value, combination in enumerate(self.combinations, 1):
            values.setdefault(combination, value)
        ignored = len(self.combinations) + 1
        return np.array([ignored if self.ignore in c else values.get(c, 0) for c in self._combinations], np.uint16)

    def problems(self) -> list[Problem]:
        """Labels that no voxel has, labels that can't be told apart, and overlaps that an existing dataset hasn't."""
        problems, seen = self._newOverlaps(), {}
        for label in self.table.trained():
            values = tuple(self._valuesOf(self.table.value(label)))
            if not values:
                message = _("“{name}” has no voxels in any case.").format(name=label.name)
                problems.append(Problem(message, _("Draw it in some case, or leave it out.")))
            elif values in seen:
                message = _("“{a}” and “{b}” cover exactly the same voxels in all cases.")
                text = message.format(a=seen[values], b=label.name)
                problems.append(Problem(text, _("Merge them or leave one out.")))
            seen.setdefault(values, label.name)
        return problems

    def _newOverlaps(self) -> list[Problem]:
        """Labels of an existing dataset can't get further numbers, so they must overlap as they did before."""
        problems = []
        names = {self.table.value(label): label.name for label in self.table.trained()}
        fixed = {self.table.value(label) for label in self.table.trained() if label.fixed}
        for combination in self.combinations[len(self._fixed) :]:
            if combination & fixed:
                text = ", ".join(f"“{names[member]}”" for member in sorted(combination))
                message = _("The dataset has no voxels that belong to {names}, and to nothing else; these cases do.")
                hint = _(
                    "Make a new dataset of all cases, or draw the segments so that they overlap as in the dataset."
                )
                problems.append(Problem(message.format(names=text), hint))
        return problems

    def asDatasetLabels(self) -> tuple[dict[str, Any], list[int] | None]:
        """``labels`` and ``regions_class_order`` (None where no labels overlap) of dataset.json."""
        ordered = self._ordered()
        labels: dict[str, Any] = {BACKGROUND_NAME: 0}
        for label in ordered:
            values = self._valuesOf(self.table.value(label))
            labels[label.name] = values if len(values) > 1 else values[0]
        overlapping = any(isinstance(value, list) for value in labels.values())
        order = [self._representative(place, label) for place, label in enumerate(ordered)]
        if self.ignore is not None:
            labels[IGNORE_NAME] = len(self.combinations) + 1
        return labels, order if overlapping else None

    def _valuesOf(self, member: int) -> list[int]:
        return [value for value, combination in enumerate(self.combinations, 1) if member in combination]

    def _ordered(self) -> list[Any]:
        """Labels so that one that lies within another comes after it: what is written later stays."""
        left = self.table.trained()
        if self.table.combinations:
            ordered = [label for label in left if label.fixed]
            left = [label for label in left if not label.fixed]
        else:
            ordered = []
        values = {label.name: set(self._valuesOf(self.table.value(label))) for label in left}
        while left:
            free = [a for a in left if not any(values[b.name] > values[a.name] for b in left)]
            ordered.append(free[0])
            left.remove(free[0])
        return ordered

    def _representative(self, place: int, label: Any) -> int:
        """The value that is written where only this label is predicted: its combination with the fewest others."""
        if place < len(self.table.regionsClassOrder):
            return self.table.regionsClassOrder[place]
        return min(
            self._valuesOf(self.table.value(label)), key=lambda value: (len(self.combinations[value - 1]), value)
        )
