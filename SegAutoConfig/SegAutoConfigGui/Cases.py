"""The cases of a new dataset or of an addition to one: volumes, segmentation, training or test."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Labels import LabelTable
from SegAutoConfigGui.Problems import Problem

#: `Case.state`.
NEW, ADDED = "new", "added"


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
        state: NEW, or ADDED when it has been put into the dataset.
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

    def cases(self) -> list[Case]:
        """All rows, each with one volume slot per channel."""
        raise NotImplementedError

    def case(self, uid: str) -> Case:
        """One row; KeyError if there is none."""
        raise NotImplementedError

    @property
    def channelNames(self) -> list[str]:
        """Names of the channels, at least one ("CT" where nothing else is known). Settable: slots follow."""
        raise NotImplementedError

    def segmentations(self) -> list[Any]:
        """The segmentation nodes of all rows, for LabelTable.update."""
        raise NotImplementedError

    def add(self, volumes: Sequence[Any], segmentation: Any = None, id: str | None = None, **values: Any) -> Case:
        """A new last row. The id comes from the first volume's name if None is given; it is made valid and unique."""
        raise NotImplementedError

    def change(self, uid: str, **values: Any) -> Case:
        """Change attributes of a row: id (made valid and unique), volumes, segmentation, visibleOnly, test, replace,
        state."""
        raise NotImplementedError

    def setVolume(self, uid: str, channel: int, volume: Any) -> Case:
        """Choose the volume of one channel (None: none)."""
        raise NotImplementedError

    def remove(self, uids: Sequence[str]) -> None:
        """Take rows out; nodes stay in the scene."""
        raise NotImplementedError

    def move(self, uid: str, steps: int) -> None:
        """Down by this many rows (negative: up)."""
        raise NotImplementedError

    def addLoadedPairs(self) -> list[Case]:
        """Add a row for each segmentation in the scene that has no row yet and whose volume can be told.

        The volume is the segmentation's reference volume, else one on the same grid, else one of a similar name. With
        several channels the others are found by grid, channel name, folder and name.

        Returns:
            The new rows.
        """
        raise NotImplementedError

    def problems(self, labelTable: LabelTable, *, resampleChannels: bool = False) -> list[Problem]:
        """All that keeps the cases from being exported, each with its case's id.

        Args:
            labelTable: As it will be used for the export.
            resampleChannels: Further channels may have grids of their own.
        """
        raise NotImplementedError

    def warnings(self, labelTable: LabelTable) -> list[Problem]:
        """What is allowed but may be an oversight: empty segments, labels that only one case has."""
        raise NotImplementedError
