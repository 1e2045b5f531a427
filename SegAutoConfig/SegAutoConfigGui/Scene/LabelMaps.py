"""From a segmentation node to the voxels of a label map: what Slicer's own export gives, voxel for voxel."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Geometry import TOLERANCE_VOXELS, gridOf, parentMatrix, temporaryNodes
from SegAutoConfigGui.Scene.Labels import AREA, OUT, Label, LabelTable
from SegAutoConfigGui.Scene.Regions import RegionCodes, filledParts

#: Slicer's name of the representation.
BINARY = "Binary labelmap"
#: Voxels that are looked at in one go.
CHUNK = 1 << 16
#: One voxel of so many is looked at first, which finds most structures. Prime: rows of voxels are no multiple of it.
SPARSE = 97
#: Up to so many values are compared one by one.
FEW = 3
#: Voxel types of layers that are copied directly.
SMALL_TYPES = (vtk.VTK_UNSIGNED_CHAR, vtk.VTK_SIGNED_CHAR, vtk.VTK_CHAR, vtk.VTK_SHORT, vtk.VTK_UNSIGNED_SHORT)


def usedSegments(segmentation: Any, labelTable: LabelTable, visibleOnly: bool = False) -> dict[str, Label]:
    """Segment id to row, for all segments that aren't left out; of those shown only, if asked."""
    segments, display, used = segmentation.GetSegmentation(), segmentation.GetDisplayNode(), {}
    for id in segments.GetSegmentIDs():
        label = labelTable.labelOfSegment(segments.GetSegment(id).GetName())
        shown = not visibleOnly or display is None or display.GetSegmentVisibility(id)
        if label is not None and label.role != OUT and shown:
            used[id] = label
    return used


def labelMap(segmentation: Any, volume: Any, labelTable: LabelTable, *, visibleOnly: bool = False) -> np.ndarray:
    """The label map (k, j, i) of a segmentation on the volume's grid; of overlapping segments the later row wins.

    Returns:
        uint8 or uint16, values by `LabelTable.value`.
    """
    highest = labelTable.ignoreValue() or len(labelTable.trained())
    result = np.zeros(_shape(volume), np.uint8 if highest < 256 else np.uint16)

    def add(layer: np.ndarray, labels: Sequence[Label]) -> None:
        values = _values(labels, labelTable).astype(result.dtype)
        for plane, numbers in filledParts(result, layer):
            np.maximum(plane, values[numbers], out=plane)  # a later row has a higher value

    area = _visitLayers(segmentation, volume, usedSegments(segmentation, labelTable, visibleOnly), add)
    if area is not None:
        result[~area] = labelTable.ignoreValue()
    return result


def regionMap(
    segmentation: Any, volume: Any, labelTable: LabelTable, codes: RegionCodes, *, visibleOnly: bool = False
) -> np.ndarray:
    """The codes (k, j, i), uint16, of the combinations of labels that each voxel has; see `RegionCodes`."""
    result = np.zeros(_shape(volume), np.uint16)

    def add(layer: np.ndarray, labels: Sequence[Label]) -> None:
        codes.add(result, layer, _values(labels, labelTable))

    area = _visitLayers(segmentation, volume, usedSegments(segmentation, labelTable, visibleOnly), add)
    if area is not None:
        codes.add(result, (~area).view(np.uint8), np.array([0, labelTable.ignoreValue()]))
    return result


def overlaps(
    segmentation: Any, labelTable: LabelTable, volume: Any, *, visibleOnly: bool = False
) -> dict[tuple[str, str], int]:
    """How many voxels two labels share.

    Returns:
        {(name, name of a later row, which wins): voxels}, without pairs that share none and rows that are left out.
    """
    used = usedSegments(segmentation, labelTable, visibleOnly)
    used = {id: label for id, label in used.items() if label.role != AREA}
    segments = segmentation.GetSegmentation()
    if segments.ContainsRepresentation(BINARY) and len({segments.GetLayerIndex(id, BINARY) for id in used}) < 2:
        return {}
    codes, result = RegionCodes(labelTable), np.zeros(_shape(volume), np.uint16)
    _visitLayers(
        segmentation, volume, used, lambda layer, labels: codes.add(result, layer, _values(labels, labelTable))
    )
    names = {labelTable.value(label): label.name for label in used.values()}
    shared: dict[tuple[str, str], int] = {}
    for combination, count in codes.counts(result).items():
        for a, b in combinations(sorted(combination), 2):
            shared[names[a], names[b]] = shared.get((names[a], names[b]), 0) + count
    return shared


def emptySegments(segmentation: Any) -> list[str]:
    """The names of segments without voxels; segments that are no label maps count as filled."""
    segments, layers, empty = segmentation.GetSegmentation(), {}, []
    if not segments.ContainsRepresentation(BINARY):
        return []
    for id in segments.GetSegmentIDs():
        layers.setdefault(segments.GetLayerIndex(id), []).append(segments.GetSegment(id))
    for layer in layers.values():
        image = layer[0].GetRepresentation(BINARY)
        scalars = image.GetPointData().GetScalars() if image is not None else None
        stored = vtk_to_numpy(scalars) if scalars is not None else np.zeros(0)
        missing = missingIn(stored, [segment.GetLabelValue() for segment in layer])
        empty += [segment.GetName() for segment in layer if segment.GetLabelValue() in missing]
    return empty


