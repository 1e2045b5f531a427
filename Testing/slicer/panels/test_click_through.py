"""The whole way as a user goes it, with the real module, real processes and the demo's cases.

Collect cases, make the dataset, train, watch the curve, stop, resume, segment a volume that was never seen, correct
the result, add it to the dataset, continue the training. Every step is a click; pictures are taken on the way.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import slicerhost.qtapp as host

#: Far above what any step takes (seconds).
PATIENCE = 240
DATASET = "Dataset001_Demo"


@pytest.fixture
def widget(slicerApp, repository, externalPython, tmp_path, monkeypatch):
    from SegAutoConfigGui.Settings import Settings
    from SegAutoConfigGui.Train import TrainCommand

    monkeypatch.setattr(TrainCommand, "LEAST_MINUTES", 1)  # of a resumed training, so that this test stays short
    settings = Settings()
    settings.workspace, settings.externalPython, settings.device = tmp_path / "workspace", externalPython, "cpu"
    widget = host.load_module(str(repository / "SegAutoConfig" / "SegAutoConfig.py"))
    yield widget
    for training in widget.panels["Train"].trainings.items:
        if training.job.running:
            training.job.kill()
    widget.cleanup()
    widget.parent.hide()
    widget.parent.deleteLater()
    slicerApp.processEvents()


def choose(combo, data) -> None:
    """Choose an entry of a combo box as a user does."""
    combo.currentIndex = combo.findData(data)
    assert combo.currentIndex >= 0, data
    combo.activated.emit(combo.currentIndex)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|)."""
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def voxels(segmentation, volume) -> dict[str, np.ndarray]:
    """Mask of each segment, by name, on the volume's grid."""
    segments = segmentation.GetSegmentation()
    ids = [segments.GetNthSegmentID(number) for number in range(segments.GetNumberOfSegments())]
    return {
        segments.GetSegment(key).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, key, volume) > 0
        for key in ids
    }


def test_from_segments_to_a_model_and_back(widget, tmp_path, screenshotFolder) -> None:
    from SegAutoConfigGui.Scene.DemoCases import loadDemoCases

    def wait(condition) -> None:
        host.wait(condition, PATIENCE)

    def photograph(name: str) -> None:
        host.screenshot(screenshotFolder / f"walk-{name}.png")
        for width in (400, 600):
            assert host.panel_overflow(width) == 0, name

    cases = loadDemoCases(widget.logic.engine, count=4, segmented=4, pump=slicer.app.processEvents)
    (unseen, truth) = cases[3]
    expected = voxels(truth, unseen)
    slicer.mrmlScene.RemoveNode(truth)

    # Dataset: three cases of the scene become a dataset.
    ui = widget.openPanel("Dataset").ui
    wait(lambda: not widget.logic._followers)
    ui.addPairsButton.click()
    wait(lambda: ui.caseTable.rowCount == 3)
    ui.nameEdit.text = "Demo"
    ui.nameEdit.textEdited.emit("Demo")
    wait(lambda: ui.exportButton.enabled)
    ui.exportButton.click()
    wait(lambda: ui.trainButton.isVisibleTo(widget.panels["Dataset"].root) and ui.trainButton.enabled)
    photograph("1-dataset")
    raw = tmp_path / "workspace" / "nnUNet_raw" / DATASET
    content = json.loads((raw / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "capsule": 1, "core": 2}
    assert len(list((raw / "labelsTr").iterdir())) == content["numTraining"] == 3

    # Train: one minute on all cases; watch, stop, resume.
    ui.trainButton.click()
    train = widget.currentPanel
    assert train.name == "Train"
    ui = train.ui
    wait(lambda: train.form.choices.dataset == DATASET and train.form.devices)
    choose(ui.foldCombo, "all")
    choose(ui.timeCombo, 0)
    ui.minutesSpinBox.value = 1
    choose(ui.deviceCombo, "cpu")
    wait(lambda: ui.trainButton.enabled)
    ui.trainButton.click()
    training = train.view.training
    wait(lambda: len(training.job.metrics) >= 2 or not training.job.running)
    assert training.job.running, training.job.problems
    ui.curvesButton.click()
    wait(lambda: len(training.job.metrics) >= 3)
    photograph("2-training")
    ui.stopButton.click()
    wait(lambda: not training.job.running)
    assert training.job.state == training.job.STOPPED
    stopped = len(training.job.metrics)
    wait(lambda: ui.resumeButton.enabled)
    ui.resumeButton.click()
    wait(lambda: not training.job.running or len(training.job.metrics) > stopped)
    assert [row["epoch"] for row in training.job.metrics] == list(range(len(training.job.metrics)))
    wait(lambda: not training.job.running)
    assert training.job.state == training.job.FINISHED, training.job.problems
    wait(lambda: ui.segmentButton.isVisibleTo(train.root) and ui.segmentButton.enabled)
    photograph("3-trained")

    # Segment: a volume that the network has never seen.
    ui.segmentButton.click()
    segment = widget.currentPanel
    assert segment.name == "Segment"
    ui = segment.ui
    slicer.util.setSliceViewerLayers(background=unseen, fit=True)
    wait(lambda: not widget.logic._followers and segment.model is not None)
    segment.inputs.choose([unseen])
    wait(lambda: ui.segmentButton.enabled)
    ui.segmentButton.click()
    wait(lambda: ui.resultSelector.currentNode() is not None)
    result = ui.resultSelector.currentNode()
    found = voxels(result, unseen)
    assert found.keys() == expected.keys()
    scores = {name: dice(found[name], expected[name]) for name in expected}
    assert np.mean(list(scores.values())) > 0.7, scores
    photograph("4-segmented")

    # Correct, add, continue.
    ui.editButton.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert editor.segmentationNode() is result
    assert editor.sourceVolumeNode() is unseen
    key = result.GetSegmentation().GetSegmentIdBySegmentName("core")
    corrected = expected["core"].astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(corrected, result, key, unseen)
    slicer.util.selectModule("SegAutoConfig")
    ui.addButton.click()
    ui = widget.currentPanel.ui
    wait(lambda: ui.exportButton.enabled)
    ui.exportButton.click()
    wait(lambda: len(list((raw / "labelsTr").iterdir())) == 4 and ui.trainButton.enabled)
    photograph("5-added")
    assert json.loads((raw / "dataset.json").read_text())["numTraining"] == 4

    widget.openPanel("Segment").ui.continueButton.click()
    assert widget.currentPanel.name == "Train"
    ui = train.ui
    wait(lambda: ui.trainButton.enabled)
    choose(ui.lengthCombo, False)
    ui.epochsSpinBox.value = 1000
    ui.trainButton.click()
    continued = train.view.training
    wait(lambda: continued is not training or train.view.training is not training)
    continued = train.view.training
    wait(lambda: "train" in continued.job.stage or not continued.job.running)
    assert continued.job.running, continued.job.problems
    ui.stopButton.click()
    wait(lambda: not continued.job.running)
    assert continued.job.state == continued.job.STOPPED, continued.job.problems
    host.check_no_slot_errors()
