"""`qt` as PythonQt presents it, and the stand-ins of Slicer's widgets."""

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicerhost import HostError, demo


@pytest.fixture
def selector():
    widget = slicer.qMRMLNodeComboBox()
    widget.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    widget.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    return widget


def test_properties_are_attributes():
    button = qt.QPushButton("Go")
    button.enabled = False
    button.setToolTip("why")
    assert (button.text, button.enabled, button.toolTip, button.isEnabled()) == ("Go", False, "why", False)
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(HostError, match="no settable property 'nonsense'"):
        button.nonsense = 1
    assert qt.QProcess().NotRunning == qt.QProcess.NotRunning


def test_signals_are_connected_by_signature_or_by_name():
    button, seen = qt.QPushButton(), []
    button.connect("clicked(bool)", seen.append)
    button.clicked.connect(lambda: seen.append("name"))
    button.click()
    assert seen == [False, "name"]
    button.disconnect("clicked(bool)", seen.append)
    with pytest.raises(HostError, match="pressedTwice"):
        button.connect("pressedTwice()", print)


def test_what_is_not_emulated_says_so():
    for owner, name in ((ctk, "ctkAxesWidget"), (qt, "QTextCodec"), (slicer.app, "pythonConsole")):
        with pytest.raises(HostError, match=name):
            getattr(owner, name)
    assert not hasattr(qt, "Signal")


def test_a_selector_is_disabled_without_a_scene(selector):
    assert not selector.enabled
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.enabled


def test_a_selector_lists_only_its_node_types_and_follows_the_scene(selector):
    selector.setMRMLScene(slicer.mrmlScene)
    first = demo.makeVolume("first")
    demo.makeVolume("labels", np.ones((2, 2, 2), np.uint8), labelmap=True)
    assert (selector.nodeCount(), selector.nodeFromIndex(0)) == (1, first)
    first.SetName("renamed")
    assert selector.findChildren(qt.QComboBox)[0].itemText(0) == "renamed"
    slicer.mrmlScene.RemoveNode(first)
    assert (selector.nodeCount(), selector.currentNode()) == (0, None)


@pytest.mark.parametrize(("none", "add", "picked"), [(True, True, None), (False, True, None), (False, False, "first")])
def test_which_added_node_a_selector_picks_by_itself(selector, none, add, picked):
    selector.noneEnabled, selector.addEnabled = none, add
    selector.setMRMLScene(slicer.mrmlScene)
    demo.makeVolume("first")
    demo.makeVolume("second")
    current = selector.currentNode()
    assert (current.GetName() if current else None) == picked


def test_a_selector_tells_of_its_choice(selector):
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    volume, seen = demo.makeVolume(), []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    selector.connect("currentNodeChanged(bool)", seen.append)
    selector.setCurrentNode(volume)
    selector.setCurrentNode(volume)
    assert seen == [volume, True]
    slicer.mrmlScene.Clear(0)
    assert seen[2:] == [None, False]


def test_checked_nodes():
    widget = slicer.qMRMLCheckableNodeComboBox()
    widget.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    widget.setMRMLScene(slicer.mrmlScene)
    first, second = demo.makeVolume("first"), demo.makeVolume("second")
    seen = []
    widget.connect("checkedNodesChanged()", lambda: seen.append(1))
    widget.setCheckState(second, qt.Qt.Checked)
    widget.setCheckState(second, qt.Qt.Checked)
    assert (widget.checkedNodes(), widget.uncheckedNodes(), len(seen)) == ([second], [first], 1)
    slicer.mrmlScene.RemoveNode(second)
    assert widget.noneChecked()


def test_the_segment_table_follows_the_segmentation():
    node, table = demo.makeSegmentation(), slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(node)
    cells = table.findChildren(qt.QTableWidget)[0]
    assert [cells.item(row, 1).text() for row in range(cells.rowCount)] == ["organ"]
    node.GetSegmentation().AddEmptySegment("tumor", "tumor")
    node.GetSegmentation().GetNthSegment(0).SetName("liver")
    assert [cells.item(row, 1).text() for row in range(cells.rowCount)] == ["liver", "tumor"]


def test_show_3d_makes_and_removes_the_surface():
    node, button = demo.makeSegmentation(), slicer.qMRMLSegmentationShow3DButton()
    button.setSegmentationNode(node)
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    button.checked = True
    assert node.GetSegmentation().ContainsRepresentation(name)
    button.checked = False
    assert not node.GetSegmentation().ContainsRepresentation(name)


def test_a_collapsible_button_hides_its_content():
    button = ctk.ctkCollapsibleButton("Advanced")
    inside = qt.QLabel("inside", button)
    qt.QVBoxLayout(button).addWidget(inside)
    seen = []
    button.connect("contentsCollapsed(bool)", seen.append)
    button.collapsed = True
    assert (inside.isHidden(), button.checked, seen) == (True, False, [True])


UI = """<ui version="4.0"><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="all"><item>
<widget class="{cls}" name="child">{properties}</widget></item></layout></widget>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>child</receiver><slot>{slot}(vtkMRMLScene*)</slot></connection></connections></ui>"""


def load(tmp_path, cls="qMRMLNodeComboBox", properties="", slot="setMRMLScene"):
    path = tmp_path / "panel.ui"
    path.write_text(UI.format(cls=cls, properties=properties, slot=slot))
    return slicer.util.loadUI(str(path))


def test_a_ui_file_is_loaded_with_its_connections(tmp_path):
    types = '<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>'
    panel = load(tmp_path, properties=types)
    ui = slicer.util.childWidgetVariables(panel)
    panel.setMRMLScene(slicer.mrmlScene)
    assert ui.child.enabled
    assert ui.child.nodeTypes == ("vtkMRMLScalarVolumeNode",)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"cls": "qMRMLTransformSliders"}, "qMRMLTransformSliders"),
        ({"properties": '<property name="colour"><string>x</string></property>'}, "qMRMLNodeComboBox.colour"),
        ({"slot": "setScene"}, "child.setScene"),
    ],
)
def test_a_ui_file_that_would_not_work_is_refused(tmp_path, wrong, named):
    with pytest.raises(HostError, match=named):
        load(tmp_path, **wrong)
