"""`slicer.app.coreIOManager()`: enough of it for slicer.util.load..., saveNode, exportNode and scenes."""

from __future__ import annotations

import os
import sys

import vtk

from .strict import HostError, Strict

_TYPES = (
    (".seg.nrrd", "SegmentationFile"), (".seg.nhdr", "SegmentationFile"), (".mrk.json", "MarkupsFile"),
    (".ctbl", "ColorTableFile"), (".mrml", "SceneFile"), (".mrb", "SceneFile"), (".vtp", "ModelFile"),
    (".stl", "ModelFile"), (".obj", "ModelFile"), (".ply", "ModelFile"), (".tfm", "TransformFile"),
    (".h5", "TransformFile"), (".txt", "TextFile"), (".csv", "TableFile"), (".tsv", "TableFile"),
    (".nrrd", "VolumeFile"), (".nhdr", "VolumeFile"), (".nii", "VolumeFile"), (".nii.gz", "VolumeFile"),
    (".mha", "VolumeFile"), (".mhd", "VolumeFile"), (".hdr", "VolumeFile"),
)  # fmt: skip
_NODES = {
    "ModelFile": "vtkMRMLModelNode",
    "TransformFile": "vtkMRMLTransformNode",
    "TableFile": "vtkMRMLTableNode",
    "TextFile": "vtkMRMLTextNode",
    "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
}
#: Bits of vtkSlicerVolumesLogic::LoadingOptions by property; those in _ON are set unless told otherwise.
_VOLUME_OPTIONS = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}
_ON = {"autoWindowLevel"}


def _stem(path: str) -> str:
    name = os.path.basename(path)
    for extension in (".seg.nrrd", ".nii.gz", ".mrk.json"):
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return os.path.splitext(name)[0]


def _complain(messages, text: str) -> bool:
    if messages is not None:
        messages.AddMessage(vtk.vtkCommand.ErrorEvent, text)
    return False


class IOManager(Strict):
    """Reads and writes through the real logics and storage nodes; the type of a file goes by its extension."""

    _what = "qSlicerCoreIOManager"

    def __init__(self, app):
        self._app = app

    @property
    def _scene(self):
        return sys.modules["slicer"].mrmlScene

    def fileType(self, filename):
        name = str(filename).lower()
        return next((kind for extension, kind in _TYPES if name.endswith(extension)), "NoFile")

    # ---- reading
    def loadNodes(self, filetype, properties, collection=None, messages=None):
        path = str(properties["fileName"])
        if not os.path.isfile(path):
            return _complain(messages, f"file not found: {path}")
        if filetype == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear")), messages)
        node = self._load_node(filetype, path, properties)
        if node is None:
            return _complain(messages, f"{filetype} reader failed")
        if collection is not None:
            collection.AddItem(node)
        return True

    def _load_scene(self, path, clear, messages):
        if path.endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(path, clear, messages))
        self._scene.SetURL(path)
        return bool(self._scene.Connect() if clear else self._scene.Import())

    def _load_node(self, filetype, path, properties):
        name = properties.get("name") or _stem(path)
        if filetype == "VolumeFile":
            return self._load_volume(path, name, properties)
        if filetype == "SegmentationFile":
            color = self._scene.GetNodeByID(properties["colorNodeID"]) if properties.get("colorNodeID") else None
            logic = self._app.moduleLogic("Segmentations")
            return logic.LoadSegmentationFromFile(path, properties.get("autoOpacities", True), name, color)
        if filetype == "ColorTableFile":
            return self._app.applicationLogic().GetColorLogic().LoadColorFile(path, name)
        if filetype not in _NODES:
            raise HostError(f"the host has no reader for {filetype} ({path})")
        return self._load_plain(_NODES[filetype], path, name)

    def _load_volume(self, path, name, properties):
        options = sum(bit for key, bit in _VOLUME_OPTIONS.items() if properties.get(key, key in _ON))
        node = self._app.moduleLogic("Volumes").AddArchetypeVolume(path, name, options)
        if node is None:
            return None
        if properties.get("colorNodeID"):
            node.GetDisplayNode().SetAndObserveColorNodeID(properties["colorNodeID"])
        if properties.get("show", True):
            selection = self._app.applicationLogic().GetSelectionNode()
            labelmap = node.IsA("vtkMRMLLabelMapVolumeNode")
            selection.SetActiveVolumeID(None if labelmap else node.GetID())
            if labelmap:
                selection.SetActiveLabelVolumeID(node.GetID())
            self._app.applicationLogic().PropagateVolumeSelection(0)
        return node

    def _load_plain(self, kind, path, name):
        node = self._scene.AddNewNodeByClass(kind, name)
        node.AddDefaultStorageNode(path)
        if not node.GetStorageNode().ReadData(node):
            self._scene.RemoveNode(node)
            return None
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        return node

    # ---- writing
    def fileWriterFileType(self, node):
        return "NodeFile"

    def _new_storage(self, node):
        """A storage node outside the scene, as qSlicerNodeWriter makes it: it knows the scene's file formats."""
        storage = self._scene.CreateNodeByClass(node.GetDefaultStorageNodeClassName())
        storage.UnRegister(None)
        storage.SetScene(self._scene)
        return storage

    def extractKnownExtension(self, filename, node):
        storage = node.GetStorageNode() or self._new_storage(node)
        return storage.GetSupportedFileExtension(str(filename), False, True)

    def fileWriterExtensions(self, node):
        kinds = (node.GetStorageNode() or self._new_storage(node)).GetSupportedWriteFileTypes()
        return [kinds.GetValue(place) for place in range(kinds.GetNumberOfValues())]

    def saveNodes(self, filetype, properties, messages=None):
        path = str(properties["fileName"])
        if filetype == "SceneFile":
            return self._save_scene(path, messages)
        node = self._scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if properties.get("useCompression") is not None:
            storage.SetUseCompression(int(bool(properties["useCompression"])))
        return bool(storage.WriteData(node))

    def _save_scene(self, path, messages):
        if path.endswith(".mrb"):
            return bool(self._scene.WriteToMRB(path, None, messages))
        if not path.endswith(".mrml"):
            raise HostError("the host saves scenes as .mrml and .mrb only")
        self._scene.SetURL(path)
        return bool(self._scene.Commit(path))

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransform, messages=None):
        written = True
        for node_id, name in zip(nodeIDs, fileNames, strict=True):
            node = self._scene.GetNodeByID(node_id)
            if hardenTransform and node.GetParentTransformNode():
                raise HostError("exportNode(world=True) under a transform is not emulated")
            storage = self._new_storage(node)
            storage.SetFileName(str(name))
            written = bool(storage.WriteData(node)) and written
        return written
