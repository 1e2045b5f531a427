"""The table of cases: what it keeps, what belongs together, what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from slicerhost.demo import oblique

from SegAutoConfigGui.Scene.Cases import CaseTable, validId
from SegAutoConfigGui.Scene.Labels import OUT, LabelTable
from SegAutoConfigGui.Scene.Results import loadProbabilities, loadUncertainty
from SegAutoConfigGui.Scene.Volumes import sceneVolumes


@pytest.fixture
def table(slicerApp):
    return CaseTable(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters"))


def labelsOf(table: CaseTable) -> LabelTable:
    return LabelTable.fromSegmentations(table.segmentations())


def ids(table: CaseTable) -> list[str]:
    return [case.id for case in table.cases()]


def messages(table: CaseTable, **options: bool) -> list[str]:
    return [str(problem) for problem in table.problems(labelsOf(table), **options)]


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("CT chest", "CT_chest"),
        ("case_0001_0000", "case_0001"),
        ("a/b\\c:d", "a_b_c_d"),
        (".hidden", "hidden"),
        ("Müller 脑", "Müller_脑"),
        ("", "case"),
        ("../..", "case"),
        ("NUL.x", "case_NUL.x"),
        ("x" * 200, "x" * 80),
    ],
)
def test_valid_ids(name, id):
    assert validId(name) == id


def test_ids_are_unique_in_lower_case():
    assert validId("Liver", ["liver", "LIVER_2"]) == "Liver_3"


def test_rows_are_added_changed_moved_and_removed(table, makeVolume, makeSegmentation):
    volume, segmentation = makeVolume("pat1"), makeSegmentation()
    first = table.add([volume], segmentation)
    second = table.add([volume], segmentation, test=True)
    third = table.add([], None, "other")
    assert ids(table) == ["pat1", "pat1_2", "other"]
    assert table.cases()[0].volumes == [volume]
    assert table.cases()[0].segmentation is segmentation
    assert [case.test for case in table.cases()] == [False, True, False]
    table.move(third.uid, -5)
    table.change(second.uid, id="other", visibleOnly=True, segmentation=None)
    assert ids(table) == ["other", "pat1", "other_2"]
    assert table.case(second.uid).visibleOnly
    assert table.case(second.uid).test
    assert table.case(second.uid).segmentation is None
    table.remove([first.uid, third.uid])
    assert ids(table) == ["other_2"]
    with pytest.raises(KeyError):
        table.case(first.uid)
    with pytest.raises(TypeError):
        table.change(second.uid, uid="x")


def test_each_change_is_one_event(table, makeVolume, makeSegmentation):
    events = []
    table.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: events.append(1))
    case = table.add([makeVolume()], makeSegmentation())
    assert len(events) == 1
    table.change(case.uid, test=True)
    assert len(events) == 2
    table.remove([case.uid])
    assert len(events) == 3


def test_channels(table, makeVolume):
    t1, t2 = makeVolume("T1"), makeVolume("T2")
    case = table.add([t1])
    assert table.channelNames == ["image"]
    table.channelNames = ["T1", " T2  weighted "]
    assert table.channelNames == ["T1", "T2 weighted"]
    assert table.case(case.uid).volumes == [t1, None]
    assert table.setVolume(case.uid, 1, t2).volumes == [t1, t2]
    table.channelNames = ["T1"]
    table.channelNames = ["T1", "T2"]
    assert table.case(case.uid).volumes == [t1, None]


def test_modality_of_the_first_volume(table, makeVolume):
    table.add([makeVolume(array=np.full((2, 3, 4), -1000, np.int16))])
    assert table.channelNames == ["CT"]
    table.add([makeVolume()])
    assert table.channelNames == ["CT"]


def test_removed_nodes_leave_empty_slots(table, makeVolume, makeSegmentation):
    volume, segmentation = makeVolume(), makeSegmentation()
    table.add([volume], segmentation)
    labels = labelsOf(table)
    slicer.mrmlScene.RemoveNode(volume)
    slicer.mrmlScene.RemoveNode(segmentation)
    assert table.cases()[0].volumes == [None]
    assert table.cases()[0].segmentation is None
    assert [problem.case for problem in table.problems(labels)] == ["volume", "volume"]


def test_the_table_survives_saving_and_loading(table, makeVolume, makeSegmentation, tmp_path):
    volume, segmentation = makeVolume("T1"), makeSegmentation("drawn")
    table.channelNames = ["T1", "T2"]
    table.add([volume], segmentation, "Müller", test=True)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    makeVolume()  # so that ids differ after loading
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = CaseTable(slicer.util.getNode("parameters"))
    (case,) = loaded.cases()
    assert (case.id, case.test, loaded.channelNames) == ("Müller", True, ["T1", "T2"])
    assert case.volumes == [slicer.util.getNode("T1"), None]
    assert case.segmentation is slicer.util.getNode("drawn")


def test_damaged_parameters_are_an_empty_table(table):
    for text in ("{", "[]", '{"cases": [{"id": "x"}]}', '{"cases": 1}'):
        table.parameterNode.SetParameter("cases", text)
        assert table.cases() == []


# -- pairs in the scene


def test_pairs_by_reference_grid_and_name(table, makeVolume, makeSegmentation):
    first, second = makeVolume("anna"), makeVolume("bert", direction=oblique())
    third, fourth = makeVolume("carl ct", spacing=(2, 2, 2)), makeVolume("dora ct", spacing=(2, 2, 2))
    byReference = makeSegmentation("x", reference=first)
    byGrid = makeSegmentation("y", direction=oblique())
    byName = makeSegmentation("Carl CT Segmentation", spacing=(2, 2, 2))
    makeSegmentation("nobody", origin=(0.3, 0, 0))
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "anna")  # no segments
    makeVolume("anna label", labelmap=True)
    found = {case.segmentation: case.volumes[0] for case in table.addLoadedPairs()}
    assert found == {byReference: first, byGrid: second, byName: third}
    assert fourth not in found.values()
    assert table.addLoadedPairs() == []


def test_a_cropped_segmentation_lies_on_the_grid(table, makeVolume, makeSegmentation, box):
    volume, cut = makeVolume(origin=(5, 5, 5)), box((1, 3), (1, 3), (1, 3), (4, 5, 6))
    segmentation = makeSegmentation(segments={"a": cut}, origin=(7, 8, 9))
    makeSegmentation("outside", segments={"a": cut}, origin=(100, 8, 9))
    (case,) = table.addLoadedPairs()
    assert (case.volumes, case.segmentation) == ([volume], segmentation)


def test_channels_of_each_patient(table, makeVolume, makeSegmentation):
    """All on one grid, as after registration to an atlas."""
    volumes = {name: makeVolume(name) for name in ("p1_t1", "p1_t1c", "p1_t2", "p2_t2", "p2_t1c", "p2_t1")}
    makeSegmentation("s1", reference=volumes["p1_t1c"])
    makeSegmentation("s2", reference=volumes["p2_t2"])
    table.channelNames = ["T1", "T1C", "T2"]
    chosen = [[node.GetName() for node in case.volumes] for case in table.addLoadedPairs()]
    assert chosen == [["p1_t1", "p1_t1c", "p1_t2"], ["p2_t1", "p2_t1c", "p2_t2"]]


def test_channels_by_number(table, makeVolume, makeSegmentation):
    for name in ("a_0001", "a_0000", "b_0000"):
        makeVolume(name)
    makeSegmentation(reference=slicer.util.getNode("a_0000"))
    table.channelNames = ["first", "second"]
    (case,) = table.addLoadedPairs()
    assert [node.GetName() for node in case.volumes] == ["a_0000", "a_0001"]


def test_probabilities_and_uncertainties_are_no_images(table, makeVolume, makeSegmentation, tmp_path):
    """On the same grid, in the same folder and with the volume's name: only the mark tells them from a channel."""
    volume = makeVolume("CT")
    file = tmp_path / "share.nrrd"
    share = sitk.GetImageFromArray(np.zeros(slicer.util.arrayFromVolume(volume).shape, np.float32))
    share.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # of the volume, in LPS
    sitk.WriteImage(share, str(file))
    for image in (loadUncertainty(file, volume), *loadProbabilities([file], volume, {"labels": {}})):
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (volume, image)}
        assert len(parents) == 1
        image.SetName("CT")
    makeVolume("CT label", labelmap=True)
    assert sceneVolumes() == [volume]
    segmentation = makeSegmentation("drawn")
    drawnOnMap = makeSegmentation("drawn on it", reference=image)
    table.channelNames = ["CT", "PET"]
    found = [(case.volumes, case.segmentation) for case in table.addLoadedPairs()]
    assert found == [([volume, None], segmentation), ([volume, None], drawnOnMap)]


