"""The SegAutoConfig module of 3D Slicer: from segments in the scene to a trained network and back.

Slicer reads this file at every start, so it imports nothing heavy. What the panels do lies in the package
``SegAutoConfigGui`` beside it; the engine (``segautoconfiglib``) runs in processes of its own.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

#: The engine's folder in a source checkout; installed, both lie side by side on Python's path.
ENGINE_CHECKOUT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "SegAutoConfigLib"))


#: How long a short command may take to stop when the module is closed (seconds).
STOP_SECONDS = 3.0
#: How long listing TotalSegmentator's tasks may take (seconds).
LIST_SECONDS = 120.0


def _findEngine() -> None:
    """Make ``segautoconfiglib`` importable when the module runs from a source checkout."""
    if os.path.isdir(os.path.join(ENGINE_CHECKOUT, "segautoconfiglib")) and ENGINE_CHECKOUT not in sys.path:
        sys.path.append(ENGINE_CHECKOUT)


class SegAutoConfig(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SegAutoConfig")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["SegAutoConfig contributors"]
        self.parent.helpText = _(
            "Trains a segmentation network from your own segmentations and applies it to new volumes. "
            "Collect cases under Dataset, press Train, then Segment."
        )
        self.parent.acknowledgementText = _(
            "The method follows nnU-Net (Isensee et al., Nature Methods 2021); please cite it in publications."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the tutorial's cases in the Sample Data module; they are made when they are asked for."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="SegAutoConfig",
        sampleName="Demo cases",
        uris="",
        fileNames="",
        nodeNames="Demo cases",
        thumbnailFileName=os.path.join(os.path.dirname(__file__), "Resources", "Icons", "SegAutoConfig.png"),
        customDownloader=loadSampleData,
    )


def loadSampleData(source=None) -> None:
    """Make the tutorial's five cases and load them; four have a segmentation."""
    _findEngine()
    from SegAutoConfigGui.Problems import UserProblem
    from SegAutoConfigGui.Scene.DemoCases import loadDemoCases

    try:
        with slicer.util.WaitCursor():
            loadDemoCases(SegAutoConfigLogic().engine, pump=slicer.app.processEvents)
    except UserProblem as problem:
        slicer.util.errorDisplay(str(problem), windowTitle=_("SegAutoConfig"))


class SegAutoConfigWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: tabs (one class each in ``SegAutoConfigGui``), and one place for messages above them.

    It is the ``host`` of the tabs: they reach the logic, the scene's parameters and each other through it.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: SegAutoConfigLogic | None = None
        self.parameters = None
        self.panels: dict[str, Any] = {}
        self.tabs = None
        self._messageBar = None

    def setup(self):
        """Build the panel. Nothing is started and nothing but widgets is made."""
        ScriptedLoadableModuleWidget.setup(self)
        _findEngine()
        from SegAutoConfigGui.Panels import makePanels
        from SegAutoConfigGui.Widgets.MessageBar import MessageBar

        root = slicer.util.loadUI(self.resourcePath("UI/SegAutoConfig.ui"))
        self.layout.addWidget(root)
        self.ui = slicer.util.childWidgetVariables(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic = SegAutoConfigLogic()
        self._messageBar = MessageBar(self.ui)
        # A bar and pages of which the others are hidden: in a QTabWidget each page is as high as the highest one.
        self.tabs = qt.QTabBar()
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        root.layout().insertWidget(1, self.tabs)
        for panel in makePanels(self):
            self.panels[panel.name] = panel
            self.tabs.addTab(panel.title)
            root.layout().addWidget(panel.root)
            panel.root.setVisible(panel is self.currentPanel)
            panel.root.setMRMLScene(slicer.mrmlScene)
            panel.setup()
        self.tabs.connect("currentChanged(int)", self._onTabChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._onSceneEndImport)

    def enter(self):
        """The user opens the module."""
        self._useParameters()
        self.currentPanel.enter()

    def exit(self):
        """The user goes to another module: jobs go on, their panels keep following them."""
        self.currentPanel.exit()

    def cleanup(self):
        """The module is reloaded or Slicer ends: nothing of the panel may be called any more. Trainings go on."""
        self.removeObservers()
        self._setParameters(None)
        for panel in self.panels.values():
            panel.cleanup()
        if self.logic is not None:
            self.logic.close()

    def onReload(self):
        """Read the files of the helper package again, too."""
        from SegAutoConfigGui.Panels import reloadPackage

        reloadPackage()
        ScriptedLoadableModuleWidget.onReload(self)

    # -- host of the panels

    @property
    def currentPanel(self):
        """The panel of the tab that is shown."""
        return list(self.panels.values())[self.tabs.currentIndex]

    def openPanel(self, name: str):
        """Show a tab ("Dataset", "Train", "Segment", "Models", "Setup") and return its panel."""
        self.tabs.currentIndex = list(self.panels).index(name)
        return self.panels[name]

    def showProblems(self, problems, title: str = "") -> None:
        """Show what went wrong and what to do, above the tabs; details on demand.

        Args:
            problems: One Problem, or several.
            title: Above several problems ("3 cases can't be exported").
        """
        self._messageBar.showProblems(problems, title)

    def showMessage(self, text: str) -> None:
        """Show a short note (something was finished) above the tabs."""
        self._messageBar.showText(text)

    def clearMessage(self) -> None:
        """Take away what was shown."""
        self._messageBar.clear()

    def notify(self, topic: str) -> None:
        """Tell all panels what changed: "datasets", "models" or "engine" (packages, Python, workspace)."""
        for panel in self.panels.values():
            panel.changed(topic)

    # -- scene

    def _useParameters(self) -> None:
        from SegAutoConfigGui.Parameters import Parameters

        self._setParameters(Parameters(self.logic.getParameterNode()))

    def _setParameters(self, parameters) -> None:
        if parameters and self.parameters and parameters.parameterNode is self.parameters.parameterNode:
            return
        self.parameters = parameters
        for panel in self.panels.values():
            panel.setParameters(parameters)

    def _onSceneStartClose(self, caller, event):
        self._setParameters(None)

    def _onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self._useParameters()

    def _onSceneEndImport(self, caller, event):
        self._setParameters(None)  # the node may be the same, with another content
        if self.parent.isEntered:
            self._useParameters()

    def _onTabChanged(self, index: int) -> None:
        for number, panel in enumerate(self.panels.values()):
            panel.root.setVisible(number == index)
            if number != index and panel.entered:
                panel.exit()
        self.currentPanel.enter()


class SegAutoConfigLogic(ScriptedLoadableModuleLogic):
    """Scene and engine together, without a window; also for Slicer's Python console.

    Example::

        logic = SegAutoConfigLogic()
        job = logic.engine.start(["train", "Dataset001_Liver", "--budget", "20m"], title="Liver")
        job.wait(3600, slicer.app.processEvents)
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        _findEngine()
        from SegAutoConfigGui.Settings import Settings

        self.settings = Settings()
        self.datasets: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self._followers: list[Any] = []

    @property
    def engine(self):
        """The engine, for the workspace and the Python of the settings.

        Raises:
            UserProblem: the packages that it needs are not installed, the Python of the settings is not there, or the
                workspace can't be used.
        """
        from SegAutoConfigGui.Jobs.Engine import Engine
        from SegAutoConfigGui.Problems import UserProblem
        from SegAutoConfigGui.Settings import problemOfWorkspace
        from SegAutoConfigGui.Setup.Installer import checkInstalled, engineEnvironment

        checkInstalled(self.settings)
        problem = problemOfWorkspace(self.settings.workspace)
        if problem:
            message = _("The workspace can't be used: {problem}").format(problem=problem)
            raise UserProblem(message, _("Choose another workspace in the Setup tab."))
        return Engine(self.settings.pythonExecutable, self.settings.workspace, engineEnvironment(self.settings))

    def request(
        self,
        command: Sequence[str],
        onDone: Callable[[dict[str, dict[str, Any]]], None],
        onProblem: Callable[[Any], None] | None = None,
    ):
        """Run a short command of the engine in the background.

        Args:
            command: Words of the command line, such as ``["info"]``.
            onDone: Gets the data of the "done" events by stage.
            onProblem: Gets a list of Problem; the command's own, or that the engine can't be started.

        Returns:
            The job, or None where it could not be started.
        """
        from SegAutoConfigGui.Jobs.Follower import JobFollower
        from SegAutoConfigGui.Problems import UserProblem

        try:
            job = self.engine.start(list(command), temporary=True)
        except UserProblem as problem:
            if onProblem is not None:
                onProblem(problem.problems)
            return None

        def end(job):
            self._followers.remove(follower)
            try:
                if job.state == job.FINISHED:
                    onDone(job.results)
                elif onProblem is not None and job.problem is not None:
                    onProblem(job.problems)
            finally:
                job.discard()

        follower = JobFollower(job, onEnd=end, interval=50)
        self._followers.append(follower)
        follower.start()
        return job

    def refresh(
        self,
        onDone: Callable[[], None],
        onProblem: Callable[[Any], None] | None = None,
        tasks: bool = False,
    ) -> None:
        """Read again what there is: the attributes ``datasets`` and ``models``.

        Args:
            onDone: Called then.
            onProblem: As that of :meth:`request`.
            tasks: Also TotalSegmentator's, with the weights that are here: the attribute ``tasks``.
        """
        from SegAutoConfigGui.Segment.Tasks import weightsWords

        def take(results):
            info = results.get("info", {})
            self.datasets, self.models = info.get("datasets", []), info.get("models", [])
            if tasks:
                self.tasks = info.get("tasks", [])
            onDone()

        words = ["--tasks", *weightsWords(self.settings.taskWeights)] if tasks else []
        self.request(["info", *words], take, onProblem)

    def totalSegmentator(
        self,
        volume,
        task: str = "total",
        mode: str = "default",
        structures: Sequence[str] | None = None,
        pump: Callable[[], Any] | None = slicer.app.processEvents,
    ):
        """Segment a volume with a task of TotalSegmentator, and wait for the result.

        Args:
            volume: A volume node.
            task: Its name.
            mode: "default", "fast" or "fastest", where the task has it.
            structures: Names of those that are wanted; None: all.
            pump: Called again and again meanwhile; the default keeps Slicer's window alive.

        Returns:
            The segmentation node.

        Raises:
            UserProblem: there is no such task, its weights are missing, or something went wrong.
        """
        from SegAutoConfigGui.Problems import Problem, UserProblem
        from SegAutoConfigGui.Segment.Segmentation import Segmentation
        from SegAutoConfigGui.Segment.SegmentChoices import SegmentOptions
        from SegAutoConfigGui.Segment.Tasks import findTask, taskModel, weightsWords

        engine, weights = self.engine, self.settings.taskWeights
        job = engine.start(["totalseg_info", *weightsWords(weights)], temporary=True)
        if not job.wait(LIST_SECONDS, pump):
            job.kill()
            raise UserProblem(_("The list of tasks took longer than {seconds} s.").format(seconds=LIST_SECONDS))
        if job.state != job.FINISHED:
            raise UserProblem(job.problems or [Problem(_("Listing the tasks was canceled."))])
        row = findTask(job.results.get("tasks", {}).get("tasks", []), task, mode, structures)
        options = SegmentOptions(device=self.settings.device, weights=weights)
        (node,) = Segmentation(engine, taskModel(row, mode, structures), [[volume]], options).segment(pump)
        return node

    def close(self) -> None:
        """End short commands: nobody takes their answers any more. Their folders are removed."""
        from SegAutoConfigGui.Problems import UserProblem

        jobs = [follower.job for follower in self._followers]
        for follower in self._followers:
            follower.stop()
        self._followers.clear()
        for job in jobs:  # all are asked to stop before the first one is waited for
            with contextlib.suppress(UserProblem):
                job.stop()
        for job in jobs:
            with contextlib.suppress(UserProblem):
                if not job.wait(STOP_SECONDS):
                    job.kill()
                job.discard()


class SegAutoConfigTest(ScriptedLoadableModuleTest):
    """Slicer's self test: run by *Reload and Test* and by CTest in the real application.

    Needs nothing installed; where the engine is, it is started as well.
    """

    def setUp(self):
        slicer.mrmlScene.Clear()
        _findEngine()

    def test_everyTabOpens(self):
        """All forms load, and each tab can be shown."""
        slicer.util.selectModule("SegAutoConfig")
        widget = slicer.modules.SegAutoConfigWidget
        for name, panel in widget.panels.items():
            self.assertIs(widget.openPanel(name), panel)
            self.assertTrue(panel.root.visible)
        self.assertEqual(list(widget.panels), ["Dataset", "Train", "Segment", "Models", "Setup"])

    def test_segmentsSurviveTheWayThroughFiles(self):
        """An exported label map is Slicer's own export, and comes back as the same segments."""
        import numpy as np

        from SegAutoConfigGui.Scene.Cases import Case
        from SegAutoConfigGui.Scene.Export import exportCases
        from SegAutoConfigGui.Scene.Labels import LabelTable
        from SegAutoConfigGui.Scene.Results import loadPrediction, readLabels

        volume, segmentation, masks = self._obliqueCase()
        table = LabelTable.fromSegmentations([segmentation])
        own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        ids = vtk.vtkStringArray()
        for name in masks:
            ids.InsertNextValue(name)
        slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(
            segmentation, ids, own, volume, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
        )
        folder = Path(slicer.util.tempDirectory())
        try:
            for _step in exportCases([Case("case", [volume], segmentation)], table, folder):
                pass
            file = folder / "case_labels.nrrd"
            self.assertTrue(np.array_equal(readLabels(file, volume), slicer.util.arrayFromVolume(own)))
            labels, order, segments = table.asDatasetLabels()
            model = {"labels": labels, "regions_class_order": order, "segments": segments}
            result = loadPrediction(file, volume, model)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for name, mask in masks.items():
            key = result.GetSegmentation().GetSegmentIdBySegmentName(name)
            self.assertTrue(
                np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(result, key, volume) > 0, mask), name
            )

    def test_theEngineAnswersOrSaysWhatIsMissing(self):
        """Without its packages, the user is sent to Setup; with them, a command runs in a process of its own."""
        from SegAutoConfigGui.Problems import UserProblem

        try:
            job = SegAutoConfigLogic().engine.start(["info"], temporary=True)
        except UserProblem as problem:
            self.assertIn("Setup", problem.problem.hint)
            return
        job.wait(120, slicer.app.processEvents)
        self.assertEqual(job.state, job.FINISHED, job.problems)
        self.assertIn("datasets", job.results["info"])

    def _obliqueCase(self):
        """A turned and flipped volume with two segments side by side: volume, segmentation, masks by segment id."""
        import numpy as np

        shape = (9, 12, 10)
        volume = slicer.util.addVolumeFromArray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), name="case")
        turned = vtk.vtkMatrix4x4()
        for row, values in enumerate(((0.0, -0.8, 0.0, 5.0), (0.7, 0.0, 0.0, -3.0), (0.0, 0.0, -2.5, 40.0))):
            for column, value in enumerate(values):
                turned.SetElement(row, column, value)
        volume.SetIJKToRASMatrix(turned)
        masks = {"liver": np.zeros(shape, bool), "spleen": np.zeros(shape, bool)}
        masks["liver"][2:6, 1:7, 2:5] = True
        masks["spleen"][3:8, 2:9, 6:9] = True
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name, mask in masks.items():
            segmentation.GetSegmentation().AddEmptySegment(name, name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, name, volume)
        return volume, segmentation, masks
