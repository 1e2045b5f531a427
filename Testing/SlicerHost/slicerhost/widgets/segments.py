"""qMRML widgets about segments."""

from __future__ import annotations

import sys

from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from ..pythonqt import declare_signal
from .base import qt_properties
from .nodes import qMRMLNodeComboBox, qMRMLWidget


class SegmentationObserver:
    """Calls back when segments of one segmentation come, go or change."""

    def __init__(self, callback):
        self._callback, self._segmentation, self._tags = callback, None, []

    def observe(self, node) -> None:
        """Observe this segmentation node (None: nothing) instead of the one before."""
        for tag in self._tags:
            self._segmentation.RemoveObserver(tag)
        self._segmentation = node.GetSegmentation() if node is not None else None
        self._tags = []
        if self._segmentation is not None:
            kinds = sys.modules["slicer"].vtkSegmentation
            events = (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified, kinds.SegmentsOrderModified)
            self._tags = [self._segmentation.AddObserver(event, lambda *_: self._callback()) for event in events]
        self._callback()

    def segments(self):
        """(id, segment) in order."""
        if self._segmentation is None:
            return []
        ids = (self._segmentation.GetNthSegmentID(place) for place in range(self._segmentation.GetNumberOfSegments()))
        return [(segment_id, self._segmentation.GetSegment(segment_id)) for segment_id in ids]


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    vars().update(
        qt_properties(
            noneEnabled=(bool, False), editEnabled=(bool, False), multiSelection=(bool, False),
            horizontalLayout=(bool, False), selectNodeUponCreation=(bool, True),
            segmentationNodeSelectorVisible=(bool, True),
        )
    )  # fmt: skip
    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal(list)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._nodes = qMRMLNodeComboBox()
        self._nodes.nodeTypes, self._nodes.noneEnabled = ["vtkMRMLSegmentationNode"], True
        self._list = QtWidgets.QListWidget()
        self._list.setMaximumHeight(90)
        self._list.setSelectionMode(QtWidgets.QAbstractItemView.ExtendedSelection)
        layout.addWidget(self._nodes)
        layout.addWidget(self._list)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Maximum)
        self._observer = SegmentationObserver(self._fill)
        self._nodes.currentNodeChanged.connect(self._node_changed)
        self._list.itemSelectionChanged.connect(self._selection_changed)

    def setMRMLScene(self, scene):
        super().setMRMLScene(scene)
        self._nodes.setMRMLScene(scene)

    def _node_changed(self, node):
        self._observer.observe(node)
        self.currentNodeChanged.emit(node)

    def _fill(self):
        keep = self.selectedSegmentIDs()
        self._list.blockSignals(True)
        self._list.clear()
        for segment_id, segment in self._observer.segments():
            item = QtWidgets.QListWidgetItem(segment.GetName() or segment_id)
            item.setData(Qt.UserRole, segment_id)
            self._list.addItem(item)
            item.setSelected(segment_id in keep)
        self._list.blockSignals(False)

    def selectedSegmentIDs(self):
        return [item.data(Qt.UserRole) for item in self._list.selectedItems()]

    def setSelectedSegmentIDs(self, ids):
        for place in range(len(self._observer.segments())):
            item = self._list.item(place)
            item.setSelected(item.data(Qt.UserRole) in ids)

    def currentSegmentID(self):
        return next(iter(self.selectedSegmentIDs()), "")

    def setCurrentSegmentID(self, segment_id):
        self.setSelectedSegmentIDs([segment_id])

    def _selection_changed(self):
        self.segmentSelectionChanged.emit(self.selectedSegmentIDs())
        self.currentSegmentChanged.emit(self.currentSegmentID())

    def currentNode(self):
        return self._nodes.currentNode()

    def currentNodeID(self):
        return self._nodes.currentNodeID

    def setCurrentNode(self, node):
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, node_id):
        self._nodes.setCurrentNodeID(node_id)


class qMRMLSegmentsTableView(qMRMLWidget):
    """Colors and names; follows the segmentation."""

    vars().update(
        qt_properties(
            readOnly=(bool, False), headerVisible=(bool, True), visibilityColumnVisible=(bool, True),
            colorColumnVisible=(bool, True), opacityColumnVisible=(bool, True), statusColumnVisible=(bool, False),
            filterBarVisible=(bool, False), selectionMode=(int, 3),
        )
    )  # fmt: skip
    selectionChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        QtWidgets.QVBoxLayout(self).setContentsMargins(0, 0, 0, 0)
        self._table = QtWidgets.QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.setColumnWidth(0, 24)
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().setVisible(False)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.itemSelectionChanged.connect(self.selectionChanged)
        self.layout().addWidget(self._table)
        self._node, self._observer = None, SegmentationObserver(self._fill)

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node):
        self._node = node
        self._observer.observe(node)

    def _fill(self):
        segments = self._observer.segments()
        self._table.setRowCount(len(segments))
        for row, (segment_id, segment) in enumerate(segments):
            color, name = QtWidgets.QTableWidgetItem(), QtWidgets.QTableWidgetItem(segment.GetName())
            color.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            name.setData(Qt.UserRole, segment_id)
            self._table.setItem(row, 0, color)
            self._table.setItem(row, 1, name)

    def selectedSegmentIDs(self):
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return [self._table.item(row, 1).data(Qt.UserRole) for row in rows]


class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.setText("Show 3D")
        self.setCheckable(True)
        self._node = None
        self.toggled.connect(self._show)

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node):
        self._node = node
        self.setEnabled(node is not None)

    def _show(self, on):
        if self._node is not None:
            (self._node.CreateClosedSurfaceRepresentation if on else self._node.RemoveClosedSurfaceRepresentation)()


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Keeps what it is given; there are no effects to edit with."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._segmentation = self._volume = self._editor_node = None
        self._label = QtWidgets.QLabel()
        QtWidgets.QVBoxLayout(self).addWidget(self._label)
        self._describe()

    def _describe(self):
        names = [node.GetName() if node is not None else "none" for node in (self._segmentation, self._volume)]
        self._label.setText(f"Segment Editor (stand-in)\nSegmentation: {names[0]}\nSource volume: {names[1]}")

    def segmentationNode(self):
        return self._segmentation

    def setSegmentationNode(self, node):
        self._segmentation = node
        self._describe()

    def sourceVolumeNode(self):
        return self._volume

    def setSourceVolumeNode(self, node):
        self._volume = node
        self._describe()

    def mrmlSegmentEditorNode(self):
        return self._editor_node

    def setMRMLSegmentEditorNode(self, node):
        self._editor_node = node


CLASSES = (
    qMRMLSegmentSelectorWidget, qMRMLSegmentsTableView, qMRMLSegmentationShow3DButton, qMRMLSegmentEditorWidget,
)  # fmt: skip

for _signature, _name in (
    ("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged"),
    ("currentSegmentChanged(QString)", "currentSegmentChanged"),
    ("segmentSelectionChanged(QStringList)", "segmentSelectionChanged"),
):
    declare_signal(qMRMLSegmentSelectorWidget, _signature, _name)
declare_signal(qMRMLSegmentsTableView, "selectionChanged(QItemSelection,QItemSelection)", "selectionChanged")
