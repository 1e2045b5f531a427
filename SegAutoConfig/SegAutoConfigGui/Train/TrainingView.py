"""The section "Trainings" of the Train panel: the list, and all that is shown of the chosen one."""

import html
import time
from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Models.ModelTexts import number
from SegAutoConfigGui.Train.Curves import DICE, LOSS
from SegAutoConfigGui.Train.TrainCommand import hasCheckpoint
from SegAutoConfigGui.Train.Trainings import Training
from SegAutoConfigGui.Train.TrainProgress import (
    durationText,
    foldOf,
    leftText,
    metricText,
    reportRows,
    resourcesText,
    stageText,
    stateText,
    trainingTexts,
)
from SegAutoConfigGui.Widgets.LogView import LogView
from SegAutoConfigGui.Widgets.Resizing import ResizeFilter
from SegAutoConfigGui.Widgets.Tables import enable, fillTable, fitHeight, prepareTable

#: A stop that takes longer than this can be forced (seconds).
FORCE_AFTER_SECONDS = 60.0
#: Warnings that are shown, the latest.
WARNINGS = 3
#: Rows of the report that are seen without scrolling.
REPORT_ROWS = 10
#: Of the report's picture, the same for all widths of the panel (pixels).
PICTURE_HEIGHT = 420
BAD_STYLE = "color: #b03a2e;"
QUIET_STYLE = "color: gray;"


