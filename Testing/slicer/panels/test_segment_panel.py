"""The Segment panel as a user works with it: a model that was really trained, the engine in real processes."""

from __future__ import annotations

import json
import os
import signal
import types
from pathlib import Path

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
import slicerhost.qtapp as host
import vtk
from slicerhost.demo import makeVolume, oblique

from SegAutoConfigGui.Segment.ResultNodes import MODEL_ATTRIBUTE, resultsOf, volumesOf
from SegAutoConfigGui.Segment.Segmentation import Segmentation
from SegAutoConfigGui.Segment.SegmentChoices import (
    SegmentOptions,
    matchChannels,
    predictCommand,
    problemsOfInput,
    problemsOfMode,
)

SHAPE = (10, 24, 22)
SPACING = (1.0, 1.0, 2.0)


def blocks(seed=9):
    """As the models were trained on (see conftest): a bright block with a brighter core."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE)
    labels[2:8, 5:17, 4:15] = 1
    labels[4:6, 8:14, 7:12] = 2
    return (120 * labels + random.normal(100, 8, SHAPE)).astype(np.int16)


def makePatient(name="patient", seed=9, **geometry):
    return makeVolume(name, blocks(seed), **{"spacing": SPACING, **geometry})


def show(volume):
    """Make it the active volume, as opening it does."""
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(volume.GetID())


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def finished(panel):
    return lambda: not panel.running


# -- without a window


@pytest.mark.parametrize(
    ("channels", "names", "active", "expected"),
    [
        (["CT"], ["a", "b"], 1, [1]),
        (["CT"], ["a"], None, [0]),
        (["CT"], [], None, [None]),
        (["T1", "T2"], ["patient T2", "patient T1"], 0, [1, 0]),
        (["T1", "T2"], ["p1 T1", "p1 T2", "p2 T1", "p2 T2"], 2, [2, 3]),
        (["T1", "FLAIR"], ["brain_flair", "brain_t1w"], None, [1, 0]),
        (["T1", "T1ce"], ["t1ce", "t1"], None, [1, 0]),
        (["CT", "PET"], ["head CT", "something"], None, [0, 1]),
        (["CT", "PET"], ["head CT", "something", "else"], None, [0, None]),
        (["channel_0", "channel_1"], ["a", "b"], 0, [None, None]),
    ],
)
def test_volumes_are_matched_with_channels_by_name(channels, names, active, expected):
    assert matchChannels(channels, names, active) == expected


MODEL = {"path": "/m", "title": "Liver", "channels": ["T1", "T2"], "folds": [0, 1], "unfinished": [], "problem": None}


def test_command_lines():
    start = ["predict", "--model", "/m", "-i", "in", "-o", "out", "--file-ending", ".nrrd"]
    images, output = Path("in"), Path("out")
    assert predictCommand(MODEL, images, output, SegmentOptions()) == [*start, "--device", "auto", "--folds", "0", "1"]
    options = SegmentOptions(folds=("1",), faster=True, device="cuda:1", probabilities=True, uncertainty=True)
    assert predictCommand(MODEL, images, output, options) == [
        *[*start, "--device", "cuda:1", "--folds", "1"],
        *["--no-mirroring", "--probability-images", "--uncertainty-image"],
    ]
    training = {**MODEL, "folds": [], "unfinished": [2]}
    words = predictCommand(training, images, output, SegmentOptions())
    assert words[words.index("--device") :] == ["--device", "auto", "-chk", "checkpoint_latest.pth", "--folds", "2"]
    both = {**MODEL, "folds": [0, "all"]}
    assert predictCommand(both, images, output, SegmentOptions())[-2:] == ["--folds", "0"]
    everything = {**MODEL, "folds": ["all"]}
    assert predictCommand(everything, images, output, SegmentOptions())[-2:] == ["--folds", "all"]


def words(problems):
    return " ".join(map(str, problems))


def test_what_cant_be_segmented():
    volume, other = makePatient("T1"), makePatient("T2")
    assert problemsOfInput(MODEL, [[volume, other]]) == []
    assert "no trained model" in words(problemsOfInput(None, [[volume]]))
    damaged = {**MODEL, "problem": "plans.json is missing."}
    assert "plans.json is missing" in words(problemsOfInput(damaged, [[volume, other]]))
    assert "no trained fold" in words(problemsOfInput({**MODEL, "folds": []}, [[volume, other]]))
    assert "No volume" in words(problemsOfInput(MODEL, []))
    one = words(problemsOfInput(MODEL, [[volume, None]]))
    assert "needs 2 volumes (T1, T2)" in one
    assert "none is chosen for T2" in one
    assert words(problemsOfInput(MODEL, [[volume], [other]])).count("needs 2 volumes") == 1
    assert problemsOfMode(MODEL, "volume") == []
    for mode in ("several", "sequence"):
        assert "Liver has 2 (T1, T2)" in words(problemsOfMode(MODEL, mode))
    twice = words(problemsOfInput(MODEL, [[volume, volume]]))
    assert "T1 is chosen for two channels (T1, T2)" in twice


def test_volumes_that_cant_be_written():
    volume, other = makePatient("T1"), makePatient("T2", origin=(5.0, 0.0, 0.0))
    different = words(problemsOfInput(MODEL, [[volume, other]]))
    assert "has another grid than" in different
    assert "Resample channels" in different
    assert problemsOfInput(MODEL, [[volume, other]], resample=True) == []
    flat = makePatient("flat")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 2, 0.0)
    flat.SetIJKToRASMatrix(matrix)
    assert "no valid spacing" in words(problemsOfInput(MODEL, [[volume, flat]]))
    warped = makePatient("warped")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    node.SetAndObserveTransformFromParent(vtk.vtkThinPlateSplineTransform())
    warped.SetAndObserveTransformNodeID(node.GetID())
    assert "not linear" in words(problemsOfInput(MODEL, [[volume, warped]]))


# -- the panel


def test_an_empty_workspace_says_what_to_do(openModule, screenshotFolder):
    module = openModule()
    panel = module.panel("Segment")
    module.settle()
    assert not panel.ui.segmentButton.enabled
    assert "no trained model" in panel.ui.segmentButton.toolTip
    assert "Models" in panel.ui.statusLabel.text
    assert not panel.ui.editButton.enabled
    assert module.message == ""
    module.photograph(screenshotFolder, "segment-empty")


def test_one_click_on_the_loaded_volume(openModule, trainedWorkspace, screenshotFolder):
    module = openModule(trainedWorkspace)
    module.settle()
    panel = module.panel("Segment")
    other = makePatient("other")
    volume = makePatient("patient 7", direction=oblique(), origin=(12.0, -30.0, 44.0))
    show(volume)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    module.settle(lambda: panel.ui.segmentButton.enabled)
    assert panel.inputs.cases == [[volume]]
    assert "organ, core" in panel.ui.modelInfoLabel.text
    assert "trained here" in panel.ui.modelInfoLabel.text
    nodes = slicer.mrmlScene.GetNumberOfNodes()

    panel.ui.segmentButton.click()
    assert panel.running
    assert not panel.ui.segmentButton.enabled
    host.wait(lambda: panel.runner.run is None or panel.runner.run.job is not None)
    module.photograph(screenshotFolder, "segment-working")
    module.settle(finished(panel))

    assert module.message == ""
    (result,) = segmentations()
    assert panel.results.node is result
    assert "Done" in panel.ui.statusLabel.text
    assert result.GetTransformNodeID() == transform.GetID()
    assert volumesOf(result) == [volume]
    segments = result.GetSegmentation()
    names = {
        segments.GetNthSegment(n).GetName(): segments.GetNthSegment(n) for n in range(segments.GetNumberOfSegments())
    }
    assert "organ" in names
    assert names["organ"].GetColor() == pytest.approx((0.9, 0.2, 0.1))
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result, segments.GetSegmentIdBySegmentName("organ"), volume)
    truth = blocks() > 160
    assert 2 * (mask.astype(bool) & truth).sum() / (mask.sum() + truth.sum()) > 0.5
    assert slicer.mrmlScene.GetNumberOfNodes() <= nodes + 3  # node, display, storage
    module.photograph(screenshotFolder, "segment-finished")

    panel.ui.segmentButton.click()  # a second result stays beside the first one
    module.settle(finished(panel))
    assert len(segmentations()) == 2
    panel.ui.replaceCheckBox.checked = True
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    assert len(segmentations()) == 2
    assert other is not None


def test_probability_and_uncertainty_volumes_and_surfaces(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.ui.advancedSection.collapsed = False
    module.settle()
    assert panel.ui.deviceCombo.count >= 2  # automatic, cpu
    for box in ("show3D", "probabilities", "uncertainty", "faster"):
        getattr(panel.ui, f"{box}CheckBox").checked = True
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    assert module.message == ""
    (result,) = segmentations()
    assert result.GetSegmentation().ContainsRepresentation("Closed surface")
    volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetName() != "patient"]
    assert len(volumes) == 3
    for volume in volumes:
        array = slicer.util.arrayFromVolume(volume)
        assert array.shape == SHAPE
        assert 0 <= array.min() <= array.max() <= 1
    panel.ui.inputCombo.currentIndex = 1
    slicer.app.processEvents()
    assert [panel.ui.volumesList.item(row).text() for row in range(panel.ui.volumesList.count)] == ["patient"]


def test_two_channels_on_different_grids(openModule, trainedWorkspace, screenshotFolder):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    first = makePatient("p1 T1")
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if len(model["channels"]) == 2))
    module.settle(lambda: len(panel.inputs._rows) == 2)
    assert "none is chosen for T2" in panel.ui.segmentButton.toolTip
    panel.inputs.choose([first, first])
    assert "chosen for two channels" in panel.ui.segmentButton.toolTip
    panel.inputs.choose([first, None])
    second = makePatient("p1 T2", origin=(3.0, 0.0, 0.0))
    module.settle(lambda: panel.inputs.cases == [[first, second]])
    assert not panel.ui.segmentButton.enabled
    assert "has another grid than" in panel.ui.segmentButton.toolTip
    module.photograph(screenshotFolder, "segment-channels")
    assert not panel.ui.inputCombo.model().item(1).isEnabled()
    panel.ui.inputCombo.currentIndex = 2
    assert "need a model of one channel" in panel.ui.segmentButton.toolTip
    assert panel.inputs.mode == "sequence"
    panel.ui.inputCombo.currentIndex = 0
    panel.ui.resampleCheckBox.checked = True
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    assert module.message == ""
    (result,) = segmentations()
    assert volumesOf(result) == [first, second]
    assert slicer.mrmlScene.GetNumberOfNodes() <= nodes + 3


def test_several_volumes_in_one_process(openModule, trainedWorkspace, screenshotFolder):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    volumes = [makePatient(f"patient {number}", number) for number in range(3)]
    makeVolume("labels", np.zeros(SHAPE, np.uint8), labelmap=True)
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.ui.inputCombo.currentIndex = 1
    assert panel.ui.volumesList.count == 3
    assert "No volume" in panel.ui.segmentButton.toolTip
    panel.ui.allButton.click()
    panel.ui.volumesList.item(1).setCheckState(qt.Qt.Unchecked)
    assert panel.inputs.cases == [[volumes[0]], [volumes[2]]]
    module.photograph(screenshotFolder, "segment-several")
    panel.ui.segmentButton.click()
    slicer.app.processEvents()
    module.settle(lambda: panel.runner.run is None or panel.runner.run.job is not None)
    slicer.mrmlScene.RemoveNode(volumes[2])  # meanwhile
    module.settle(finished(panel))
    (result,) = segmentations()
    assert volumesOf(result) == [volumes[0]]
    assert "patient 2 is not in the scene any more" in module.message
    assert "failed" not in module.message
    assert "Done" in panel.ui.statusLabel.text or panel.inputs.cases == [[volumes[0]]]
    panel.ui.inputCombo.currentIndex = 0  # another choice: nothing of the run before is said of it
    assert panel.ui.statusLabel.text == ""
    assert module.message == ""


def test_a_volume_that_fails_does_not_take_the_results_of_others(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    damaged = blocks(1).astype(np.float32)
    damaged[3, 4, 5] = np.nan  # which only the engine sees
    volumes = [makeVolume("first", damaged, spacing=SPACING), makePatient("second")]
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.ui.inputCombo.currentIndex = 1
    panel.ui.allButton.click()
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    (result,) = segmentations()
    assert volumesOf(result) == [volumes[1]]
    assert result.GetSegmentation().GetNumberOfSegments() > 0
    assert panel.results.node is result
    assert panel.ui.statusLabel.text.splitlines() == ["Done: second segmentation", "Not segmented: first"]
    assert module.message.startswith("1 of 2 volumes could not be segmented.")
    assert "first: The volume holds 1 voxel" in module.message
    assert "case_00" not in module.message
    assert not (module.workspace / "staging").exists()


def test_a_sequence(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.CreateDefaultDisplayNodes()
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    for number in range(2):
        frame = makePatient(f"frame {number}", number)
        sequence.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.ui.inputCombo.currentIndex = 2
    panel.ui.sequenceSelector.setCurrentNode(sequence)
    panel.ui.probabilitiesCheckBox.checked = True
    assert panel.ui.probabilitiesCheckBox.toolTip == "Not for sequences"
    assert not panel.options().probabilities
    assert panel.ui.segmentButton.enabled, panel.ui.segmentButton.toolTip
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    assert module.message == ""
    results = [node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if node is not sequence]
    assert [node.GetNumberOfDataNodes() for node in results] == [2]
    (shown,) = [node for node in segmentations() if node is not other]  # of the current frame
    assert panel.results.node is shown
    assert not other.GetDisplayNode().GetVisibility()
    browser = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[0]
    assert volumesOf(shown) == [browser.GetProxyNode(sequence)]
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    assert panel.results.node is shown
    assert shown.GetAttribute(MODEL_ATTRIBUTE) == panel.model["path"]
    assert volumesOf(shown) == [browser.GetProxyNode(sequence)]
    assert resultsOf(panel.model, browser.GetProxyNode(sequence)) == []  # is not replaced by a result of one frame
    assert panel.ui.addButton.enabled


def test_cancel_leaves_the_scene_as_it_was(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    for phase in (lambda: True, lambda: panel.runner.run.job is not None and panel.runner.run.job.stage):
        panel.ui.segmentButton.click()
        host.wait(phase, 120)
        assert panel.ui.cancelButton.enabled
        panel.ui.cancelButton.click()
        module.settle(finished(panel))
        assert panel.ui.statusLabel.text == "Canceled."
        assert slicer.mrmlScene.GetNumberOfNodes() == nodes
        assert module.message == ""
        assert panel.ui.segmentButton.enabled


def test_a_killed_process_is_told(openModule, trainedWorkspace, screenshotFolder):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.ui.segmentButton.click()
    host.wait(lambda: panel.runner.run.job is not None and panel.runner.run.job._pid, 120)
    os.kill(panel.runner.run.job._pid, signal.SIGKILL)
    module.settle(finished(panel))
    assert "killed" in module.message
    assert segmentations() == []
    assert panel.ui.segmentButton.enabled
    module.photograph(screenshotFolder, "segment-error")


def test_a_closed_scene_gets_no_result(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.ui.segmentButton.click()
    host.wait(lambda: panel.runner.run.job is not None, 120)
    job = panel.runner.run.job
    slicer.mrmlScene.Clear(0)
    assert job.stopping
    assert "The scene was closed, so its segmentation was canceled." in module.message
    makePatient("another patient")
    module.settle(finished(panel))
    assert segmentations() == []
    assert "The scene was closed" in module.message
    assert panel.ui.statusLabel.text == ""


def test_a_damaged_model_cant_be_chosen_for_work(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    path = next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"])
    (Path(path) / "plans.json").write_text("{")
    panel.refresh()
    module.settle()
    panel.selectModel(path)
    assert not panel.ui.segmentButton.enabled
    assert "plans.json" in panel.ui.segmentButton.toolTip
    assert "Can't be used" in panel.ui.modelInfoLabel.text


def test_a_checkpoint_that_is_damaged_is_told_by_the_engine(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    path = next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"])
    (Path(path) / "fold_0" / "checkpoint_final.pth").write_bytes(b"nothing")
    panel.selectModel(path)
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    assert "checkpoint_final.pth" in module.message
    assert "The segmentation failed" in module.message
    assert segmentations() == []


def test_an_engine_that_is_not_installed(openModule):
    module = openModule(python="")
    panel = module.panel("Segment")
    makePatient()
    module.settle()
    assert not panel.ui.segmentButton.enabled
    assert "Setup" in panel.ui.segmentButton.toolTip


def test_correct_add_and_continue(openModule, trainedWorkspace, monkeypatch):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    volume = makePatient()
    module.settle()
    model = next(model for model in module.widget.logic.models if model["channels"] == ["CT"])
    panel.selectModel(model["path"])
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    result = panel.results.node
    assert result.GetAttribute(MODEL_ATTRIBUTE) == model["path"]

    editor = types.SimpleNamespace(seen=[])
    editor.setSegmentationNode = lambda node: editor.seen.append(node)
    editor.setSourceVolumeNode = lambda node: editor.seen.append(node)
    widget = types.SimpleNamespace(self=lambda: types.SimpleNamespace(editor=editor))
    representation = types.SimpleNamespace(widgetRepresentation=lambda: widget)
    monkeypatch.setattr(slicer.modules, "segmenteditor", representation, raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: editor.seen.append(name))
    panel.ui.editButton.click()
    assert editor.seen == ["SegmentEditor", result, volume]

    panel.ui.addButton.click()
    panel.ui.continueButton.click()
    assert module.asked == [
        ("addCase", [volume], result, {"dataset": "Dataset001_Organ"}),
        ("continueFrom", model["path"], "Dataset001_Organ"),
    ]
    slicer.mrmlScene.RemoveNode(volume)
    panel.results.show()
    assert not panel.ui.addButton.enabled
    assert "not in the scene" in panel.ui.addButton.toolTip


def test_the_choices_are_saved_with_the_scene(openModule, trainedWorkspace, tmp_path):
    module = openModule(trainedWorkspace)
    panel = module.panel("Segment")
    first, second = makePatient("first"), makePatient("second")
    module.settle()
    panel.selectModel(next(model["path"] for model in module.widget.logic.models if model["channels"] == ["CT"]))
    panel.inputs.choose([first])
    panel.ui.fasterCheckBox.checked = True
    path = panel.model["path"]
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    panel.inputs.choose([second])
    panel.ui.fasterCheckBox.checked = False
    slicer.util.loadScene(str(tmp_path / "scene.mrml"), {"clear": True})
    module.widget.exit()
    module.widget.enter()
    module.settle()
    assert panel.ui.fasterCheckBox.checked
    assert panel.model["path"] == path
    assert panel.inputs.cases[0][0].GetName() == "first"


def test_from_the_console(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    module.panel("Models")
    module.settle()
    logic = module.widget.logic
    model = next(model for model in logic.models if model["channels"] == ["CT"])
    volume = makePatient()
    run = Segmentation(logic.engine, model, [[volume]], SegmentOptions(device="cpu"))
    (node,) = run.segment(slicer.app.processEvents)
    assert volumesOf(node) == [volume]


def test_stale_files_of_a_killed_slicer_are_removed(openModule, trainedWorkspace):
    module = openModule(trainedWorkspace)
    module.panel("Models")
    module.settle()
    left = module.workspace / "staging" / "segment-old"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    model = next(model for model in module.widget.logic.models if model["channels"] == ["CT"])
    run = Segmentation(module.widget.logic.engine, model, [[makePatient()]])
    next(run.export())
    assert not left.exists()
    written = sorted(path.name for path in run._images.iterdir())
    assert written == ["case_001_0000.nrrd"]
    image = sitk.ReadImage(str(run._images / written[0]))
    assert np.array_equal(sitk.GetArrayFromImage(image), blocks())
    run.remove()
    assert not (module.workspace / "staging").exists()
    assert json.dumps(model)
