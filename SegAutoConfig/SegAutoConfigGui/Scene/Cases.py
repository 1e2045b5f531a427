"""The cases of a new dataset or of an addition to one: volumes, segmentation, training or test."""

import json
import re
import unicodedata
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import slicer

from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Checks import EmptySegments, problemsOfCases, warningsOfCases
from SegAutoConfigGui.Scene.Labels import LabelTable
from SegAutoConfigGui.Scene.Pairs import findPairs, modalityOf

#: `Case.state`.
NEW, ADDED = "new", "added"
#: Name of the parameter, and start of the roles of the node references.
PARAMETER, ROLE = "cases", "SegAutoConfig"
#: What a channel is called whose modality isn't known.
UNKNOWN_CHANNEL = "image"
LONGEST_ID = 80
#: Names that Windows keeps for devices.
DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass
class Case:
    """One row of the table.

    Attributes:
        id: The case's name in the dataset, part of file names.
        volumes: One volume node per channel; None where none is chosen or the node has gone.
        segmentation: The segmentation node or None.
        visibleOnly: Only segments that are shown count.
        test: It is kept out of training (imagesTs).
        replace: A case of this id that is in the dataset already is overwritten.
        state: NEW, or ADDED and the name of the dataset that it has been put into.
        uid: Its key in the table; made by the table.
    """

    id: str
    volumes: list[Any] = field(default_factory=list)
    segmentation: Any = None
    visibleOnly: bool = False
    test: bool = False
    replace: bool = False
    state: str = NEW
    uid: str = ""


#: What is kept as text; nodes are kept as node references.
_STORED = ("uid", "id", "visibleOnly", "test", "replace", "state")


