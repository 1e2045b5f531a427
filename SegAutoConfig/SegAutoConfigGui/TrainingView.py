"""The section "Trainings" of the Train panel: the list, and all that is shown of the chosen one."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Curves import DICE, LOSS
from SegAutoConfigGui.LogView import LogView
from SegAutoConfigGui.TrainCommand import hasCheckpoint
from SegAutoConfigGui.Trainings import Training
from SegAutoConfigGui.TrainProgress import (
    durationText,
    leftText,
    metricText,
    resourcesText,
    resultRows,
    stageText,
    stateText,
    trainingText,
)

#: A stop that takes longer than this can be forced (seconds).
FORCE_AFTER_SECONDS = 60.0
#: Warnings that are shown, the latest.
WARNINGS = 3
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
        self.log = LogView(ui.logEdit, ui.logButton)
        ui.curvesCombo.addItem(_("Dice"), DICE)
        ui.curvesCombo.addItem(_("Loss"), LOSS)
        ui.resourcesLabel.styleSheet = ui.outliveLabel.styleSheet = ui.datasetLabel.styleSheet = QUIET_STYLE
        ui.problemLabel.styleSheet = BAD_STYLE
        ui.reportFrame.setVisible(False)

    def showList(self, trainings: Sequence[Training]) -> None:
        """Fill the list; the shown training stays chosen, else the first is."""
        combo = self.ui.jobCombo
        blocked = combo.blockSignals(True)
        combo.clear()
        for training in trainings:
            combo.addItem(trainingText(training.job), str(training.job.folder))
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
        index = self.ui.jobCombo.findData(str(job.folder))
        if index >= 0 and self.ui.jobCombo.itemText(index) != trainingText(job):
            self.ui.jobCombo.setItemText(index, trainingText(job))
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
            self.ui.stageLabel.text = f"{text[:1].upper()}{text[1:]} · {spent}" if progress.begun else text
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
        ui.resumeButton.toolTip = (
            _("Go on where it ended, for the rest of its time")
            if hasCheckpoint(training.progress.modelFolder, training.fold)
            else _("Begin again: nothing of the network was saved yet. What was prepared is kept.")
        )
        ui.curvesButton.enabled = bool(job.metrics)
        ui.curvesButton.toolTip = (
            _("Show the curves in a plot view") if job.metrics else _("The curves begin with the first epoch.")
        )
        self._showStop(training)

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
        labels, _cases = resultRows(training.model, training.fold)
        mean = (job.results.get("validate") or {}).get("mean_dice")
        lines = []
        if isinstance(mean, (int, float)):
            lines.append(_("Mean Dice on held-out cases: <b>{dice:.3f}</b>").format(dice=mean))
        elif training.fold == "all":
            lines.append(_("Trained on all cases; none was held out to measure it."))
        if labels:
            lines.append(", ".join(f"{_escaped(name)} {dice}" for name, dice, *_rest in labels))
        ui.resultLabel.text = "<br>".join(lines)
        ui.resultLabel.setVisible(bool(lines))
        known = bool(training.progress.modelFolder)
        ui.segmentButton.enabled = ui.reportButton.enabled = known
        ui.reportButton.toolTip = _("Curves and validation results") if known else _("The model's folder is not known.")
        self.showReport(ui.reportButton.checked)

    def showReport(self, visible: bool) -> None:
        """The picture of the curves and the table of the validation."""
        training, ui = self.training, self.ui
        ui.reportFrame.setVisible(visible and training is not None)
        if not visible or training is None:
            return
        file = Path(training.progress.modelFolder) / f"fold_{training.fold}" / "progress.png"
        picture = qt.QPixmap(str(file)) if file.is_file() else qt.QPixmap()
        ui.reportPicture.setVisible(not picture.isNull())
        if not picture.isNull():
            width = max(200, ui.jobFrame.width - 8)
            ui.reportPicture.setPixmap(picture.scaledToWidth(width, qt.Qt.SmoothTransformation))
        labels, cases = resultRows(training.model, training.fold)
        fillTable(
            ui.reportTable,
            [_("Label or case"), _("Dice"), _("HD95 (mm)"), _("Surface Dice")],
            [*labels, *((case, dice, "", "") for case, dice in cases)],
        )
        ui.reportTable.setVisible(bool(labels or cases))


def fillTable(table, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Texts into a QTableWidget; the first column takes the space that is left."""
    table.setColumnCount(len(headers))
    table.setHorizontalHeaderLabels(list(headers))
    table.setRowCount(len(rows))
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            table.setItem(row, column, qt.QTableWidgetItem(str(value)))
    table.verticalHeader().setVisible(False)
    header = table.horizontalHeader()
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    for column in range(1, len(headers)):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
