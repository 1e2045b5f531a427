"""Weights of a task that are missing: what is said about them, and how they get here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Follower import JobFollower
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Segment import Tasks
from SegAutoConfigGui.Widgets.Tables import enable
from segautoconfiglib.base.workspace import Workspace

ZIP_FILTER = "*.zip"


class TaskWeights:
    """The lines and buttons below a task that can't be run yet. One thing is done at a time.

    Args:
        logic: The module's.
        ui: The Segment panel's widgets.
        onProgress: Gets what is done of the whole (0..1) and a text.
        onEnd: Gets what is said of success (empty: canceled), and a list of Problem.
    """

    def __init__(
        self,
        logic: Any,
        ui: Any,
        onProgress: Callable[[float, str], None],
        onEnd: Callable[[str, list[Problem]], None],
    ) -> None:
        self.logic, self.ui = logic, ui
        self._onProgress, self._onEnd = onProgress, onEnd
        self._model: dict[str, Any] | None = None
        self._job: Any = None
        self._follower: JobFollower | None = None
        self._doing = self._done = ""
        ui.downloadButton.connect("clicked()", self.download)
        ui.importWeightsButton.connect("clicked()", self.importDialog)
        ui.weightsFolderButton.connect("clicked()", self.folderDialog)

    @property
    def busy(self) -> bool:
        """True while weights are being fetched or imported."""
        return self._follower is not None

    def show(self, model: "dict[str, Any] | None", blocked: bool) -> None:
        """Say what is missing of a model that is a task; nothing of others.

        Args:
            model: The chosen one.
            blocked: Something runs.
        """
        ui, self._model = self.ui, model
        wanted = model is not None and "task" in model and bool(model["missing"] or model["problem"])
        ui.weightsFrame.setVisible(wanted)
        if not wanted:
            return
        ui.weightsLabel.text = Tasks.missingText(model)
        ui.weightsLabel.setVisible(bool(model["missing"]))
        addresses = "\n".join(str(one["address"] or one["dataset"]) for one in model["missing"])
        ui.weightsLabel.toolTip = addresses
        busy = _("Something is being done already.") if blocked else ""
        closed = "" if Tasks.canDownload(model) else _("These weights are not published without a license key.")
        fetch = [_("Shows first what is fetched, and its license. In a terminal:"), Tasks.terminalLine(model)]
        enable(ui.downloadButton, busy or closed, "\n".join(fetch))
        enable(ui.importWeightsButton, busy, _("Take weights from a zip file as TotalSegmentator publishes them"))
        enable(ui.weightsFolderButton, busy, _("Use the weights in a folder, where they are; nothing is copied"))

    def download(self) -> None:
        """Fetch what is missing, after a question."""
        model = self._model
        folder = Workspace.at(self.logic.settings.workspace).task_weights().target
        if model is None or not slicer.util.confirmOkCancelDisplay(Tasks.downloadQuestion(model, folder)):
            return
        doing = _("Downloading the weights of {task}").format(task=model["title"])
        self._run(Tasks.downloadCommand(model), doing, _("The weights of {task} are here.").format(task=model["title"]))

    def importDialog(self) -> None:
        """Ask for a zip file and import it."""
        title, start = _("Import weights of TotalSegmentator"), self.logic.settings.lastFolder
        file = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, start, ZIP_FILTER)
        if file:
            self.importFile(Path(file))

    def importFile(self, file: Path) -> None:
        """Import the weights of a zip file; damaged ones are replaced."""
        self.logic.settings.lastFolder = str(file.parent)
        command = ["totalseg_import_weights", "-i", str(file)]
        damaged = self._model is not None and self._model["problem"]
        doing, done = _("Importing {file}").format(file=file.name), _("{file} was imported.").format(file=file.name)
        self._run([*command, "--overwrite"] if damaged else command, doing, done)

    def folderDialog(self) -> None:
        """Ask for a folder of weights."""
        title, start = _("Folder with weights of TotalSegmentator"), self.logic.settings.lastFolder
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, start)
        if folder:
            self.useFolder(Path(folder))

    def useFolder(self, folder: Path) -> None:
        """Look for weights in a folder from now on, too."""
        self.logic.settings.lastFolder = self.logic.settings.taskWeights = str(folder)
        self._onEnd(_("Weights are looked for in {folder}, too.").format(folder=folder), [])

    def cancel(self) -> None:
        """End what runs; what is complete stays."""
        if self._job is None:
            return
        self._onProgress(0.0, _("Canceling ..."))
        try:
            self._job.stop()
        except UserProblem:
            self._job.kill()

    def close(self) -> None:
        """The window goes away: end everything, call nothing."""
        if self._follower is not None:
            self._follower.stop()
        self._follower = self._job = None

    # -- the engine

    def _run(self, command: list[str], doing: str, done: str) -> None:
        if self.busy:
            return
        try:
            self._job = self.logic.engine.start(command, title=doing, temporary=True)
        except UserProblem as problem:
            self._onEnd("", problem.problems)
            return
        self._doing, self._done = doing, done
        self._follower = JobFollower(self._job, self._onEvents, self._onJobEnd)
        self._follower.start()
        self._onProgress(0.0, doing + " ...")

    def _onEvents(self, _events: list) -> None:
        job = self._job
        done, total = job.progress.get("done") or 0, job.progress.get("total") or 0
        if not job.stopping:
            self._onProgress(done / total if total else 0.0, self._doing + " ...")

    def _onJobEnd(self, job: Any) -> None:
        self.close()
        if job.state == job.FINISHED:
            self._onEnd(self._done, [])
        else:
            self._onEnd("", [] if job.state == job.STOPPED else job.problems)
