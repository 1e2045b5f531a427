"""The Train panel as a user works with it; the engine trains in real processes, on tiny volumes."""

import json
import os
import shutil
import signal
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import slicerhost
import slicerhost.qtapp as host
from messages import messageOf
from slicerhost.dialogs import dialogs_shown
from tiny_dataset import makeTinyDataset

from SegAutoConfigGui.Jobs import Engine as engineModule
from SegAutoConfigGui.Train import TrainingView as viewModule
from SegAutoConfigGui.Train import TrainPanel as panelModule

PATIENCE = 100
DATASET = "Dataset007_Tiny"


@dataclass
class Module:
    """The module with this panel open, and what the panel asked of the others."""

    widget: Any
    panel: Any
    workspace: Path
    opened: list

    @property
    def ui(self):
        return self.panel.ui

    @property
    def training(self):
        return self.panel.view.training

    def wait(self, condition):
        host.wait(condition, PATIENCE)

    def settle(self):
        """Turn the event loop until no short command runs."""
        self.wait(lambda: not self.widget.logic._followers)

    @property
    def message(self):
        """The text above the tabs, without its markup; empty where none is shown."""
        return messageOf(self.widget)

    def choose(self, combo, data):
        """Choose an entry of a combo box as a user does."""
        combo.currentIndex = combo.findData(data)
        assert combo.currentIndex >= 0, data
        combo.activated.emit(combo.currentIndex)

    def visible(self, widget):
        return widget.isVisibleTo(self.panel.root)

    def train(self, epochs):
        """Choose a number of epochs, press Train, wait for the second epoch; returns the training."""
        self.choose(self.ui.lengthCombo, False)
        self.ui.epochsSpinBox.value = epochs
        assert self.ui.trainButton.enabled, self.ui.trainButton.toolTip
        self.ui.trainButton.click()
        training = self.training
        self.wait(lambda: len(training.job.metrics) >= 2 or not training.job.running)
        assert training.job.running, training.job.problems
        return training

    def photograph(self, folder, name):
        """Pictures at both widths of the panel."""
        for width in (400, 600):
            host.screenshot(folder / f"train-{name}-{width}.png", "panel", width)
            assert host.panel_overflow(width) == 0


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "wörk"
    makeTinyDataset(folder)
    return folder


@pytest.fixture
def module(slicerApp, repository, externalPython, workspace, monkeypatch):
    few = panelModule.trainCommand
    monkeypatch.setattr(panelModule, "trainCommand", lambda *choices: [*few(*choices), "--iterations", "3"])
    from SegAutoConfigGui.Settings import Settings

    settings = Settings()
    settings.workspace, settings.externalPython, settings.device = workspace, externalPython, "auto"
    widget = host.load_module(str(repository / "SegAutoConfig" / "SegAutoConfig.py"))
    widget.openPanel("Train")
    opened = []

    def openPanel(name):
        opened.append(name)
        return types.SimpleNamespace(selectModel=opened.append)

    widget.openPanel = openPanel
    result = Module(widget, widget.panels["Train"], workspace, opened)
    result.settle()
    yield result
    jobs = [training.job for training in result.panel.trainings.items]
    widget.cleanup()
    widget.parent.hide()
    widget.parent.deleteLater()
    for job in jobs:
        if job.running:
            job.kill()
    assert not list(result.workspace.glob("staging*")), "files were left behind"


def charts():
    return slicer.util.getNodesByClass("vtkMRMLPlotChartNode")