class CaseTable:
    """The cases in order, kept in a vtkMRMLScriptedModuleNode (nodes as node references, the rest as one parameter),
    so that they are saved with the scene and survive loading, renaming and removal of nodes.

    `Case` objects are copies: change rows through the methods. Each change modifies the parameter node once.

    Example::

        table = CaseTable(parameterNode)
        table.channelNames = ["T1", "T2"]
        case = table.add([t1, t2], segmentation)
        table.change(case.uid, test=True); table.setVolume(case.uid, 1, otherT2)
        for case in table.cases(): ...
    """

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self.emptySegments = EmptySegments()

    def cases(self) -> list[Case]:
        """All rows, each with one volume slot per channel."""
        data = self._read()
        return [self._case(row, len(data["channels"]) or 1) for row in data["cases"]]

    def case(self, uid: str) -> Case:
        """One row; KeyError if there is none."""
        for case in self.cases():
            if case.uid == uid:
                return case
        raise KeyError(uid)

    @property
    def channelNames(self) -> list[str]:
        """Names of the channels, at least one. Setting them changes the number of volume slots of all rows.

        Until they are set, the single channel gets the name of the first volume's modality (CT, MR ...), if known.
        """
        return self._read()["channels"] or [UNKNOWN_CHANNEL]

    @channelNames.setter
    def channelNames(self, names: Sequence[str]) -> None:
        data, before = self._read(), len(self.channelNames)
        data["channels"] = [" ".join(name.split()) or UNKNOWN_CHANNEL for name in names] or [UNKNOWN_CHANNEL]
        with slicer.util.NodeModify(self.parameterNode):
            for row in data["cases"]:
                for channel in range(len(data["channels"]), before):
                    self._refer(row["uid"], f"volume{channel}", None)
            self._write(data)

    def segmentations(self) -> list[Any]:
        """The segmentation nodes of all rows, for LabelTable.update."""
        return [case.segmentation for case in self.cases() if case.segmentation is not None]

    def add(self, volumes: Sequence[Any], segmentation: Any = None, id: str | None = None, **values: Any) -> Case:
        """A new last row. The id comes from the first volume's name if None is given; it is made valid and unique.

        Args:
            volumes: One per channel; missing ones may be left out or None.
            segmentation: The node or None.
            id: See `Case`, as for ``values`` (visibleOnly, test, replace, state).
        """
        data = self._read()
        named = [node for node in (*volumes, segmentation) if node is not None]
        row = {key: value for key, value in vars(Case("", **values)).items() if key in _STORED}
        row["id"] = validId(id or (named[0].GetName() if named else ""), [other["id"] for other in data["cases"]])
        row["uid"] = uuid.uuid4().hex[:12]
        if not data["channels"] and volumes and volumes[0] is not None:
            data["channels"] = [modalityOf(volumes[0]) or UNKNOWN_CHANNEL]
        data["cases"].append(row)
        with slicer.util.NodeModify(self.parameterNode):
            self._setNodes(row["uid"], volumes, segmentation)
            self._write(data)
        return self.case(row["uid"])

    def change(self, uid: str, **values: Any) -> Case:
        """Change attributes of a row: id (made valid and unique), volumes, segmentation, visibleOnly, test, replace,
        state."""
        data, case = self._read(), self.case(uid)
        row = next(row for row in data["cases"] if row["uid"] == uid)
        unknown = set(values) - {*vars(case)} | {"uid"} & set(values)
        if unknown:
            raise TypeError(f"no attributes of a case that can be changed: {', '.join(sorted(unknown))}")
        row |= {key: value for key, value in values.items() if key in _STORED}
        if "id" in values:
            row["id"] = validId(values["id"], [other["id"] for other in data["cases"] if other is not row])
        with slicer.util.NodeModify(self.parameterNode):
            self._setNodes(uid, values.get("volumes", case.volumes), values.get("segmentation", case.segmentation))
            self._write(data)
        return self.case(uid)

    def setVolume(self, uid: str, channel: int, volume: Any) -> Case:
        """Choose the volume of one channel (None: none)."""
        volumes = self.case(uid).volumes
        volumes[channel] = volume
        return self.change(uid, volumes=volumes)

    def remove(self, uids: Sequence[str]) -> None:
        """Take rows out; nodes stay in the scene."""
        data = self._read()
        data["cases"] = [row for row in data["cases"] if row["uid"] not in uids]
        with slicer.util.NodeModify(self.parameterNode):
            for uid in uids:
                self._setNodes(uid, [], None)
            self._write(data)

    def move(self, uid: str, steps: int) -> None:
        """Down by this many rows (negative: up)."""
        data = self._read()
        rows = data["cases"]
        place = next(i for i, row in enumerate(rows) if row["uid"] == uid)
        rows.insert(min(max(place + steps, 0), len(rows) - 1), rows.pop(place))
        self._write(data)

    def addLoadedPairs(self) -> list[Case]:
        """Add a row for each segmentation in the scene that has no row yet and whose volume can be told.

        The volume is the segmentation's reference volume, else one on the same grid, else one of a similar name. With
        several channels the others are found by grid, channel name, folder and name.

        Returns:
            The new rows.
        """
        known = self.segmentations()
        taken = [volume for case in self.cases() for volume in case.volumes if volume is not None]
        with slicer.util.NodeModify(self.parameterNode):
            return [self.add(volumes, node) for volumes, node in findPairs(self.channelNames, known, taken)]

    def look(self) -> Iterator[None]:
        """Look for empty segments, in the voxels of one segmentation per step."""
        for node in self.segmentations():
            if node.GetScene() is not None and self.emptySegments.known(node) is None:
                self.emptySegments.of(node)
                yield

    def problems(self, labelTable: LabelTable, *, resampleChannels: bool = False, look: bool = True) -> list[Problem]:
        """All that keeps the cases from being exported, each with its case's id.

        Args:
            labelTable: As it will be used for the export.
            resampleChannels: Further channels may have grids of their own.
            look: Look at voxels where `look` has not done so; else those segments count as filled.
        """
        cases, names = self.cases(), self.channelNames
        return problemsOfCases(cases, names, labelTable, resampleChannels, self._emptyOf(look))

    def warnings(self, labelTable: LabelTable, *, look: bool = True) -> list[Problem]:
        """What is allowed but may be an oversight: empty segments, labels that only one case has.

        Args:
            labelTable: As it will be used for the export.
            look: As for `problems`.
        """
        return warningsOfCases(self.cases(), labelTable, self._emptyOf(look))

    def _emptyOf(self, look: bool) -> Callable[[Any], Collection[str]]:
        return self.emptySegments.of if look else lambda node: self.emptySegments.known(node) or ()

    # -- the parameter node

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(self.parameterNode.GetParameter(PARAMETER) or "{}")
            return {
                "channels": [str(name) for name in data.get("channels", [])],
                "cases": [dict(row) for row in data.get("cases", []) if row.get("uid") and row.get("id")],
            }
        except (ValueError, AttributeError, TypeError):
            return {"channels": [], "cases": []}

    def _write(self, data: dict[str, Any]) -> None:
        self.parameterNode.SetParameter(PARAMETER, json.dumps(data))

    def _case(self, row: dict[str, Any], channels: int) -> Case:
        volumes = [self._referred(row["uid"], f"volume{channel}") for channel in range(channels)]
        stored = {key: row[key] for key in _STORED if key in row}
        return Case(volumes=volumes, segmentation=self._referred(row["uid"], "segmentation"), **stored)

    def _setNodes(self, uid: str, volumes: Sequence[Any], segmentation: Any) -> None:
        for channel in range(max(len(volumes), len(self.channelNames))):
            self._refer(uid, f"volume{channel}", volumes[channel] if channel < len(volumes) else None)
        self._refer(uid, "segmentation", segmentation)

    def _referred(self, uid: str, what: str) -> Any:
        return self.parameterNode.GetNodeReference(f"{ROLE}.{uid}.{what}")

    def _refer(self, uid: str, what: str, node: Any) -> None:
        role = f"{ROLE}.{uid}.{what}"
        if node is not None:
            self.parameterNode.SetNodeReferenceID(role, node.GetID())
        elif self.parameterNode.GetNodeReferenceID(role):
            self.parameterNode.RemoveNodeReferenceIDs(role)


def validId(name: str, taken: Collection[str] = ()) -> str:
    """A case id for a name: usable in file names on every system, and other than those taken, also in lower case.

    Letters of any language stay; a channel number at the end (``_0000``) goes.
    """
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode("utf-8"))
    text = re.sub(r"_\d{4}$", "", text.strip())
    text = "".join("_" if c in '<>:"/\\|?*$%' or unicodedata.category(c)[0] in "CZ" else c for c in text)
    text = re.sub(r"_+", "_", text)[:LONGEST_ID].strip("._ -") or "case"
    text = f"case_{text}" if DEVICE_NAME.fullmatch(text) else text
    lower, number, result = {other.casefold() for other in taken}, 2, text
    while result.casefold() in lower:
        result, number = f"{text}_{number}", number + 1
    return result
