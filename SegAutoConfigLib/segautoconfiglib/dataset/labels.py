"""What the numbers in a label map mean: labels, regions and the ignore label (nnU-Net's rules)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segautoconfiglib.base.errors import Problem, ProblemsError
from segautoconfiglib.base.words import counted

BACKGROUND = "background"
IGNORE = "ignore"
#: What follows a case's id in the name of its preprocessed label file (nnU-Net).
PREPROCESSED_LABELS = "_seg"
FORM = 'Write {"background": 0, "first structure": 1, ...}; a region is a list of numbers: {"whole tumour": [1, 2]}.'

Label = int | tuple[int, ...]


@dataclass(frozen=True)
class LabelSpec:
    """The labels of a dataset.

    Attributes:
        labels: Name to label value, or to the values that make up a region; with background, in file order.
        regions_class_order: The value written for each region, in the order of ``foreground_regions``; empty
            without regions. A later region overwrites an earlier one.
    """

    labels: Mapping[str, Label]
    regions_class_order: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, labels: Any, regions_class_order: Any = None) -> LabelSpec:
        """Read the ``labels`` and ``regions_class_order`` of a dataset.json.

        Raises:
            ProblemsError: with all problems at once.
        """
        problems = label_problems(labels, regions_class_order)
        if problems:
            raise ProblemsError("The labels are not usable:", problems)
        values = {name: tuple(value) if isinstance(value, (list, tuple)) else value for name, value in labels.items()}
        return cls(values, tuple(regions_class_order or ()))

    @cached_property
    def has_regions(self) -> bool:
        """True if some structure consists of several label values: networks then predict overlapping regions."""
        return any(isinstance(value, tuple) and len(value) > 1 for value in self.labels.values())

    @cached_property
    def ignore_label(self) -> int | None:
        """The value of voxels that count nowhere, or None."""
        value = self.labels.get(IGNORE)
        return value if isinstance(value, int) else None

    @cached_property
    def all_labels(self) -> tuple[int, ...]:
        """All values, sorted, with background, without ignore."""
        found: set[int] = set()
        for name, value in self.labels.items():
            if name != IGNORE:
                found.update(value if isinstance(value, tuple) else (value,))
        return tuple(sorted(found))

    @cached_property
    def foreground_labels(self) -> tuple[int, ...]:
        """All values without background and ignore."""
        return tuple(value for value in self.all_labels if value != 0)

    @cached_property
    def foreground_regions(self) -> tuple[Label, ...]:
        """The regions in file order, without background and ignore."""
        return tuple(self.names_of_regions)

    @cached_property
    def foreground(self) -> tuple[Label, ...]:
        """What is evaluated and sampled: the regions if there are any, else the labels."""
        return self.foreground_regions if self.has_regions else self.foreground_labels

    @property
    def output_channels(self) -> int:
        """Number of output channels of a network: one per region, or one per label with background."""
        return len(self.foreground_regions) if self.has_regions else len(self.all_labels)

    @cached_property
    def names(self) -> dict[Label, str]:
        """The name of each entry of ``foreground``."""
        if self.has_regions:
            return self.names_of_regions
        single = {value[0] if isinstance(value, tuple) else value: name for name, value in self.labels.items()}
        return {value: single[value] for value in self.foreground_labels}

    @cached_property
    def names_of_regions(self) -> dict[Label, str]:
        """Region to name, in file order."""
        return {value: name for name, value in self.labels.items() if name != IGNORE and set(_values(value)) != {0}}


def label_problems(labels: Any, regions_class_order: Any) -> list[Problem]:
    """All that is wrong with the two entries of a dataset.json; empty where they are usable."""
    if not isinstance(labels, Mapping) or not labels:
        return [Problem(f"labels: expected names with numbers, got {labels!r:.100}.", FORM)]
    problems = [
        Problem(f"labels: {name!r} has the value {value!r}, which is no label number and no list of them.", FORM)
        for name, value in labels.items()
        if not _is_label(value)
    ]
    if problems:
        return problems
    problems = _background_problems(labels)
    problems += _number_problems(labels)
    return problems + _region_problems(labels, regions_class_order)


def _values(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _is_label(value: Any) -> bool:
    numbers = _values(value)
    return bool(numbers) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)


def _background_problems(labels: Mapping[str, Any]) -> list[Problem]:
    if labels.get(BACKGROUND) == 0:
        return []
    if BACKGROUND in labels:
        return [Problem(f"labels: background is {labels[BACKGROUND]!r}.", 'It must be 0: "background": 0.')]
    zero = [name for name, value in labels.items() if value == 0]
    hint = f"Rename {zero[0]!r} to background." if zero else 'Add "background": 0; voxels without a structure have it.'
    return [Problem("labels: there is no background.", hint)]


def _number_problems(labels: Mapping[str, Any]) -> list[Problem]:
    problems = []
    others = sorted({n for name, value in labels.items() if name != IGNORE for n in _values(value)})
    ignore = labels.get(IGNORE)
    if ignore is not None and (not isinstance(ignore, int) or ignore != max(others, default=-1) + 1):
        problems.append(
            Problem(
                f"labels: ignore is {ignore!r}.", f"It must be the highest number: {max(others, default=-1) + 1} here."
            )
        )
    if others != list(range(len(others))):
        missing = sorted(set(range(max(others))) - set(others))
        problems.append(
            Problem(
                f"labels: the numbers {', '.join(map(str, others))} are not consecutive "
                f"(missing: {', '.join(map(str, missing))}).",
                "Number the labels 0, 1, 2, ... without gaps, in dataset.json and in the label files.",
            )
        )
    return problems


def _region_problems(labels: Mapping[str, Any], order: Any) -> list[Problem]:
    values = {name: _values(value) for name, value in labels.items()}
    regions = [name for name, value in values.items() if name != IGNORE and set(value) != {0}]
    problems = _repeated(values, regions)
    if all(len(value) == 1 for value in values.values()):
        return problems
    if order is None:
        hint = f"Add it: the number to write for each of {', '.join(regions)}, in this order; later ones overwrite."
        return [*problems, Problem("regions_class_order is missing, but labels holds regions (lists).", hint)]
    known = {number for name in regions for number in values[name]}
    if not isinstance(order, (list, tuple)) or not all(
        _is_label(n) and not isinstance(n, (list, tuple)) for n in order
    ):
        problems.append(Problem(f"regions_class_order: expected a list of label numbers, got {order!r:.100}.", FORM))
    elif len(order) != len(regions):
        problems.append(
            Problem(
                f"regions_class_order has {counted(len(order), 'number')} for {counted(len(regions), 'region')}.",
                f"Write one number for each of {', '.join(regions)}, in this order.",
            )
        )
    elif unknown := sorted(set(order) - known):
        problems.append(Problem(f"regions_class_order: {unknown} is no label.", f"Labels: {sorted(known)}."))
    return problems


def _repeated(values: Mapping[str, Sequence[int]], names: list[str]) -> list[Problem]:
    seen: dict[tuple[int, ...], str] = {}
    problems = []
    for name in names:
        key = tuple(sorted(set(values[name])))
        if key in seen:
            problems.append(
                Problem(
                    f"labels: {seen[key]!r} and {name!r} have the same value {list(key)}.", "Give each its own number."
                )
            )
        seen.setdefault(key, name)
    return problems
