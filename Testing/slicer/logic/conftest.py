"""Fixtures of the tests of what works without widgets."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
import slicer
from slicerhost import scripted

# The modules under test translate their texts, and are imported before the host is started.
if "slicer.i18n" not in sys.modules:
    slicer.i18n = sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
    slicer.i18n.tr, slicer.i18n.translate = scripted.tr, scripted.translate


@pytest.fixture
def sameNodes() -> Callable[[], AbstractContextManager[None]]:
    """`with sameNodes():` fails if nodes or subject hierarchy items were added to the scene or removed from it."""

    def state() -> tuple[list[str], int]:
        scene = slicer.mrmlScene
        hierarchy = scene.GetSubjectHierarchyNode()
        ids = sorted(scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes()))
        return ids, hierarchy.GetNumberOfItems() if hierarchy is not None else 0

    @contextmanager
    def check() -> Iterator[None]:
        before = state()
        try:
            yield
        finally:
            assert state() == before

    return check


@pytest.fixture
def addTransform() -> Callable[..., object]:
    """addTransform(node, ...) puts nodes under a new linear transform with a 4x4 matrix."""

    def add(matrix: np.ndarray, *nodes: object) -> object:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
        for node in nodes:
            node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    return add


@pytest.fixture
def box() -> Callable[..., np.ndarray]:
    """box((k0, k1), (j0, j1), (i0, i1)): a mask of 12 x 14 x 16 voxels, or of another shape, that is 1 there."""

    def make(k: tuple, j: tuple, i: tuple, shape: tuple = (12, 14, 16)) -> np.ndarray:
        mask = np.zeros(shape, np.uint8)
        mask[slice(*k), slice(*j), slice(*i)] = 1
        return mask

    return make


@pytest.fixture
def slicersExport(slicerApp: object) -> Callable[..., np.ndarray]:
    """slicersExport(segmentation, volume, ids=None): what Slicer exports; 1, 2 ... in the order of ids."""

    def export(segmentation: object, volume: object, ids: list[str] | None = None) -> np.ndarray:
        copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "copy")
        copy.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
        copy.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "export")
        assert slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(
            copy,
            list(ids or segmentation.GetSegmentation().GetSegmentIDs()),
            node,
            volume,
            slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY,
        )
        array = slicer.util.arrayFromVolume(node).copy()
        colors = node.GetDisplayNode().GetColorNode()
        for each in (node, colors, copy):
            slicer.mrmlScene.RemoveNode(each)
        return array

    return export
