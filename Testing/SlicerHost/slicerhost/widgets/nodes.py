"""qMRML widgets that choose nodes, and the plain ones they lie in."""

from __future__ import annotations

import sys

import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from ..pythonqt import declare_signal
from .base import STRINGS, qt_properties
from .ctk import ctkCollapsibleButton, draw_combo_box


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    pass


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """What Slicer passes to a module's widget class as parent."""

    isEntered = False

    def __init__(self, parent=None):
        super().__init__(parent)
        self._python_widget = None
        QtWidgets.QVBoxLayout(self)

    def self(self):
        return self._python_widget


class qMRMLCollapsibleButton(ctkCollapsibleButton):
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene):
        self.mrmlSceneChanged.emit(scene)


class SceneObserver:
    """Calls back when nodes come, go, change, or a scene was closed or imported."""

    def __init__(self, scene, callback):
        self._scene, self._callback, self._watched = scene, callback, {}
        kinds = sys.modules["slicer"].vtkMRMLScene
        events = (
            kinds.NodeAddedEvent,
            kinds.NodeRemovedEvent,
            kinds.EndBatchProcessEvent,
            kinds.EndCloseEvent,
            kinds.EndImportEvent,
        )
        self._tags = [scene.AddObserver(event, self._event) for event in events]

    def _event(self, _caller, _event):
        if not self._scene.IsBatchProcessing() or self._scene.IsClosing():
            self._callback()

    def watch(self, nodes) -> None:
        """The nodes whose changes (names) are of interest; replaces those named before."""
        wanted = {node.GetID(): node for node in nodes}
        for node_id in set(self._watched) - set(wanted):
            node, tag = self._watched.pop(node_id)
            node.RemoveObserver(tag)
        for node_id, node in wanted.items():
            if node_id not in self._watched:
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._callback())
                self._watched[node_id] = (node, tag)

    def stop(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self.watch([])
        self._tags = []


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Picks a node by itself as Slicer's does: the first, if the list was empty and has no menu entries."""

    vars().update(
        qt_properties(
            nodeTypes=(STRINGS, [], "_rebuild"), hideChildNodeTypes=(STRINGS, [], "_rebuild"),
            showChildNodeTypes=(bool, True, "_rebuild"), showHidden=(bool, False, "_rebuild"),
            noneEnabled=(bool, False, "_rebuild"), noneDisplay=(str, "None", "_rebuild"), addEnabled=(bool, True),
            removeEnabled=(bool, False), editEnabled=(bool, False), renameEnabled=(bool, False),
            selectNodeUponCreation=(bool, True), baseName=(str, ""), sizeAdjustPolicy=(int, 0),
        )
    )  # fmt: skip
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    _valid = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = self._observer = self._last = self._wanted = None
        self._attributes, self._ids, self._quiet, self._new_scene = [], [], False, False
        self._shown = []  # nodes with their names
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = self._make_box()
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(lambda *_: self._changed())
        self._box.activated.connect(lambda *_: self.nodeActivated.emit(self.currentNode()))
        self.setEnabled(False)  # the real one is disabled until it has a scene
        self.destroyed.connect(lambda *_: self._observer and self._observer.stop())

    def _make_box(self):
        box = QtWidgets.QComboBox()
        box.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        box.setMinimumWidth(60)
        return box

    # ---- scene
    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        if self._observer:
            self._observer.stop()
        self._scene = scene
        self._observer = SceneObserver(scene, self._look) if scene is not None else None
        self.setEnabled(scene is not None)
        self._new_scene = True
        self._rebuild()
        self._new_scene = False
        if self._wanted:
            self.setCurrentNodeID(self._wanted)
            self._wanted = None

    def addAttribute(self, nodeType, name, value=None):
        self._attributes.append((nodeType, name, None if value is None else str(value)))
        self._rebuild()

    @staticmethod
    def _has_attribute(node, kind, name, value) -> bool:
        if not node.IsA(kind):
            return True
        found = node.GetAttribute(name)
        return found is not None and (value is None or found == value)

    def nodes(self):
        if self._scene is None:
            return []
        kinds, children = self.property("nodeTypes") or [], self.property("showChildNodeTypes")
        left_out, hidden = self.property("hideChildNodeTypes") or [], self.property("showHidden")

        def accepts(node) -> bool:
            return (
                any(node.IsA(kind) if children else node.GetClassName() == kind for kind in kinds)
                and not any(node.IsA(kind) for kind in left_out)
                and (hidden or not node.GetHideFromEditors())
                and all(self._has_attribute(node, *wanted) for wanted in self._attributes)
            )

        if len(kinds) == 1:  # the scene finds them faster; of several kinds its order counts
            found = self._scene.GetNodesByClass(kinds[0])
            found.UnRegister(None)
            every = (found.GetItemAsObject(place) for place in range(found.GetNumberOfItems()))
        else:
            every = (self._scene.GetNthNode(place) for place in range(self._scene.GetNumberOfNodes()))
        return [node for node in every if accepts(node)]

    def _look(self):
        """Something in the scene has changed: most often nothing that is shown here."""
        if [(node, node.GetName()) for node in self.nodes()] != self._shown:
            self._rebuild()

    def _rebuild(self):
        if self._scene is None or self._quiet:
            return
        nodes, current, none = self.nodes(), self.currentNodeID, bool(self.property("noneEnabled"))
        self._shown = [(node, node.GetName()) for node in nodes]
        added = [node for node in nodes if node.GetID() not in self._ids]
        # Qt selects the first row put into an empty combo box; entries "Create new ..." mean that it is not empty
        menu = any(self.property(action + "Enabled") for action in ("add", "remove", "edit", "rename"))
        first = none or self._new_scene or (not self._ids and not menu)
        self._observer.watch(nodes)
        self._quiet = True
        self._ids = [node.GetID() for node in nodes]
        self._box.clear()
        self._box.addItems([self.property("noneDisplay")] * none + [node.GetName() for node in nodes])
        default = 0 if first and (none or self._ids) else -1
        self._box.setCurrentIndex(self._ids.index(current) + none if current in self._ids else default)
        self._quiet = False
        for node in added:
            self.nodeAdded.emit(node)
        self._changed()

    def _changed(self):
        if not self._quiet and self.currentNodeID != self._last:
            self._last = self.currentNodeID
            node = self.currentNode()
            self.currentNodeChanged.emit(node)
            self._valid.emit(node is not None)
            self.currentNodeIDChanged.emit(self._last or "")

    # ---- current node
    def _current_id(self):
        row = self._box.property("currentIndex") - bool(self.property("noneEnabled"))
        return self._ids[row] if 0 <= row < len(self._ids) else ""

    def setCurrentNodeID(self, node_id):
        if self._scene is None:
            self._wanted = node_id
            return
        none = bool(self.property("noneEnabled"))
        self._box.setCurrentIndex(self._ids.index(node_id) + none if node_id in self._ids else none - 1)

    currentNodeID = Property(str, _current_id, setCurrentNodeID)

    def currentNode(self):
        node_id = self._current_id()
        return self._scene.GetNodeByID(node_id) if node_id and self._scene is not None else None

    def setCurrentNode(self, node):
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeIndex(self, place):
        self._box.setCurrentIndex(place + bool(self.property("noneEnabled")))

    def nodeCount(self):
        return len(self._ids)

    def nodeFromIndex(self, place):
        return self._scene.GetNodeByID(self._ids[place]) if 0 <= place < len(self._ids) else None

    def addNode(self, kind=None):
        kind = kind or self.property("nodeTypes")[0]
        if kind not in self.property("nodeTypes"):
            return None
        name = self.property("baseName") or kind.replace("vtkMRML", "").replace("Node", "")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(name))
        if self.property("selectNodeUponCreation"):
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self):
        self._scene.RemoveNode(self.currentNode())