def missingIn(array: np.ndarray, values: Iterable[int]) -> set[int]:
    """Those of some values other than 0 that don't occur in an array of whole numbers; ends once all were found."""
    flat = array.reshape(-1)
    missing = set(values) - set(np.unique(flat[::SPARSE]).tolist())
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        if len(missing) <= FEW and part.any():
            missing = {value for value in missing if not (part == value).any()}
        elif len(missing) > FEW:
            missing -= set(np.flatnonzero(np.bincount(part[part > 0].astype(np.intp))).tolist())
        if not missing:
            break
    return missing


def _shape(volume: Any) -> tuple[int, int, int]:
    return volume.GetImageData().GetDimensions()[::-1]


def _values(labels: Sequence[Label], labelTable: LabelTable) -> np.ndarray:
    """For the numbers 0, 1, ... of a layer the values of its rows."""
    return np.array([0, *(labelTable.value(label) for label in labels)])


def _visitLayers(
    segmentation: Any, volume: Any, used: Mapping[str, Label], visit: Callable[[np.ndarray, list[Label]], None]
) -> np.ndarray | None:
    """Go through groups of segments that don't overlap; what is needed for it doesn't stay in the scene.

    Args:
        segmentation: The node.
        volume: Its grid is that of the layers.
        used: Segment ids to rows.
        visit: Is called with the layer (k, j, i), voxels 1, 2, ... for its segments, and with their rows; the layer is
            valid during the call only.

    Returns:
        True (k, j, i) where a segment with the role AREA is; None if there is no such segment.
    """
    area = np.zeros(_shape(volume), bool) if any(label.role == AREA for label in used.values()) else None
    with temporaryNodes():
        source = _withLabelMaps(segmentation) if used else segmentation
        groups: dict[int, list[str]] = {}
        for id in used:
            groups.setdefault(source.GetSegmentation().GetLayerIndex(id, BINARY), []).append(id)
        for ids in groups.values():
            labels = [used[id] for id in ids]
            with temporaryNodes():
                layer = _pasted(source, volume, ids)
                if layer is None:
                    layer = _exported(source, volume, ids)
                visit(layer, labels)
                inside = np.array([False, *(label.role == AREA for label in labels)])
                if inside.any():
                    for plane, numbers in zip(area, layer, strict=True):
                        plane |= inside[numbers]
    return area


def _pasted(segmentation: Any, volume: Any, ids: Sequence[str]) -> np.ndarray | None:
    """What `_exported` gives, many times faster, where the segments have the volume's voxels or a part of them."""
    segments = [segmentation.GetSegmentation().GetSegment(id) for id in ids]
    image, matrix = segments[0].GetRepresentation(BINARY), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    world = parentMatrix(segmentation) @ slicer.util.arrayFromVTKMatrix(matrix)
    shift = np.linalg.inv(parentMatrix(volume) @ gridOf(volume)[0]) @ world
    offset, size, extent = np.rint(shift[:3, 3]).astype(int), np.array(gridOf(volume)[1]), np.array(image.GetExtent())
    turned, moved = np.abs(shift[:3, :3] - np.eye(3)) @ size, np.abs(shift[:3, 3] - offset)
    if (turned + moved).max() > TOLERANCE_VOXELS or image.GetScalarType() not in SMALL_TYPES:
        return None
    layer = np.zeros(_shape(volume), np.uint8 if len(ids) < 256 else np.uint16)
    first, last = np.maximum(extent[::2] + offset, 0), np.minimum(extent[1::2] + offset, size - 1)
    if (first > last).any():
        return layer
    stored = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    start = first - offset - extent[::2]
    numbers = np.zeros(1 << 8 * stored.itemsize, layer.dtype)  # of each stored value
    numbers[[segment.GetLabelValue() for segment in segments]] = np.arange(1, len(ids) + 1)
    (i0, j0, k0), (i1, j1, k1) = start, start + last - first + 1
    part = layer[first[2] : last[2] + 1, first[1] : last[1] + 1, first[0] : last[0] + 1]
    for plane, values in zip(part, stored[k0:k1, j0:j1, i0:i1], strict=True):
        np.take(numbers, values, out=plane)
    return layer


def _exported(segmentation: Any, volume: Any, ids: Sequence[str]) -> np.ndarray:
    node = _hidden("vtkMRMLLabelMapVolumeNode")
    done = slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(
        segmentation, list(ids), node, volume, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    )
    if not done or node.GetImageData() is None:
        message = _("The segments of {name} can't be turned into a label map.").format(name=segmentation.GetName())
        raise UserProblem(message, _("Open it in Segment Editor; Slicer's log says more."))
    return slicer.util.arrayFromVolume(node)


def _withLabelMaps(segmentation: Any) -> Any:
    """The node itself, or a temporary copy with label maps if it has none (surfaces, fractions)."""
    if segmentation.GetSegmentation().ContainsRepresentation(BINARY):
        return segmentation
    copy = _hidden("vtkMRMLSegmentationNode")
    copy.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
    copy.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    if not copy.GetSegmentation().CreateRepresentation(BINARY):
        message = _("The segments of {name} can't be turned into label maps.").format(name=segmentation.GetName())
        raise UserProblem(message, _("Create its binary labelmaps in the module Segmentations, under Representations."))
    return copy


def _hidden(className: str) -> Any:
    """A new node that other modules don't list."""
    node = slicer.mrmlScene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)
