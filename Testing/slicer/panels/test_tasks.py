"""TotalSegmentator's tasks in the Segment panel: weights, choices and a run; the engine in real processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import slicerhost
import slicerhost.qtapp as host
from slicerhost.demo import makeVolume
from slicerhost.dialogs import dialogs_shown

from made_once import made_once
from SegAutoConfigGui.Segment.ResultNodes import MODEL_ATTRIBUTE
from SegAutoConfigGui.Settings import Settings

PATIENCE = 240
WEIGHTS = """
import sys
from pathlib import Path
from task_weights import make_task_weights
for word in sys.argv[2:]:
    task, mode = word.split(":")
    make_task_weights(Path(sys.argv[1]), task, mode, width=2, patch=(32, 32, 32))
"""


@pytest.fixture(scope="session")
def realWeights(repository: Path, externalPython: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random networks of some tasks. Not to be changed."""

    def make(folder: Path) -> None:
        environment = {**slicer.util.startupEnvironment(), "OMP_NUM_THREADS": "1"}
        paths = [str(repository / "SegAutoConfigLib"), str(repository / "Testing")]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        words = ["body:default", "total:fastest", "total_mr:default", "total_mr:fast"]
        subprocess.run([externalPython, "-c", WEIGHTS, str(folder), *words], check=True, env=environment)

    return made_once(tmp_path_factory, "task-weights", make)


@pytest.fixture
def openTasks(openModule, monkeypatch, tmp_path):
    """Opens the Segment panel, with TotalSegmentator chosen; no weights are found but those that a test gives."""
    for name, value in (("TOTALSEG_HOME_DIR", str(tmp_path / "home")), ("https_proxy", "http://127.0.0.1:9")):
        monkeypatch.setitem(slicer.app._startup_environment, name, value)  # nobody answers there
    monkeypatch.delitem(slicer.app._startup_environment, "TOTALSEG_WEIGHTS_PATH", raising=False)

    def make(weights: Path | None = None, *, workspace: Path | None = None, chosen: bool = True):
        Settings().taskWeights = str(weights or "")
        module = openModule(workspace)
        panel = module.panel("Segment")
        module.settle(lambda: bool(module.widget.logic.tasks))
        if chosen:
            panel.models.select("TotalSegmentator")
        return module, panel

    yield make
    Settings().taskWeights = ""


def thorax(name: str = "thorax", *, damaged: bool = False):
    """A small CT in noise; damaged: with a voxel that is no number, which only the engine sees."""
    array = np.random.default_rng(1).normal(0, 200, (24, 30, 28)).astype(np.float32 if damaged else np.int16)
    if damaged:
        array[3, 4, 5] = np.nan
    return makeVolume(name, array, spacing=(3.0, 3.0, 4.0), origin=(10.0, -20.0, 5.0))


def entries(combo) -> list[str]:
    return [combo.itemText(place) for place in range(combo.count) if combo.itemData(place)]


def choose(combo, data) -> None:
    """Choose an entry of a combo box as a user does."""
    combo.currentIndex = combo.findData(data)
    assert combo.currentIndex >= 0, data
    combo.activated.emit(combo.currentIndex)


def finished(panel):
    return lambda: not panel.running


def test_without_weights_one_entry_more_and_what_is_missing(openTasks, screenshotFolder):
    module, panel = openTasks(chosen=False)
    thorax()
    module.settle()
    ui = panel.ui
    assert entries(ui.modelCombo) == ["TotalSegmentator"]
    assert ui.modelCombo.currentIndex == -1
    assert "choose TotalSegmentator" in ui.statusLabel.text
    assert not ui.taskCombo.isVisibleTo(panel.root)
    choose(ui.modelCombo, "TotalSegmentator")
    assert len(entries(ui.taskCombo)) == 51
    assert entries(ui.taskCombo)[0] == "total (weights missing)"
    assert entries(ui.taskCombo)[-1].endswith("(license key needed)")
    assert ui.modelInfoLabel.text.startswith("117 structures · for CT images · spleen")
    assert "datasets 291, 292, 293, 294, 295 of github.com/wasserth/TotalSegmentator" in ui.weightsLabel.text
    assert ui.weightsLabel.toolTip.count("https://") == 5
    assert ui.downloadButton.enabled
    assert not ui.segmentButton.enabled
    assert ui.segmentButton.toolTip == "The weights of total are missing. Download or import them."
    module.photograph(screenshotFolder, "segment-weights")
    choose(ui.taskCombo, "face")
    assert not ui.modeCombo.isVisibleTo(panel.root)
    assert "need a license key" in ui.weightsLabel.text
    assert not ui.downloadButton.enabled
    assert ui.importWeightsButton.enabled


