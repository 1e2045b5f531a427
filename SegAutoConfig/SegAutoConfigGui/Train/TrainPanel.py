"""The tab in which networks are trained and trainings are watched."""

from dataclasses import asdict
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Engine import Engine
from SegAutoConfigGui.Jobs.LogText import linesOf
from SegAutoConfigGui.Panel import Panel
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Setup.Installer import checkInstalled
from SegAutoConfigGui.Train.PreviewSection import PreviewSection
from SegAutoConfigGui.Train.TrainCommand import foregroundNames, reasonNotToTrain, trainCommand
from SegAutoConfigGui.Train.TrainForm import TrainForm
from SegAutoConfigGui.Train.Trainings import Training, Trainings
from SegAutoConfigGui.Train.TrainingView import TrainingView
from SegAutoConfigGui.Widgets.Tables import enable


class TrainPanel(Panel):
    """New trainings above, the trainings of the workspace below."""

    name = "Train"

    @property
    def title(self) -> str:
        """The tab's text, translated."""
        return _("Train")

    def setup(self) -> None:
        """Connect widgets; nothing is started."""
        ui = self.ui
        self.form = TrainForm(ui, self._onChoice)
        self.view = TrainingView(ui)
        self.trainings = Trainings(self._onNews, self._onEnd)
        self.previewSection = PreviewSection(ui, self.logic, self.host.showProblems)
        self._workspace = None
        self._askingDevices = False
        self._engineProblems: list[Problem] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(1000)
        self._timer.connect("timeout()", self._onSecond)
        for button, action in (
            (ui.refreshButton, self.refresh),
            (ui.trainButton, self.train),
            (ui.dismissButton, self._dismiss),
            (ui.stopButton, self._stop),
            (ui.resumeButton, self._resume),
            (ui.curvesButton, self.showCurves),
            (ui.segmentButton, self._segment),
        ):
            button.connect("clicked()", action)
        for section in (ui.newSection, ui.advancedSection, ui.jobsSection):
            section.connect("contentsCollapsed(bool)", self._onSection)
        ui.reportButton.connect("toggled(bool)", self.view.showReport)
        ui.jobCombo.connect("activated(int)", self._onJobChosen)
        ui.curvesCombo.connect("activated(int)", self._onCurvesChosen)
        self.form.show()
        self._showTrainButton()
        self._showTrainings()

    # -- called by the module and other panels

    def enter(self) -> None:
        """The user opens the tab."""
        super().enter()
        self.refresh()
        self._timer.start()

    def exit(self) -> None:
        """The user goes elsewhere; trainings are followed further."""
        super().exit()
        self._timer.stop()

    def cleanup(self) -> None:
        """The module ends; trainings go on."""
        self._timer.stop()
        self.previewSection.close()
        self.trainings.close()

    def setParameters(self, parameters: Any) -> None:
        """Another scene: show its choices."""
        if parameters is not None:
            self.form.load(parameters)
            self._showTrainButton()

    def changed(self, topic: str) -> None:
        """Something changed elsewhere; entering the tab looks again, too."""
        if topic == "engine":
            self.form.devices = {}
        if self.entered:
            self.refresh()

    def selectDataset(self, dataset: str) -> None:
        """Choose a dataset by its full name, such as "Dataset001_Liver"."""
        self.form.choose(dataset=dataset, startFrom="")

    def continueFrom(self, modelPath: str, dataset: str) -> None:
        """Choose a dataset, and a model with whose weights the training is to begin."""
        self.form.choose(dataset=dataset, startFrom=str(modelPath))
        self.ui.advancedSection.collapsed = False

    def refresh(self) -> None:
        """Look again which datasets, models and trainings there are."""
        self._engineProblems = []
        self._findTrainings()
        self.logic.refresh(self._takeEntries, self._onEngineProblems)
        self._askDevices()

    # -- new training

    def train(self) -> None:
        """Start what is chosen, or resume what the fold holds."""
        reason = self._reason()
        if reason:
            self.host.showProblems(Problem(reason))
            return
        choices, earlier = self.form.choices, self.form.earlier
        if earlier is not None and choices.overwrite:
            question = _("Delete the earlier training of fold {fold} of {dataset} and train it again?")
            if not slicer.util.confirmOkCancelDisplay(question.format(fold=choices.fold, dataset=choices.dataset)):
                return
        self.host.clearMessage()
        try:
            engine = self._engine()
            training = self._sameTraining() if earlier is not None and not choices.overwrite else None
            if training is not None and not training.job.running:
                self.trainings.resume(engine, training)
            else:
                command = trainCommand(choices, earlier)
                training = self.trainings.start(engine, command, choices.dataset, self._details())
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
            return
        self._showTrainings(training)

    def _engine(self) -> Engine:
        """The engine, with all that training needs. Raises: UserProblem: something is missing."""
        checkInstalled(self.logic.settings, training=True)
        return self.logic.engine

    def _details(self) -> dict[str, Any]:
        """What is kept with the job: for the list, the curves, and to tell whether it is the same training."""
        choices, dataset = self.form.choices, self.form.dataset or {}
        segments = dataset.get("segments") or {}
        return {
            "dataset": choices.dataset,
            "fold": choices.fold,
            "names": foregroundNames(dataset.get("labels") or {}),
            "colors": {name: segment["color"] for name, segment in segments.items() if segment.get("color")},
            "minutes": choices.minutes if choices.timed else 0,
            "choices": asdict(choices),
        }

    def _sameTraining(self) -> "Training | None":
        """The training in the list that was started with what is chosen now."""
        choices = asdict(self.form.choices)
        return next((training for training in self.trainings.items if training.isSame(choices)), None)

    def _reason(self) -> str:
        if self._engineProblems:
            return str(self._engineProblems[0])
        same = self._sameTraining()
        busy = same is not None and same.job.running
        return reasonNotToTrain(self.form.choices, self.form.dataset, self.form.devices, busy)

    def _onSection(self, collapsed: bool) -> None:
        """A section was opened: hide in it what is not needed now."""
        if not collapsed:
            self.form.show()
            self._showTrainButton()
            self._showTrainings()

    def _onChoice(self) -> None:
        if self.parameters is not None:
            self.form.save(self.parameters)
        self.logic.settings.device = self.form.choices.device
        self._showTrainButton()

    def _showTrainButton(self) -> None:
        reason = self._reason()
        enable(self.ui.trainButton, reason, _("Start the training"))
        resumes = self.form.earlier is not None and not self.form.choices.overwrite
        self.ui.trainButton.text = _("Resume training") if resumes else _("Train")
        self.ui.setupFrame.setVisible(bool(self._engineProblems))
        self.ui.setupLabel.text = str(self._engineProblems[0]) if self._engineProblems else ""

    def _takeEntries(self) -> None:
        workspace = self.logic.settings.workspace
        nothing = _("No dataset yet: collect cases under Dataset first.")
        if not workspace.is_dir():
            nothing = _("The workspace {folder} is not there (yet). It is chosen under Setup.").format(folder=workspace)
        self.form.setEntries(self.logic.datasets, self.logic.models, nothing)
        self._showTrainButton()
        self.previewSection.show(self.view.training)

    def _onEngineProblems(self, problems: list[Problem]) -> None:
        self._engineProblems = list(problems)
        self.form.showNothing("")  # why is said below
        self._showTrainButton()

    # -- devices

    def _askDevices(self) -> None:
        """Find out in the background which devices there are, once."""
        if self._askingDevices or self.form.devices:
            return
        self._askingDevices = True
        self.ui.deviceCombo.toolTip = _("Looking for devices ...")
        self.logic.request(["doctor"], self._takeDevices, self._onNoDevices)

    def _takeDevices(self, results: "dict[str, dict[str, Any]]") -> None:
        self._askingDevices = False
        self.ui.deviceCombo.toolTip = _("Where the training runs")
        found = results.get("doctor") or {}
        self.form.setDevices(found.get("devices") or [])
        absent = [str(name) for name in found.get("missing") or []]
        if absent:
            message = _("Packages for training are not installed: {names}.").format(names=", ".join(absent))
            self._engineProblems = [Problem(message, _("Install them in the Setup tab."))]
        self._showTrainButton()

    def _onNoDevices(self, problems: list[Problem]) -> None:
        self._askingDevices = False
        self.ui.deviceCombo.toolTip = str(problems[0]) if problems else _("Where the training runs")
        self._onEngineProblems(problems)

    # -- trainings

    def _findTrainings(self) -> None:
        settings = self.logic.settings
        if self._workspace != settings.workspace:
            self.trainings.close()
            self._workspace = settings.workspace
        if self.trainings.find(Engine(settings.pythonExecutable, settings.workspace)) or self.view.training is None:
            self._showTrainings()

    def _showTrainings(self, chosen: "Training | None" = None) -> None:
        """Fill the list and show one: the chosen, the shown one, a running one, the newest.

        Args:
            chosen: To be shown from now on.
        """
        items = self.trainings.items
        self.view.showList(items)
        running = [training for training in items if training.job.running]
        self._show(chosen or self.view.training or next(iter(running or items), None))

    def _show(self, training: "Training | None") -> None:
        self.view.show(training)
        if training is not None:
            self.trainings.follow(training)
            self._askModel(training)
        self.previewSection.show(self.view.training)
        self._showTrainButton()

    def _onJobChosen(self, index: int) -> None:
        self._show(self.trainings.items[index])

    def _onNews(self, training: Training, events: list) -> None:
        training.curves.update(training.job.metrics)
        if training is not self.view.training:
            return
        self.view.update()
        self.view.log.append([line for event in events for line in linesOf(event)])
        self.previewSection.update()

    def _onEnd(self, training: Training) -> None:
        self._tellEnd(training)
        if training is self.view.training:
            self.view.update()
            self._askModel(training)
            self.previewSection.update()
        else:
            self.view.showList(self.trainings.items)
        self._showTrainButton()

    def _tellEnd(self, training: Training) -> None:
        """What is said of a training that ended while it was watched."""
        if not training.live:
            return
        training.live = False
        job, title = training.job, training.title
        if job.state == job.FINISHED:
            self.host.showMessage(_("{training} is trained.").format(training=title))
        elif job.state in (job.FAILED, job.LOST):
            self.host.showProblems(job.problems, _("{training}: the training has ended").format(training=title))
        self.host.notify("models")

    def _askModel(self, training: Training) -> None:
        """Get the validation of a finished training, for the result and the report."""
        folder = training.progress.modelFolder
        if training.job.state != training.job.FINISHED or not folder or training.model:
            return

        def done(results) -> None:
            training.model = results.get("info", {}).get("model") or {}
            if training is self.view.training:
                self.view.update()

        self.logic.request(["info", "--model", folder], done)

    def _onSecond(self) -> None:
        self.view.showTime()

    # -- actions on the shown training

    def _stop(self) -> None:
        training = self.view.training
        if training is None:
            return
        try:
            if training.stopAsked is None:
                training.stop()
            elif self.view.canForce(training):
                training.job.kill()
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
        self.view.update()

    def _resume(self) -> None:
        if self.view.training is None:
            return
        self.host.clearMessage()
        try:
            self.trainings.resume(self._engine(), self.view.training)
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
        self._showTrainings()

    def _dismiss(self) -> None:
        training = self.view.training
        if training is None:
            return
        try:
            self.trainings.dismiss(training)
        except UserProblem as problem:
            self.host.showProblems(problem.problems)
        self.view.training = None
        self._showTrainings()

    def showCurves(self) -> None:
        """Show the chosen training's curves in the plot view."""
        training = self.view.training
        if training is not None:
            training.curves.update(training.job.metrics)
            training.curves.show(self.ui.curvesCombo.currentData)

    def _onCurvesChosen(self, index: int) -> None:
        if self.view.training is not None and self.view.training.curves.shown:
            self.showCurves()

    def _segment(self) -> None:
        if self.view.training is not None:
            self.host.openPanel("Segment").selectModel(self.view.training.progress.modelFolder)