# -- problems


def test_good_cases(table, makeVolume, makeSegmentation):
    volume = makeVolume()
    table.add([volume], makeSegmentation(reference=volume))
    table.add([makeVolume("without truth")], None, test=True)
    assert messages(table) == []


def test_what_is_missing(table, makeVolume, makeSegmentation):
    assert "no cases" in messages(table)[0]
    volume = makeVolume()
    hollow = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hollow")
    table.add([volume], None, "a")
    table.add([volume], hollow, "b")
    table.add([], makeSegmentation(), "c")
    text = messages(table)
    assert [line.split(":")[0] for line in text] == ["a", "b", "c"]
    assert "no segmentation" in text[0]
    assert "hollow has no segments" in text[1]
    assert "No volume is chosen" in text[2]


def test_empty_segments(table, makeVolume, makeSegmentation, box):
    volume, nothing = makeVolume(), np.zeros((12, 14, 16), np.uint8)
    segments = {"organ": box((1, 3), (1, 3), (1, 3)), "lesion": nothing}
    table.add([volume], makeSegmentation(segments=segments, reference=volume), "some")
    assert table.problems(labelsOf(table), look=False) == []  # nobody knows yet of a new segmentation
    assert messages(table) == ["“lesion” has no voxels in any case. Draw it in some case, or leave it out."]
    other = makeVolume()
    table.add([other], makeSegmentation(segments={"lesion": segments["organ"]}, reference=other), "other")
    assert messages(table) == []
    (warning,) = (each for each in table.warnings(labelsOf(table)) if each.case)
    assert "lesion" in warning.message
    assert warning.case == "some"
    table.add([volume], makeSegmentation("bare", segments={"organ": nothing}, reference=volume), "none")
    (text,) = messages(table)
    assert text.startswith("none: The segments of bare are empty: organ.")
    node = table.cases()[2].segmentation
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        segments["organ"], node, node.GetSegmentation().GetNthSegmentID(0), volume
    )
    assert messages(table) == []


