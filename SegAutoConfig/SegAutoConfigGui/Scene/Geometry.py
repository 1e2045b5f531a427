"""Where the voxels of volumes lie, and which volumes can't be written to files.

RAS, millimetres, matrices as float64 arrays (4, 4). *Local* coordinates are those of the node without its parent
transform; *world* coordinates are those with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem

#: How far corners of two equal grids may be apart, in voxels (their shortest edge).
TOLERANCE_VOXELS = 0.01
#: How far the cosine between two axes may be from 0, and scales of a rigid transform from 1.
TOLERANCE_ANGLE = 1e-4


def gridOf(volumeNode: Any) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The volume's own matrix from voxels (i, j, k) to local RAS, and its size (i, j, k)."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    image = volumeNode.GetImageData()
    return slicer.util.arrayFromVTKMatrix(matrix), image.GetDimensions() if image is not None else (0, 0, 0)


def parentMatrix(node: Any) -> np.ndarray:
    """The matrix from the node's local coordinates to the world; its parent transform must be linear."""
    matrix = vtk.vtkMatrix4x4()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def exportMatrix(volumeNode: Any) -> np.ndarray:
    """The matrix from voxels to RAS that a file of this volume gets.

    It is the volume's own; the parent transform is left out, as Slicer does when it saves a volume. Only where the
    parent scales (is no rigid motion) it is included, since voxel sizes would be wrong without it.
    """
    local, parent = gridOf(volumeNode)[0], parentMatrix(volumeNode)
    axes = parent[:3, :3]
    rigid = np.allclose(axes.T @ axes, np.eye(3), atol=TOLERANCE_ANGLE)
    return local if rigid else parent @ local


def problemsOfVolume(volumeNode: Any) -> list[Problem]:
    """All that keeps this volume from being written: no voxels, bad spacing, shear, warps, several components."""
    name, image = volumeNode.GetName(), volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or not image.GetNumberOfPoints():
        return [Problem(_("Volume {name} has no voxels.").format(name=name), _("Choose another volume."))]
    problems = []
    if image.GetNumberOfScalarComponents() != 1:
        message = _("Volume {name} has {count} values per voxel (a color, vector or complex image).")
        hint = _("Extract one component with the module Vector to Scalar Volume, or make each a channel of its own.")
        problems.append(Problem(message.format(name=name, count=image.GetNumberOfScalarComponents()), hint))
    transform = problemsOfTransform(volumeNode)
    return problems + (transform or _problemsOfMatrix(volumeNode))


def problemsOfTransform(node: Any) -> list[Problem]:
    """The problem of a node (volume or segmentation) whose parent transform isn't linear, or nothing."""
    parent = node.GetParentTransformNode()
    if parent is None or parent.IsTransformToWorldLinear():
        return []
    message = _("{name} is under a transform that is not linear ({transform}).")
    hint = _("Harden the transform (Data module, right-click on the transform) or take it off.")
    return [Problem(message.format(name=node.GetName(), transform=parent.GetName()), hint)]


def _problemsOfMatrix(volumeNode: Any) -> list[Problem]:
    name, local = volumeNode.GetName(), gridOf(volumeNode)[0]
    matrix = parentMatrix(volumeNode) @ local
    if not np.isfinite(matrix).all() or not all(np.linalg.norm(m[:3, :3], axis=0).all() for m in (local, matrix)):
        message = _("Volume {name} has no valid spacing ({spacing} mm).")
        hint = _("Set its spacing in the module Volumes, under Volume Information.")
        return [Problem(message.format(name=name, spacing=_text(volumeNode.GetSpacing())), hint)]
    if _isSheared(local):
        message = _("The axes of volume {name} are not perpendicular.")
        hint = _("Resample it onto a grid with perpendicular axes (module Resample Scalar Volume).")
        return [Problem(message.format(name=name), hint)]
    if _isSheared(exportMatrix(volumeNode)):
        message = _("The transform {transform} shears volume {name}.")
        hint = _("Take the volume off the transform, or harden the transform and resample the volume.")
        return [Problem(message.format(name=name, transform=volumeNode.GetParentTransformNode().GetName()), hint)]
    return []


