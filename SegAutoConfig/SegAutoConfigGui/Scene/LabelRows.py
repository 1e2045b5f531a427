"""A row of the table of labels, and rows made from the labels of an existing dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from SegAutoConfigGui.Scene.Matching import distinctColor

#: What becomes of a segment. LABEL: it is learned. IGNORE: its voxels count neither way. AREA: all voxels outside of
#: it are ignored, in cases that have it. OUT: it is left out.
LABEL, IGNORE, AREA, OUT = "label", "ignore", "annotated area", "left out"
ROLES = (LABEL, IGNORE, AREA, OUT)
#: How overlapping segments are written. PRECEDENCE: one label per voxel, later rows of the table win. REGIONS: both
#: are kept; every combination of segments that occurs gets a number of its own.
PRECEDENCE, REGIONS = "precedence", "regions"
#: Names that mean something in dataset.json, and the role of segments that have them.
BACKGROUND_NAME, IGNORE_NAME = "background", "ignore"
ROLE_OF_NAME = {BACKGROUND_NAME: OUT, IGNORE_NAME: IGNORE, AREA: AREA}


@dataclass
class Label:
    """One row of the table.

    Attributes:
        name: As it will be in the dataset.
        color: Red, green, blue, 0..1.
        terminology: Slicer's terminology entry; empty for none.
        role: One of ROLES.
        sources: The names of segments that belong to it; several where segments are merged or differ in spelling.
        fixed: It is a label of an existing dataset: name, number and role stay.
    """

    name: str
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    terminology: str = ""
    role: str = LABEL
    sources: list[str] = field(default_factory=list)
    fixed: bool = False


def checked(label: Label) -> Label:
    """A row that was read from text, with valid types."""
    label.color = tuple(float(value) for value in label.color)
    label.role = label.role if label.role in ROLES else LABEL
    return label


def _values(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def hasRegions(labels: Mapping[str, Any]) -> bool:
    """True if a label of a dataset.json stands for several values."""
    return any(len(_values(value)) > 1 for value in labels.values())


def rowsOfDataset(dataset: Mapping[str, Any]) -> list[Label]:
    """Rows of an existing dataset; without regions in the order of their numbers."""
    labels, metadata = dataset["labels"], dataset.get("segments") or {}
    names = [name for name, value in labels.items() if _values(value) != [0]]
    if not hasRegions(labels):
        names.sort(key=lambda name: _values(labels[name]))
    rows = []
    for place, name in enumerate(names):
        known = metadata.get(name) or {}
        color = tuple(known.get("color") or distinctColor(place + 1))
        role = IGNORE if name == IGNORE_NAME else LABEL
        rows.append(Label(name, color, known.get("terminology") or "", role, [], True))
    return rows


def combinationsOf(labels: Mapping[str, Any]) -> list[list[str]]:
    """The names that stand for each value from 1 on."""
    regions = {name: _values(value) for name, value in labels.items() if name != IGNORE_NAME}
    highest = max(number for values in regions.values() for number in values)
    return [[name for name, values in regions.items() if number in values] for number in range(1, highest + 1)]
