"""What tests do to a panel: answer dialogs, drop nodes, wait; and what is noticed when something goes wrong."""

import pytest
import qt
import slicer
import slicerhost
from slicerhost import demo
from slicerhost import qtapp as host
from slicerhost.subject_hierarchy import drag_mime


class NodeTable(qt.QTableWidget):
    """Takes items of the Data tree."""

    def __init__(self):
        super().__init__(0, 1)
        self.acceptDrops = True
        self.dropped = []

    def dragEnterEvent(self, event):
        if any(url.toString().startswith("mrml://scene/subjecthierarchy/item") for url in event.mimeData().urls()):
            event.acceptProposedAction()

    dragMoveEvent = dragEnterEvent

    def dropEvent(self, event):
        items = [int(qt.QUrlQuery(url).queryItemValue("id")) for url in event.mimeData().urls()]
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        self.dropped += [hierarchy.GetItemDataNode(item) for item in items]
        event.acceptProposedAction()


def test_nodes_are_dragged_from_the_data_tree_onto_a_table():
    table, nodes = NodeTable(), [demo.makeVolume("first"), demo.makeVolume("second")]
    assert host.drop(table, drag_mime(*nodes))
    assert table.dropped == nodes


def test_what_does_not_accept_is_not_dropped_on():
    table, text = NodeTable(), qt.QMimeData()
    text.setText("hello")
    assert not host.drop(table, text)
    assert not host.drop(qt.QLabel("no"), drag_mime(demo.makeVolume()))
    assert table.dropped == []


def test_a_dialog_is_answered_in_order():
    slicerhost.modal_answers += [qt.QMessageBox.Yes, "/data", lambda box: box.text]
    assert qt.QMessageBox.question(None, "Delete", "Really?") == qt.QMessageBox.Yes
    assert qt.QFileDialog.getExistingDirectory(None, "Where", "") == "/data"
    box = qt.QMessageBox()
    box.text = "details"
    assert box.exec_() == "details"


def test_a_dialog_without_an_answer_fails_instead_of_blocking():
    with pytest.raises(slicerhost.ModalCalled, match="Really"):
        qt.QMessageBox.question(None, "Delete", "Really?")


def test_message_boxes_of_slicer_are_skipped_in_testing_mode_and_asked_otherwise():
    slicer.util.errorDisplay("not shown")
    with slicerhost.dialogs_shown() as answers:
        answers.append(qt.QMessageBox.Cancel)
        assert not slicer.util.confirmOkCancelDisplay("Go on?")
    slicer.util.delayDisplay("not shown", 1000)


def test_a_chosen_entry_of_a_menu_is_triggered():
    menu, seen = qt.QMenu(), []
    menu.addAction("Remove").connect("triggered()", lambda: seen.append("removed"))
    slicerhost.modal_answers.append(lambda shown: shown.actions()[0])
    menu.exec_(qt.QPoint(0, 0))
    assert seen == ["removed"]


def test_an_exception_in_a_slot_or_an_observer_is_noticed():
    def fail(*_):
        raise ValueError("in a slot")

    button = qt.QPushButton()
    button.connect("clicked()", fail)
    button.click()
    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, fail)
    demo.makeVolume()
    slicer.mrmlScene.RemoveObserver(tag)
    with pytest.raises(AssertionError, match="in a slot"):
        host.check_no_slot_errors()
    assert len(host.slot_errors) >= 2
    host.slot_errors.clear()


def test_waiting_turns_the_event_loop_and_ends():
    seen = []
    qt.QTimer.singleShot(20, lambda: seen.append(1))
    with host.UiStall() as stall:
        assert host.wait(lambda: seen, 10) < 10
    assert stall.longest > 0
    with pytest.raises(TimeoutError):
        host.wait(lambda: False, 0.05)


def test_settings_are_not_the_users():
    slicer.app.userSettings().setValue("Test/flag", True)
    assert slicer.util.settingsValue("Test/flag", False, converter=slicer.util.toBool) is True
    assert qt.QSettings().fileName().startswith(slicer.app.temporaryPath)
    slicer.app.userSettings().remove("Test/flag")


def test_files_go_through_slicers_own_readers_and_writers(tmp_path):
    volume = demo.makeVolume("ct", spacing=(0.5, 0.6, 2), direction=demo.oblique())
    node = demo.makeSegmentation("seg", reference=volume)
    assert slicer.util.saveNode(volume, str(tmp_path / "ct.nrrd"))
    assert slicer.util.saveNode(node, str(tmp_path / "seg.seg.nrrd"))
    again = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"))
    assert (slicer.util.arrayFromVolume(again) == slicer.util.arrayFromVolume(volume)).all()
    segmentation = slicer.util.loadSegmentation(str(tmp_path / "seg.seg.nrrd"))
    assert segmentation.GetSegmentation().GetNthSegment(0).GetName() == "organ"
    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadVolume(str(tmp_path / "absent.nrrd"))


def test_imported_nodes_have_one_item_each_where_they_were(tmp_path):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(demo.makeVolume("ct")), folder)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    for expected in (2, 1):  # added to what is there, then instead of it
        slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": expected == 1})
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        items = {hierarchy.GetItemByDataNode(volume) for volume in volumes}
        assert (len(volumes), len(items), 0 in items) == (expected, expected, False)
        assert {hierarchy.GetItemName(hierarchy.GetItemParent(item)) for item in items} == {"patient"}
        assert hierarchy.GetNumberOfItems() == 2 * expected
    slicer.mrmlScene.RemoveNode(volumes[0])
    assert hierarchy.GetNumberOfItems() == 1
