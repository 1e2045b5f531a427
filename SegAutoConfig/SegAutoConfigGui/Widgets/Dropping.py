"""Dropping nodes from the Data module's tree, and files from the desktop, onto a widget."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk

#: What Slicer's trees of the subject hierarchy put into a drag, one address for each item (qMRMLSubjectHierarchyModel).
ITEM_ADDRESS = re.compile(r"mrml://scene/subjecthierarchy/item\?id=(\d+)")


class DropFilter(qt.QObject):
    """Event filter that lets nodes and files be dropped onto a widget.

    Args:
        widget: Gets the drops; of a table its ``viewport()``.
        onNodes: Gets the list of nodes.
        onFiles: Gets the list of paths.
    """

    def __init__(
        self, widget: Any, onNodes: Callable[[list[Any]], None], onFiles: Callable[[list[Path]], None]
    ) -> None:
        super().__init__(widget)
        self._onNodes = onNodes
        self._onFiles = onFiles
        widget.acceptDrops = True
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Take what can be taken; everything else goes on to the widget."""
        if event.type() not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        data = event.mimeData()
        if not data.hasUrls():
            return False
        event.acceptProposedAction()
        if event.type() == qt.QEvent.Drop:
            self._take([url.toString() for url in data.urls()], [url.toLocalFile() for url in data.urls()])
        return True

    def _take(self, addresses: list[str], files: list[str]) -> None:
        nodes = nodesOfAddresses(addresses)
        paths = [Path(file) for file in files if file]
        if nodes:
            self._onNodes(nodes)
        if paths:
            self._onFiles(paths)


def nodesOfAddresses(addresses: list[str]) -> list[Any]:
    """The nodes of a drag: those of the items, and of a folder, study or patient all nodes within it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    nodes: dict[str, Any] = {}
    for match in filter(None, map(ITEM_ADDRESS.fullmatch, addresses)):
        for node in _nodesOfItem(hierarchy, int(match[1])):
            nodes[node.GetID()] = node
    return list(nodes.values())


def _nodesOfItem(hierarchy: Any, item: int) -> list[Any]:
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, children, True)
    items = [item, *(children.GetId(i) for i in range(children.GetNumberOfIds()))]
    return [node for node in map(hierarchy.GetItemDataNode, items) if node is not None]
