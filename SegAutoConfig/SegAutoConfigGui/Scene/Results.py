"""From files that the engine's ``predict`` wrote to nodes in the scene."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Files import readVolume
from SegAutoConfigGui.Scene.Geometry import removedOnError
from SegAutoConfigGui.Scene.LabelMaps import BINARY
from SegAutoConfigGui.Scene.LabelRows import BACKGROUND_NAME, IGNORE_NAME
from SegAutoConfigGui.Scene.Matching import distinctColor
from SegAutoConfigGui.Scene.Volumes import MAP_ATTRIBUTE

SURFACE = "Closed surface"


def loadPrediction(
    labelFile: Path,
    volumeNode: Any,
    model: Mapping[str, Any],
    name: str | None = None,
    replace: Any = None,
    *,
    keepEmpty: bool = False,
) -> Any:
    """A segmentation node from a predicted label map, in the volume's geometry and under its transform.

    Args:
        labelFile: What the engine wrote for this volume.
        volumeNode: The (first) volume that was segmented.
        model: ``labels`` and ``segments`` of the model (the engine's ``info``). A region becomes the union of its
            values; background and ignore become nothing.
        name: Of the node; made unique. None: after the volume.
        replace: An earlier result, the segments of which are replaced; None keeps all earlier results.
        keepEmpty: Also make segments for labels that have no voxels.

    Raises:
        UserProblem: the file can't be read or has another grid than the volume; the scene is as before then.
    """
    array = readLabels(labelFile, volumeNode)
    if replace is not None:
        with slicer.util.NodeModify(replace):
            surface = replace.GetSegmentation().ContainsRepresentation(SURFACE)
            replace.GetSegmentation().RemoveAllSegments()
            _place(replace, volumeNode)
            addSegments(replace, array, volumeNode, model, keepEmpty)
            if name:
                replace.SetName(name)
            if surface:
                replace.CreateClosedSurfaceRepresentation()
        return replace
    with removedOnError():
        title = name or _("{volume} segmentation").format(volume=volumeNode.GetName())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(title))
        _place(node, volumeNode)
        addSegments(node, array, volumeNode, model, keepEmpty)
        node.CreateDefaultDisplayNodes()
    return node


def readLabels(labelFile: Path, volumeNode: Any) -> np.ndarray:
    """The label map (k, j, i) of a file on the grid of a volume.

    Raises:
        UserProblem: it can't be read, has another grid, or holds no whole numbers.
    """
    array = readVolume(Path(labelFile), volumeNode)
    if array.dtype.kind == "f" and (array == np.rint(array)).all():
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu" or array.min(initial=0) < 0:
        raise UserProblem(_("{file} is no label map.").format(file=Path(labelFile).name), "", str(labelFile))
    return array


def addSegments(
    segmentationNode: Any, array: np.ndarray, volumeNode: Any, model: Mapping[str, Any], keepEmpty: bool = False
) -> None:
    """Add the segments of a label map to a node; names, colours and terminology from the model.

    Args:
        segmentationNode: Under the same transform as the volume.
        array: (k, j, i), whole numbers.
        volumeNode: Has the array's grid.
        model: See `loadPrediction`.
        keepEmpty: Also for labels that have no voxels.
    """
    names = [name for name, value in model["labels"].items() if name != IGNORE_NAME and _values(value) != [0]]
    values = {name: _values(model["labels"][name]) for name in names if name != BACKGROUND_NAME}
    segmentation, segments = segmentationNode.GetSegmentation(), {}
    for layer in _layersOf(values):
        highest = max(int(array.max(initial=0)), *(number for name in layer for number in values[name]))
        table = np.zeros(highest + 1, np.uint8 if len(layer) < 256 else np.uint16)
        for number, name in enumerate(layer, 1):
            table[values[name]] = number
        image, present = _orientedImage(array, table, volumeNode)
        for number, name in enumerate(layer, 1):
            segments[name] = (image, number) if number in present else None
    for place, name in enumerate(values):
        if segments[name] is not None or keepEmpty:
            color = distinctColor(place + 1)
            segment = _segment(name, (model.get("segments") or {}).get(name) or {}, color)
            if segments[name] is not None:
                segment.AddRepresentation(BINARY, segments[name][0])
                segment.SetLabelValue(segments[name][1])
            segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(re.sub(r"\W+", "_", name)))


def loadProbabilities(files: Sequence[Path], volumeNode: Any, model: Mapping[str, Any]) -> list[Any]:
    """Volume nodes (0..1) from ``<case>_probability_<label value>.nrrd`` files, named after the labels.

    Raises:
        UserProblem: a file can't be read or has another grid than the volume; the scene is as before then.
    """
    with removedOnError():
        return [
            _loadMap(
                path, volumeNode, _("{volume} probability of {label}").format(volume=volumeNode.GetName(), label=name)
            )
            for path, name in ((Path(file), _labelOfFile(Path(file), model)) for file in files)
        ]


def loadUncertainty(file: Path, volumeNode: Any) -> Any:
    """A volume node (0 certain .. 1 undecided) from ``<case>_uncertainty.nrrd``.

    Raises:
        UserProblem: as `loadProbabilities`.
    """
    with removedOnError():
        return _loadMap(Path(file), volumeNode, _("{volume} uncertainty").format(volume=volumeNode.GetName()))


def _values(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _layersOf(values: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Groups of labels that have no value in common; plain labels are a single group."""
    layers: list[tuple[list[str], set[int]]] = []
    for name, numbers in values.items():
        free = next((layer for layer in layers if not layer[1] & set(numbers)), None)
        if free is None:
            free = ([], set())
            layers.append(free)
        free[0].append(name)
        free[1].update(numbers)
    return [names for names, _numbers in layers]


def _orientedImage(array: np.ndarray, table: np.ndarray, volumeNode: Any) -> tuple[Any, set[int]]:
    """The array with its values replaced by `table`, cropped to what isn't 0, as a layer; and which numbers occur."""
    numbers, present = np.empty(array.shape, table.dtype), np.zeros(int(table.max()) + 1, bool)
    for plane, labels in zip(numbers, array, strict=True):
        np.take(table, labels, out=plane)
        present |= np.bincount(plane.ravel(), minlength=len(present)).astype(bool)
    filled = np.array([plane.any() for plane in numbers])
    rows, columns = (np.logical_or.reduce([plane.any(axis=axis) for plane in numbers]) for axis in (1, 0))
    (k0, k1), (j0, j1), (i0, i1) = (_bounds(axis) for axis in (filled, rows, columns))
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    image.SetExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
    volumeNode.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    image.GetPointData().SetScalars(numpy_to_vtk(numbers[k0:k1, j0:j1, i0:i1].ravel(), deep=True))
    return image, set(np.flatnonzero(present[1:]) + 1)


def _bounds(filled: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(filled)
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, 1)


def _segment(name: str, metadata: Mapping[str, Any], color: Sequence[float]) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*(metadata.get("color") or color))
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    if metadata.get("terminology"):
        segment.SetTag(segment.GetTerminologyEntryTagName(), metadata["terminology"])
    return segment


