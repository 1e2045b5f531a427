"""Label maps and staging folders, compared with Slicer's own export."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple

import numpy as np
import pytest
import SimpleITK
import SimpleITK as sitk
import slicer
from slicerhost.demo import oblique

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Scene.Checks import EmptySegments
from SegAutoConfigGui.Scene.Export import exportCases, exportVolumes
from SegAutoConfigGui.Scene.Folders import importFolder, loadPair
from SegAutoConfigGui.Scene.LabelMaps import CHUNK, _exported, _pasted, emptySegments, labelMap, missingIn, overlaps
from SegAutoConfigGui.Scene.Labels import AREA, IGNORE, OUT, REGIONS, LabelTable
from SegAutoConfigGui.Scene.Results import addSegments

ROTATED = np.eye(4)
ROTATED[:3, :3] = oblique(10, -40)
ROTATED[:3, 3] = 5, -3, 2
SHIFTED = np.eye(4)
SHIFTED[:3, 3] = 2, 0, -1


@pytest.fixture
def masks(box):
    """Three structures that overlap, so that they lie in several layers."""
    return {
        "liver": box((2, 9), (2, 11), (3, 14)),
        "tumour": box((4, 6), (4, 8), (5, 9)),
        "vessel": box((5, 11), (7, 8), (1, 15)),
    }


def combined(masks: dict[str, np.ndarray]) -> np.ndarray:
    """The label map with 1, 2, ... where later ones win."""
    result = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for number, mask in enumerate(masks.values(), 1):
        result[mask > 0] = number
    return result


def export(cases: list[Case], labels: LabelTable, folder: object, **options: object) -> dict:
    steps = list(exportCases(cases, labels, folder, **options))
    assert steps == [(i, len(cases), case.id) for i, case in enumerate(cases)] + [(len(cases), len(cases), "")]
    return json.loads((folder / "cases.json").read_text(encoding="utf-8"))


def read(path: object) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def messages(error: pytest.ExceptionInfo) -> list[str]:
    return [str(problem) for problem in error.value.problems]


# -- voxels


@pytest.mark.parametrize(
    ("grid", "volumeTransform", "segmentationTransform"),
    [
        ({}, None, None),
        ({"direction": oblique(), "spacing": (0.8, 0.9, 2.5), "origin": (3, -50, 20)}, None, None),
        ({"direction": oblique() @ np.diag([1, -1, 1])}, None, None),
        ({"direction": np.diag([-1, -1, -1]), "spacing": (1, 2, 3)}, None, None),
        ({"direction": oblique()[:, [2, 0, 1]], "spacing": (1, 2, 3)}, None, None),
        ({"direction": oblique()}, ROTATED, ROTATED),
        ({"spacing": (1, 1, 2)}, SHIFTED, None),
        ({"spacing": (1, 1, 2)}, None, ROTATED),
        ({"spacing": (1, 1, 2)}, ROTATED, SHIFTED),
        ({"spacing": (1, 1, 2)}, np.diag([2.0, 1.5, 1, 1]), SHIFTED),
    ],
)
def test_label_map_is_slicers_export(
    makeVolume,
    makeSegmentation,
    addTransform,
    slicersExport,
    sameNodes,
    masks,
    grid,
    volumeTransform,
    segmentationTransform,
):
    volume = makeVolume(**grid)
    segmentation = makeSegmentation(segments=masks, reference=volume)
    for node, matrix in ((volume, volumeTransform), (segmentation, segmentationTransform)):
        if matrix is not None:
            addTransform(matrix, node)
    labels = LabelTable.fromSegmentations([segmentation])
    with sameNodes():
        array = labelMap(segmentation, volume, labels)
    assert array.dtype == np.uint8
    assert np.array_equal(array, slicersExport(segmentation, volume))
    if volumeTransform is None and segmentationTransform is None:
        assert np.array_equal(array, combined(masks))
    assert array.any()


@pytest.mark.parametrize("grid", [{"spacing": (1.7, 0.6, 1.1), "direction": oblique()}, {"spacing": (1, 1, 1.5)}])
def test_other_spacing_of_the_segmentation(makeVolume, makeSegmentation, slicersExport, masks, grid):
    segmentation, volume = makeSegmentation(segments=masks, origin=(1, 1, 1)), makeVolume(**grid)
    array = labelMap(segmentation, volume, LabelTable.fromSegmentations([segmentation]))
    assert np.array_equal(array, slicersExport(segmentation, volume))
    assert array.any()


@pytest.mark.parametrize("origin", [(3, 2, 1), (-3, -2, -1), (9, 9, 9), (100, 0, 0)])
def test_cropped_and_protruding_segmentation(makeVolume, makeSegmentation, slicersExport, box, origin):
    volume = makeVolume(direction=np.diag([1, -1, 1]), origin=(0, 13, 0))
    part = {"a": box((1, 4), (1, 4), (1, 5), (5, 6, 7)), "b": box((2, 5), (3, 6), (0, 7), (5, 6, 7))}
    segmentation = makeSegmentation(
        segments=part, direction=np.diag([1, -1, 1]), origin=(origin[0], 13 - origin[1], origin[2])
    )
    array = labelMap(segmentation, volume, LabelTable.fromSegmentations([segmentation]))
    assert np.array_equal(array, slicersExport(segmentation, volume))
    assert bool(array.any()) == (origin != (100, 0, 0))


def test_copying_voxels_gives_what_slicers_export_gives(makeVolume, makeSegmentation, addTransform, sameNodes, masks):
    volume = makeVolume(direction=oblique(), spacing=(0.7, 0.8, 3), origin=(1, 2, 3))
    segmentation = makeSegmentation(segments={name: masks[name] for name in ("liver", "tumour")}, reference=volume)
    segmentation.GetSegmentation().CollapseBinaryLabelmaps(True)
    addTransform(ROTATED, volume, segmentation)
    ids = list(segmentation.GetSegmentation().GetSegmentIDs())
    assert segmentation.GetSegmentation().GetNumberOfLayers() == 1
    for order in (ids, ids[::-1], ids[1:]):
        pasted = _pasted(segmentation, volume, order)
        assert pasted is not None
        assert np.array_equal(pasted, _exported(segmentation, volume, order))
    addTransform(SHIFTED, segmentation)
    assert _pasted(segmentation, volume, ids) is None


def test_real_file_is_slicers_export(sharedData, slicersExport, sameNodes, slicerApp):
    folder = sharedData / "slicer-segmentation"
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist")
    volume = slicer.util.loadVolume(str(folder / "CTChest4.nrrd"))
    segmentation = slicer.util.loadSegmentation(str(folder / "Segmentation.seg.nrrd"))
    labels = LabelTable.fromSegmentations([segmentation])
    with sameNodes():
        array = labelMap(segmentation, volume, labels)
    assert np.array_equal(array, slicersExport(segmentation, volume))
    assert np.array_equal(array, read(folder / "Segmentation.seg.nrrd"))
    assert labels.labels[0].name == "ribs"
    turned = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turned.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(ROTATED))
    segmentation.SetAndObserveTransformNodeID(turned.GetID())
    assert np.array_equal(labelMap(segmentation, volume, labels), slicersExport(segmentation, volume))


def test_order_of_the_table_is_the_precedence(makeVolume, makeSegmentation, slicersExport, masks):
    volume = makeVolume()
    segmentation = makeSegmentation(segments=masks, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.move("liver", 2)
    ids = list(segmentation.GetSegmentation().GetSegmentIDs())
    array = labelMap(segmentation, volume, labels)
    assert np.array_equal(array, slicersExport(segmentation, volume, [ids[1], ids[2], ids[0]]))
    assert not (array == labels.value(labels.label("tumour"))).any()


def test_merged_left_out_and_hidden_segments(makeVolume, makeSegmentation, masks):
    volume = makeVolume()
    segmentation = makeSegmentation(segments=masks, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.merge("tumour", "vessel")
    expected = combined({"liver": masks["liver"], "both": masks["tumour"] | masks["vessel"]})
    assert np.array_equal(labelMap(segmentation, volume, labels), expected)
    labels.setRole("liver", OUT)
    assert np.array_equal(labelMap(segmentation, volume, labels), masks["tumour"] | masks["vessel"])
    segmentation.GetDisplayNode().SetSegmentVisibility(segmentation.GetSegmentation().GetNthSegmentID(1), False)
    assert np.array_equal(labelMap(segmentation, volume, labels, visibleOnly=True), masks["vessel"])
    assert np.array_equal(labelMap(segmentation, volume, labels), masks["tumour"] | masks["vessel"])


def test_ignore_wins_and_only_the_annotated_area_counts(makeVolume, makeSegmentation, masks, box):
    volume, area = makeVolume(), box((0, 7), (0, 14), (0, 10))
    segmentation = makeSegmentation(segments=masks | {"area": area}, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setRole("tumour", IGNORE)
    labels.setRole("area", AREA)
    expected = combined({"liver": masks["liver"], "vessel": masks["vessel"], "tumour": masks["tumour"]})
    expected[area == 0] = 3
    assert np.array_equal(labelMap(segmentation, volume, labels), expected)
    without = makeSegmentation(segments=masks, reference=volume)
    assert (labelMap(without, volume, labels)[area == 0] != 3).any()


def test_many_labels_need_two_bytes(makeVolume, makeSegmentation, slicersExport):
    volume = makeVolume(array=np.zeros((2, 20, 20), np.uint8))
    numbers = np.arange(800).reshape(2, 20, 20)
    numbers = np.where(numbers <= 300, numbers, 0).astype(np.int16)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    addSegments(segmentation, numbers, volume, {"labels": {f"structure {n}": n for n in range(1, 301)}})
    array = labelMap(segmentation, volume, LabelTable.fromSegmentations([segmentation]))
    assert array.dtype == np.uint16
    assert np.array_equal(array, numbers)
    assert np.array_equal(array, slicersExport(segmentation, volume))


@pytest.mark.parametrize("kind", ["Closed surface", "Fractional labelmap"])
def test_surfaces_and_fractions_are_converted_on_a_copy(
    makeVolume, makeSegmentation, slicersExport, sameNodes, masks, kind
):
    volume = makeVolume(spacing=(1, 1, 1.2), direction=oblique())
    segmentation = makeSegmentation(segments={"liver": masks["liver"]}, reference=volume)
    segments = segmentation.GetSegmentation()
    segments.CreateRepresentation(kind)
    segments.SetSourceRepresentationName(kind)
    segments.RemoveRepresentation("Binary labelmap")
    with sameNodes():
        array = labelMap(segmentation, volume, LabelTable.fromSegmentations([segmentation]))
        assert emptySegments(segmentation) == []
    assert not segments.ContainsRepresentation("Binary labelmap")
    assert 300 < array.sum() < 700
    assert np.array_equal(array, slicersExport(segmentation, volume))


def test_overlaps_are_counted(makeVolume, makeSegmentation, sameNodes, masks):
    volume = makeVolume()
    segmentation = makeSegmentation(segments=masks, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])

    def shared(a: str, b: str) -> int:
        return int((masks[a] & masks[b]).sum())

    with sameNodes():
        assert overlaps(segmentation, labels, volume) == {
            ("liver", "tumour"): shared("liver", "tumour"),
            ("liver", "vessel"): shared("liver", "vessel"),
            ("tumour", "vessel"): shared("tumour", "vessel"),
        }
    labels.move("tumour", 5)
    labels.setRole("liver", OUT)
    assert overlaps(segmentation, labels, volume) == {("vessel", "tumour"): shared("tumour", "vessel")}
    labels.merge("tumour", "vessel")
    assert overlaps(segmentation, labels, volume) == {}


def test_failing_export_leaves_nothing_behind(makeVolume, makeSegmentation, sameNodes, masks, monkeypatch):
    volume = makeVolume(spacing=(2, 2, 2))
    segmentation = makeSegmentation(segments=masks)
    labels = LabelTable.fromSegmentations([segmentation])
    monkeypatch.setattr(slicer.util, "arrayFromVolume", lambda node: 1 / 0)
    with sameNodes(), pytest.raises(ZeroDivisionError):
        labelMap(segmentation, volume, labels)


# -- the staging folder


def test_files_and_description(makeVolume, makeSegmentation, sameNodes, masks, tmp_path):
    volume = makeVolume("a", direction=oblique(), spacing=(0.8, 0.9, 2.5), origin=(3, -50, 20))
    segmentation = makeSegmentation(segments=masks, reference=volume)
    cases = [Case("a", [volume], segmentation), Case("b", [makeVolume("b")], None, test=True, replace=True)]
    labels = LabelTable.fromSegmentations([segmentation])
    with sameNodes():
        data = export(cases, labels, tmp_path / "staging", channelNames=["MR"], fileEnding=".nii.gz")
    assert data["channel_names"] == {"0": "MR"}
    assert data["labels"] == {"background": 0, "liver": 1, "tumour": 2, "vessel": 3}
    assert data["regions_class_order"] is None
    assert data["file_ending"] == ".nii.gz"
    assert set(data["segments"]["liver"]) == {"color", "terminology"}
    assert data["cases"] == [
        {"id": "a", "images": ["a_0000.nrrd"], "labels": "a_labels.nrrd", "test": False, "replace": False},
        {"id": "b", "images": ["b_0000.nrrd"], "labels": None, "test": True, "replace": True},
    ]
    image = sitk.ReadImage(str(tmp_path / "staging" / "a_0000.nrrd"))
    assert np.allclose(image.GetSpacing(), (0.8, 0.9, 2.5))
    assert np.allclose(image.GetOrigin(), (-3, 50, 20))
    assert np.allclose(np.array(image.GetDirection()).reshape(3, 3), np.diag([-1, -1, 1]) @ oblique())
    assert np.array_equal(sitk.GetArrayFromImage(image), slicer.util.arrayFromVolume(volume))
    assert np.array_equal(read(tmp_path / "staging" / "a_labels.nrrd"), combined(masks))
    loaded = slicer.util.loadVolume(str(tmp_path / "staging" / "a_0000.nrrd"))
    assert np.allclose(loaded.GetOrigin(), volume.GetOrigin())
    existing = export(cases, labels, tmp_path / "other", channelNames=["MR"])
    assert "file_ending" not in existing


def test_scaling_parents_are_written_into_files(makeVolume, makeSegmentation, addTransform, masks, tmp_path):
    volume = makeVolume(spacing=(1, 2, 3))
    segmentation = makeSegmentation(segments=masks, reference=volume)
    addTransform(np.diag([2.0, 2, 2, 1]), volume, segmentation)
    export([Case("a", [volume], segmentation)], LabelTable.fromSegmentations([segmentation]), tmp_path)
    for name in ("a_0000.nrrd", "a_labels.nrrd"):
        assert sitk.ReadImage(str(tmp_path / name)).GetSpacing() == (2, 4, 6)
    assert np.array_equal(read(tmp_path / "a_labels.nrrd"), combined(masks))


def test_several_channels(makeVolume, makeSegmentation, addTransform, sameNodes, masks, tmp_path):
    t1, t2 = makeVolume("T1", spacing=(1, 1, 2)), makeVolume("T2", spacing=(1, 1, 2), origin=(-2, 0, 1))
    addTransform(SHIFTED, t2)
    segmentation = makeSegmentation(segments=masks, reference=t1)
    labels = LabelTable.fromSegmentations([segmentation])
    data = export([Case("a", [t1, t2], segmentation)], labels, tmp_path, channelNames=["T1", "T2"])
    assert data["cases"][0]["images"] == ["a_0000.nrrd", "a_0001.nrrd"]
    first, second = (sitk.ReadImage(str(tmp_path / f"a_000{i}.nrrd")) for i in (0, 1))
    assert first.GetOrigin() == second.GetOrigin()
    t2.SetAndObserveTransformNodeID(None)
    case = [Case("a", [t1, t2], segmentation)]
    with pytest.raises(UserProblem, match="T2 has another grid than T1"):
        export(case, labels, tmp_path / "x", channelNames=["T1", "T2"])
    assert not (tmp_path / "x").exists()
    with sameNodes():
        export(case, labels, tmp_path / "x", channelNames=["T1", "T2"], resampleChannels=True)
    resampled = read(tmp_path / "x" / "a_0001.nrrd")
    original = slicer.util.arrayFromVolume(t2)
    assert resampled.shape == original.shape
    assert resampled[1, 0, 0] == (original[0, 0, 2] + original[1, 0, 2]) / 2 == 114


def test_all_problems_come_first_and_at_once(makeVolume, makeSegmentation, masks, tmp_path):
    good, flat = makeVolume("good"), makeVolume("flat", spacing=(0, 1, 1))
    segmentation = makeSegmentation(segments=masks, reference=good)
    cases = [Case("a", [good], segmentation), Case("b", [flat], segmentation), Case("c", [good], None)]
    with pytest.raises(UserProblem) as error:
        next(exportCases(cases, LabelTable.fromSegmentations([segmentation]), tmp_path / "x"))
    assert [problem.case for problem in error.value.problems] == ["b", "c"]
    assert not (tmp_path / "x").exists()


def test_cancel_and_failure_remove_what_was_written(
    makeVolume, makeSegmentation, sameNodes, masks, tmp_path, monkeypatch
):
    volume = makeVolume()
    segmentation = makeSegmentation(segments=masks, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    cases = [Case(name, [volume], segmentation) for name in "abc"]
    (tmp_path / "kept.txt").write_text("x")
    with sameNodes():
        steps = exportCases(cases, labels, tmp_path)
        next(steps), next(steps)
        assert (tmp_path / "a_labels.nrrd").exists()
        steps.close()
        assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
        steps = exportCases(cases, labels, tmp_path / "new")
        next(steps), next(steps)
        steps.close()
        assert not (tmp_path / "new").exists()

        def fail(*_arguments: object, **_options: object) -> None:
            raise RuntimeError("No space left on device")

        monkeypatch.setattr(SimpleITK, "WriteImage", fail)
        with pytest.raises(UserProblem, match="can't be written") as error:
            list(exportCases(cases, labels, tmp_path / "new"))
    assert error.value.problems[0].details == "No space left on device"
    assert not (tmp_path / "new").exists()


def test_closing_after_the_last_step_keeps_the_files(makeVolume, makeSegmentation, masks, tmp_path):
    volume = makeVolume()
    segmentation = makeSegmentation(segments=masks, reference=volume)
    steps = exportCases([Case("a", [volume], segmentation)], LabelTable.fromSegmentations([segmentation]), tmp_path)
    next(steps)
    assert next(steps) == (1, 1, "")
    steps.close()
    assert (tmp_path / "cases.json").exists()


def test_nodes_removed_meanwhile(makeVolume, makeSegmentation, masks, tmp_path):
    volumes = [makeVolume(), makeVolume()]
    segmentation = makeSegmentation(segments=masks, reference=volumes[0])
    cases = [Case(f"c{i}", [volume], segmentation) for i, volume in enumerate(volumes)]
    steps = exportCases(cases, LabelTable.fromSegmentations([segmentation]), tmp_path / "x")
    next(steps)
    slicer.mrmlScene.RemoveNode(volumes[1])
    with pytest.raises(UserProblem, match="c1: A volume or segmentation was removed"):
        list(steps)
    assert not (tmp_path / "x").exists()


def test_full_disk_is_said_before(makeVolume, makeSegmentation, masks, tmp_path, monkeypatch):
    volume = makeVolume()
    segmentation = makeSegmentation(segments=masks, reference=volume)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(UserProblem, match="not enough space"):
        list(exportCases([Case("a", [volume], segmentation)], LabelTable.fromSegmentations([segmentation]), tmp_path))


def test_what_only_voxels_tell(makeVolume, makeSegmentation, masks, box, tmp_path):
    volume, away = makeVolume(), makeVolume("away", origin=(500, 0, 0))
    segmentation = makeSegmentation("drawn", segments=masks, reference=volume)
    hidden = makeSegmentation(segments={"tumour": masks["tumour"], "liver": masks["liver"]}, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    with pytest.raises(UserProblem) as error:
        list(exportCases([Case("a", [volume], segmentation), Case("b", [away], segmentation)], labels, tmp_path / "x"))
    assert messages(error)[0].startswith("b: No labeled voxel of drawn lies within volume away.")
    labels = LabelTable.fromSegmentations([hidden])
    with pytest.raises(UserProblem, match="“tumour” has no voxels in any case") as error:
        list(exportCases([Case("a", [volume], hidden)], labels, tmp_path / "x"))
    assert len(error.value.problems) == 1
    assert not (tmp_path / "x").exists()


# -- regions


def test_nested_regions(makeVolume, makeSegmentation, sameNodes, box, tmp_path):
    volume = makeVolume()
    whole, core, active = box((1, 9), (1, 9), (1, 9)), box((2, 7), (2, 7), (2, 7)), box((3, 5), (3, 5), (3, 5))
    segmentation = makeSegmentation(segments={"active": active, "whole": whole, "core": core}, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setMode(REGIONS)
    with sameNodes():
        data = export([Case("a", [volume], segmentation)], labels, tmp_path)
    assert data["labels"] == {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
    assert data["regions_class_order"] == [1, 2, 3]
    array = read(tmp_path / "a_labels.nrrd")
    assert array.dtype == np.uint8
    assert np.array_equal(array, whole + core + active)


def test_regions_are_numbered_across_cases(makeVolume, makeSegmentation, box, tmp_path):
    volume = makeVolume()
    a, b = box((1, 5), (1, 5), (1, 5)), box((4, 8), (4, 8), (4, 8))
    apart = makeSegmentation(segments={"b": b & ~a}, reference=volume)
    crossing = makeSegmentation(segments={"a": a, "b": b}, reference=volume)
    labels = LabelTable.fromSegmentations([apart, crossing])
    labels.setMode(REGIONS)
    data = export([Case("x", [volume], apart), Case("y", [volume], crossing)], labels, tmp_path)
    assert data["labels"] == {"background": 0, "b": [1, 3], "a": [2, 3]}
    assert data["regions_class_order"] == [1, 2]
    assert np.array_equal(read(tmp_path / "x_labels.nrrd"), b & ~a)
    assert np.array_equal(read(tmp_path / "y_labels.nrrd"), 1 * b + 2 * a)


def test_regions_that_never_overlap_are_plain_labels(makeVolume, makeSegmentation, box, tmp_path):
    volume = makeVolume()
    segments = {"a": box((1, 3), (1, 3), (1, 3)), "b": box((5, 8), (5, 8), (5, 8))}
    segmentation = makeSegmentation(segments=segments, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setMode(REGIONS)
    data = export([Case("a", [volume], segmentation)], labels, tmp_path)
    assert data["labels"] == {"background": 0, "a": 1, "b": 2}
    assert data["regions_class_order"] is None


def test_regions_with_ignore_and_area(makeVolume, makeSegmentation, box, tmp_path):
    volume = makeVolume()
    a, b, area = box((1, 6), (1, 6), (1, 6)), box((4, 8), (4, 8), (4, 8)), box((0, 12), (0, 14), (0, 7))
    unsure = box((1, 2), (1, 2), (1, 9))
    segments = {"a": a, "b": b, "area": area, "ignore": unsure}
    segmentation = makeSegmentation(segments=segments, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setRole("area", AREA)
    labels.setMode(REGIONS)
    data = export([Case("a", [volume], segmentation)], labels, tmp_path)
    assert data["labels"] == {"background": 0, "a": [1, 3], "b": [2, 3], "ignore": 4}
    expected = 1 * a + 2 * b
    expected[(area == 0) | (unsure > 0)] = 4
    assert np.array_equal(read(tmp_path / "a_labels.nrrd"), expected)


def test_regions_added_to_a_dataset_keep_its_numbers(makeVolume, makeSegmentation, box, tmp_path):
    volume = makeVolume()
    dataset = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
    whole, core = box((1, 9), (1, 9), (1, 9)), box((2, 7), (2, 7), (2, 7))
    segments = {"extra": box((9, 11), (2, 5), (1, 9)), "spot": box((9, 10), (2, 3), (1, 5)), "core": core}
    segmentation = makeSegmentation(segments=segments | {"whole": whole}, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation], dataset)
    data = export([Case("a", [volume], segmentation)], labels, tmp_path)
    assert data["labels"] == {"background": 0, "whole": [1, 2], "core": 2, "extra": [3, 4], "spot": 4}
    assert data["regions_class_order"] == [1, 2, 3, 4]
    expected = whole + core + 3 * segments["extra"] + segments["spot"]
    assert np.array_equal(read(tmp_path / "a_labels.nrrd"), expected)


def test_regions_of_a_dataset_can_not_overlap_anew(makeVolume, makeSegmentation, box, tmp_path):
    """Its label files would have to be numbered anew."""
    volume = makeVolume()
    dataset = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
    segments = {"core": box((2, 7), (2, 7), (2, 7)), "whole": box((3, 9), (1, 9), (1, 9))}
    segmentation = makeSegmentation(segments=segments, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation], dataset)
    with pytest.raises(UserProblem) as error:
        list(exportCases([Case("a", [volume], segmentation)], labels, tmp_path / "x"))
    (text,) = messages(error)
    assert text.startswith("The dataset has no voxels that belong to “core”, and to nothing else; these cases do.")


def test_regions_that_are_the_same_or_empty(makeVolume, makeSegmentation, box, tmp_path):
    volume = makeVolume()
    a = box((1, 6), (1, 6), (1, 6))
    segmentation = makeSegmentation(segments={"a": a, "b": a, "c": 0 * a}, reference=volume)
    labels = LabelTable.fromSegmentations([segmentation])
    labels.setMode(REGIONS)
    with pytest.raises(UserProblem) as error:
        list(exportCases([Case("x", [volume], segmentation)], labels, tmp_path / "x"))
    assert messages(error) == ["“c” has no voxels in any case. Draw it in some case, or leave it out."]
    assert not (tmp_path / "x").exists()  # found before anything is written
    labels.setRole("c", OUT)
    with pytest.raises(UserProblem) as error:
        list(exportCases([Case("x", [volume], segmentation)], labels, tmp_path / "x"))
    assert messages(error) == ["“a” and “b” cover exactly the same voxels in all cases. Merge them or leave one out."]


# -- volumes to segment


def test_volumes_alone(makeVolume, sameNodes, tmp_path):
    first, second = makeVolume("a"), makeVolume("b", origin=(1, 0, 0))
    with pytest.raises(UserProblem, match="another grid"):
        exportVolumes([first, second], tmp_path / "x", "case")
    with sameNodes():
        paths = exportVolumes([first, second], tmp_path / "x", "case", resampleChannels=True)
    assert [path.name for path in paths] == ["case_0000.nrrd", "case_0001.nrrd"]
    assert np.array_equal(read(paths[0]), slicer.util.arrayFromVolume(first))


# -- folders


def touch(folder: object, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def found(folder: object) -> list[tuple]:
    return [
        (pair.id, [path.name for path in pair.images], pair.segmentation and pair.segmentation.name, pair.test)
        for pair in importFolder(folder)
    ]


def test_folder_with_segmentations_beside_images(tmp_path):
    touch(tmp_path, "a.nrrd", "a.seg.nrrd", "b.nii.gz", "b_seg.nii.gz", "c_0001.mha", "c_0000.mha", "c-label.mha")
    touch(tmp_path, "d.nrrd", "D Segmentation.nrrd", "e.nrrd", "notes.txt", ".hidden.nrrd", "mask_of_e.mrb")
    assert found(tmp_path) == [
        ("a", ["a.nrrd"], "a.seg.nrrd", False),
        ("b", ["b.nii.gz"], "b_seg.nii.gz", False),
        ("c", ["c_0000.mha", "c_0001.mha"], "c-label.mha", False),
        ("d", ["d.nrrd"], "D Segmentation.nrrd", False),
        ("e", ["e.nrrd"], None, False),
    ]


def test_nnunet_folder(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz", "imagesTs/t_0000.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "both": [1, 2]}}')
    assert found(tmp_path) == [
        ("a", ["a_0000.nii.gz", "a_0001.nii.gz"], "a.nii.gz", False),
        ("t", ["t_0000.nii.gz"], None, True),
    ]
    assert importFolder(tmp_path)[0].labelNames == {1: "liver"}


def test_one_folder_per_case(tmp_path):
    touch(tmp_path, "p1/flair.nii", "p1/t1.nii", "p1/p1_seg.nii", "p2/p2.nrrd", "p2/p2.seg.nrrd", "p3/readme.txt")
    assert found(tmp_path) == [
        ("p1", ["flair.nii", "t1.nii"], "p1_seg.nii", False),
        ("p2", ["p2.nrrd"], "p2.seg.nrrd", False),
    ]


def test_words_of_names_tell_segmentations(tmp_path):
    touch(tmp_path, "a/image.nrrd", "a/label.nrrd", "b/image.nii.gz", "b/label_cord.nii.gz", "c/t1.nii", "c/gt.nii")
    assert found(tmp_path) == [
        ("a", ["image.nrrd"], "label.nrrd", False),
        ("b", ["image.nii.gz"], "label_cord.nii.gz", False),
        ("c", ["t1.nii"], "gt.nii", False),
    ]
    assert found(tmp_path / "a") == [("a", ["image.nrrd"], "label.nrrd", False)]


def test_words_of_names_tell_the_case(tmp_path):
    touch(
        tmp_path,
        "p1_ct.nii",
        "p1_seg.nii",
        "p2_ct.nii",
        "mask-p2.nii",
        "p3.nii",
        "p3_label_new.nii",
        "p4_mask.nii",
        "p5.nii",
    )
    assert found(tmp_path) == [
        ("p1_ct", ["p1_ct.nii"], "p1_seg.nii", False),
        ("p2_ct", ["p2_ct.nii"], "mask-p2.nii", False),
        ("p3", ["p3.nii"], "p3_label_new.nii", False),
        ("p5", ["p5.nii"], None, False),
        ("p4_mask", [], "p4_mask.nii", False),
    ]
    with pytest.raises(UserProblem, match=r"p4_mask\.nii is named like a segmentation, but no image"):
        loadPair(importFolder(tmp_path)[-1])


def test_segmentations_of_several_structures_are_not_guessed(tmp_path):
    touch(tmp_path, "p1_ct.nii", "p1_liver_seg.nii", "p1_tumor_seg.nii")
    touch(tmp_path, "p2_ct.nii", "p2_ct_seg.nii", "p2_ct_small.nii", "p2_seg.nii")
    assert [(name, file) for name, _, file, _ in found(tmp_path)] == [
        ("p1_ct", None),
        ("p2_ct", "p2_ct_seg.nii"),
        ("p2_ct_small", None),
        ("p1_liver_seg", "p1_liver_seg.nii"),
        ("p1_tumor_seg", "p1_tumor_seg.nii"),
        ("p2_seg", "p2_seg.nii"),
    ]


def test_files_of_a_dataset_are_not_overwritten_by_saving(slicerApp, masks, tmp_path):
    touch(tmp_path, "imagesTr/x", "labelsTr/x")
    for name in ("imagesTr/a_0000.nrrd", "labelsTr/a.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(combined(masks)), str(tmp_path / name))
    (image,), segmentation = loadPair(importFolder(tmp_path)[0])
    assert (image.GetStorageNode(), segmentation.GetStorageNode()) == (None, None)
    assert slicer.util.getNodesByClass("vtkMRMLVolumeArchetypeStorageNode") == []


def test_a_label_map_is_not_taken_for_an_image(sameNodes, masks, tmp_path):
    noise = np.random.default_rng(0).integers(0, 50, (12, 14, 16)).astype(np.uint8)
    for name, array in {"organs": combined(masks), "scan": noise, "signed": noise.astype(np.int16) - 10}.items():
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"{name}.nrrd"))
    organs, *scans = importFolder(tmp_path)
    with sameNodes(), pytest.raises(UserProblem, match=r"organs\.nrrd looks like a label map"):
        loadPair(organs)
    assert [len(loadPair(scan)[0]) for scan in scans] == [1, 1]


def test_folders_without_images(tmp_path):
    with pytest.raises(UserProblem, match="No images were found"):
        importFolder(tmp_path)
    with pytest.raises(UserProblem, match="no folder"):
        importFolder(tmp_path / "nowhere")


def test_pairs_are_loaded(makeVolume, makeSegmentation, sameNodes, masks, tmp_path):
    volume = makeVolume("a", direction=oblique())
    segmentation = makeSegmentation(segments=masks, reference=volume)
    slicer.util.saveNode(volume, str(tmp_path / "a.nrrd"))
    slicer.util.saveNode(segmentation, str(tmp_path / "a.seg.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(combined(masks)), str(tmp_path / "b_seg.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(combined(masks)), str(tmp_path / "b.nrrd"))
    first, second = importFolder(tmp_path)
    (image,), loaded = loadPair(first)
    assert image.GetName().startswith("a")
    assert loaded.GetNodeReference(loaded.GetReferenceImageGeometryReferenceRole()) is image
    array = labelMap(loaded, image, LabelTable.fromSegmentations([loaded]))
    assert np.array_equal(array, combined(masks))
    _, plain = loadPair(second, {1: "liver", 3: "vessel"})
    names = [label.name for label in LabelTable.fromSegmentations([plain]).labels]
    assert (names[0], names[2]) == ("liver", "vessel")
    (tmp_path / "b_seg.nrrd").write_text("damaged")
    with sameNodes(), pytest.raises(UserProblem, match=r"b_seg\.nrrd can't be read"):
        loadPair(second)


def test_empty_segments_are_looked_for_once(makeVolume, makeSegmentation, masks, tmp_path, monkeypatch):
    from SegAutoConfigGui.Scene import Checks
    from SegAutoConfigGui.Scene.Cases import CaseTable

    volume = makeVolume()
    table = CaseTable(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    table.add([volume], makeSegmentation(segments=masks, reference=volume), id="a")
    labels = LabelTable.fromSegmentations(table.segmentations())
    looked, look = [], Checks.emptySegments
    monkeypatch.setattr(Checks, "emptySegments", lambda node: looked.append(node) or look(node))
    assert table.problems(labels) == []
    for export in (
        exportCases(table, labels, tmp_path / "table"),
        exportCases(table.cases(), labels, tmp_path / "cases", emptySegments=table.emptySegments),
    ):
        assert len(list(export)) == 2
    assert len(looked) == 1


def test_a_segmentation_is_looked_at_per_step(makeVolume, makeSegmentation, masks, box):
    from SegAutoConfigGui.Scene.Cases import CaseTable

    nothing = box((0, 0), (0, 0), (0, 0))
    table = CaseTable(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    for id, segments in {"a": masks, "b": {"liver": nothing}, "c": masks | {"vessel": nothing}}.items():
        volume = makeVolume(id)
        table.add([volume], makeSegmentation(id, segments=segments, reference=volume), id=id)
    labels = LabelTable.fromSegmentations(table.segmentations())

    def known():
        problems, warnings = table.problems(labels, look=False), table.warnings(labels, look=False)
        return [table.emptySegments.known(node) for node in table.segmentations()], [
            (each.case, each.message) for each in (*problems, *warnings) if "mpty" in each.message
        ]

    said = [("b", "The segments of b are empty: liver."), ("b", "Empty segments: liver.")]
    looking = table.look()
    assert known() == ([None, None, None], [])
    next(looking)
    assert known() == ([[], None, None], [])
    next(looking)
    assert known() == ([[], ["liver"], None], said)
    slicer.mrmlScene.RemoveNode(table.segmentations()[0])  # meanwhile
    next(looking)
    said.append(("c", "Empty segments: vessel."))
    assert known() == ([["liver"], ["vessel"]], said)
    assert next(looking, "end") == "end"
    drawn = table.segmentations()[0]
    id = drawn.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        masks["liver"], drawn, id, table.case(table.cases()[1].uid).volumes[0]
    )
    assert known() == ([None, ["vessel"]], said[2:])
    assert len(list(table.look())) == 1
    assert known() == ([[], ["vessel"]], said[2:])
    assert list(table.look()) == []


def test_scripts_get_complete_answers_without_looking_first(makeVolume, makeSegmentation, box):
    from SegAutoConfigGui.Scene.Cases import CaseTable

    volume = makeVolume()
    table = CaseTable(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    segmentation = makeSegmentation("s", segments={"liver": box((0, 0), (0, 0), (0, 0))}, reference=volume)
    table.add([volume], segmentation, id="a")
    labels = LabelTable.fromSegmentations([segmentation])
    assert [problem.message for problem in table.problems(labels)] == ["The segments of s are empty: liver."]
    table.emptySegments = EmptySegments()
    assert [problem.message for problem in table.warnings(labels)] == ["Empty segments: liver."]


def test_values_that_do_not_occur():
    array = np.zeros((3, CHUNK // 2 + 1), np.int16)
    array[0, 0], array[-1, -1], array[-1, 0] = 7, 300, -2
    assert missingIn(array, [7, 300, 5]) == {5}
    assert missingIn(array, [7, 300]) == set()
    assert missingIn(array, [7, 300, *range(10, 20)]) == set(range(10, 20))
    assert missingIn(array.astype(np.uint8), [7, 300, 44]) == {300}
    assert missingIn(np.zeros(0), [1]) == {1}
    assert missingIn(array, []) == set()


def test_an_export_looks_at_what_is_not_known_one_per_step(makeVolume, makeSegmentation, masks, tmp_path):
    from types import SimpleNamespace

    from SegAutoConfigGui.Dataset.DatasetChoices import Target
    from SegAutoConfigGui.Dataset.DatasetExport import DatasetExport
    from SegAutoConfigGui.Scene.Cases import Case

    volume = makeVolume()
    nodes = [makeSegmentation(id, segments=masks, reference=volume) for id in "ab"]
    cases = [Case(node.GetName(), [volume], node) for node in nodes]
    empty, labels = EmptySegments(), LabelTable.fromSegmentations(nodes)
    engine = SimpleNamespace(workspace=tmp_path)
    steps = DatasetExport(engine, cases, ["CT"], labels, Target("Dataset001_A"), emptySegments=empty).steps()
    seen = [(next(steps).text, *(empty.known(node) for node in nodes)) for _ in range(3)]
    steps.close()
    assert seen == [("Checking the cases", None, None), ("Checking the cases", [], None), ("Exporting a", [], [])]