def test_train_stop_resume_finish(module, screenshotFolder):
    ui = module.ui
    assert ui.datasetCombo.currentText == DATASET
    assert ui.datasetLabel.text == "6 cases · MRI · capsule, core"
    assert [ui.timeCombo.itemText(place) for place in range(ui.timeCombo.count)] == [
        *("20 minutes", "1 hour", "4 hours", "overnight (10 hours)", "other"),
    ]
    assert ui.timeCombo.currentText == "1 hour"
    assert ui.trainButton.enabled
    assert ui.deviceCombo.count >= 2
    assert not module.visible(ui.jobFrame)
    module.photograph(screenshotFolder, "new")

    training = module.train(epochs=9)
    assert module.widget.parameters.trainEpochs == 9
    assert not ui.trainButton.enabled
    assert "right now" in ui.trainButton.toolTip
    assert ui.stageLabel.text.startswith("Training · ")
    assert "capsule" in ui.metricLabel.text
    assert "GB free" in ui.resourcesLabel.text
    assert not ui.dismissButton.enabled
    assert charts() == []
    ui.curvesButton.click()
    assert [chart.GetName() for chart in charts()] == [f"{DATASET}, fold 0: Dice", f"{DATASET}, fold 0: loss"]
    assert not any(chart.GetSaveWithScene() for chart in charts())
    table = slicer.util.getNodesByClass("vtkMRMLTableNode")[-1]
    assert [table.GetTable().GetColumnName(place) for place in range(6)] == [
        *("Epoch", "Training", "Validation", "Mean", "capsule", "core"),
    ]
    assert charts()[0].GetNthPlotSeriesNode(1).GetColor() == pytest.approx((0.86, 0.51, 0.40))
    assert charts()[0].GetXAxisRange() == (0.0, 10.0)  # ticks at whole epochs
    assert not charts()[0].GetXAxisRangeAuto()
    rows = table.GetTable().GetNumberOfRows()
    module.wait(lambda: table.GetTable().GetNumberOfRows() > rows)
    module.photograph(screenshotFolder, "running")
    host.screenshot(screenshotFolder / "train-running-window.png", width=400)

    ui.stopButton.click()
    assert not ui.stopButton.enabled
    assert ui.stopButton.text == "Stopping ..."
    module.wait(lambda: not training.job.running)
    module.settle()
    assert training.job.state == "STOPPED"
    assert ui.stageLabel.text.startswith("Stopped · ")
    assert "not finished" in ui.earlierLabel.text
    assert ui.trainButton.text == "Resume training"
    epochs = len(training.job.metrics)
    module.photograph(screenshotFolder, "stopped")

    ui.resumeButton.click()
    assert module.training is training
    module.wait(lambda: not training.job.running)
    module.settle()
    assert training.job.state == "FINISHED", training.job.problems
    assert [row["epoch"] for row in training.job.metrics] == list(range(9))
    assert len(training.job.metrics) > epochs
    assert table.GetTable().GetNumberOfRows() == 9
    assert "is trained" in module.message
    assert "Mean Dice on held-out cases" in ui.resultLabel.text
    assert "capsule" in ui.resultLabel.text
    assert "trained already" in ui.earlierLabel.text
    assert ui.earlierCombo.currentText == "Start over (deletes it)"
    ui.reportButton.click()
    slicer.app.processEvents()
    assert not ui.reportPicture.pixmap.isNull()
    for width in (400, 600):
        host.screenshot(screenshotFolder / f"train-finished-{width}.png", "panel", width)
        assert ui.reportPicture.height >= ui.reportPicture.pixmap.height()
        assert ui.reportPicture.width >= ui.reportPicture.pixmap.width()
        assert ui.reportPicture.geometry.bottom() < ui.reportTable.geometry.top()  # whole
    assert ui.reportTable.rowCount == 4
    module.photograph(screenshotFolder, "finished")
    ui.segmentButton.click()
    assert module.opened == ["Segment", training.progress.modelFolder]

    with dialogs_shown():
        slicerhost.modal_answers.append(qt.QMessageBox.Cancel)
        ui.trainButton.click()
    assert len(module.panel.trainings.items) == 1
    ui.dismissButton.click()
    assert not training.job.folder.exists()
    assert Path(training.progress.modelFolder).is_dir()
    assert charts() == []
    assert not module.visible(ui.jobFrame)


