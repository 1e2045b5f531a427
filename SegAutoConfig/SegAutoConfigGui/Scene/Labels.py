"""The labels of a dataset: segments of all cases, matched by name, numbered 1, 2, 3 ... in the order of the table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.LabelRows import (
    AREA,
    BACKGROUND_NAME,
    IGNORE,
    IGNORE_NAME,
    LABEL,
    OUT,
    PRECEDENCE,
    REGIONS,
    ROLE_OF_NAME,
    ROLES,
    Label,
    checked,
    combinationsOf,
    hasRegions,
    rowsOfDataset,
)
from SegAutoConfigGui.Scene.Matching import (
    SeenSegment,
    cleanName,
    meaning,
    nameKey,
    segmentsOf,
    structureKey,
    uniqueName,
)

__all__ = [
    "AREA",
    "BACKGROUND_NAME",
    "IGNORE",
    "IGNORE_NAME",
    "LABEL",
    "OUT",
    "PRECEDENCE",
    "REGIONS",
    "ROLES",
    "Label",
    "LabelTable",
]


class LabelTable:
    """The labels in order. Later rows win where segments overlap (mode PRECEDENCE).

    Rows are addressed by their names, upper or lower case. All methods that change it raise UserProblem where the
    change isn't possible, and change nothing then.

    Attributes:
        labels: The rows (list of Label); change them through the methods.
        mode: PRECEDENCE or REGIONS (see setMode).
        combinations: Of an existing dataset with regions: the names that each value 1, 2, ... stands for.
        regionsClassOrder: Of an existing dataset with regions.
        infos: What `update` matched by itself, sentences for the user.
        warnings: What looks wrong but doesn't stop anything (list of Problem).

    Example::

        table = LabelTable.fromSegmentations([seg1, seg2])
        table.merge("left lung", "right lung"); table.rename("left lung", "lung")
        table.setRole("couch", "left out"); table.move("tumour", +1)
        parameterNode.SetParameter("labelTable", table.toJson())
    """

    def __init__(self, labels: Sequence[Label] = (), mode: str = PRECEDENCE) -> None:
        self.labels = list(labels)
        self.mode = mode
        self.combinations: list[list[str]] = []
        self.regionsClassOrder: list[int] = []
        self.infos: list[str] = []
        self.warnings: list[Problem] = []

    @classmethod
    def fromSegmentations(cls, segmentations: Sequence[Any], dataset: Mapping[str, Any] | None = None) -> "LabelTable":
        """A table of the segments of these nodes.

        Args:
            segmentations: vtkMRMLSegmentationNodes.
            dataset: An existing dataset that the cases will be added to (``labels``, ``regions_class_order`` and
                ``segments`` as the engine's ``info`` gives them). Its labels come first and keep their numbers.
        """
        table = cls()
        table.setDataset(dataset, segmentations)
        return table

    def setDataset(self, dataset: Mapping[str, Any] | None, segmentations: Sequence[Any]) -> None:
        """Another target: the labels of an existing dataset become the first rows, or (None) no row is fixed.

        Args:
            dataset: See `fromSegmentations`.
            segmentations: Of all cases, as in `update`.
        """
        own = [replace(label, fixed=False) for label in self.labels if label.sources or not label.fixed]
        self.combinations, self.regionsClassOrder = [], []
        fixed = rowsOfDataset(dataset) if dataset else []
        if dataset and hasRegions(dataset["labels"]):
            self.mode = REGIONS
            self.combinations = combinationsOf(dataset["labels"])
            self.regionsClassOrder = list(dataset.get("regions_class_order") or [])
        elif dataset:
            self.mode = PRECEDENCE
        taken = {nameKey(label.name): label for label in fixed}
        ignore = next((label for label in fixed if label.role == IGNORE), None)
        self.labels = list(fixed)
        for label in own:
            home = taken.get(nameKey(label.name)) or (ignore if label.role == IGNORE else None)
            if home is None:
                self.labels.append(label)
            else:
                home.sources += label.sources  # merged rows stay merged
        self.update(segmentations)

    def update(self, segmentations: Sequence[Any]) -> None:
        """Take in the segments of these nodes (of all cases).

        New names get new rows at the end, rows of which no name occurs any more go, edits stay. Fills `infos` and
        `warnings`.
        """
        self.infos, self.warnings = [], []
        cases = [segmentsOf(node) for node in segmentations]
        present = {segment.name for case in cases for segment in case}
        self.labels = [label for label in self.labels if label.fixed or present & set(label.sources)]
        together = [{segment.name for segment in case} for case in cases]
        for case in cases:
            for segment in case:
                self._take(segment, together)

    def _take(self, segment: SeenSegment, together: Sequence[set[str]]) -> None:
        row = self._exact(segment.name)
        if row is None:
            row = self._similar(segment.name)
            known = (row.sources or [row.name])[0] if row is not None else segment.name
            if known != segment.name:
                text = _("“{a}” and “{b}” are taken for one structure, since only the spelling differs.")
                self.infos.append(text.format(a=known, b=segment.name))
        if row is None:
            row = self._sameStructure(segment, together)
        if row is None:
            self._add(segment)
            return
        if segment.name not in row.sources:
            row.sources.append(segment.name)
        self._compareTerminology(row, segment)

    def _sameStructure(self, segment: SeenSegment, together: Sequence[set[str]]) -> Label | None:
        """The row with this segment's terminology, unless both names occur in one case: then they were told apart."""
        key = structureKey(segment.terminology)
        for label in self.labels if key is not None else ():
            apart = any(segment.name in names and names & {*label.sources, label.name} for names in together)
            if structureKey(label.terminology) == key and label.role == LABEL and not apart:
                text = _("“{a}” and “{b}” are taken for one structure, since both have the terminology {meaning}.")
                first = (label.sources or [label.name])[0]
                self.infos.append(text.format(a=first, b=segment.name, meaning=meaning(segment.terminology)))
                return label
        return None

    def _compareTerminology(self, row: Label, segment: SeenSegment) -> None:
        old, new = structureKey(row.terminology), structureKey(segment.terminology)
        if old is None and new is not None:
            row.terminology = segment.terminology
        elif len(row.sources) == 1 and None not in (old, new) and old != new:
            message = _("Segments “{name}” have different terminologies: {a} and {b}.")
            a, b = meaning(row.terminology), meaning(segment.terminology)
            hint = _("They become one label. If they are different structures, rename one of them.")
            problem = Problem(message.format(name=segment.name, a=a, b=b), hint)
            if problem not in self.warnings:
                self.warnings.append(problem)

    def _add(self, segment: SeenSegment) -> None:
        name = uniqueName(cleanName(segment.name), self._taken())
        role = ROLE_OF_NAME.get(nameKey(segment.name), LABEL)
        self.labels.append(Label(name, segment.color, segment.terminology, role, [segment.name]))
        if role == OUT:
            text = _("“{name}” is left out: whatever is in no segment is background.")
            self.infos.append(text.format(name=segment.name))

    # -- look up

    def label(self, name: str) -> Label:
        """The row of this name.

        Raises:
            KeyError: there is none.
        """
        for label in self.labels:
            if nameKey(label.name) == nameKey(name):
                return label
        raise KeyError(name)

    def labelOfSegment(self, segmentName: str) -> Label | None:
        """The row that a segment belongs to; None for a segment that came after the last `update`."""
        return self._exact(segmentName) or self._similar(segmentName)

    def _exact(self, segmentName: str) -> Label | None:
        return next((label for label in self.labels if segmentName in label.sources), None)

    def _similar(self, segmentName: str) -> Label | None:
        key = nameKey(segmentName)
        bySource = (label for label in self.labels if key in map(nameKey, label.sources))
        byName = (label for label in self.labels if key == nameKey(label.name))
        return next(bySource, None) or next(byName, None)

    def trained(self) -> list[Label]:
        """The rows that are learned, in order."""
        return [label for label in self.labels if label.role == LABEL]

    def value(self, label: Label) -> int:
        """The number of a row in label maps.

        1, 2, ... among the labels, the highest plus one for ignore, 0 for rows left out and annotated areas. In mode
        REGIONS the numbers in files follow from the combinations that occur; this is then the row's place only.
        """
        if label.role == IGNORE:
            return len(self.trained()) + 1
        return self.trained().index(label) + 1 if label.role == LABEL else 0

    def numberInFiles(self, label: Label) -> int | None:
        """The number that a row has in dataset.json; None where it has none, or several (mode REGIONS)."""
        return self.value(label) or None if self.mode == PRECEDENCE else None

    def ignoreValue(self) -> int | None:
        """The number of ignored voxels; None if no row is ignore or annotated area."""
        used = any(label.role in (IGNORE, AREA) for label in self.labels)
        return len(self.trained()) + 1 if used else None

    def problems(self) -> list[Problem]:
        """What keeps the table from being used."""
        problems = []
        if not self.trained():
            problems.append(Problem(_("No segment is left to be learned."), _("Add cases with segments to the table.")))
        new = [label.name for label in self.trained() if not label.fixed]
        if new and any(label.fixed and label.role == IGNORE for label in self.labels):
            message = _("The dataset has an ignore label, so labels can't be added to it: {names}.")
            hint = _("Leave these segments out, merge them into labels of the dataset, or make a new dataset.")
            problems.append(Problem(message.format(names=", ".join(new)), hint))
        return problems

    # -- change

    def setMode(self, mode: str) -> None:
        """PRECEDENCE or REGIONS."""
        if mode not in (PRECEDENCE, REGIONS):
            raise ValueError(mode)
        if mode != self.mode and any(label.fixed for label in self.labels):
            message = _("The dataset exists already, so how it keeps overlapping segments can't be changed.")
            raise UserProblem(Problem(message, _("Make a new dataset.")))
        self.mode = mode

    def rename(self, name: str, newName: str) -> None:
        """Another name in the dataset; the segments keep theirs."""
        label, clean = self._free(name), cleanName(newName)
        if nameKey(clean) in self._taken() - {nameKey(label.name)}:
            message = _("There is a label “{name}” already.").format(name=clean)
            raise UserProblem(Problem(message, _("Merge the two rows if they are one structure.")))
        self._checkReserved(clean, label.role)
        label.name = clean

    def move(self, name: str, steps: int) -> None:
        """Down by this many rows (negative: up); rows of an existing dataset stay on top."""
        label = self._free(name)
        first = sum(other.fixed for other in self.labels)
        place = self.labels.index(label)
        self.labels.insert(min(max(place + steps, first), len(self.labels) - 1), self.labels.pop(place))

    def merge(self, name: str, other: str) -> None:
        """Put the segments of row `other` into row `name`."""
        target, label = self.label(name), self._free(other)
        if target is not label:
            target.sources += [source for source in label.sources if source not in target.sources]
            self.labels.remove(label)

    def split(self, name: str, source: str | None = None) -> None:
        """Give a segment name of a merged row a row of its own (None: all of them)."""
        label = self.label(name)
        leaving = [source] if source is not None else label.sources[0 if label.fixed else 1 :]
        place = self.labels.index(label) + 1 if not label.fixed else len(self.labels)
        for segmentName in leaving:
            if segmentName not in label.sources or (len(label.sources) == 1 and not label.fixed):
                continue
            label.sources.remove(segmentName)
            own = Label(uniqueName(cleanName(segmentName), self._taken()), label.color, label.terminology, label.role)
            own.sources = [segmentName]
            self.labels.insert(place, own)
            place += 1

    def setRole(self, name: str, role: str) -> None:
        """See ROLES."""
        if role not in ROLES:
            raise ValueError(role)
        label = self._free(name)
        self._checkReserved(label.name, role)
        label.role = role

    def setColor(self, name: str, color: Sequence[float]) -> None:
        """Red, green, blue, 0..1."""
        red, green, blue = (min(max(float(value), 0.0), 1.0) for value in color)
        self.label(name).color = (red, green, blue)

    def _free(self, name: str) -> Label:
        """The row of this name, if it may be changed."""
        label = self.label(name)
        if label.fixed:
            message = _("“{name}” is a label of the dataset that the cases are added to; it stays as it is.")
            raise UserProblem(Problem(message.format(name=label.name), _("Make a new dataset to change its labels.")))
        return label

    def _checkReserved(self, name: str, role: str) -> None:
        if role == LABEL and nameKey(name) in (BACKGROUND_NAME, IGNORE_NAME):
            message = _("A label can't be named “{name}”: this name has a meaning of its own.").format(name=name)
            raise UserProblem(Problem(message, _("Rename it first.")))

    def _taken(self) -> set[str]:
        return {nameKey(label.name) for label in self.labels}

    # -- in and out

    def toJson(self) -> str:
        """Text for the parameter node."""
        rows = [asdict(label) for label in self.labels]
        data = {"mode": self.mode, "labels": rows}
        return json.dumps(data | {"combinations": self.combinations, "regionsClassOrder": self.regionsClassOrder})

    @classmethod
    def fromJson(cls, text: str) -> "LabelTable":
        """The table of `toJson`; empty or damaged text gives an empty table."""
        known = {entry.name for entry in fields(Label)}
        try:
            data = json.loads(text)
            rows = [Label(**{key: row[key] for key in known & set(row)}) for row in data["labels"]]
            table = cls([checked(row) for row in rows], data["mode"] if data["mode"] == REGIONS else PRECEDENCE)
            table.combinations = [list(names) for names in data.get("combinations", [])]
            table.regionsClassOrder = list(data.get("regionsClassOrder", []))
        except (ValueError, KeyError, TypeError):
            return cls()
        return table

    def asDatasetLabels(self, regions: Any = None) -> tuple[dict, list[int] | None, dict]:
        """``labels``, ``regions_class_order`` and ``segments`` for cases.json.

        Args:
            regions: The `RegionCodes` of the exported cases, in mode REGIONS.
        """
        segments = {
            label.name: {"color": list(label.color), "terminology": label.terminology} for label in self.trained()
        }
        if regions is not None:
            return *regions.asDatasetLabels(), segments
        labels = {BACKGROUND_NAME: 0} | {label.name: self.value(label) for label in self.trained()}
        if self.ignoreValue() is not None:
            labels[IGNORE_NAME] = self.ignoreValue()
        return labels, None, segments
