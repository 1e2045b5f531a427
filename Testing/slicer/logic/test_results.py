"""Predicted files become segmentations, volumes and sequences in the scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from slicerhost.demo import oblique

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Export import exportVolumes
from SegAutoConfigGui.Scene.Files import writeVolume
from SegAutoConfigGui.Scene.Geometry import exportMatrix
from SegAutoConfigGui.Scene.LabelMaps import labelMap
from SegAutoConfigGui.Scene.Labels import LabelTable
from SegAutoConfigGui.Scene.Matching import distinctColor
from SegAutoConfigGui.Scene.Results import loadPrediction, loadProbabilities, loadUncertainty
from SegAutoConfigGui.Scene.Sequences import browserOf, framesOf, predictionsToSequence
from SegAutoConfigGui.Segment.ResultNodes import volumesOf
from SegAutoConfigGui.Segment.Segmentation import Segmentation

LIVER = "Categories~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^"
MODEL = {
    "labels": {"background": 0, "liver": 1, "tumour": 2, "vessel": 3, "ignore": 4},
    "regions_class_order": None,
    "segments": {"liver": {"color": [0.9, 0.5, 0.4], "terminology": LIVER}, "tumour": {"color": [0, 1, 0]}},
}
REGIONS = {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "cyst": 4}, "regions_class_order": [1, 2, 4]}


@pytest.fixture
def labels(box):
    array = np.zeros((12, 14, 16), np.uint8)
    array[box((2, 9), (2, 9), (2, 9)) > 0] = 1
    array[box((4, 6), (4, 6), (4, 12)) > 0] = 2
    return array


def write(folder: object, array: np.ndarray, volume: object, name: str = "case.nrrd") -> object:
    writeVolume(folder / name, array, exportMatrix(volume))
    return folder / name


def segmentsOf(node: object) -> dict[str, object]:
    segments = [node.GetSegmentation().GetNthSegment(i) for i in range(node.GetSegmentation().GetNumberOfSegments())]
    return {segment.GetName(): segment for segment in segments}


def maskOf(node: object, name: str, volume: object) -> np.ndarray:
    id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, id, volume).astype(bool)


def test_names_colors_terminology_and_voxels(makeVolume, labels, tmp_path):
    volume = makeVolume("CT", direction=oblique(), spacing=(0.7, 0.8, 2.5), origin=(1, 2, 3))
    node = loadPrediction(write(tmp_path, labels, volume), volume, MODEL)
    assert node.GetName() == "CT segmentation"
    segments = segmentsOf(node)
    assert list(segments) == ["liver", "tumour"]
    assert segments["liver"].GetColor() == (0.9, 0.5, 0.4)
    assert segments["liver"].GetTerminology() == LIVER
    assert segments["tumour"].GetColor() == (0, 1, 0)
    assert np.array_equal(maskOf(node, "liver", volume), labels == 1)
    assert np.array_equal(maskOf(node, "tumour", volume), labels == 2)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    assert node.GetDisplayNode() is not None


def test_empty_labels_on_request_and_colors_of_their_own(makeVolume, labels, tmp_path):
    volume = makeVolume()
    node = loadPrediction(write(tmp_path, labels, volume), volume, {"labels": MODEL["labels"]}, keepEmpty=True)
    segments = segmentsOf(node)
    assert list(segments) == ["liver", "tumour", "vessel"]
    assert np.allclose(segments["vessel"].GetColor(), distinctColor(3))
    assert not maskOf(node, "vessel", volume).any()


def test_nothing_found_gives_no_segments(makeVolume, tmp_path):
    volume = makeVolume()
    node = loadPrediction(write(tmp_path, np.zeros((12, 14, 16), np.uint8), volume), volume, MODEL)
    assert segmentsOf(node) == {}
    assert len(segmentsOf(loadPrediction(tmp_path / "case.nrrd", volume, MODEL, keepEmpty=True))) == 3


def test_regions_are_unions(makeVolume, box, tmp_path):
    volume = makeVolume()
    array = np.zeros((12, 14, 16), np.uint8)
    for number, end in ((1, 9), (2, 7), (3, 5)):
        array[1:end, 1:end, 1:end] = number
    array[10:12] = 4
    node = loadPrediction(write(tmp_path, array, volume), volume, REGIONS)
    assert list(segmentsOf(node)) == ["whole", "core", "cyst"]
    assert np.array_equal(maskOf(node, "whole", volume), np.isin(array, [1, 2, 3]))
    assert np.array_equal(maskOf(node, "core", volume), np.isin(array, [2, 3]))
    assert np.array_equal(maskOf(node, "cyst", volume), array == 4)
    assert node.GetSegmentation().GetNumberOfLayers() == 2


def test_transform_and_folder_of_the_volume(makeVolume, addTransform, labels, tmp_path):
    volume = makeVolume()
    matrix = np.diag([2.0, 1, 1, 1])
    matrix[0, 3] = 9
    transform = addTransform(matrix, volume)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), folder)
    node = loadPrediction(write(tmp_path, labels, volume), volume, MODEL)
    assert node.GetParentTransformNode() is transform
    assert np.array_equal(maskOf(node, "liver", volume), labels == 1)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder
    assert sitk.ReadImage(str(tmp_path / "case.nrrd")).GetSpacing() == (2, 1, 1)


def test_earlier_results_stay_unless_replaced(makeVolume, labels, sameNodes, tmp_path):
    volume = makeVolume("CT")
    file = write(tmp_path, labels, volume)
    first, second = loadPrediction(file, volume, MODEL), loadPrediction(file, volume, MODEL)
    named = loadPrediction(file, volume, MODEL, name="mine")
    assert first.GetName() != second.GetName()
    assert named.GetName() == "mine"
    first.CreateClosedSurfaceRepresentation()
    other = write(tmp_path, np.where(labels == 1, 3, 0).astype(np.uint8), volume, "other.nrrd")
    with sameNodes():
        assert loadPrediction(other, volume, MODEL, replace=first) is first
    assert list(segmentsOf(first)) == ["vessel"]
    assert np.array_equal(maskOf(first, "vessel", volume), labels == 1)
    assert first.GetSegmentation().ContainsRepresentation("Closed surface")
    assert list(segmentsOf(second)) == ["liver", "tumour"]


def test_files_of_other_volumes_are_refused(makeVolume, labels, sameNodes, tmp_path):
    volume = makeVolume("CT")
    file = write(tmp_path, labels, volume)
    kept = loadPrediction(file, volume, MODEL)
    (tmp_path / "damaged.nrrd").write_text("x")
    write(tmp_path, np.full(labels.shape, 0.5, np.float32), volume, "float.nrrd")
    write(tmp_path, labels.astype(np.int16) - 1, volume, "negative.nrrd")
    for target, path, message in (
        (makeVolume("moved", origin=(0, 0, 1)), file, "another grid than volume moved"),
        (makeVolume("flipped", direction=np.diag([-1, 1, 1])), file, "another grid"),
        (makeVolume("finer", spacing=(1, 1, 0.99)), file, "another grid"),
        (makeVolume("cut", array=np.zeros((11, 14, 16), np.uint8)), file, "another grid"),
        (volume, tmp_path / "damaged.nrrd", "can't be read"),
        (volume, tmp_path / "missing.nrrd", "can't be read"),
        (volume, tmp_path / "float.nrrd", "no label map"),
        (volume, tmp_path / "negative.nrrd", "no label map"),
    ):
        with sameNodes(), pytest.raises(UserProblem, match=message):
            loadPrediction(path, target, MODEL)
        with sameNodes(), pytest.raises(UserProblem, match=message):
            loadPrediction(path, target, MODEL, replace=kept)
    assert list(segmentsOf(kept)) == ["liver", "tumour"]


def test_nifti_rounding_is_no_other_grid(makeVolume, labels, tmp_path):
    volume = makeVolume(spacing=(0.1, 0.7, 1 / 3), origin=(-123.4567, 98.76543, 1000 / 7), direction=oblique())
    sitk.WriteImage(sitk.ReadImage(str(write(tmp_path, labels, volume))), str(tmp_path / "case.nii.gz"))
    node = loadPrediction(tmp_path / "case.nii.gz", volume, MODEL)
    assert np.array_equal(maskOf(node, "liver", volume), labels == 1)


def test_whole_numbers_stored_as_floats(makeVolume, labels, tmp_path):
    volume = makeVolume()
    node = loadPrediction(write(tmp_path, labels.astype(np.float32), volume), volume, MODEL)
    assert np.array_equal(maskOf(node, "tumour", volume), labels == 2)


def test_probabilities_and_uncertainty(makeVolume, addTransform, sameNodes, tmp_path):
    volume = makeVolume("CT", spacing=(1, 2, 3))
    transform = addTransform(np.diag([1.0, 1, 2, 1]), volume)
    share = np.linspace(0, 1, 12 * 14 * 16, dtype=np.float32).reshape(12, 14, 16)
    files = [write(tmp_path, share, volume, f"case_001_probability_{n}.nrrd") for n in (2, 1)]
    first, second = loadProbabilities(files, volume, MODEL)
    assert (first.GetName(), second.GetName()) == ("CT probability of tumour", "CT probability of liver")
    assert np.array_equal(slicer.util.arrayFromVolume(first), share)
    assert first.GetParentTransformNode() is transform
    assert first.GetSpacing() == (1, 2, 3)
    (region,) = loadProbabilities(files[:1], volume, REGIONS)
    assert region.GetName() == "CT probability of core"
    uncertainty = loadUncertainty(write(tmp_path, share, volume, "case_001_uncertainty.nrrd"), volume)
    assert uncertainty.GetName() == "CT uncertainty"
    assert uncertainty.GetDisplayNode().GetWindow() == 1
    with sameNodes(), pytest.raises(UserProblem):
        loadProbabilities([files[0], tmp_path / "missing_1.nrrd"], volume, MODEL)


# -- sequences


@pytest.fixture
def sequence(makeVolume):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    for time in range(3):
        volume = makeVolume(array=np.full((12, 14, 16), time, np.int16), spacing=(1, 1, 2), direction=oblique())
        node.SetDataNodeAtValue(volume, str(time * 10))
        slicer.mrmlScene.RemoveNode(volume)
    return node


def test_frames_are_exported_and_come_back_in_step(sequence, labels, tmp_path, addTransform):
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNode(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    transform = addTransform(np.eye(4), browser.GetProxyNode(sequence))
    frames = framesOf(sequence)
    assert [value for value, _ in frames] == ["0", "10", "20"]
    files = []
    for number, (_, volume) in enumerate(frames):
        (path,) = exportVolumes([volume], tmp_path, f"frame_{number}")
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == number).all()
        files.append(write(tmp_path, np.roll(labels, number, axis=2), volume, f"{number}.nrrd"))
    *steps, result = predictionsToSequence(files, sequence, MODEL)
    assert steps == [None] * 3
    assert result.GetNumberOfDataNodes() == 3
    assert browserOf(result) is browserOf(sequence) is browser
    proxy = browser.GetProxyNode(result)
    assert proxy.GetParentTransformNode() is transform
    for number in (0, 2, 1):
        browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        expected = np.roll(labels, number, axis=2) == 1
        assert np.array_equal(maskOf(proxy, "liver", browser.GetProxyNode(sequence)), expected)
    assert set(segmentsOf(proxy)) == {"liver", "tumour", "vessel"}


def test_a_sequence_without_browser_gets_one(sequence, labels, tmp_path):
    files = [write(tmp_path, labels, volume, f"{value}.nrrd") for value, volume in framesOf(sequence)]
    *_steps, result = predictionsToSequence(files, sequence, MODEL, name="result")
    assert browserOf(sequence).GetProxyNode(result) is not None


def test_a_bad_frame_leaves_nothing_behind(sequence, labels, sameNodes, tmp_path):
    files = [write(tmp_path, labels, framesOf(sequence)[0][1], "a.nrrd")] * 2 + [tmp_path / "missing.nrrd"]
    with sameNodes(), pytest.raises(UserProblem, match="can't be read"):
        list(predictionsToSequence(files, sequence, MODEL))


def test_a_sequence_that_has_got_another_frame(sequence, labels, sameNodes, tmp_path):
    files = [write(tmp_path, labels, volume, f"{value}.nrrd") for value, volume in framesOf(sequence)]
    with sameNodes(), pytest.raises(UserProblem, match="has other frames now"):
        list(predictionsToSequence(files[1:], sequence, MODEL))


@pytest.mark.parametrize("between", ["others", "closed"])
def test_between_two_frames_the_scene_is_as_others_leave_it(sequence, labels, sameNodes, tmp_path, between):
    frame = framesOf(sequence)[0][1]
    write(tmp_path, labels, frame, "a.nrrd")
    steps = predictionsToSequence([tmp_path / "a.nrrd"] * 2 + [tmp_path / "missing.nrrd"], sequence, MODEL)
    with sameNodes():
        next(steps)
    if between == "others":
        added = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn meanwhile")
    else:
        slicer.mrmlScene.Clear(0)
    with sameNodes():
        next(steps)
        with pytest.raises(UserProblem, match="can't be read"):
            next(steps)
    if between == "others":
        assert slicer.mrmlScene.IsNodePresent(added)


def test_a_sequence_that_is_not_loaded_to_the_end(sequence, labels, sameNodes, tmp_path):
    files = [write(tmp_path, labels, volume, f"{value}.nrrd") for value, volume in framesOf(sequence)]
    with sameNodes():
        steps = predictionsToSequence(files, sequence, MODEL)
        for _frame in files:
            next(steps)
        steps.close()


@pytest.fixture
def segmented(sequence, labels, tmp_path):
    """A segmentation of all frames whose files are there."""
    run = Segmentation(None, MODEL | {"path": "/models/1"}, sequence=sequence)
    run._folder = tmp_path
    run._output.mkdir()
    for id, (_value, volume) in zip(run.ids, framesOf(sequence), strict=True):
        write(run._output, labels, volume, f"{id}.nrrd")
    return run


def test_the_bar_moves_with_each_frame(segmented, sequence):
    assert list(segmented.load()) == pytest.approx([1 - 0.05 * 2 / 3, 1 - 0.05 / 3, 1])
    assert segmented.problems == []
    (result,) = segmented.nodes
    assert volumesOf(browserOf(result).GetProxyNode(result)) == [browserOf(result).GetProxyNode(sequence)]
    assert {result.GetNthDataNode(n).GetAttribute("SegAutoConfig.Model") for n in range(3)} == {"/models/1"}


@pytest.mark.parametrize("loaded", [1, 3])
def test_a_sequence_that_is_deleted_while_its_frames_are_loaded(segmented, sequence, sameNodes, loaded):
    steps = segmented.load()
    for _frame in range(loaded):
        next(steps)
    slicer.mrmlScene.RemoveNode(sequence)
    with sameNodes():
        assert list(steps) == []
    assert segmented.nodes == []
    assert [problem.message for problem in segmented.problems] == [
        "heart is not in the scene any more, so its segmentation was not loaded."
    ]


def test_no_sequence_of_volumes(slicerApp, makeSegmentation):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "odd")
    with pytest.raises(UserProblem, match="odd is not a sequence of volumes"):
        framesOf(node)
    node.SetDataNodeAtValue(makeSegmentation(), "0")
    with pytest.raises(UserProblem):
        framesOf(node)


def test_label_maps_of_results_are_the_files(makeVolume, labels, tmp_path):
    volume = makeVolume(direction=oblique())
    node = loadPrediction(write(tmp_path, labels, volume), volume, MODEL)
    assert np.array_equal(labelMap(node, volume, LabelTable.fromSegmentations([node])), labels)


# -- several volumes of which some fail


class Predictor:
    """An engine that predicts some of the cases, each as liver everywhere, and ends as it is told.

    Args:
        workspace: A folder.
        done: Numbers of the cases.
        end: State of the job.
        problems: Its problems.
    """

    def __init__(self, workspace, done, end="FAILED", problems=()):
        self.workspace, self.done, self.end, self.problems = workspace, done, end, list(problems)

    def start(self, command, **_options):
        images, output = (Path(command[command.index(word) + 1]) for word in ("-i", "-o"))
        output.mkdir()
        for name in (f"case_{number:03}" for number in self.done):
            image = sitk.ReadImage(str(images / f"{name}_0000.nrrd"))
            sitk.WriteImage(sitk.Cast(image * 0 + 1, sitk.sitkUInt8), str(output / f"{name}.nrrd"))
        job = SimpleNamespace(FINISHED="FINISHED", STOPPED="STOPPED", state=self.end, problems=self.problems)
        job.running, job.wait, job.kill = False, lambda *_words: self.end != "ENDLESS", lambda: None
        return job


PREDICTING = MODEL | {
    "path": "/m",
    "title": "Liver",
    "channels": ["CT"],
    "folds": [0],
    "unfinished": [],
    "problem": None,
}
BAD = [Problem("It holds NaN.", "Mend it.", "2 of 4", "case_002"), Problem("No memory.", case="case_004")]
KILLED = [Problem("The engine was killed.", "", "log")]
SLOW = "The segmentation took longer than 7 s."


@pytest.mark.parametrize(
    ("done", "end", "problems", "said"),
    [
        (
            [1, 3],
            "FAILED",
            BAD,
            ["2 of 4 volumes could not be segmented.", "b: It holds NaN. Mend it.", "d: No memory."],
        ),
        ([1], "LOST", KILLED, ["3 of 4 volumes could not be segmented.", "b, c, d: The engine was killed."]),
        (
            [1],
            "FAILED",
            BAD[:1] + KILLED,
            [
                *("3 of 4 volumes could not be segmented.", "b: It holds NaN. Mend it."),
                "c, d: The engine was killed.",
            ],
        ),
        ([1, 2, 3], "ENDLESS", (), ["1 of 4 volumes could not be segmented.", f"d: {SLOW}"]),
        (
            [1, 2],
            "FAILED",
            (),
            ["2 of 4 volumes could not be segmented.", "c, d: The segmentation ended unexpectedly."],
        ),
        ([1, 2, 3, 4], "LOST", KILLED, ["The engine was killed."]),
    ],
)
def test_what_a_model_has_segmented_before_it_failed_is_loaded(makeVolume, tmp_path, done, end, problems, said):
    volumes = [makeVolume(name) for name in "abcd"]
    run = Segmentation(Predictor(tmp_path, done, end, problems), PREDICTING, [[volume] for volume in volumes])
    with pytest.raises(UserProblem) as told:
        run.segment(timeout=7)
    assert str(told.value).splitlines() == said
    assert [volumesOf(node) for node in run.nodes] == [[volumes[number - 1]] for number in done]
    assert all(list(segmentsOf(node)) == ["liver"] for node in run.nodes)
    assert run.leftOut == 4 - len(done)
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize(
    ("names", "problems", "said"),
    [
        ("ab", KILLED, "The engine was killed."),
        (
            "ab",
            [replace(BAD[0], case=f"case_00{n}") for n in (1, 2)],
            "a: It holds NaN. Mend it.\nb: It holds NaN. Mend it.",
        ),
        ("a", [Problem("Case case_001: It holds NaN.")], "It holds NaN."),
    ],
)
def test_a_model_that_has_segmented_nothing(makeVolume, sameNodes, tmp_path, names, problems, said):
    cases = [[makeVolume(name)] for name in names]
    run = Segmentation(Predictor(tmp_path, [], problems=problems), PREDICTING, cases)
    with sameNodes(), pytest.raises(UserProblem) as told:
        run.segment()
    assert str(told.value) == said
    assert run.failed


def test_frames_that_a_model_could_not_segment_stay_empty(sequence, tmp_path):
    run = Segmentation(Predictor(tmp_path, [1, 3], problems=BAD[:1]), PREDICTING, sequence=sequence)
    with pytest.raises(UserProblem) as told:
        run.segment()
    (result,) = run.nodes
    frames = [result.GetNthDataNode(place).GetSegmentation().GetNthSegment(0) for place in range(3)]
    layers = [frame.GetRepresentation("Binary labelmap") for frame in frames]
    assert [bool(one.GetNumberOfPoints() and one.GetScalarRange()[1]) for one in layers] == [True, False, True]
    assert str(told.value).splitlines() == [
        "1 of 3 frames could not be segmented and stayed empty.",
        "heart, frame 2: It holds NaN. Mend it.",
    ]


def test_the_words_of_a_model_name_the_volumes(makeVolume, tmp_path):
    cases = [[makeVolume(f"{name} T1"), makeVolume(f"{name} T2")] for name in "ab"]
    run = Segmentation(Predictor(tmp_path, []), PREDICTING | {"channels": ["T1", "T2"]}, cases)
    list(run.export())
    image = tmp_path / "staging" / run._folder.name / "images" / "case_002_0001.nrrd"
    assert image.is_file()
    assert str(run.inWords(Problem(f"Case case_002: {image} holds NaN."))) == "b T1: b T2 holds NaN."
    for other in ("The checkpoints were not checked.", "liver: reaches the border", "Case case_003: odd."):
        assert str(run.inWords(Problem(other))) == other
    run.remove()
