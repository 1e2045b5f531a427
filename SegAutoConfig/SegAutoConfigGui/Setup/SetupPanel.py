"""The tab in which packages are installed, and the Python, the workspace and the devices are chosen and checked."""

import os
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Engine import Engine
from SegAutoConfigGui.Jobs.Follower import JobFollower
from SegAutoConfigGui.Panel import Panel
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Settings import problemOfWorkspace
from SegAutoConfigGui.Setup import SetupTexts as texts
from SegAutoConfigGui.Setup.ExternalPython import PythonCheck, pipCommand
from SegAutoConfigGui.Setup.Installer import Installation, checkInstalled, engineEnvironment, installTorch
from SegAutoConfigGui.Setup.Requirements import DATASET_PACKAGES, TORCH, TRAINING_PACKAGES, missing
from SegAutoConfigGui.Widgets.Tables import enable, fillTable, fitHeight, prepareTable

#: Between two looks at an installation (milliseconds).
POLL_MS = 200
#: After the last letter that was typed into a path (milliseconds).
TYPING_MS = 700
BAD_STYLE = "color: #c0392b;"
#: Places in the combo box.
OWN, EXTERNAL = 0, 1


class SetupPanel(Panel):
    """Python and packages, workspace, computer."""

    name = "Setup"

    @property
    def title(self) -> str:
        """The tab's text, translated."""
        return _("Setup")

    @property
    def busy(self) -> bool:
        """True while something is installed or a Python is checked."""
        return self._work is not None or self._follower is not None

    # -- called by the module

    def setup(self) -> None:
        """Connect widgets; nothing is started."""
        ui = self.ui
        self._work: Installation | PythonCheck | None = None
        self._job: Any = None
        self._follower: JobFollower | None = None
        self._version = ""
        self._external: str | None = None  # what was found out about the external Python
        self._pollTimer, self._typingTimer = qt.QTimer(), qt.QTimer()
        self._pollTimer.setInterval(POLL_MS)
        self._pollTimer.connect("timeout()", self._onPoll)
        self._typingTimer.setSingleShot(True)
        self._typingTimer.setInterval(TYPING_MS)
        self._typingTimer.connect("timeout()", self._takePaths)
        ui.logEdit.setVisible(False)
        for button, action in (
            (ui.installDatasetsButton, self.installDatasets),
            (ui.installTrainingButton, self.installTraining),
            (ui.cancelButton, self.cancel),
            (ui.checkButton, self.check),
            (ui.checkPythonButton, self.check),
            (ui.copyButton, self._copyCommand),
            (ui.openFolderButton, self._openFolder),
        ):
            button.connect("clicked()", action)
        ui.logButton.connect("toggled(bool)", ui.logEdit.setVisible)
        ui.pythonCombo.currentIndex = EXTERNAL if self.logic.settings.externalPython else OWN
        ui.externalPath.currentPath = self.logic.settings.externalPython
        ui.workspacePath.currentPath = str(self.logic.settings.workspace)
        ui.pythonCombo.connect("currentIndexChanged(int)", self._onPythonChosen)
        ui.externalPath.connect("currentPathChanged(QString)", self._onPathTyped)
        ui.workspacePath.connect("currentPathChanged(QString)", self._onPathTyped)
        prepareTable(ui.deviceTable, stretched=1)
        ui.deviceTable.setVisible(False)
        ui.findingsLabel.setVisible(False)
        self._showWork("")
        self._showState()

    def enter(self) -> None:
        """The user opens the tab."""
        super().enter()
        self._showState()

    def cleanup(self) -> None:
        """The module ends: an installation is ended, too."""
        self._pollTimer.stop()
        self._typingTimer.stop()
        if self._follower is not None:
            self._follower.stop()
        if isinstance(self._work, Installation):
            self._work.cancel()
        elif self._work is not None:
            self._work.close()
        self._work = self._job = self._follower = None

    def changed(self, topic: str) -> None:
        """Something changed elsewhere."""
        self._showState()

    # -- choices

    def _onPythonChosen(self, index: int) -> None:
        self._external = None
        self._takePaths()
        self._showState()

    def _onPathTyped(self, _path: str = "") -> None:
        self._typingTimer.start()
        self._showPython(self.ui.pythonCombo.currentIndex == EXTERNAL)  # nothing is known of what is typed now

    def _typedPython(self) -> str:
        ui = self.ui
        return str(ui.externalPath.currentPath or "").strip() if ui.pythonCombo.currentIndex == EXTERNAL else ""

    def _typedWorkspace(self) -> str:
        return str(self.ui.workspacePath.currentPath or "").strip()

    def _takePaths(self) -> None:
        """Take what was chosen or typed, where it makes sense."""
        self._typingTimer.stop()
        settings = self.logic.settings
        python, folder = self._typedPython(), self._typedWorkspace()
        news = False
        if python != settings.externalPython:
            if self.busy and not isinstance(self._work, Installation):  # a check of the one before
                self.cancel()
                self._showWork("")
            settings.externalPython, self._external, news = python, None, True
        if not problemOfWorkspace(folder) and Path(folder).expanduser() != settings.workspace:
            settings.workspace, news = Path(folder).expanduser(), True
        if news:
            self.host.notify("engine")
        self._showState()

    # -- state

    def _showState(self) -> None:
        """Bring texts and buttons up to date."""
        ui, settings, external = self.ui, self.logic.settings, self.ui.pythonCombo.currentIndex == EXTERNAL
        for widget in (ui.externalLabel, ui.externalPath, ui.checkPythonButton):
            widget.setVisible(external)
        ui.packagesFrame.setVisible(not external)
        self._showPython(external)
        self._showWorkspace()
        checking = _("Something is being installed or checked.") if self.busy else ""
        unknown = _("Choose the program first.") if external and not settings.externalPython else ""
        computer = _("Look for devices, memory and disk space, and try a small computation")
        enable(ui.checkButton, checking or unknown, computer)
        enable(ui.checkPythonButton, checking or unknown, _("Start this Python and see what it has"))
        exists = settings.workspace.is_dir()
        enable(ui.openFolderButton, "" if exists else _("It is made when it is first needed."), _("Show the folder"))

    def _showWorkspace(self) -> None:
        """The free space, or what keeps the folder that was typed from being used."""
        label, used, typed = self.ui.spaceLabel, self.logic.settings.workspace, self._typedWorkspace()
        problem = problemOfWorkspace(typed)
        text = problem or texts.spaceText(used)
        if problem and not problemOfWorkspace(used):
            text = _("{problem} Still used: {folder}").format(problem=problem, folder=used)
        label.text = text
        label.setStyleSheet(BAD_STYLE if problem else "")

    def _showPython(self, external: bool) -> None:
        ui, settings = self.ui, self.logic.settings
        problem = ""
        try:
            checkInstalled(settings)
        except UserProblem as error:
            problem = str(error) if external or "Python" in str(error) else ""
        if external:
            text = problem or self._external or _('Press "Check" to see what it has.')
            if not settings.externalPython:
                text = _("Choose a Python that has the packages, such as that of a conda environment with torch.")
            known = self._typedPython() == settings.externalPython
            ui.pythonStatus.text = text if known else _('Press "Check" to see what it has.')
            ui.pythonStatus.setVisible(True)
            ui.commandFrame.setVisible(bool(ui.commandEdit.text) and self._external is not None and known)
            return
        ui.pythonStatus.text = problem
        ui.pythonStatus.setVisible(bool(problem))
        ui.commandFrame.setVisible(False)
        datasets, training = missing(DATASET_PACKAGES), missing((TORCH, *TRAINING_PACKAGES))
        ui.datasetsStatus.text, ui.trainingStatus.text = texts.datasetsText(datasets), texts.trainingText(training)
        ui.intoLabel.text = texts.intoText()
        ui.intoLabel.setVisible(bool(datasets or training))
        busy = _("Something is being installed or checked.") if self.busy else ""
        there = _("Everything is installed.")
        enable(ui.installDatasetsButton, busy or problem or ("" if datasets else there), _("Install these packages"))
        enable(ui.installTrainingButton, busy or problem or ("" if training else there), _("Install these packages"))

    def _showWork(self, text: str) -> None:
        ui = self.ui
        working = self.busy
        ui.workFrame.setVisible(working)
        ui.cancelButton.toolTip = _("End it; what is installed already stays")
        ui.workStatus.text = text
        log = self._work.log if isinstance(self._work, Installation) else ""
        if log and log != ui.logEdit.plainText:
            ui.logEdit.setPlainText(log)
            ui.logEdit.verticalScrollBar().value = ui.logEdit.verticalScrollBar().maximum
        ui.logButton.setVisible(bool(ui.logEdit.plainText))
        ui.workStatus.setVisible(bool(text) or bool(ui.logEdit.plainText))  # keeps the button at the right

    # -- installing

    def installDatasets(self) -> None:
        """Install the small packages in the background."""
        self._install(missing(DATASET_PACKAGES))

    def installTraining(self) -> None:
        """Install torch, then what else training needs, and what datasets need."""
        self.host.clearMessage()
        if TORCH in missing((TORCH,)):
            self._showWork(_("torch is being installed; Slicer does not answer meanwhile ..."))
            slicer.app.processEvents()
            try:
                installTorch()
            except UserProblem as problem:
                self._showWork("")
                self.host.showProblems(problem.problems)
                self._showState()
                return
            self._showWork("")
        self._install([*missing(DATASET_PACKAGES), *missing(TRAINING_PACKAGES)])

    def _install(self, packages: list[str]) -> None:
        self.host.clearMessage()
        if not packages:
            self._installed()
            return
        try:
            self._work = Installation(packages)
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
            return
        self.ui.logEdit.setPlainText("")
        self._showWork(_("Starting ..."))
        self._showState()
        self._pollTimer.start()

    def cancel(self) -> None:
        """End what is running."""
        work, self._work = self._work, None
        self._pollTimer.stop()
        if isinstance(work, Installation):
            work.cancel()
        elif work is not None:
            work.close()
        if self._follower is not None:
            self._follower.stop()
        self._follower = self._job = None
        self._showWork(_("Canceled."))
        self._showState()

    def _onPoll(self) -> None:
        work = self._work
        if work is None:
            self._pollTimer.stop()
            return
        work.poll()
        if isinstance(work, Installation):
            self._showWork(work.lastLine if work.running else "")
        if work.running:
            return
        self._pollTimer.stop()
        self._work = None
        if isinstance(work, Installation):
            self._onInstallationEnd(work)
        else:
            self._onVersion(work)

    def _onInstallationEnd(self, work: Installation) -> None:
        if work.problem is not None:
            self._showWork(_("The installation failed."))
            self.host.showProblems(work.problem)
            self._showState()
            return
        self._showWork("")
        self._installed(work.packages)

    def _installed(self, packages: "list[str] | tuple[str, ...]" = ()) -> None:
        absent = missing(packages)
        if absent:
            message = _("{names} were installed, but Slicer does not see them yet.").format(names=", ".join(absent))
            self.host.showProblems(Problem(message, _("Restart Slicer.")))
        else:
            self.host.showMessage(_("Installed. No restart is needed."))
        self.host.notify("engine")
        self._showState()

    # -- checking

    def check(self) -> None:
        """Ask the chosen Python what it and the computer have."""
        self._takePaths()
        if self.busy:
            return
        self.host.clearMessage()
        settings = self.logic.settings
        try:
            if settings.externalPython:
                checkInstalled(settings)
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
            self._showState()
            return
        self._version = ""
        if settings.externalPython:
            self._work = PythonCheck(settings.pythonExecutable, engineEnvironment(settings))
            self._pollTimer.start()
        else:
            self._startDoctor()
        if self.busy:
            self._showWork(_("Checking; the first time this takes up to a minute ..."))
        self._showState()

    def _onVersion(self, work: PythonCheck) -> None:
        if work.problem is not None:
            self._external = work.problem.message
            self.ui.commandEdit.text = ""
            self.host.showProblems(work.problem)
            self._showWork("")
        else:
            self._version = work.version
            self._startDoctor()
        self._showState()

    def _startDoctor(self) -> None:
        settings = self.logic.settings
        try:  # without looking for packages first: telling which are missing is what it is for
            engine = Engine(settings.pythonExecutable, settings.workspace, engineEnvironment(settings))
            self._job = engine.start(["doctor"], temporary=True)
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
            self._showWork("")
            return
        self._follower = JobFollower(self._job, onEnd=self._onDoctor)
        self._follower.start()

    def _onDoctor(self, job: Any) -> None:
        self._follower = self._job = None
        doctor = job.results.get("doctor") or {}
        devices = doctor.get("devices") or []
        reasons = [str(device.get("reason") or device.get("name") or "") for device in devices]
        fillTable(self.ui.deviceTable, [texts.deviceRow(device) for device in devices], reasons)
        fitHeight(self.ui.deviceTable)
        self.ui.findingsLabel.text = texts.findingsText(doctor)
        self.ui.deviceTable.setVisible(bool(devices))
        self.ui.findingsLabel.setVisible(bool(doctor))
        absent = doctor.get("missing") or []
        if self.logic.settings.externalPython and doctor:
            self._external = texts.externalText(self._version, doctor)
            self.ui.commandEdit.text = pipCommand(self.logic.settings.pythonExecutable, absent) if absent else ""
            self.ui.commandEdit.cursorPosition = 0  # its beginning is what is read
        others = [problem for problem in job.problems if not _isAbout(problem, absent)]
        if others:
            self.host.showProblems(others)
        self._showWork("")
        self._showState()

    # -- small things

    def _copyCommand(self) -> None:
        qt.QApplication.clipboard().setText(self.ui.commandEdit.text)

    def _openFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(os.fspath(self.logic.settings.workspace)))


def _isAbout(problem: Problem, packages: Any) -> bool:
    """True for a problem that only says that one of these packages is missing; the panel says so itself."""
    return any(problem.message.startswith(f"{name} ") for name in packages) or (
        bool(packages) and problem.message.endswith(f": {', '.join(packages)}.")
    )