def test_preview_scene_closed_killed_and_resumed(module, screenshotFolder):
    ui = module.ui
    training = module.train(epochs=200)
    module.wait(lambda: ui.previewButton.enabled)
    ui.curvesButton.click()
    module.choose(ui.caseCombo, "tiny_3")
    ui.previewButton.click()
    ui.previewButton.click()  # the second of a double click
    assert not ui.previewButton.enabled
    assert module.visible(ui.previewCancelButton)
    module.wait(lambda: not module.panel.previewSection.preview.running)
    assert module.message == ""
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert names[0] == "tiny_3 truth"
    assert names[1].startswith("tiny_3 epoch ")
    truth = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0].GetSegmentation()
    assert truth.GetSegment(truth.GetSegmentIdBySegmentName("core")).GetColor() == pytest.approx((0.3, 0.7, 0.4))
    module.photograph(screenshotFolder, "preview")
    host.screenshot(screenshotFolder / "train-preview-window.png", width=400)
    ui.previewButton.click()
    ui.previewCancelButton.click()
    assert ui.previewLabel.text == "Stopping the preview ..."
    module.wait(lambda: not module.panel.previewSection.preview.running)
    assert not module.visible(ui.previewCancelButton)
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1

    slicer.mrmlScene.Clear(0)
    assert charts() == []
    epochs = len(training.job.metrics)
    module.wait(lambda: len(training.job.metrics) > epochs)
    assert charts() == []  # another scene: only on request
    ui.curvesButton.click()
    assert len(charts()) == 2
    assert module.widget.parameters.trainDataset == ""  # a new scene, its own choices

    os.kill(training.progress.pid, signal.SIGKILL)
    module.wait(lambda: not training.job.running)
    module.settle()
    assert training.job.state == "LOST"
    assert ui.stageLabel.text.startswith("Ended unexpectedly")
    assert "killed" in ui.problemLabel.text
    assert "killed" in module.message
    assert module.visible(ui.resumeButton)
    module.photograph(screenshotFolder, "killed")

    epochs = len(training.job.metrics)
    ui.resumeButton.click()
    assert "--resume" in training.job.command
    module.wait(lambda: len(training.job.metrics) > epochs or not training.job.running)
    assert training.job.running, training.job.problems
    assert module.message == ""
    training.stopAsked = 0.0  # long ago
    module.panel.view.update()
    assert ui.stopButton.text == "Force stop"
    ui.stopButton.click()
    module.wait(lambda: not training.job.running)
    assert training.job.state == "STOPPED"
    assert viewModule.FORCE_AFTER_SECONDS == 60