def test_own_models_come_first_and_stay_chosen(openTasks, trainedWorkspace, realWeights):
    module, panel = openTasks(realWeights, workspace=trainedWorkspace, chosen=False)
    assert entries(panel.ui.modelCombo)[-1] == "TotalSegmentator"
    assert panel.ui.modelCombo.count == 4  # two models and a line
    assert panel.model in module.widget.logic.models
    models, module.widget.logic.models = module.widget.logic.models, []
    panel.models.take()
    assert panel.model["task"] == "total"  # is ready, and there is nothing else
    module.widget.logic.models = models  # the lists arrive in any order
    panel.models.take()
    assert panel.model in models
    choose(panel.ui.modelCombo, "TotalSegmentator")
    panel.models.take()
    assert panel.model["task"] == "total"  # the user chose it


def test_choices_of_a_task(openTasks, realWeights, screenshotFolder):
    module, panel = openTasks(realWeights)
    thorax()
    module.settle()
    ui = panel.ui
    assert entries(ui.taskCombo)[:4] == ["total", "total_mr", "body", "total_v3 (weights missing)"]
    assert entries(ui.modeCombo) == ["1.5 mm (weights missing)", "3 mm (fast, weights missing)", "6 mm (fastest)"]
    assert panel.model["mode"] == "fastest"  # the finest that there is
    assert ui.segmentButton.enabled, ui.segmentButton.toolTip
    assert not ui.weightsFrame.isVisibleTo(panel.root)
    for widget in (ui.foldsCombo, ui.fasterCheckBox, ui.probabilitiesCheckBox, ui.uncertaintyCheckBox):
        assert widget.toolTip == "Not for TotalSegmentator's tasks"
    assert ui.show3DCheckBox.enabled
    choose(ui.modeCombo, "fast")
    assert "datasets 297 of" in ui.weightsLabel.text
    choose(ui.taskCombo, "total")
    assert panel.model["mode"] == "fastest"

    ui.structuresCombo.currentIndex = 1
    ui.structuresCombo.activated.emit(1)
    assert ui.segmentButton.toolTip.startswith("No structure is chosen.")
    ui.structuresSearch.text = "kidney"
    shown = [item for item in map(ui.structuresList.item, range(117)) if not item.isHidden()]
    assert [item.text() for item in shown] == ["kidney_cyst_left", "kidney_cyst_right", "kidney_left", "kidney_right"]
    shown[2].setCheckState(qt.Qt.Checked)
    assert panel.model["labels"] == {"background": 0, "kidney_left": 3}
    assert ui.structuresCombo.itemText(1) == "only some (1)"
    assert ui.segmentButton.enabled, ui.segmentButton.toolTip
    module.photograph(screenshotFolder, "segment-task")
    choose(ui.taskCombo, "body")
    assert not ui.structuresFrame.isVisibleTo(panel.root)
    assert len(panel.model["labels"]) == 3


def test_the_choices_are_saved_with_the_scene(openTasks, realWeights, tmp_path):
    module, panel = openTasks(realWeights)
    panel.models.selectTask("total_mr", "fast", ["liver", "spleen"])
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    panel.models.selectTask("body")
    slicer.util.loadScene(str(tmp_path / "scene.mrml"), {"clear": True})
    module.widget.exit()
    module.widget.enter()
    module.settle()
    model = panel.model
    assert (model["task"], model["mode"], model["structures"]) == ("total_mr", "fast", ["spleen", "liver"])