def _isSheared(matrix: np.ndarray) -> bool:
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), atol=TOLERANCE_ANGLE)


def gridDifference(a: Any, b: Any) -> str:
    """In words, how the grid of volume b differs from that of a in world coordinates; empty where they agree."""
    (localA, sizeA), (localB, sizeB) = gridOf(a), gridOf(b)
    matrixA, matrixB = parentMatrix(a) @ localA, parentMatrix(b) @ localB
    if sizeA != sizeB:
        return _("size {a} against {b} voxels").format(a=_text(sizeA), b=_text(sizeB))
    spacingA, spacingB = (np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (matrixA, matrixB))
    corners = np.array([[i, j, k, 1] for i in (0, sizeA[0]) for j in (0, sizeA[1]) for k in (0, sizeA[2])]).T
    apart = np.linalg.norm(((matrixA - matrixB) @ corners)[:3], axis=0).max()
    if apart <= TOLERANCE_VOXELS * spacingA.min():
        return ""
    differences = []
    if not np.allclose(spacingA, spacingB, rtol=TOLERANCE_ANGLE):
        differences.append(_("spacing {a} against {b} mm").format(a=_text(spacingA), b=_text(spacingB)))
    if not np.allclose(matrixA[:3, :3] / spacingA, matrixB[:3, :3] / spacingB, atol=TOLERANCE_ANGLE):
        differences.append(_("other directions of the axes"))
    if not np.allclose(matrixA[:3, 3], matrixB[:3, 3], atol=TOLERANCE_VOXELS * spacingA.min()):
        differences.append(_("origin {a} against {b} mm").format(a=_text(matrixA[:3, 3]), b=_text(matrixB[:3, 3])))
    return ", ".join(differences) or _("corners are {distance} mm apart").format(distance=f"{apart:.3g}")


def sameGrid(a: Any, b: Any) -> bool:
    """True if both volumes have the same voxels in world coordinates (see `gridDifference`)."""
    return not gridDifference(a, b)


def resampleToFirst(volume: Any, reference: Any) -> Any:
    """A copy of `volume` on the grid and under the transform of `reference`, linearly interpolated.

    Returns:
        A scalar volume node in the scene. The caller removes it; within `temporaryNodes` that happens by itself.

    Raises:
        UserProblem: it can't be resampled.
    """
    node = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(volume, reference)
    if node is None or node.GetImageData() is None:
        message = _("{name} can't be resampled to the grid of {reference}.")
        raise UserProblem(message.format(name=volume.GetName(), reference=reference.GetName()))
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())  # it was made as a copy of `volume`
    return node


@contextmanager
def temporaryNodes() -> Iterator[None]:
    """Nodes that are added to the scene within this block are removed at its end, also after an exception."""
    added: list[Any] = []
    try:
        with _recorded(added):
            yield
    finally:
        _remove(added)


@contextmanager
def removedOnError() -> Iterator[None]:
    """Nodes that are added to the scene within this block are removed if it ends with an exception."""
    added: list[Any] = []
    try:
        with _recorded(added):
            yield
    except BaseException:
        _remove(added)
        raise


@contextmanager
def _recorded(added: list[Any]) -> Iterator[None]:
    """Whoever adds a node: the event loop may not turn within, nor a step of a generator end."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def remember(caller: Any, event: str, node: Any) -> None:
        added.append(node)

    scene = slicer.mrmlScene
    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, remember)
    try:
        yield
    finally:
        scene.RemoveObserver(tag)


def _remove(nodes: list[Any]) -> None:
    for node in reversed(nodes):
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)


def _text(values: Any) -> str:
    return " x ".join(f"{value:.5g}" for value in values)
