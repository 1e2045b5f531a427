"""Segments to files, and the files back as if they had been predicted: the same segments, voxel by voxel."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from slicerhost.demo import oblique

from SegAutoConfigGui.Scene.Cases import CaseTable
from SegAutoConfigGui.Scene.Export import exportCases
from SegAutoConfigGui.Scene.Labels import REGIONS, LabelTable
from SegAutoConfigGui.Scene.Results import loadPrediction

MOVED = np.eye(4)
MOVED[:3, :3] = oblique(15, 25)
MOVED[:3, 3] = 3, 4, 5

GRIDS = {
    "identity": {},
    "oblique": {"direction": oblique(), "spacing": (0.6, 0.7, 3.1), "origin": (10, -20, 30)},
    "flipped": {"direction": np.diag([1, 1, -1]), "spacing": (1, 2, 3)},
    "permuted": {"direction": oblique()[:, [1, 2, 0]], "spacing": (1, 2, 3)},
}


@pytest.fixture
def nested(box):
    return {
        "organ": (box((1, 10), (1, 12), (1, 14)), (0.8, 0.4, 0.3)),
        "tumour": (box((3, 8), (3, 8), (3, 8)), (0.2, 0.9, 0.2)),
        "core": (box((4, 6), (4, 6), (4, 6)), (0.9, 0.9, 0.1)),
    }


def masksOf(node: object, volume: object) -> dict[str, tuple]:
    result = {}
    for id in node.GetSegmentation().GetSegmentIDs():
        segment = node.GetSegmentation().GetSegment(id)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, id, volume).astype(bool)
        result[segment.GetName()] = (mask, segment.GetColor(), segment.GetTerminology())
    return result


def roundTrip(table: CaseTable, labels: LabelTable, folder: object) -> list[object]:
    """Export all cases and load their label maps as predictions."""
    list(exportCases(table, labels, folder))
    model = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    files = {case["id"]: folder / case["labels"] for case in model["cases"]}
    return [loadPrediction(files[case.id], case.volumes[0], model) for case in table.cases()]


def assertSame(a: dict[str, tuple], b: dict[str, tuple]) -> None:
    assert set(a) == set(b)
    for name, (mask, color, terminology) in a.items():
        assert np.array_equal(mask, b[name][0]), name
        assert np.allclose(color, b[name][1])
        assert terminology == b[name][2]


@pytest.fixture
def table(slicerApp):
    return CaseTable(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters"))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("transformed", [False, True])
def test_overlapping_segments_survive_as_regions(
    table, makeVolume, makeSegmentation, addTransform, nested, grid, transformed, tmp_path
):
    volume = makeVolume("case", **grid)
    segmentation = makeSegmentation(segments=nested, reference=volume)
    if transformed:
        addTransform(MOVED, volume, segmentation)
    table.add([volume], segmentation)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setMode(REGIONS)
    (result,) = roundTrip(table, labels, tmp_path)
    assert result.GetParentTransformNode() is volume.GetParentTransformNode()
    assertSame(masksOf(segmentation, volume), masksOf(result, volume))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_segments_that_do_not_overlap_survive_as_labels(table, makeVolume, makeSegmentation, nested, grid, tmp_path):
    organ, tumour, core = (nested[name][0] for name in ("organ", "tumour", "core"))
    apart = {"organ": organ & ~tumour, "tumour": tumour & ~core, "core": core}
    volume = makeVolume("case", **grid)
    segmentation = makeSegmentation(segments=apart, reference=volume)
    table.add([volume], segmentation)
    (result,) = roundTrip(table, LabelTable.fromSegmentations([segmentation]), tmp_path)
    assertSame(masksOf(segmentation, volume), masksOf(result, volume))


def test_segmentation_under_another_transform(table, makeVolume, makeSegmentation, addTransform, nested, tmp_path):
    """The volume was moved after the segmentation was hardened: both lie on each other in the world."""
    volume, drawnOn = makeVolume("case", spacing=(1, 2, 3)), makeVolume("hardened")
    addTransform(MOVED, volume)
    drawnOn.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(MOVED @ np.diag([1, 2, 3, 1])))
    segmentation = makeSegmentation(segments=nested, reference=drawnOn)
    table.add([volume], segmentation)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setMode(REGIONS)
    (result,) = roundTrip(table, labels, tmp_path)
    assertSame(masksOf(segmentation, volume), masksOf(result, volume))
    assert np.array_equal(masksOf(result, volume)["organ"][0], nested["organ"][0].astype(bool))


def test_cropped_and_differently_spaced_segmentations(table, makeVolume, makeSegmentation, box, tmp_path):
    volume = makeVolume("case", spacing=(1, 1, 2), origin=(5, 5, 5))
    cut = makeSegmentation(
        segments={"organ": box((0, 4), (0, 5), (0, 6), (4, 5, 6))}, spacing=(1, 1, 2), origin=(7, 8, 9)
    )
    fine = makeSegmentation(
        segments={"organ": box((4, 16), (3, 21), (2, 18), (24, 28, 32))}, spacing=(0.5, 0.5, 1), origin=(5, 5, 5)
    )
    table.add([volume], cut)
    table.add([volume], fine)
    before = [masksOf(node, volume) for node in (cut, fine)]
    assert before[0]["organ"][0].sum() == 4 * 5 * 6
    assert before[1]["organ"][0].any()
    results = roundTrip(table, LabelTable.fromSegmentations([cut, fine]), tmp_path)
    for expected, node in zip(before, results, strict=True):
        assertSame(expected, masksOf(node, volume))


def test_real_file(table, sharedData, tmp_path):
    folder = sharedData / "slicer-segmentation"
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist")
    slicer.util.loadVolume(str(folder / "CTChest4.nrrd"))
    segmentation = slicer.util.loadSegmentation(str(folder / "Segmentation.seg.nrrd"))
    (case,) = table.addLoadedPairs()
    assert case.id == "CTChest4"
    assert table.channelNames == ["CT"]
    (result,) = roundTrip(table, LabelTable.fromSegmentations([segmentation]), tmp_path)
    volume = table.cases()[0].volumes[0]
    assertSame(masksOf(segmentation, volume), masksOf(result, volume))
    assert len(masksOf(result, volume)) == 7


def test_a_result_can_be_exported_again(table, makeVolume, makeSegmentation, nested, tmp_path):
    volume = makeVolume("case")
    segmentation = makeSegmentation(segments=nested, reference=volume)
    table.add([volume], segmentation)
    labels = LabelTable.fromSegmentations([segmentation])
    (result,) = roundTrip(table, labels, tmp_path / "a")
    table.change(table.cases()[0].uid, segmentation=result)
    labels.update([result])
    list(exportCases(table, labels, tmp_path / "b"))
    first, second = ((tmp_path / name / "case_labels.nrrd").read_bytes() for name in "ab")
    assert first == second