def test_bad_input(module, workspace, monkeypatch, screenshotFolder):
    ui, panel = module.ui, module.panel
    # a device that can't be used any more
    bad = {"device": "cuda:0", "name": "GTX 960", "memory_gb": 4.0, "usable": False, "reason": "torch can't use it"}
    panel.form.setDevices([bad, {"device": "cpu", "name": "cpu", "usable": True, "reason": ""}])
    item = ui.deviceCombo.model().item(1)
    assert item.text() == "cuda:0 · GTX 960 · 4 GB"
    assert not item.isEnabled()
    assert "torch can't use it" in ui.noteLabel.text
    module.choose(ui.deviceCombo, "cuda:0")
    assert not ui.trainButton.enabled
    assert "torch can't use it" in ui.trainButton.toolTip
    module.choose(ui.deviceCombo, "auto")
    assert ui.trainButton.enabled

    # a full disk
    usage = shutil.disk_usage(workspace)
    monkeypatch.setattr(engineModule.shutil, "disk_usage", lambda folder: usage._replace(free=10))
    ui.trainButton.click()
    assert "0 MB are free" in module.message
    monkeypatch.undo()
    assert list((workspace / "jobs").iterdir()) == []

    # one case; a damaged job; a job of another kind
    raw = workspace / "nnUNet_raw" / DATASET
    for number in range(1, 6):
        (raw / "imagesTr" / f"tiny_{number}_0000.nrrd").unlink()
        (raw / "labelsTr" / f"tiny_{number}.nrrd").unlink()
    description = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps({**description, "numTraining": 1}))
    for name, text in (("broken", "{"), ("list", "[]"), ("other", '{"command": ["predict"]}')):
        (workspace / "jobs" / name).mkdir()
        (workspace / "jobs" / name / "job.json").write_text(text)
    lost = workspace / "jobs" / "lost"
    lost.mkdir()
    (lost / "job.json").write_text('{"command": ["train", "Dataset007_Tiny"], "created": "2020-01-02T03:04:05"}')
    (lost / "events.jsonl").write_bytes(b'\xff\xfe{"kind": "progress"\n{"kind": "metric", "epoch": "x"}\n')
    ui.refreshButton.click()
    module.settle()
    assert not ui.trainButton.enabled
    assert "One case can't be split" in ui.trainButton.toolTip
    assert ui.jobCombo.count == 1
    assert ui.jobCombo.currentText == f"ended unexpectedly · {DATASET}, fold 0 · 2020-01-02 03:04"
    assert ui.stageLabel.text == "Ended unexpectedly"
    module.photograph(screenshotFolder, "bad-input")
    module.choose(ui.foldCombo, "all")
    assert ui.trainButton.enabled

    # a workspace that is gone; an engine that is gone
    shutil.rmtree(workspace)
    ui.refreshButton.click()
    module.settle()
    assert f"{workspace} is not there" in ui.datasetLabel.text
    assert not ui.trainButton.enabled
    module.widget.logic.settings.externalPython = "/nowhere/python"
    module.widget.notify("engine")
    module.settle()
    assert module.visible(ui.setupFrame)
    assert not module.visible(ui.datasetLabel)  # nobody looks for datasets
    assert "/nowhere/python" in ui.setupLabel.text
    assert not ui.trainButton.enabled
    module.photograph(screenshotFolder, "no-engine")
    ui.setupButton.click()
    assert module.opened == ["Setup"]


def test_beginnings_that_saved_nothing_are_replaced(module):
    ui, panel = module.ui, module.panel
    panel.form.choose(timed=False, epochs=50)
    for _attempt in range(2):
        assert ui.trainButton.enabled, ui.trainButton.toolTip
        ui.trainButton.click()
        panel.view.training.job.kill()
        module.wait(lambda: panel.view.training.follower is not None and not panel.view.training.follower.active)
        module.settle()
    assert ui.jobCombo.count == 1
    assert len(list((module.workspace / "jobs").iterdir())) == 1
    assert ui.jobCombo.toolTip == ui.jobCombo.currentText


def test_choices_are_kept_with_the_scene(module):
    ui, panel = module.ui, module.panel
    module.choose(ui.timeCombo, 0)
    ui.minutesSpinBox.value = 90
    module.choose(ui.foldCombo, "3")
    module.choose(ui.plannerCombo, "resenc_m")
    ui.memorySpinBox.value = 6
    parameters = module.widget.parameters
    assert (parameters.trainMinutes, parameters.trainFold, parameters.trainMemoryTarget) == (90, "3", 6.0)
    panel.continueFrom("/models/a", DATASET)
    assert not ui.advancedSection.collapsed
    assert not module.visible(ui.epochsSpinBox)
    assert ui.startFromCombo.currentText == "a"
    assert ui.startFromCombo.currentData == "/models/a"
    assert not ui.plannerCombo.enabled
    panel.selectDataset("Dataset008_New")
    assert panel.form.choices.startFrom == ""
    assert panel.form.choices.dataset == "Dataset008_New"  # it is read again when the tab is entered
    module.choose(ui.timeCombo, 20)
    assert parameters.trainMinutes == 20
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    assert ui.timeCombo.currentText == "1 hour"
    assert ui.foldCombo.currentData == "0"