def test_a_task_on_the_loaded_volume(openTasks, realWeights, screenshotFolder):
    module, panel = openTasks(realWeights)
    volume = thorax()
    module.settle()
    texts = []
    own = panel._onProgress
    panel.runner._onProgress = lambda share, text: (texts.append((share, text)), own(share, text))
    panel.ui.segmentButton.click()
    assert panel.running
    host.wait(lambda: any("Segmenting" in text for _share, text in texts) or not panel.running, PATIENCE)
    module.photograph(screenshotFolder, "segment-task-working")
    module.settle(finished(panel))
    assert module.message == ""
    assert [share for share, _text in texts] == sorted(share for share, _text in texts)
    (result,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert result.GetAttribute(MODEL_ATTRIBUTE) == "TotalSegmentator/total"
    row = next(row for row in module.widget.logic.tasks if row["name"] == "total")
    segments = result.GetSegmentation()
    found = [segments.GetNthSegment(place) for place in range(segments.GetNumberOfSegments())]
    assert 0 < len(found) < 117  # random networks find some structures; the others got no segment
    for place, segment in enumerate(found):
        described = row["segments"][segment.GetName()]
        assert segment.GetColor() == pytest.approx(described["color"])
        assert segment.GetTerminology() == described.get("terminology", segment.GetTerminology())
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(result, segments.GetNthSegmentID(place), volume)
        assert mask.shape == (24, 30, 28)
        assert mask.any()
    assert "Done" in panel.ui.statusLabel.text
    assert "not trained on" in panel.ui.continueButton.toolTip
    assert panel.ui.addButton.enabled
    module.photograph(screenshotFolder, "segment-task-finished")


def test_several_volumes_one_after_the_other_and_only_some_structures(openTasks, realWeights):
    module, panel = openTasks(realWeights)
    volumes = [thorax("first"), thorax("second")]
    module.settle()
    panel.models.selectTask("total_mr", "fast", ["liver", "spleen", "brain", "heart"])
    panel.ui.inputCombo.currentIndex = 1
    panel.ui.allButton.click()
    texts = []
    panel.runner._onProgress = lambda share, text: texts.append(text)
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    assert module.message == ""
    results = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node.GetName() for node in results] == ["first segmentation", "second segmentation"]
    for node in results:
        segments = node.GetSegmentation()
        names = {segments.GetNthSegment(place).GetName() for place in range(segments.GetNumberOfSegments())}
        assert names <= {"liver", "spleen", "brain", "heart"}
    assert any("2 of 2" in text for text in texts)
    assert volumes