def _place(node: Any, volumeNode: Any) -> None:
    """Put a node under the volume's transform and into its folder, with its geometry as reference."""
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    if node.IsA("vtkMRMLSegmentationNode"):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    own, other = (hierarchy.GetItemByDataNode(n) if hierarchy is not None else 0 for n in (node, volumeNode))
    if own and other:
        hierarchy.SetItemParent(own, hierarchy.GetItemParent(other))


def _loadMap(path: Path, volumeNode: Any, name: str) -> Any:
    array, matrix = readVolume(path, volumeNode), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    unique = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.util.addVolumeFromArray(array.astype(np.float32), ijkToRAS=matrix, name=unique)
    node.SetAttribute(MAP_ATTRIBUTE, "1")
    _place(node, volumeNode)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(0.0, 1.0)
    return node


def _labelOfFile(path: Path, model: Mapping[str, Any]) -> str:
    """The label that a probability image is of, by the number at the end of its name.

    For regions the number is the value that stands for the region (``regions_class_order``).
    """
    match = re.search(r"_(\d+)\.", path.name)
    number = int(match[1]) if match else -1
    labels = {name: _values(value) for name, value in model["labels"].items() if name != IGNORE_NAME}
    regions = [name for name, values in labels.items() if values != [0]]
    order = list(model.get("regions_class_order") or [])
    if any(len(values) > 1 for values in labels.values()) and number in order:
        return regions[order.index(number)]
    return next((name for name, values in labels.items() if values == [number]), str(number))
