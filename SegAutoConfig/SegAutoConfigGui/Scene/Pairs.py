"""Which volumes and segmentations in the scene belong together."""

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from SegAutoConfigGui.Scene.Geometry import TOLERANCE_VOXELS, gridOf, parentMatrix, problemsOfTransform, sameGrid
from SegAutoConfigGui.Scene.LabelMaps import BINARY
from SegAutoConfigGui.Scene.Volumes import VOLUME_CLASS, isImage

#: Words in names that don't belong to the name of a case.
COMMON_WORDS = {"segmentation", "seg", "label", "labels", "labelmap", "mask", "volume", "image", "img", "nrrd", "nii"}
#: How alike two names must be (0..1, difflib's ratio), if neither is part of the other.
ALIKE = 0.8
#: Values that only CT has (Hounsfield units of air), and its name among nnU-Net's channels.
AIR, CT = -900, "CT"
MODALITIES = {"CT": CT, "MR": "MR", "PT": "PET", "US": "US"}


def findPairs(
    channelNames: Sequence[str], knownSegmentations: Collection[Any], takenVolumes: Collection[Any]
) -> Iterator[tuple[list[Any], Any]]:
    """Pairs of volumes (one per channel, None where none fits) and segmentation.

    Args:
        channelNames: Of the table.
        knownSegmentations: Are left out.
        takenVolumes: Aren't used for further channels.
    """
    volumes = [node for node in slicer.util.getNodesByClass(VOLUME_CLASS) if isImage(node) and node.GetImageData()]
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        usable = not node.GetHideFromEditors() and node.GetSegmentation().GetNumberOfSegments()
        if usable and node not in knownSegmentations:
            volume = volumeOfSegmentation(node, volumes)
            if volume is not None:
                yield _channels(volume, channelNames, [v for v in volumes if v not in takenVolumes]), node


def volumeOfSegmentation(segmentation: Any, volumes: Sequence[Any]) -> Any:
    """The volume that a segmentation was drawn on: its reference, else by grid, else by name; None if none fits."""
    reference = segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
    if reference in volumes:
        return reference
    onGrid = [volume for volume in volumes if _isOnGrid(segmentation, volume)]
    if len(onGrid) == 1:
        return onGrid[0]
    name = segmentation.GetName()
    scores = [(likeness(name, volume.GetName()), place) for place, volume in enumerate(onGrid or volumes)]
    best = sorted(scores, reverse=True)[:2]
    if not best or best[0][0] < ALIKE or (len(best) > 1 and best[1][0] == best[0][0]):
        return None
    return (onGrid or volumes)[best[0][1]]


def likeness(a: str, b: str) -> float:
    """How alike two names are, 0..1; 1 where one has all words of the other, common words aside."""
    first, second = _words(a), _words(b)
    if not first or not second:
        return 0.0
    if set(first) == set(second):
        return 1.0
    if set(first) <= set(second) or set(second) <= set(first):
        return 0.9 + 0.1 * min(len(first), len(second)) / max(len(first), len(second)) - 0.01
    return min(difflib.SequenceMatcher(None, " ".join(first), " ".join(second)).ratio(), 0.89)


def modalityOf(volume: Any) -> str:
    """The name of the volume's modality (CT, MR ...) from DICOM, else CT where voxels say so; empty if unknown."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0
    if item:
        modality = hierarchy.GetItemAttribute(item, "DICOM.Modality")
        if modality in MODALITIES:
            return MODALITIES[modality]
    image = volume.GetImageData()
    return CT if image is not None and image.GetScalarRange()[0] <= AIR else ""


def _isOnGrid(segmentation: Any, volume: Any) -> bool:
    """True if the voxels of the first layer are voxels of the volume."""
    image = segmentation.GetSegmentation().GetNthSegment(0).GetRepresentation(BINARY)
    if image is None or problemsOfTransform(segmentation) or problemsOfTransform(volume):
        return False
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    local, size = gridOf(volume)
    if not np.linalg.det(local):
        return False
    world = parentMatrix(segmentation) @ slicer.util.arrayFromVTKMatrix(matrix)
    shift = np.linalg.inv(parentMatrix(volume) @ local) @ world
    extent = np.array(image.GetExtent())
    first, last = shift[:3, 3] + extent[::2], shift[:3, 3] + extent[1::2]
    turned = np.abs(shift[:3, :3] - np.eye(3)).max() * max(size)
    inside = (first > -0.5).all() and (last < np.array(size) - 0.5).all()
    return bool(turned < TOLERANCE_VOXELS and np.abs(first - np.rint(first)).max() < TOLERANCE_VOXELS and inside)


def _channels(volume: Any, channelNames: Sequence[str], candidates: Sequence[Any]) -> list[Any]:
    """The volumes of one patient, by channel."""
    if len(channelNames) == 1:
        return [volume]
    group = [other for other in candidates if other is volume or _isSamePatient(volume, other, channelNames)]
    chosen: list[Any] = [None] * len(channelNames)
    for place, name in enumerate(channelNames):
        wanted = set(_words(name))
        named = [other for other in group if wanted <= set(_words(other.GetName())) and other not in chosen]
        if named:
            chosen[place] = min(named, key=lambda other: len(_words(other.GetName())))
    left = [other for other in group if other not in chosen]
    free = [place for place, node in enumerate(chosen) if node is None]
    if len(left) == len(free):
        for place, other in zip(free, sorted(left, key=lambda node: node.GetName()), strict=True):
            chosen[place] = other
    if volume not in chosen and free:
        chosen[free[0]] = volume
    return chosen


def _isSamePatient(volume: Any, other: Any, channelNames: Sequence[str]) -> bool:
    """True for volumes on the same grid in the same folder or, where there are no folders, with the same stem."""
    if not sameGrid(volume, other):
        return False
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    parents = [hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (volume, other)]
    if parents[0] != parents[1] or parents[0] not in (0, hierarchy.GetSceneItemID()):
        return parents[0] == parents[1]
    channelWords = {word for name in channelNames for word in _words(name)}
    stems = [[word for word in _words(node.GetName()) if word not in channelWords] for node in (volume, other)]
    return stems[0] == stems[1]


def _words(name: str) -> list[str]:
    text = re.sub(r"_\d{4}$", "", name.casefold())
    return [word for word in re.findall(r"[^\W_]+", text) if word not in COMMON_WORDS]