def test_everything_left_out_or_hidden(table, makeVolume, makeSegmentation):
    volume = makeVolume()
    node = makeSegmentation(reference=volume)
    table.add([volume], node, "case")
    table.add([volume], makeSegmentation(segments=None, reference=volume), "other", visibleOnly=True)
    labels = labelsOf(table)
    labels.setRole("organ", OUT)
    assert len([problem for problem in table.problems(labels) if problem.case]) == 2
    shown = table.cases()[1].segmentation
    shown.GetDisplayNode().SetSegmentVisibility(shown.GetSegmentation().GetNthSegmentID(0), False)
    (text,) = messages(table)
    assert text.startswith("other: All shown segments")


def test_unknown_segments_need_an_update(table, makeVolume, makeSegmentation):
    volume = makeVolume()
    node = makeSegmentation(reference=volume)
    table.add([volume], node)
    labels = labelsOf(table)
    node.GetSegmentation().AddEmptySegment("new", "new")
    assert "doesn't know these segments" in table.problems(labels)[0].message


def test_channels_of_other_grids(table, makeVolume, makeSegmentation):
    first, other = makeVolume("T1"), makeVolume("T2", origin=(1, 0, 0))
    table.channelNames = ["T1", "T2"]
    case = table.add([first, other], makeSegmentation(reference=first))
    (text,) = messages(table)
    assert "T2 has another grid than T1: origin 0 x 0 x 0 against 1 x 0 x 0 mm." in text
    assert messages(table, resampleChannels=True) == []
    table.setVolume(case.uid, 1, first)
    assert "One volume is chosen for two channels" in messages(table)[0]
    table.setVolume(case.uid, 1, None)
    assert "There is no volume for T2" in messages(table)[0]


def test_geometry_of_volume_and_segmentation(table, makeVolume, makeSegmentation):
    volume = makeVolume("flat")
    segmentation = makeSegmentation(reference=volume)
    table.add([volume], segmentation, "case")
    volume.SetSpacing(1, 0, 1)
    assert messages(table)[0].startswith("case: Volume flat has no valid spacing")
    volume.SetSpacing(1, 1, 1)
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    segmentation.SetAndObserveTransformNodeID(warp.GetID())
    assert messages(table)[0].startswith("case: segmentation is under a transform that is not linear")


def test_oversights(table, makeVolume, makeSegmentation, box):
    volume = makeVolume("shared")
    part = box((1, 3), (1, 3), (1, 3))
    for name in ("organ", "organ", "orgn"):
        table.add([volume], makeSegmentation(segments={name: part}, reference=volume))
    texts = [warning.message for warning in table.warnings(labelsOf(table))]
    assert texts == [
        "Volume shared is used by several cases: shared, shared_2, shared_3.",
        "Only this case has “orgn”.",
    ]


def test_labels_of_one_case_are_one_line(table, makeVolume, makeSegmentation, box):
    part = box((1, 3), (1, 3), (1, 3))
    many = {f"s{number}": part for number in range(9)}
    for number in range(3):
        volume = makeVolume(f"v{number}")
        segmentation = makeSegmentation(segments=many, reference=volume) if number == 1 else None
        table.add([volume], segmentation, test=number != 1)
    assert table.warnings(labelsOf(table)) == []
    table.change(table.cases()[0].uid, segmentation=makeSegmentation(segments={"s0": part}))
    (warning,) = table.warnings(labelsOf(table))
    assert str(warning) == (
        "v1: Only this case has 8 of the labels: s1, s2, s3, s4, s5, s6 and 2 more. "
        "Are they named differently in the others?"
    )
