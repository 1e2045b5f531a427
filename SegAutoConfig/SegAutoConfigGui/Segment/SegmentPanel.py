"""The tab in which volumes are segmented with a trained model, and in which results are corrected and used."""

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SegAutoConfigGui.Panel import Panel
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Views import showAlone
from SegAutoConfigGui.Segment.ModelChoice import ModelChoice
from SegAutoConfigGui.Segment.ResultNodes import shownOf, volumesOf
from SegAutoConfigGui.Segment.Segmentation import Segmentation
from SegAutoConfigGui.Segment.SegmentChoices import (
    SEQUENCE,
    SegmentOptions,
    problemsOfInput,
    problemsOfMode,
    problemsOfModel,
)
from SegAutoConfigGui.Segment.SegmentInputs import SegmentInputs
from SegAutoConfigGui.Segment.SegmentResult import SegmentResult
from SegAutoConfigGui.Segment.SegmentRunner import SegmentRunner
from SegAutoConfigGui.Segment.TaskWeights import TaskWeights
from SegAutoConfigGui.Setup.Installer import checkInstalled
from SegAutoConfigGui.Widgets.Devices import fillDevices
from SegAutoConfigGui.Widgets.Tables import enable


class SegmentPanel(Panel, VTKObservationMixin):
    """Model and volumes above, the run below them, results at the bottom."""

    name = "Segment"

    def __init__(self, host: Any) -> None:
        Panel.__init__(self, host)
        VTKObservationMixin.__init__(self)
        self._canceled = False
        self._note = ""  # how the last run ended
        self._failed = False  # the message above the tabs says why
        self._choice: tuple[str, ...] | None = None  # model and volumes of the last run
        self._engineProblems: list[Problem] = []
        self._devices: list[Any] = []
        self._stale = True
        self._connections: Any = None
        self._sceneTimer = qt.QTimer()

    @property
    def title(self) -> str:
        """The tab's text, translated."""
        return _("Segment")

    @property
    def model(self) -> "dict[str, Any] | None":
        """The chosen model as the engine's `info` describes it, or a task of TotalSegmentator as one."""
        return self.models.model

    @property
    def running(self) -> bool:
        """True while something is being segmented, or weights are brought here."""
        return self.runner.run is not None or self.weights.busy

    # -- called by the module and other panels

    def setup(self) -> None:
        """Connect widgets; nothing is started."""
        ui = self.ui
        maps = (ui.probabilitiesCheckBox, ui.uncertaintyCheckBox)
        self._onlyVolumes = (ui.show3DCheckBox, *maps, ui.replaceCheckBox)
        self._onlyModels = (ui.foldsCombo, ui.fasterCheckBox, *maps)
        limited = dict.fromkeys((*self._onlyModels, *self._onlyVolumes))
        self._toolTips = [(widget, widget.toolTip) for widget in limited]
        self.runner = SegmentRunner(self._onProgress, self._onEnd)
        self.weights = TaskWeights(self.logic, ui, self._onProgress, self._onWeights)
        self.inputs = SegmentInputs(ui, self._showState)
        self.models = ModelChoice(self.logic, ui, self._showModel)
        self.results = SegmentResult(self.host, ui)
        self._sceneTimer.setSingleShot(True)
        self._sceneTimer.connect("timeout()", self._onSceneChanged)
        for button, action in (
            (ui.refreshButton, self.refresh),
            (ui.segmentButton, self.segment),
            (ui.cancelButton, self.cancel),
        ):
            button.connect("clicked()", action)
        ui.foldsCombo.connect("activated(int)", self._onFoldsChosen)
        ui.deviceCombo.connect("activated(int)", self._onDeviceChosen)
        ui.resampleCheckBox.connect("toggled(bool)", self._showState)
        ui.advancedSection.connect("contentsCollapsed(bool)", self._onAdvanced)
        self.models.take()

    def enter(self) -> None:
        """The user opens the tab."""
        super().enter()
        events = slicer.vtkMRMLScene
        for event in (events.NodeAddedEvent, events.NodeRemovedEvent, events.EndImportEvent):
            if not self.hasObserver(slicer.mrmlScene, event, self._onSceneEvent):
                self.addObserver(slicer.mrmlScene, event, self._onSceneEvent)
        self.inputs.refresh()
        if self._stale:
            self.refresh()
        self._showState()

    def exit(self) -> None:
        """The user goes elsewhere; a run goes on."""
        super().exit()
        self.removeObservers()

    def cleanup(self) -> None:
        """The module ends: end the run, remove its files."""
        self.removeObservers()
        self._sceneTimer.stop()
        self.runner.close()
        self.weights.close()

    def setParameters(self, parameters: Any) -> None:
        """Another scene: show its choices."""
        if self._connections is not None:
            old, tag = self._connections
            old.disconnectGui(tag)
            self._connections = None
        self.inputs.setParameterNode(parameters.parameterNode if parameters is not None else None)
        self.models.setParameters(None)
        if parameters is None:
            if slicer.mrmlScene.IsClosing():
                self._choice = ()  # IDs of nodes come again in the next scene
            if self.runner.run is not None and slicer.mrmlScene.IsClosing():
                self.cancel()
                self.host.showMessage(_("The scene was closed, so its segmentation was canceled."))
            return
        self._connections = (parameters, parameters.connectGui(self.ui))
        self.inputs.mode = parameters.segmentInput
        self.models.setParameters(parameters)
        self.results.show()

    def changed(self, topic: str) -> None:
        """Something changed elsewhere: look again when the tab is open next."""
        self._stale = True
        if topic == "engine":
            self._devices = []
        if self.entered:
            self.refresh()

    def selectModel(self, path: str) -> None:
        """Choose a model by its folder; also one that is not listed yet."""
        if not self.models.select(path):
            self.refresh()

    def refresh(self) -> None:
        """Look again which models there are."""
        self._stale = False
        self._engineProblems = []
        self.logic.refresh(self.models.take, self._onEngineProblems, tasks=True)

    # -- model

    def _onEngineProblems(self, problems: list[Problem]) -> None:
        self._engineProblems = list(problems)
        self._showState()

    def _showModel(self) -> None:
        model, combo = self.model, self.ui.foldsCombo
        folds = [str(fold) for fold in (model or {}).get("folds") or (model or {}).get("unfinished") or []]
        chosen = self.parameters.segmentFolds if self.parameters is not None else ""
        combo.clear()
        combo.addItem(_("all trained folds") if len(folds) != 1 else _("fold {fold}").format(fold=folds[0]), "")
        for fold in folds if len(folds) > 1 else []:
            combo.addItem(_("fold {fold}").format(fold=fold), fold)
        combo.currentIndex = max(0, combo.findData(chosen))
        self.inputs.setModel(model)
        self._showState()

    # -- options

    def options(self) -> SegmentOptions:
        """What is chosen under Advanced."""
        ui, volumes = self.ui, self.inputs.mode != SEQUENCE
        fold = ui.foldsCombo.itemData(ui.foldsCombo.currentIndex) or ""
        return SegmentOptions(
            folds=(fold,) if fold else (),
            faster=ui.fasterCheckBox.checked,
            device=self.logic.settings.device,
            resample=ui.resampleCheckBox.checked,
            weights=self.logic.settings.taskWeights,
            show3D=ui.show3DCheckBox.checked and volumes,
            probabilities=ui.probabilitiesCheckBox.checked and volumes,
            uncertainty=ui.uncertaintyCheckBox.checked and volumes,
            replace=ui.replaceCheckBox.checked and volumes,
        )

    def _onFoldsChosen(self, _index: int) -> None:
        if self.parameters is not None:
            self.parameters.segmentFolds = self.ui.foldsCombo.itemData(self.ui.foldsCombo.currentIndex) or ""

    def _onDeviceChosen(self, _index: int) -> None:
        self.logic.settings.device = self.ui.deviceCombo.itemData(self.ui.deviceCombo.currentIndex)

    def _onAdvanced(self, collapsed: bool) -> None:
        if collapsed:
            return
        fillDevices(self.ui.deviceCombo, self._devices, self.logic.settings.device)
        if not self._devices:
            self.logic.request(["doctor"], self._onDoctor)

    def _onDoctor(self, results: dict[str, dict[str, Any]]) -> None:
        self._devices = results.get("doctor", {}).get("devices") or []
        fillDevices(self.ui.deviceCombo, self._devices, self.logic.settings.device)

    # -- state

    def problems(self) -> list[Problem]:
        """What keeps the button from being pressed."""
        missing = self._setupProblems()
        if missing:
            return missing
        problems = problemsOfModel(self.model) or problemsOfMode(self.model, self.inputs.mode)
        if problems or self.inputs.mode == SEQUENCE:
            if not problems and self.inputs.sequence is None:
                problems = [Problem(_("No sequence is chosen."), _("Load a sequence of volumes and choose it."))]
            return problems
        return problemsOfInput(self.model, self.inputs.cases, self.ui.resampleCheckBox.checked)

    def _setupProblems(self) -> list[Problem]:
        """What has to be done in the Setup tab first."""
        try:
            checkInstalled(self.logic.settings, training=True)
        except UserProblem as problem:
            return problem.problems
        return self._engineProblems

    def _showState(self, *_args: Any) -> None:
        """Bring buttons and texts up to date."""
        ui, model, problems = self.ui, self.model, self.problems()
        if self.parameters is not None:
            self.parameters.segmentInput = self.inputs.mode
        self._forgetEnd()
        ui.modelInfoLabel.text = self.models.infoText()
        ui.modelInfoLabel.setVisible(model is not None)
        ui.inputFrame.enabled = ui.advancedSection.enabled = not self.running
        self.weights.show(model, self.running)
        sequence = _("Not for sequences") if self.inputs.mode == SEQUENCE else ""
        task = _("Not for TotalSegmentator's tasks") if model is not None and "task" in model else ""
        for widget, toolTip in self._toolTips:
            reasons = (sequence if widget in self._onlyVolumes else "", task if widget in self._onlyModels else "")
            enable(widget, next(filter(None, reasons), ""), toolTip)
        ui.segmentButton.enabled = not problems and not self.running
        ui.segmentButton.toolTip = str(problems[0]) if problems else _("Segment with the chosen model")
        ui.cancelButton.setVisible(self.running)
        ui.progressBar.setVisible(self.running)
        ui.setupButton.setVisible(bool(self._setupProblems()))
        if not self.running:
            self._showStatus("\n".join(str(problem) for problem in problems[:3]) or self._note)

    def _showStatus(self, text: str) -> None:
        self.ui.statusLabel.text = text
        self.ui.statusLabel.setVisible(bool(text))

    def _chosen(self) -> tuple[str, ...]:
        return (str((self.model or {}).get("path") or ""), *self.inputs.choice)

    def _forgetEnd(self) -> None:
        """How the last run ended is not said of other volumes or another model."""
        if self.running or self._choice is None or self._choice == self._chosen():
            return
        self._note, self._choice = "", None
        if self._failed:
            self._failed = False
            self.host.clearMessage()

    def _onSceneEvent(self, _caller: Any, _event: Any) -> None:
        self._sceneTimer.start(0)  # many nodes come at once, and a new one has no name and voxels yet

    def _onSceneChanged(self) -> None:
        if self.entered:
            self.inputs.refresh()
            self._showState()

    # -- run

    def segment(self) -> None:
        """Segment what is chosen."""
        if self.running:
            return
        self.host.clearMessage()
        self._note, self._failed, self._choice = "", False, self._chosen()
        try:
            checkInstalled(self.logic.settings, training=True)
            engine, inputs = self.logic.engine, self.inputs
            self.runner.start(Segmentation(engine, self.model or {}, inputs.cases, self.options(), inputs.sequence))
        except UserProblem as problem:
            self._failed = True
            self.host.showProblems(problem.problems)
        self._showState()

    def cancel(self) -> None:
        """End the run; the scene stays as it is."""
        self._canceled = True
        self.ui.cancelButton.enabled = False
        self.runner.cancel()
        self.weights.cancel()

    def _onProgress(self, share: float, text: str) -> None:
        self.ui.progressBar.value = round(1000 * share)
        self.ui.cancelButton.enabled = not (self.runner.loading or self._canceled)
        self._showStatus(text)

    def _onEnd(self, nodes: list[Any], problems: list[Problem]) -> None:
        canceled, self._canceled = self._canceled, False
        if not canceled:  # a volume may have gone meanwhile
            self._choice = self._chosen()
        if nodes:
            done = _("Done: {names}").format(names=", ".join(node.GetName() for node in nodes))
            missed = ", ".join(dict.fromkeys(problem.case for problem in problems if problem.case))
            missing = [_("Not segmented: {names}").format(names=missed)] if missed else []
            warnings = [text for text in map(str, self.runner.warnings) if text not in map(str, problems)]
            self._note = "\n".join([done, *missing, *dict.fromkeys(warnings)])
        elif canceled and not problems:
            self._note = _("Canceled.")
        self._showState()
        if nodes:
            shown = shownOf(nodes[-1])
            self.results.choose(shown)
            showAlone(next(iter(volumesOf(shown)), None), shown, keepOwn=True)
        if problems and not canceled:
            self._failed = True
            self.host.showProblems(problems, "" if self.runner.loading else _("The segmentation failed"))

    def _onWeights(self, done: str, problems: list[Problem]) -> None:
        self._canceled = False
        if problems:
            self.host.showProblems(problems, _("The weights were not brought here"))
        elif done:
            self.host.showMessage(done)
        self._showState()
        self.refresh()