class TrainingView:
    """Widgets only; what they do is connected by the panel.

    Args:
        ui: The panel's widgets.

    Attributes:
        training: The one that is shown; None where there is none.
    """

    def __init__(self, ui) -> None:
        self.ui = ui
        self.training: Training | None = None
        self._listed: list[Training] = []
        self.log = LogView(ui.logEdit, ui.logButton)
        ui.curvesCombo.addItem(_("Dice"), DICE)
        ui.curvesCombo.addItem(_("Loss"), LOSS)
        ui.resourcesLabel.styleSheet = ui.outliveLabel.styleSheet = ui.datasetLabel.styleSheet = QUIET_STYLE
        ui.problemLabel.styleSheet = BAD_STYLE
        ui.reportFrame.setVisible(False)
        self._picture = qt.QPixmap()
        ui.reportPicture.setFixedHeight(PICTURE_HEIGHT)
        self._resizing = ResizeFilter(ui.jobFrame, self._showPicture)
        headers = [_("Label or case"), _("Dice"), _("HD95 (mm)"), _("Surface Dice")]
        ui.reportTable.setColumnCount(len(headers))
        ui.reportTable.setHorizontalHeaderLabels(headers)
        ui.reportTable.verticalHeader().setVisible(False)
        prepareTable(ui.reportTable)

    def showList(self, trainings: Sequence[Training]) -> None:
        """Fill the list; the shown training stays chosen, else the first is."""
        combo = self.ui.jobCombo
        self._listed = list(trainings)
        blocked = combo.blockSignals(True)
        combo.clear()
        for training in trainings:
            combo.addItem("", str(training.job.folder))
        self._showTexts()
        combo.blockSignals(blocked)
        self.ui.noJobsLabel.setVisible(not trainings)
        self.ui.jobFrame.setVisible(bool(trainings))
        if self.training not in trainings:
            self.training = None
        if self.training is not None:
            combo.currentIndex = list(trainings).index(self.training)

    def show(self, training: "Training | None") -> None:
        """Show another training."""
        self.training = training
        self.ui.reportButton.checked = False
        if training is None:
            self.log.show(None, [])
            return
        self.ui.jobCombo.currentIndex = self.ui.jobCombo.findData(str(training.job.folder))
        self.log.show(training.job.folder / "log.txt", training.job.log)
        self.update()

    def update(self) -> None:
        """Bring everything up to date but the log."""
        training = self.training
        if training is None:
            return
        job = training.job
        self._showTexts()
        self._showProgress(training)
        self.ui.metricLabel.text = metricText(job.metrics[-1] if job.metrics else None, training.names)
        self.ui.metricLabel.setVisible(bool(job.metrics))
        self.ui.resourcesLabel.text = resourcesText(job.resources)
        self.ui.resourcesLabel.setVisible(job.running and bool(job.resources))
        self.ui.warningLabel.text = "\n".join(map(str, job.warnings[-WARNINGS:]))
        self.ui.warningLabel.setVisible(bool(job.warnings) and job.state != job.FINISHED)
        self.ui.problemLabel.text = "\n".join(map(str, job.problems))
        self.ui.problemLabel.setVisible(bool(job.problems))
        self._showActions(training)
        self._showResult(training)

    def showTime(self) -> None:
        """What moves every second though nothing is reported."""
        training = self.training
        if training is not None and training.job.running:
            self._showStage(training)
            self._showStop(training)

    # -- parts

    def _showTexts(self) -> None:
        """The entries of the list; the whole of a long one is in its tooltip."""
        combo = self.ui.jobCombo
        titles, jobs = [one.title for one in self._listed], [one.job for one in self._listed]
        for index, text in enumerate(trainingTexts(titles, jobs, today())):
            if combo.itemText(index) != text:
                combo.setItemText(index, text)
                combo.setItemData(index, text, qt.Qt.ToolTipRole)
        combo.toolTip = combo.currentText or _("All trainings of the workspace; the chosen one is shown below")

    def _showProgress(self, training: Training) -> None:
        self._showStage(training)
        job, bar = training.job, self.ui.progressBar
        bar.setVisible(job.running)
        done, total = job.progress.get("done"), job.progress.get("total")
        if isinstance(done, (int, float)) and total:
            bar.maximum = 1000
            bar.value = round(1000 * min(1.0, done / total))
        else:
            bar.maximum = 0  # busy

    def _showStage(self, training: Training) -> None:
        job, progress = training.job, training.progress
        spent = durationText(progress.secondsNow(job.running, time.time()))
        if not job.running:
            text = stateText(job.state)
            text = text[:1].upper() + text[1:]
            self.ui.stageLabel.text = f"{text} · {spent}" if progress.begun else text
            return
        left = leftText(job.progress.get("seconds_left")) if progress.stage == "train" else ""
        self.ui.stageLabel.text = " · ".join(part for part in (stageText(progress.stage), spent, left) if part)

    def _showActions(self, training: Training) -> None:
        job, ui = training.job, self.ui
        ui.dismissButton.enabled = not job.running
        ui.dismissButton.toolTip = (
            _("It is running: stop it first.") if job.running else _("Remove this entry and its log; the model stays.")
        )
        ui.resumeButton.setVisible(not job.running and job.state != job.FINISHED)
        text = (
            _("Go on where it ended, for the rest of its time")
            if hasCheckpoint(training.progress.modelFolder, training.fold)
            else _("Begin again: nothing of the network was saved yet. What was prepared is kept.")
        )
        newer = any(one.isSame(training.choices) for one in self._listed[: self._place(training)])
        enable(ui.resumeButton, _("A newer training of this fold is in the list.") if newer else "", text)
        without = "" if job.metrics else _("The curves begin with the first epoch.")
        enable(ui.curvesButton, without, _("Show the curves in a plot view"))
        self._showStop(training)

    def _place(self, training: Training) -> int:
        """Of a training in the list, the newest being 0."""
        return self._listed.index(training) if training in self._listed else 0

    @staticmethod
    def canForce(training: Training) -> bool:
        """Whether it was asked to stop so long ago that the process may be ended."""
        asked = training.stopAsked
        return asked is not None and time.monotonic() - asked >= FORCE_AFTER_SECONDS

    def _showStop(self, training: Training) -> None:
        job, button = training.job, self.ui.stopButton
        button.setVisible(job.running)
        if training.stopAsked is None:
            button.text, button.enabled = _("Stop"), True
            button.toolTip = _("Finish the current step, save, and end")
        elif not self.canForce(training):
            button.text, button.enabled = _("Stopping ..."), False
            button.toolTip = _("It finishes its step and saves")
        else:
            button.text, button.enabled = _("Force stop"), True
            button.toolTip = _("It does not end by itself: end the process at once. The last epoch is saved.")

    def _showResult(self, training: Training) -> None:
        job, ui = training.job, self.ui
        finished = job.state == job.FINISHED
        ui.resultFrame.setVisible(finished)
        if not finished:
            return
        labels = foldOf(training.model, training.fold).get("per_label") or []
        mean = (job.results.get("validate") or {}).get("mean_dice")
        lines = []
        if isinstance(mean, (int, float)):
            lines.append(_("Mean Dice on held-out cases: <b>{dice:.3f}</b>").format(dice=mean))
        elif training.fold == "all":
            lines.append(_("Trained on all cases; none was held out to measure it."))
        if labels:
            lines.append(", ".join(f"{html.escape(str(row['label']))} {number(row.get('dice'))}" for row in labels))
        ui.resultLabel.text = "<br>".join(lines)
        ui.resultLabel.setVisible(bool(lines))
        known = bool(training.progress.modelFolder)
        unknown = "" if known else _("The model's folder is not known.")
        enable(ui.segmentButton, unknown, _("Open the Segment panel with this model"))
        enable(ui.reportButton, unknown, _("Curves and validation results"))
        self.showReport(ui.reportButton.checked)

    def showReport(self, visible: bool) -> None:
        """The picture of the curves and the table of the validation."""
        training, ui = self.training, self.ui
        ui.reportFrame.setVisible(visible and training is not None)
        if not visible or training is None:
            return
        fold = foldOf(training.model, training.fold)
        self._picture = qt.QPixmap(str(fold.get("progress_picture") or ""))
        self._showPicture()
        rows = reportRows(fold)
        fillTable(ui.reportTable, rows)
        fitHeight(ui.reportTable, REPORT_ROWS)
        ui.reportTable.setVisible(bool(rows))

    def _showPicture(self) -> None:
        label = self.ui.reportPicture
        label.setVisible(not self._picture.isNull())
        if not self._picture.isNull():
            width = max(50, min(self._picture.width(), self.ui.jobFrame.width))
            keep, smooth = qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation
            label.setPixmap(self._picture.scaled(width, PICTURE_HEIGHT, keep, smooth))


def today() -> str:
    """The date as jobs have it."""
    return time.strftime("%Y-%m-%d")
