"""slicer.parameterNodeWrapper of the host."""

import enum
import pathlib
from typing import Annotated, Optional

import ctk
import pytest
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicerhost import HostError, demo


class Mode(enum.Enum):
    FAST = 1
    FULL = 2


@parameterNodeWrapper
class Parameters:
    volume: Optional[vtkMRMLScalarVolumeNode]  # noqa: UP045 - the spelling that all releases of Slicer know
    volumes: list[vtkMRMLScalarVolumeNode]
    names: list[str]
    weights: list[float] = [0.5]  # noqa: RUF012 - as in Slicer's documentation
    epochs: Annotated[int, WithinRange(1, 50)] = 5
    rate: float = 0.01
    resume: bool = False
    title: str = "Ünïted"
    folder: pathlib.Path
    mode: Mode = Mode.FULL
    device: Annotated[str, Choice(["cpu", "cuda"])]


@pytest.fixture
def node():
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


def test_defaults(node):
    parameters = Parameters(node)
    assert (parameters.volume, parameters.volumes, parameters.names, parameters.weights) == (None, [], [], [0.5])
    assert (parameters.epochs, parameters.rate, parameters.resume, parameters.title) == (5, 0.01, False, "Ünïted")
    assert (parameters.folder, parameters.mode, parameters.device) == (pathlib.Path(), Mode.FULL, "cpu")


def test_values_are_kept_in_the_node_and_saved_with_the_scene(node, tmp_path):
    first, second = demo.makeVolume("first"), demo.makeVolume("second")
    parameters = Parameters(node)
    parameters.volume, parameters.volumes = second, [first, second]
    parameters.names, parameters.weights = ["a", "b"], [1, 2.5]
    parameters.epochs, parameters.mode, parameters.folder = 7, Mode.FAST, pathlib.Path("/data/x")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = Parameters(slicer.util.getNode("parameters"))
    assert again.volume.GetName() == "second"
    assert [volume.GetName() for volume in again.volumes] == ["first", "second"]
    assert (again.names, again.weights, again.epochs) == (["a", "b"], [1.0, 2.5], 7)
    assert (again.mode, again.folder) == (Mode.FAST, pathlib.Path("/data/x"))
    slicer.mrmlScene.RemoveNode(again.volume)
    assert again.volume is None
    assert [volume.GetName() for volume in again.volumes] == ["first"]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("epochs", 51, ValueError),
        ("epochs", "5", TypeError),
        ("device", "tpu", ValueError),
        ("names", "a", TypeError),
        ("names", [1], TypeError),
        ("title", None, TypeError),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(node, name, value, error):
    parameters = Parameters(node)
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_widgets_follow_and_change_the_parameters(node):
    box, mode, title, path = qt.QSpinBox(), qt.QComboBox(), qt.QLineEdit(), ctk.ctkPathLineEdit()
    parameters = Parameters(node)
    tag = parameters.connectParametersToGui({"epochs": box, "mode": mode, "title": title, "folder": path})
    assert (box.value, box.minimum, box.maximum) == (5, 1, 50)
    assert (mode.count, mode.currentText, title.text) == (2, "FULL", "Ünïted")
    box.value, mode.currentIndex, title.text, path.currentPath = 9, 0, "new", "/data"
    assert (parameters.epochs, parameters.mode, parameters.title) == (9, Mode.FAST, "new")
    assert parameters.folder == pathlib.Path("/data")
    parameters.epochs = 3
    assert box.value == 3
    parameters.disconnectGui(tag)
    box.value = 4
    assert parameters.epochs == 3


def test_a_panel_names_its_parameters(node):
    panel = qt.QWidget()
    check, selector = qt.QCheckBox(panel), slicer.qMRMLNodeComboBox(panel)
    check.setProperty("SlicerParameterName", "resume")
    selector.setProperty("SlicerParameterName", "volume")
    selector.setMRMLScene(slicer.mrmlScene)
    parameters = Parameters(node)
    parameters.connectGui(panel)
    volume = demo.makeVolume()
    check.checked = True
    selector.setCurrentNode(volume)
    assert parameters.resume is True
    assert parameters.volume is volume


def test_what_slicer_refuses_is_refused(node):
    parameters = Parameters(node)
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"names": qt.QLineEdit()})
    with pytest.raises(RuntimeError, match="slider needs"):
        parameters.connectParametersToGui({"rate": ctk.ctkSliderWidget()})
    with pytest.raises(HostError, match="dict"):

        @parameterNodeWrapper
        class Unknown:
            table: dict[str, int]