class _CheckedNamesBox(QtWidgets.QComboBox):
    """Shows the names of the checked nodes while closed."""

    names = staticmethod(lambda: [])

    def paintEvent(self, event):
        draw_combo_box(self, ", ".join(self.names()))


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Which nodes are checked is kept by id; the check boxes of the open list are not drawn."""

    checkedNodesChanged = Signal()

    def __init__(self, parent=None):
        self._checked = set()
        super().__init__(parent)

    def _make_box(self):
        box = _CheckedNamesBox()
        box.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        box.names = lambda: [node.GetName() for node in self.checkedNodes()]
        return box

    def checkedNodes(self):
        return [node for node in self.nodes() if node.GetID() in self._checked]

    def uncheckedNodes(self):
        return [node for node in self.nodes() if node.GetID() not in self._checked]

    def checkState(self, node):
        return Qt.Checked if node.GetID() in self._checked else Qt.Unchecked

    def setCheckState(self, node, state):
        if self.checkState(node) != Qt.CheckState(state):
            self._checked ^= {node.GetID()}
            self._box.update()
            self.checkedNodesChanged.emit()

    def noneChecked(self):
        return not self.checkedNodes()

    def allChecked(self):
        return not self.uncheckedNodes()


CLASSES = (
    qMRMLWidget, qSlicerWidget, qSlicerScriptedLoadableModuleWidget, qMRMLCollapsibleButton, qMRMLNodeComboBox,
    qMRMLCheckableNodeComboBox,
)  # fmt: skip

declare_signal(qMRMLWidget, "mrmlSceneChanged(vtkMRMLScene*)", "mrmlSceneChanged")
for _signature, _name in (
    ("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged"),
    ("currentNodeChanged(bool)", "_valid"),
    ("currentNodeIDChanged(QString)", "currentNodeIDChanged"),
    ("nodeAdded(vtkMRMLNode*)", "nodeAdded"),
    ("nodeAddedByUser(vtkMRMLNode*)", "nodeAddedByUser"),
    ("nodeActivated(vtkMRMLNode*)", "nodeActivated"),
):
    declare_signal(qMRMLNodeComboBox, _signature, _name)
declare_signal(qMRMLCheckableNodeComboBox, "checkedNodesChanged()", "checkedNodesChanged")
