"""Grids, transforms, and volumes that can't be exported."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from slicerhost.demo import oblique

from SegAutoConfigGui.Scene.Geometry import (
    exportMatrix,
    gridDifference,
    gridOf,
    parentMatrix,
    problemsOfTransform,
    problemsOfVolume,
    removedOnError,
    resampleToFirst,
    sameGrid,
    temporaryNodes,
)


def scaled(x: float, y: float, z: float) -> np.ndarray:
    return np.diag([x, y, z, 1.0])


def shifted(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def warp(*nodes: object) -> object:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_grid_is_local_and_world_needs_the_parent(makeVolume, addTransform):
    volume = makeVolume(spacing=(1, 2, 3), origin=(4, 5, 6), direction=oblique())
    addTransform(shifted(x=10), volume)
    matrix, size = gridOf(volume)
    assert size == (16, 14, 12)
    assert np.allclose(matrix[:3, 3], (4, 5, 6))
    assert np.allclose(np.linalg.norm(matrix[:3, :3], axis=0), (1, 2, 3))
    assert np.array_equal(parentMatrix(volume), shifted(x=10))
    assert np.array_equal(parentMatrix(makeVolume()), np.eye(4))


def test_nested_transforms_are_combined(makeVolume, addTransform):
    volume = makeVolume()
    outer = addTransform(shifted(x=10))
    inner = addTransform(shifted(y=3), volume)
    inner.SetAndObserveTransformNodeID(outer.GetID())
    assert np.array_equal(parentMatrix(volume), shifted(x=10, y=3))


def test_a_good_volume_has_no_problems(makeVolume, addTransform):
    volume = makeVolume(spacing=(0.5, 1, 3), direction=oblique())
    assert problemsOfVolume(volume) == []
    addTransform(shifted(x=10), volume)
    assert problemsOfVolume(volume) == []
    flipped = makeVolume(direction=np.diag([-1, 1, 1]))
    assert problemsOfVolume(flipped) == []


def test_rigid_parents_are_left_out_of_files_and_scaling_ones_are_included(makeVolume, addTransform):
    turned, stretched = makeVolume(spacing=(1, 2, 3)), makeVolume(spacing=(1, 2, 3))
    rigid = np.eye(4)
    rigid[:3, :3] = oblique()
    addTransform(rigid, turned)
    addTransform(scaled(2, 2, 2), stretched)
    assert np.array_equal(exportMatrix(turned), scaled(1, 2, 3))
    assert np.array_equal(exportMatrix(stretched), scaled(2, 4, 6))


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (np.nan, 1.0, 1.0)])
def test_bad_spacing(makeVolume, spacing):
    (problem,) = problemsOfVolume(makeVolume("odd", spacing=spacing))
    assert "odd" in problem.message
    assert "spacing" in problem.message
    assert "Volumes" in problem.hint


def test_zero_spacing_as_the_user_sets_it(makeVolume):
    volume = makeVolume("odd")
    volume.SetSpacing(0, 1, 1)
    assert len(problemsOfVolume(volume)) == 1


def test_no_voxels(slicerApp):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    (problem,) = problemsOfVolume(volume)
    assert problem.message == "Volume hollow has no voxels."


def test_sheared_volume(makeVolume):
    volume, matrix = makeVolume("slanted"), np.eye(4)
    matrix[0, 2] = 0.3
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    (problem,) = problemsOfVolume(volume)
    assert "perpendicular" in problem.message
    assert "Resample" in problem.hint


def test_shearing_parent(makeVolume, addTransform):
    matrix = np.eye(4)
    matrix[0, 2] = 0.3
    volume = makeVolume("straight")
    addTransform(matrix, volume)
    (problem,) = problemsOfVolume(volume)
    assert "transform shears volume straight" in problem.message
    addTransform(scaled(1, 1, 2), turned := makeVolume("turned", direction=oblique()))
    assert len(problemsOfVolume(turned)) == 1


def test_warped_volume_and_segmentation(makeVolume, makeSegmentation):
    volume, segmentation = makeVolume("soft"), makeSegmentation("drawn")
    warp(volume, segmentation)
    (problem,) = problemsOfVolume(volume)
    assert problem.message == "soft is under a transform that is not linear (warp)."
    assert "Harden" in problem.hint
    assert problemsOfTransform(segmentation)[0].message.startswith("drawn ")
    assert problemsOfTransform(makeVolume()) == []


def test_several_components(slicerApp):
    array = np.zeros((3, 4, 5, 3), np.uint8)
    volume = slicer.util.addVolumeFromArray(array, name="photo", nodeClassName="vtkMRMLVectorVolumeNode")
    (problem,) = problemsOfVolume(volume)
    assert "photo has 3 values per voxel" in problem.message


def test_equal_grids_and_what_differs(makeVolume, addTransform):
    first = makeVolume(spacing=(1, 1, 2), origin=(1, 2, 3))
    assert sameGrid(first, makeVolume(spacing=(1, 1, 2.00000001), origin=(1.0001, 2, 3)))
    assert (
        gridDifference(first, makeVolume(spacing=(1, 1, 2), origin=(1, 2, 4)))
        == "origin 1 x 2 x 3 against 1 x 2 x 4 mm"
    )
    assert gridDifference(first, makeVolume(spacing=(1, 1, 2.5), origin=(1, 2, 3))).startswith("spacing")
    assert "directions" in gridDifference(first, makeVolume(spacing=(1, 1, 2), origin=(1, 2, 3), direction=oblique()))
    cut = makeVolume(array=np.zeros((5, 14, 16), np.uint8), spacing=(1, 1, 2), origin=(1, 2, 3))
    assert gridDifference(first, cut) == "size 16 x 14 x 12 against 16 x 14 x 5 voxels"
    moved = makeVolume(spacing=(1, 1, 2))
    assert not sameGrid(first, moved)
    addTransform(shifted(1, 2, 3), moved)
    assert sameGrid(first, moved)


def test_slowly_drifting_corners_are_noticed(makeVolume):
    """Each spacing alone is within the tolerance of a comparison of spacings."""
    array = np.zeros((2, 2, 2000), np.uint8)
    assert "corners" in gridDifference(makeVolume(array=array), makeVolume(array=array, spacing=(1.00005, 1, 1)))


def test_resampling_uses_world_coordinates_and_cleans_up(makeVolume, addTransform, sameNodes):
    array = np.zeros((12, 14, 16), np.int16)
    array[5, 6, 7] = 100
    reference, other = makeVolume(array=array), makeVolume("other", array=array, origin=(-3, 0, 0))
    addTransform(shifted(x=3), other)
    with sameNodes(), temporaryNodes():
        result = resampleToFirst(other, reference)
        assert sameGrid(reference, result)
        assert result.GetParentTransformNode() is None
        assert np.array_equal(slicer.util.arrayFromVolume(result), array)


def addNodes() -> object:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    node.CreateDefaultDisplayNodes()
    return node


@pytest.mark.parametrize("context", [temporaryNodes, removedOnError])
def test_added_nodes_go_after_an_exception(sameNodes, context):
    with sameNodes():
        try:
            with context():
                addNodes()
                raise ValueError
        except ValueError:
            pass


def test_nodes_stay_unless_an_exception_occurs(slicerApp):
    with removedOnError():
        node = addNodes()
    assert slicer.mrmlScene.IsNodePresent(node)
