"""What Slicer's Qt code adds to the subject hierarchy: items of data nodes, and dragging them out of the Data tree."""

from __future__ import annotations

import sys

import vtk

_KINDS = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLTransformNode")


def _with_node(callback):
    callback.CallDataType = vtk.VTK_OBJECT
    return callback


def _is_data(node) -> bool:
    return node is not None and not node.GetHideFromEditors() and any(node.IsA(kind) for kind in _KINDS)


def make_items(scene):
    """Give each data node an item while it is in the scene; returns a function that ends this.

    In Slicer a Qt plugin handler does it; without it `GetItemByDataNode()` is always 0. Nodes of an imported scene get
    theirs when the import, which brings the scene's own items, is done.
    """
    slicer = sys.modules["slicer"]

    def hierarchy():  # merges the nodes of several imported hierarchies, so it is not asked for while one is removed
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    def add(node):
        items = hierarchy() if _is_data(node) else None
        if items is not None and not items.GetItemByDataNode(node):
            items.CreateItem(items.GetSceneItemID(), node)

    @_with_node
    def added(_caller, _event, node):
        if not scene.IsImporting():
            add(node)

    @_with_node
    def removed(_caller, _event, node):
        items = hierarchy() if _is_data(node) and not scene.IsClosing() else None
        item = items.GetItemByDataNode(node) if items is not None else 0
        if item:
            items.RemoveItem(item, False, False)

    def imported(_caller, _event):
        for place in range(scene.GetNumberOfNodes()):
            add(scene.GetNthNode(place))

    events = (
        (slicer.vtkMRMLScene.NodeAddedEvent, added),
        (slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, removed),
        (slicer.vtkMRMLScene.EndImportEvent, imported),
    )
    tags = [scene.AddObserver(event, callback) for event, callback in events]
    return lambda: [scene.RemoveObserver(tag) for tag in tags]


def drag_mime(*nodes):
    """What the Data tree hands over when these nodes' items are dragged.

    As qMRMLSubjectHierarchyModel::mimeData in Slicer's sources
    (Modules/Loadable/SubjectHierarchy/Widgets/qMRMLSubjectHierarchyModel.cxx): one URL
    `mrml://scene/subjecthierarchy/item?id=<item>` per item (text/uri-list), beside Qt's own encoding of the rows.
    """
    from PySide6 import QtCore

    slicer = sys.modules["slicer"]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = [hierarchy.GetItemByDataNode(node) for node in nodes]
    mime = QtCore.QMimeData()
    mime.setData("application/x-qabstractitemmodeldatalist", b"")
    mime.setUrls([QtCore.QUrl(f"mrml://scene/subjecthierarchy/item?id={item}") for item in items])
    return mime