def test_a_volume_that_fails_does_not_take_the_results_of_others(openTasks, realWeights, screenshotFolder):
    module, panel = openTasks(realWeights)
    volumes = [thorax("first", damaged=True), thorax("second"), thorax("third", damaged=True)]
    module.settle()
    panel.models.selectTask("total", "fastest")
    panel.ui.inputCombo.currentIndex = 1
    panel.ui.allButton.click()
    texts = []
    panel.runner._onProgress = lambda share, text: texts.append(text)
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    (result,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert result.GetName() == "second segmentation"
    assert result.GetSegmentation().GetNumberOfSegments() > 0
    assert panel.results.node is result
    assert any("2 of 3" in text and "1 failed" in text for text in texts)
    said = panel.ui.statusLabel.text.splitlines()
    assert said[:2] == ["Done: second segmentation", "Not segmented: first, third"]
    assert module.message.startswith("2 of 3 volumes could not be segmented.")
    for name in ("first", "third"):
        assert f"{name}: The volume holds 1 voxel" in module.message
    assert "NaN" in module.message
    assert not (module.workspace / "staging").exists()
    module.photograph(screenshotFolder, "segment-task-one-failed")

    panel.ui.volumesList.item(1).setCheckState(qt.Qt.Unchecked)
    panel.ui.segmentButton.click()  # no result at all
    module.settle(finished(panel))
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [result]
    assert "The segmentation failed" in module.message
    assert "first: The volume" in module.message
    assert "third: The volume" in module.message
    assert "Done" not in panel.ui.statusLabel.text
    assert volumes


def test_cancel_after_a_volume_that_failed_loads_nothing(openTasks, realWeights):
    module, panel = openTasks(realWeights)
    volumes = [thorax("first", damaged=True), thorax("second")]
    module.settle()
    panel.models.selectTask("total", "fastest")
    panel.ui.inputCombo.currentIndex = 1
    panel.ui.allButton.click()
    panel.ui.segmentButton.click()
    host.wait(lambda: panel.runner.run.place[0] == 2 and panel.runner.run.job.stage, PATIENCE)
    panel.ui.cancelButton.click()
    module.settle(finished(panel))
    assert panel.ui.statusLabel.text == "Canceled."
    assert module.message == ""
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert volumes


def test_the_frames_of_a_sequence(openTasks, realWeights):
    module, panel = openTasks(realWeights)
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    for number, damaged in enumerate((False, True, False)):
        frame = thorax(f"frame {number}", damaged=damaged)
        sequence.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    module.settle()
    panel.models.selectTask("total", "fastest")
    panel.ui.inputCombo.currentIndex = 2
    panel.ui.sequenceSelector.setCurrentNode(sequence)
    panel.ui.segmentButton.click()
    module.settle(finished(panel))
    (result,) = [node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if node is not sequence]
    frames = [result.GetNthDataNode(place).GetSegmentation() for place in range(result.GetNumberOfDataNodes())]
    layers = [[frame.GetNthSegment(n).GetRepresentation("Binary labelmap") for n in range(117)] for frame in frames]
    found = [any(layer.GetNumberOfPoints() and layer.GetScalarRange()[1] for layer in frame) for frame in layers]
    assert found == [True, False, True]  # in step, and every frame has all segments
    assert panel.results.node.GetAttribute(MODEL_ATTRIBUTE) == "TotalSegmentator/total"
    assert module.message.startswith("1 of 3 frames could not be segmented and stayed empty.")
    assert "film, frame 2: The volume holds 1 voxel" in module.message
    assert "Not segmented: film, frame 2" in panel.ui.statusLabel.text


def test_cancel_leaves_the_scene_as_it_was(openTasks, realWeights):
    module, panel = openTasks(realWeights)
    thorax()
    module.settle()
    panel.models.selectTask("total_mr", "default")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.segmentButton.click()
    host.wait(lambda: panel.runner.run.job is not None and panel.runner.run.job.stage.startswith("part 1"), PATIENCE)
    panel.ui.cancelButton.click()
    module.settle(finished(panel))
    assert panel.ui.statusLabel.text == "Canceled."
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert module.message == ""


# -- weights


def packed(weights: Path, name: str, file: Path) -> Path:
    """A zip file of the weights of one dataset, as they are published."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted((weights / name).rglob("*")):
            archive.write(path, path.relative_to(weights))
    return file


def test_weights_from_a_zip_file_and_from_a_folder(openTasks, realWeights, tmp_path):
    module, panel = openTasks()
    thorax()
    module.settle()
    panel.models.selectTask("body")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK nothing")
    slicerhost.modal_answers.append(str(damaged))
    panel.ui.importWeightsButton.click()
    module.settle(finished(panel))
    assert "The weights were not brought here" in module.message
    assert "damaged.zip" in module.message

    (dataset,) = [folder.name for folder in realWeights.iterdir() if folder.name.startswith("Dataset299")]
    slicerhost.modal_answers.append(str(packed(realWeights, dataset, tmp_path / "body.zip")))
    panel.ui.importWeightsButton.click()
    module.settle(finished(panel))
    assert module.message == "body.zip was imported."
    assert (module.workspace / "nnUNet_results" / "TotalSegmentator" / dataset).is_dir()
    module.settle(lambda: panel.ui.segmentButton.enabled)
    assert entries(panel.ui.taskCombo)[0] == "body"
    assert panel.model["task"] == "body"  # stays chosen
    assert module.widget.logic.models == []  # no model of the user's own

    slicerhost.modal_answers.append(str(realWeights))
    panel.models.selectTask("total_mr")
    panel.ui.weightsFolderButton.click()
    module.settle(lambda: panel.ui.segmentButton.enabled)
    assert str(realWeights) in module.message
    assert panel.options().weights == str(realWeights)


def test_damaged_weights_can_be_brought_again(openTasks, realWeights, tmp_path):
    (dataset,) = [folder.name for folder in realWeights.iterdir() if folder.name.startswith("Dataset299")]
    weights = tmp_path / "damaged"
    shutil.copytree(realWeights / dataset, weights / dataset)
    (checkpoint,) = weights.rglob("checkpoint_final.pth")
    plans = checkpoint.parents[1] / "plans.json"
    plans.write_text("{")
    module, panel = openTasks(weights)
    thorax()
    module.settle()
    panel.models.selectTask("body")
    assert panel.model["problem"]
    assert "Can't be used" in panel.ui.modelInfoLabel.text
    assert "datasets 299" in panel.ui.weightsLabel.text
    assert not panel.ui.segmentButton.enabled
    for button in (panel.ui.downloadButton, panel.ui.importWeightsButton, panel.ui.weightsFolderButton):
        assert button.isVisibleTo(panel.root)
        assert button.enabled, button.toolTip

    panel.weights.importFile(packed(realWeights, dataset, tmp_path / "body.zip"))
    module.settle(finished(panel))
    module.settle(lambda: panel.ui.segmentButton.enabled)
    assert not panel.ui.downloadButton.isVisibleTo(panel.root)


def test_a_download_asks_first_and_says_that_there_is_no_network(openTasks, screenshotFolder):
    module, panel = openTasks()
    panel.models.selectTask("body")
    asked = []

    def answer(given):
        def take(dialog):
            asked.append(dialog.text)
            return given

        return take

    with dialogs_shown():
        slicerhost.modal_answers.append(answer(qt.QMessageBox.Cancel))
        panel.ui.downloadButton.click()
        assert not panel.running
        slicerhost.modal_answers.append(answer(qt.QMessageBox.Ok))
        panel.ui.downloadButton.click()
        assert panel.running
        module.settle(finished(panel))
    for words in ("Dataset299", "Apache License 2.0", "Cite Wasserthal", str(module.workspace), "no medical device"):
        assert words in asked[0]
    assert "The weights were not brought here" in module.message
    assert "github.com" in module.message
    assert "connection" in module.message
    assert not (module.workspace / "nnUNet_results" / "TotalSegmentator").exists()
    module.photograph(screenshotFolder, "segment-weights-error")


# -- scripts


def test_one_call_from_the_console(openTasks, realWeights, repository, monkeypatch):
    from SegAutoConfigGui.Problems import UserProblem

    module, _panel = openTasks(realWeights)
    logic, volume = module.widget.logic, thorax("CT")
    monkeypatch.syspath_prepend(str(repository / "SegAutoConfig"))
    _train, code = re.findall(r"```python\n(.*?)```", (repository / "docs" / "scripting.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code.replace('"fast"', '"fastest"'), "docs/scripting.md", "exec"), names)
    assert names["node"].GetName() == "CT segmentation"
    for words, text in (
        ({"task": "totl"}, "no task totl"),
        ({"task": "body", "mode": "fastest"}, "no mode fastest"),
        ({"task": "body", "structures": ["body_trunc"]}, "can't look for body_trunc alone"),
        ({"task": "total"}, "weights of total are missing"),
    ):
        with pytest.raises(UserProblem, match=text):
            logic.totalSegmentator(volume, **words)
