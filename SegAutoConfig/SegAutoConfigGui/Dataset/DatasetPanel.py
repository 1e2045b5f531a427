"""The tab that makes datasets of segmentations in the scene."""

from collections.abc import Mapping, Sequence
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SegAutoConfigGui.Dataset.CaseSection import CaseSection
from SegAutoConfigGui.Dataset.CaseTableView import RowState
from SegAutoConfigGui.Dataset.Channels import channelNamesFor
from SegAutoConfigGui.Dataset.ContentsSection import ContentsSection
from SegAutoConfigGui.Dataset.DatasetChoices import Target, clashes, stateIn
from SegAutoConfigGui.Dataset.DatasetSection import DatasetSection
from SegAutoConfigGui.Dataset.LabelSection import LabelSection
from SegAutoConfigGui.Panel import Panel
from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Cases import Case, CaseTable
from SegAutoConfigGui.Scene.Labels import LabelTable
from SegAutoConfigGui.Widgets.Stepper import Stepper

#: Parameter in which the label table is saved with the scene.
LABELS = "labelTable"
#: After the last of several changes of the scene, until the panel looks at it again (milliseconds).
SETTLE_MS = 150


class DatasetPanel(Panel, VTKObservationMixin):
    """Cases, labels and the dataset, each in a section of its own; the panel holds what they share.

    Attributes:
        table: The cases; None while there is no scene.
        labels: The labels.
        problems: All that keeps the cases of the table from being put into the chosen dataset, as far as is known.
    """

    name = "Dataset"

    def __init__(self, host: Any) -> None:
        Panel.__init__(self, host)
        VTKObservationMixin.__init__(self)
        self.table: CaseTable | None = None
        self.labels = LabelTable()
        self._connected: Any = None  # the parameters that the widgets are bound to, and the tag of that
        self._refreshing = False
        self._looking: Stepper | None = None  # for empty segments
        self.problems: list[Problem] = []
        self._savedLabels = ""  # what the scene's label table was when last read or written

    @property
    def title(self) -> str:
        """The tab's text, translated."""
        return _("Dataset")

    def setup(self) -> None:
        """Connect widgets; nothing is started."""
        self.caseSection = CaseSection(self)
        self.labelSection = LabelSection(self)
        self.datasetSection = DatasetSection(self)
        self.contentsSection = ContentsSection(self)
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(SETTLE_MS)
        self._later.connect("timeout()", self.refresh)
        self.refresh()

    def enter(self) -> None:
        """The user opens the tab."""
        super().enter()
        self.refresh()
        self.datasetSection.readDatasets()

    def exit(self) -> None:
        """The user goes to another tab or module."""
        super().exit()
        self._stop()

    def setParameters(self, parameters: Any) -> None:
        """Another scene: take its cases and labels. What still needs the old one is stopped."""
        self._letGo()
        if parameters is None:
            return
        node = parameters.parameterNode
        self.table = CaseTable(node)
        self._readLabels()
        self._connected = parameters, parameters.connectGui(self.ui)
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onSceneChanged)
        self.datasetSection.setParameters()
        self.refresh()

    def changed(self, topic: str) -> None:
        """Something changed elsewhere."""
        if topic == "engine" and self.entered:
            self.datasetSection.readDatasets()
        else:
            self.datasetSection.takeDatasets()

    def cleanup(self) -> None:
        """The module ends."""
        self._letGo()
        self.datasetSection.stop()

    def addCase(self, volumes: Sequence[Any], segmentation: Any, dataset: str | None = None) -> Case:
        """Put a case into the table, ready to be added to a dataset.

        Args:
            volumes: One node per channel.
            segmentation: Its segmentation; the row that it has already is used.
            dataset: The full name of the dataset to choose; None leaves the choice.

        Returns:
            The row, which is selected.
        """
        if dataset is not None:
            self.datasetSection.select(dataset)
        if self.target.dataset is None and len(volumes) > len(self.table.channelNames):
            self.table.channelNames = channelNamesFor(len(volumes), self.table.channelNames)
        row = next((case for case in self.table.cases() if case.segmentation is segmentation), None)
        if row is None:
            row = self.table.add(volumes, segmentation, visibleOnly=self.parameters.datasetVisibleOnly)
        else:
            row = self.table.change(row.uid, volumes=list(volumes))
        self.refresh()
        self.caseSection.view.select([row.uid])
        return row

    # -- for the sections

    @property
    def target(self) -> Target:
        """The dataset that is chosen."""
        return self.datasetSection.target

    @property
    def resample(self) -> bool:
        """Whether further channels are resampled."""
        return bool(self.parameters.datasetResample)

    def refresh(self) -> None:
        """Look at the scene and show it anew."""
        if self._refreshing:
            return
        self._refreshing = True
        try:
            self._later.stop()
            self._refresh()
        finally:
            self._refreshing = False

    def _refresh(self) -> None:
        cases = self.table.cases() if self.table is not None else []
        if self.table is not None:
            self._readLabels()
            self.labels.update(self.table.segmentations())
            self.saveLabels()
            self._observe(cases)
        self.problems = self._problemsOfCases(cases)
        self.caseSection.show(cases, self._states(cases))
        self.labelSection.show(cases)
        self.datasetSection.show(cases)
        self.contentsSection.show()
        if self.entered and self._looking is None and any(map(self._unknown, cases)):
            self._looking = Stepper(self.table.look(), lambda step: None, self._onLooked)

    def _unknown(self, case: Case) -> bool:
        """Whether its voxels were not looked at yet."""
        return case.segmentation is not None and self.table.emptySegments.known(case.segmentation) is None

    def _onLooked(self, error: "BaseException | None") -> None:
        self._looking = None
        if error is not None:
            self.host.showProblems(error.problems)
        else:
            self.refresh()

    def saveLabels(self) -> None:
        """Keep the label table in the scene."""
        self._savedLabels = self.labels.toJson()
        if self.table.parameterNode.GetParameter(LABELS) != self._savedLabels:
            self.table.parameterNode.SetParameter(LABELS, self._savedLabels)

    def _readLabels(self) -> None:
        """Take the scene's label table, if it is another one than that read or written last (a scene was imported)."""
        text = self.table.parameterNode.GetParameter(LABELS) or ""
        if text != self._savedLabels:
            self._savedLabels, self.labels = text, LabelTable.fromJson(text)

    def _problemsOfCases(self, cases: Sequence[Case]) -> list[Problem]:
        if not cases:
            return []
        problems = self.table.problems(self.labels, resampleChannels=self.resample, look=False)
        return list(dict.fromkeys([*self.labels.problems(), *problems, *clashes(cases, self.target)]))

    def _states(self, cases: Sequence[Case]) -> dict[str, RowState]:
        if not cases:
            return {}
        problems, warnings = _byCase(self.problems), _byCase(self.table.warnings(self.labels, look=False))
        states = {
            case.uid: _stateOf(case, problems, warnings, self.target, self.datasetSection.reading) for case in cases
        }
        for case in filter(self._unknown, cases):
            if states[case.uid].icon == "ok":
                states[case.uid] = RowState("", _("Its segments are being looked at ..."), states[case.uid].exists)
        return states

    def _observe(self, cases: Sequence[Case]) -> None:
        """Be told when a node of a case, its segments or its transform change."""
        nodes = [node for case in cases for node in (*case.volumes, case.segmentation) if node is not None]
        wanted = {(node, vtk.vtkCommand.ModifiedEvent) for node in nodes}
        wanted |= {(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent) for node in nodes}
        for segmentation in {case.segmentation.GetSegmentation() for case in cases if case.segmentation is not None}:
            kind = slicer.vtkSegmentation
            events = (kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified, kind.RepresentationModified)
            wanted |= {(segmentation, event) for event in events}
        self.removeObservers(self._onNodeChanged)
        for caller, event in wanted:
            self.addObserver(caller, event, self._onNodeChanged)

    def _onSceneChanged(self, caller: Any, event: Any) -> None:
        if self.entered:  # otherwise entering the tab does it
            self._later.start()

    def _onNodeChanged(self, caller: Any, event: Any) -> None:
        if self.entered:
            self._later.start()

    def _stop(self) -> None:
        """Look no more at the scene."""
        self._later.stop()
        if self._looking is not None:
            self._looking.stop()
            self._looking = None

    def _letGo(self) -> None:
        """Of the scene."""
        self.removeObservers()
        self._stop()
        self.caseSection.stop()
        self.labelSection.stop()
        self.datasetSection.sceneCloses()
        if self._connected is not None:
            parameters, tag = self._connected
            parameters.disconnectGui(tag)
        self._connected = None
        self.table, self.labels, self._savedLabels = None, LabelTable(), ""
        self.refresh()


def _byCase(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    found: dict[str, list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.case, []).append(problem)
    return found


def _stateOf(
    case: Case,
    problems: Mapping[str, list[Problem]],
    warnings: Mapping[str, list[Problem]],
    target: Target,
    reading: bool,
) -> RowState:
    """What the sign of a row says; ``reading``: what was just exported is not among the target's cases yet."""
    exists = case.id in target.caseIds
    added = (exists or reading) and case.state == stateIn(target.name) and not case.replace
    for icon, found in (("problem", problems), ("warning", warnings)):
        if case.id in found and not added:
            return RowState(icon, "\n".join(f"{each.message} {each.hint}".strip() for each in found[case.id]), exists)
    if added:
        return RowState("added", _("It is in {dataset}.").format(dataset=target.name), exists)
    if exists:
        return RowState("ok", _("It will replace the case in {dataset}.").format(dataset=target.name), exists)
    return RowState("ok", _("It can be exported."), exists)
