"""The Dataset panel's section of cases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Dataset.CaseTableView import CaseTableView, RowState
from SegAutoConfigGui.Dataset.Channels import Channels, channelNamesFor, setNode
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Scene.Folders import FilePair, importFolder, loadPair
from SegAutoConfigGui.Scene.Views import showAlone
from SegAutoConfigGui.Scene.Volumes import isImage, sceneVolumes
from SegAutoConfigGui.Widgets.Stepper import Stepper


@dataclass(frozen=True)
class Loading:
    """A step of loading files."""

    text: str


class CaseSection:
    """Which cases.

    Args:
        panel: The DatasetPanel.
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = ui = panel.ui
        self._loading: Stepper | None = None
        self._loadProblems: list[Problem] = []
        self._shown = ""  # uid of the case in the slice views
        self._states: Mapping[str, RowState] = {}
        self.channels = Channels(panel)
        self.view = CaseTableView(
            ui.caseTable,
            onSelected=self._onSelected,
            onShow=self.showCase,
            onRenamed=lambda uid, text: self._change(uid, id=text),
            onChecked=lambda uid, field, checked: self._change(uid, **{field: checked}),
            onDelete=self.removeSelected,
            onNodes=self.addNodes,
            onFiles=self.addFiles,
        )
        ui.addPairsButton.connect("clicked()", self.addPairs)
        ui.addCaseButton.connect("clicked()", self.addCase)
        ui.importFolderButton.connect("clicked()", self._onImport)
        ui.removeCasesButton.connect("clicked()", self.removeSelected)
        ui.visibleOnlyBox.connect("clicked(bool)", self._onVisibleOnly)
        ui.resampleBox.connect("clicked()", panel.refresh)
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onSegmentation)

    # -- show

    def show(self, cases: Sequence[Case], states: Mapping[str, RowState]) -> None:
        """Show these cases."""
        self._states = states
        self.view.show(cases, states)
        self.channels.show()
        self._showSelected()
        usable = self.panel.table is not None
        for button in (self.ui.addPairsButton, self.ui.addCaseButton, self.ui.importFolderButton):
            button.enabled = usable

    def stop(self) -> None:
        """The scene closes: load no more."""
        if self._loading is not None:
            self._loading.stop()
            self._loading = None
            self._showLoading("")
        self._shown = ""

    def showCase(self, uid: str) -> None:
        """Show a case in the slice views: its first volume, its segmentation and none of another case."""
        case = self.panel.table.case(uid)
        self._shown = uid
        volume = case.volumes[0] or next(filter(None, case.volumes), None)
        showAlone(volume, case.segmentation)

    def showById(self, id: str) -> bool:
        """Select the row of this case, which also shows it; False where there is none."""
        found = [case.uid for case in self.panel.table.cases() if case.id == id] if self.panel.table else []
        self._shown = ""
        self.view.select(found)
        return bool(found)

    @property
    def selected(self) -> Case | None:
        """The case of the selected row; None where none or several are."""
        uids = self.view.selected()
        return self.panel.table.case(uids[0]) if len(uids) == 1 and self.panel.table is not None else None

    def _onSelected(self) -> None:
        self._showSelected()
        case = self.selected
        if case is not None and case.uid != self._shown:
            self.showCase(case.uid)

    def _showSelected(self) -> None:
        """The selectors and the line below the table."""
        ui, case = self.ui, self.selected
        ui.removeCasesButton.enabled = bool(self.view.selected())
        ui.removeCasesButton.toolTip = (
            _("Take the selected cases out of the table (Delete key); volumes and segmentations stay in the scene")
            if ui.removeCasesButton.enabled
            else _("Select cases in the table first")
        )
        ui.caseFrame.setVisible(case is not None)
        state = self._states.get(case.uid) if case is not None else None
        text = f"{case.id}: {state.text}" if state is not None else ""
        if not text and not self._states:
            text = _("Drop volumes and segmentations here, or use the buttons.")
        if self._loading is None:
            ui.caseMessage.text = text
            ui.caseMessage.setVisible(bool(text))
        if case is None:
            return
        self.channels.showVolumes(case)
        setNode(ui.segmentationSelector, case.segmentation)

    def _onSegmentation(self, node: Any) -> None:
        case = self.selected
        if case is not None and case.segmentation is not node:
            self._change(case.uid, segmentation=node)

    def _change(self, uid: str, **values: Any) -> None:
        try:
            self.panel.table.change(uid, **values)
        except UserProblem as problem:
            self.panel.host.showProblems(problem.problems)
        self.panel.refresh()

    # -- add and remove

    def addPairs(self) -> None:
        """Add all loaded pairs that are in no case yet."""
        self._added(self.panel.table.addLoadedPairs())

    def addCase(self) -> None:
        """Add one case of the active volume, or of the next one that is in no case yet."""
        table = self.panel.table
        used = {volume.GetID() for case in table.cases() for volume in case.volumes if volume is not None}
        active = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        volumes = sorted(sceneVolumes(), key=lambda volume: volume.GetID() != active)
        volume = next((each for each in volumes if each.GetID() not in used), None)
        segmentation = self._segmentationOf(volume)
        if volume is None:
            self.panel.host.showMessage(_("All loaded volumes are in a case; choose the volume below the table."))
        self._added([table.add([volume], segmentation)])

    def _segmentationOf(self, volume: Any) -> Any:
        """The segmentation drawn on this volume that is in no case yet, or None."""
        used = self.panel.table.segmentations()
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            if volume is not None and node not in used and _referenceVolume(node) is volume:
                return node
        return None

    def addNodes(self, nodes: Sequence[Any]) -> None:
        """Add cases of these nodes: each segmentation with the volume it was drawn on, and volumes that are left."""
        table = self.panel.table
        if table is None:
            return
        volumes = [node for node in nodes if isImage(node)]
        segmentations = [node for node in nodes if node.IsA("vtkMRMLSegmentationNode")]
        known = table.segmentations()
        if not volumes and not segmentations:
            self.panel.host.showMessage(_("Only volumes and segmentations can be cases."))
            return
        selected = self.selected
        if selected is not None and self._completes(selected, volumes, segmentations):
            return
        added = []
        for segmentation in [node for node in segmentations if node not in known]:
            volume = _referenceVolume(segmentation)
            if volume is None and len(volumes) == len(segmentations):
                volume = volumes[segmentations.index(segmentation)]
            complete = len(segmentations) == 1 and len(volumes) == len(table.channelNames)
            channels = list(volumes) if complete else [volume]
            volumes = [node for node in volumes if node not in channels]
            added.append(table.add(channels, segmentation))
        added += [table.add([volume], self._segmentationOf(volume)) for volume in volumes]
        self._added(added)

    def _completes(self, case: Case, volumes: Sequence[Any], segmentations: Sequence[Any]) -> bool:
        """Whether a single node was dropped that the selected case lacks; it is taken then."""
        if len(segmentations) == 1 and not volumes and case.segmentation is None:
            self._change(case.uid, segmentation=segmentations[0])
            return True
        if len(volumes) == 1 and not segmentations and None in case.volumes:
            self.panel.table.setVolume(case.uid, case.volumes.index(None), volumes[0])
            self.panel.refresh()
            return True
        return False

    def _added(self, cases: Sequence[Case]) -> None:
        if not cases:
            self.panel.host.showMessage(
                _("No further pair was found: each loaded segmentation has a case, or no volume that fits it.")
            )
            return
        if self.panel.parameters.datasetVisibleOnly:
            for case in cases:
                self.panel.table.change(case.uid, visibleOnly=True)
        self.panel.refresh()
        self.view.select([cases[-1].uid])

    def removeSelected(self) -> None:
        """Take the selected rows out of the table."""
        uids = self.view.selected()
        if uids:
            rows = [case.uid for case in self.panel.table.cases()]
            place = rows.index(uids[0])
            self.panel.table.remove(uids)
            self.panel.refresh()
            left = [uid for uid in rows if uid not in uids]
            self.view.select(left[min(place, len(left) - 1) :][:1] if left else [])

    # -- files

    def _onImport(self) -> None:
        if self._loading is not None:
            self._loaded(None)
            return
        settings = self.panel.logic.settings
        folder = qt.QFileDialog.getExistingDirectory(
            self.panel.root, _("Folder of images and segmentations"), settings.lastFolder
        )
        if folder:
            settings.lastFolder = str(folder)
            self.addFiles([Path(folder)])

    def addFiles(self, paths: Sequence[Path]) -> None:
        """Load the cases of folders, or those that the files belong to, and add them."""
        if self.panel.table is None or self._loading is not None:
            return
        try:
            pairs = [pair for path in paths if path.is_dir() for pair in importFolder(path)]
            pairs += pairsOfFiles([path for path in paths if not path.is_dir()])
            if not pairs:
                message = _("No images with their segmentations were found: {paths}.")
                raise UserProblem(message.format(paths=", ".join(map(str, paths))), _("Choose other files."))
        except UserProblem as problem:
            self.panel.host.showProblems(problem.problems)
            return
        if not any(pair.images and pair.segmentation for pair in pairs):
            message = _("No image has a segmentation here; both need names alike, such as {image} with {segmentation}.")
            self.panel.host.showMessage(message.format(image="x.nrrd", segmentation="x.seg.nrrd"))
        self.load([(pair, lambda pair=pair: self._addPair(pair)) for pair in pairs])

    def load(self, tasks: Sequence[tuple[FilePair, Callable[[], Case]]]) -> None:
        """Load files, one case per turn of the event loop.

        Args:
            tasks: What each case consists of, and a function that loads it and makes its row.
        """
        if self._loading is None and tasks:
            self._loadProblems = []
            steps = self._steps(tasks)
            self._loading = Stepper(steps, lambda step: self._showLoading(step.text), self._loaded)
            self._showLoading(_("Loading ..."))

    def _steps(self, tasks: Sequence[tuple[FilePair, Callable[[], Case]]]) -> Iterator[Loading]:
        added = []
        for number, (pair, task) in enumerate(tasks, 1):
            text = _("Loading {case} ({number} of {count})")
            yield Loading(text.format(case=pair.id, number=number, count=len(tasks)))
            try:
                added.append(task())
            except UserProblem as problem:
                case = problem.problems[0].case or pair.id
                self._loadProblems += [
                    Problem(each.message, each.hint, each.details, case) for each in problem.problems
                ]
            else:
                self.panel.refresh()
        if added:
            self.view.select([added[-1].uid])

    def _addPair(self, pair: FilePair) -> Case:
        volumes, segmentation = loadPair(pair)
        table = self.panel.table
        if len(volumes) > len(table.channelNames) and self.panel.target.dataset is None:
            table.channelNames = channelNamesFor(len(volumes), table.channelNames)
        visibleOnly = self.panel.parameters.datasetVisibleOnly
        return table.add(volumes[: len(table.channelNames)], segmentation, pair.id, visibleOnly=visibleOnly)

    def _loaded(self, error: "UserProblem | None") -> None:
        stepper, self._loading = self._loading, None
        if stepper is not None:
            stepper.stop()
        self._showLoading("")
        self.panel.refresh()
        problems = self._loadProblems + (list(error.problems) if error is not None else [])
        if problems:
            self.panel.host.showProblems(problems, _("Not everything could be loaded"))

    def _showLoading(self, text: str) -> None:
        self.ui.importFolderButton.text = _("Stop &importing") if self._loading is not None else _("&Import folder...")
        if self._loading is not None:
            self.ui.caseMessage.text = text
            self.ui.caseMessage.setVisible(True)

    # -- other choices

    def _onVisibleOnly(self, checked: bool) -> None:
        for case in self.panel.table.cases():
            self.panel.table.change(case.uid, visibleOnly=checked)
        self.panel.refresh()


def pairsOfFiles(files: Sequence[Path]) -> list[FilePair]:
    """The cases to which these files belong, with the files beside them that belong to them too."""
    wanted = {file.absolute() for file in files}
    pairs = [pair for folder in dict.fromkeys(file.parent for file in wanted) for pair in importFolder(folder)]
    return [pair for pair in pairs if wanted & {*pair.images, pair.segmentation}]


def _referenceVolume(segmentation: Any) -> Any:
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
