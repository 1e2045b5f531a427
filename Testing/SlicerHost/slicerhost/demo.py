"""Small volumes and segmentations for tests, with any spacing, direction and origin."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

#: Colours of segments made without one, in turn.
_COLORS = ((0.86, 0.5, 0.4), (0.5, 0.85, 0.35), (0.3, 0.55, 0.9), (0.9, 0.8, 0.3))


def ijkToRas(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None) -> vtk.vtkMatrix4x4:
    """The matrix of a grid.

    Args:
        spacing: millimetres along i, j and k.
        origin: RAS coordinates of voxel (0, 0, 0).
        direction: 3x3, columns are the RAS directions of i, j and k; None: identity.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(np.eye(3) if direction is None else direction, float) * np.asarray(spacing, float)
    matrix[:3, 3] = origin
    return slicer.util.vtkMatrixFromArray(matrix)


def oblique(angleX=20.0, angleZ=30.0) -> np.ndarray:
    """A direction matrix turned about the x and then the z axis, in degrees."""
    x, z = np.radians([angleX, angleZ])
    aboutX = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    aboutZ = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return aboutZ @ aboutX


def makeVolume(
    name="volume", array=None, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None, labelmap=False
):
    """A volume node in the scene.

    Args:
        name: the node's name.
        array: voxels (k, j, i); None: 12 x 14 x 16 int16 voxels, all different.
        spacing: see `ijkToRas`; as are origin and direction.
        labelmap: a label map instead of a scalar volume.
    """
    if array is None:
        array = np.arange(12 * 14 * 16, dtype=np.int16).reshape(12, 14, 16)
    kind = "vtkMRMLLabelMapVolumeNode" if labelmap else "vtkMRMLScalarVolumeNode"
    node = slicer.util.addVolumeFromArray(np.asarray(array), name=name, nodeClassName=kind)
    node.SetIJKToRASMatrix(ijkToRas(spacing, origin, direction))
    return node


def makeSegmentation(
    name="segmentation", segments=None, reference=None, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None
):
    """A segmentation node in the scene, the binary label maps of which are exactly the given masks.

    Args:
        name: the node's name.
        segments: {segment name: mask (k, j, i) or (mask, (red, green, blue))}; None: one box named "organ".
        reference: the volume whose grid the masks have; it becomes the reference volume. None: the masks have the
            grid of spacing, origin and direction, and the segmentation has no reference volume.
        spacing: see `ijkToRas`; as are origin and direction. Used without a reference only.
    """
    if segments is None:
        mask = np.zeros((12, 14, 16) if reference is None else slicer.util.arrayFromVolume(reference).shape, np.uint8)
        mask[2:8, 3:9, 4:12] = 1
        segments = {"organ": mask}
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        matrix = vtk.vtkMatrix4x4()
        reference.GetIJKToRASMatrix(matrix)
    else:
        matrix = ijkToRas(spacing, origin, direction)
    for place, (segment, value) in enumerate(segments.items()):
        mask, color = value if isinstance(value, tuple) else (value, _COLORS[place % len(_COLORS)])
        node.AddSegmentFromBinaryLabelmapRepresentation(_orientedImage(mask, matrix), segment, color)
    return node


def _orientedImage(mask, matrix):
    """A mask (k, j, i) as vtkOrientedImageData on the grid of `matrix`."""
    from vtk.util.numpy_support import numpy_to_vtk

    values = np.ascontiguousarray(np.asarray(mask) != 0, dtype=np.uint8)
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    image.SetImageToWorldMatrix(matrix)
    return image
