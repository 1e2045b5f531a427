"""The table of labels: matching of segments, edits, numbers."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Labels import AREA, IGNORE, LABEL, OUT, PRECEDENCE, REGIONS, LabelTable
from SegAutoConfigGui.Scene.Matching import cleanName, distinctColor, meaning, nameKey, structureKey

TISSUE = ("85756007", "Tissue")
LIVER, SPLEEN, KIDNEY = ("10200004", "Liver"), ("78961009", "Spleen"), ("64033007", "Kidney")
LEFT, RIGHT = "SCT^7771000^Left", "SCT^24028007^Right"


def terminology(structure: tuple[str, str], modifier: str = "^^") -> str:
    code, text = structure
    kind = f"SCT^{code}^{text}"
    return f"Categories~SCT^123037004^Anatomical Structure~{kind}~{modifier}~Anatomic codes~^^~^^"


def drawn(*segments: str | tuple[str, str]) -> object:
    """A segmentation with empty segments: names, or names with terminology entries."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for segment in segments:
        name, entry = segment if isinstance(segment, tuple) else (segment, "")
        id = node.GetSegmentation().AddEmptySegment("", name, (0.1, 0.2, 0.3))
        if entry:
            node.GetSegmentation().GetSegment(id).SetTag("TerminologyEntry", entry)
    return node


def names(table: LabelTable) -> list[str]:
    return [label.name for label in table.labels]


def test_names_and_codes():
    assert nameKey(" Left__Lung ") == nameKey("left lung") == "left lung"
    assert cleanName("a\tb\n c\x00") == "a b c"
    assert cleanName("  ") == "segment"
    assert cleanName("\ud800x") == "?x"
    assert structureKey(terminology(TISSUE)) is None
    assert structureKey("") is None
    assert structureKey(terminology(KIDNEY, LEFT)) != structureKey(terminology(KIDNEY, RIGHT))
    assert meaning(terminology(KIDNEY, LEFT)) == "Kidney (Left)"


def test_segments_are_numbered_by_first_appearance(slicerApp):
    table = LabelTable.fromSegmentations([drawn("liver", "tumour"), drawn("vessels", "liver")])
    assert names(table) == ["liver", "tumour", "vessels"]
    assert [table.value(label) for label in table.labels] == [1, 2, 3]
    assert table.labels[0].color == (0.1, 0.2, 0.3)
    assert table.infos == []
    assert table.warnings == []
    labels, order, segments = table.asDatasetLabels()
    assert labels == {"background": 0, "liver": 1, "tumour": 2, "vessels": 3}
    assert order is None
    assert segments["liver"]["color"] == [0.1, 0.2, 0.3]


def test_spelling_is_matched_and_said(slicerApp):
    table = LabelTable.fromSegmentations([drawn("Liver"), drawn(" liver_"), drawn("LIVER", "left_lung")])
    assert names(table) == ["Liver", "left_lung"]
    assert table.labels[0].sources == ["Liver", " liver_", "LIVER"]
    assert len(table.infos) == 2
    assert "“Liver” and “LIVER”" in table.infos[1]


def test_two_spellings_in_one_case_are_one_label(slicerApp):
    table = LabelTable.fromSegmentations([drawn("Liver", "liver")])
    assert names(table) == ["Liver"]
    assert table.labelOfSegment("liver") is table.labels[0]


def test_equal_terminology_matches_other_names(slicerApp):
    cases = [drawn(("Leber", terminology(LIVER))), drawn(("liver", terminology(LIVER)))]
    table = LabelTable.fromSegmentations(cases)
    assert names(table) == ["Leber"]
    assert table.labels[0].sources == ["Leber", "liver"]
    assert "terminology Liver" in table.infos[0]


def test_tissue_and_sides_are_not_matched(slicerApp):
    cases = [
        drawn(("a", terminology(TISSUE)), ("kidney l", terminology(KIDNEY, LEFT))),
        drawn(("b", terminology(TISSUE)), ("kidney r", terminology(KIDNEY, RIGHT))),
    ]
    assert names(LabelTable.fromSegmentations(cases)) == ["a", "kidney l", "b", "kidney r"]


def test_names_told_apart_in_one_case_are_not_merged_by_terminology(slicerApp):
    cases = [drawn(("seg 2", terminology(LIVER))), drawn(("seg 2", terminology(LIVER)), ("seg 4", terminology(LIVER)))]
    assert names(LabelTable.fromSegmentations(cases)) == ["seg 2", "seg 4"]


def test_one_name_with_two_terminologies_is_one_label_with_a_warning(slicerApp):
    cases = [drawn(("organ", terminology(LIVER))), drawn(("organ", terminology(SPLEEN))), drawn("organ")]
    table = LabelTable.fromSegmentations(cases)
    assert names(table) == ["organ"]
    assert len(table.warnings) == 1
    assert "Liver and Spleen" in table.warnings[0].message


def test_names_with_a_meaning(slicerApp):
    table = LabelTable.fromSegmentations([drawn("Background", "IGNORE", "Annotated Area", "liver")])
    assert [label.role for label in table.labels] == [OUT, IGNORE, AREA, LABEL]
    assert [table.value(label) for label in table.labels] == [0, 2, 0, 1]
    assert table.asDatasetLabels()[0] == {"background": 0, "liver": 1, "ignore": 2}
    assert "background" in table.infos[0]
    for row in ("background", "ignore"):
        with pytest.raises(UserProblem, match="Rename it first"):
            table.setRole(row, LABEL)
    table.rename("background", "body")
    table.setRole("body", LABEL)
    assert table.asDatasetLabels()[0] == {"background": 0, "body": 1, "liver": 2, "ignore": 3}


def test_names_that_can_not_be_in_a_dataset_are_cleaned_and_unique(slicerApp):
    node = drawn("a\nb", "x", "脑")
    node.GetSegmentation().GetNthSegment(1).SetName("")
    table = LabelTable.fromSegmentations([node])
    assert names(table) == ["a b", "segment", "脑"]
    assert table.labelOfSegment("a\nb") is table.labels[0]


def test_edits_survive_new_cases(slicerApp):
    first = drawn("liver", "couch", "left lung", "right lung")
    table = LabelTable.fromSegmentations([first])
    table.merge("left lung", "right lung")
    table.rename("left lung", "lung")
    table.setRole("couch", OUT)
    table.move("lung", -2)
    table.setColor("lung", (1, 2, -1))
    table.update([first, drawn("Right Lung", "spleen", "lung", "Couch")])
    assert names(table) == ["lung", "liver", "couch", "spleen"]
    assert table.label("lung").sources == ["left lung", "right lung", "Right Lung", "lung"]
    assert table.label("lung").color == (1.0, 1.0, 0.0)
    assert table.label("couch").role == OUT
    assert [table.value(label) for label in table.labels] == [1, 2, 0, 3]


def test_rows_without_segments_go(slicerApp):
    first, second = drawn("liver"), drawn("spleen")
    table = LabelTable.fromSegmentations([first, second])
    table.update([second])
    assert names(table) == ["spleen"]


def test_split_is_not_undone_by_the_next_update(slicerApp):
    cases = [drawn("Liver", "liver"), drawn(("a", terminology(SPLEEN))), drawn(("b", terminology(SPLEEN)))]
    table = LabelTable.fromSegmentations(cases)
    assert names(table) == ["Liver", "a"]
    table.split("Liver")
    table.split("a", "b")
    assert names(table) == ["Liver", "liver 2", "a", "b"]
    table.update(cases)
    assert names(table) == ["Liver", "liver 2", "a", "b"]
    assert table.labelOfSegment("liver").name == "liver 2"
    table.split("a")  # one segment: nothing to split
    assert names(table) == ["Liver", "liver 2", "a", "b"]


def test_impossible_names_are_refused(slicerApp):
    table = LabelTable.fromSegmentations([drawn("liver", "spleen")])
    with pytest.raises(UserProblem, match="Merge"):
        table.rename("liver", "SPLEEN")
    with pytest.raises(UserProblem, match="meaning of its own"):
        table.rename("liver", "Background")
    table.rename("liver", "Liver")
    assert names(table) == ["Liver", "spleen"]
    with pytest.raises(KeyError):
        table.label("heart")


def test_moves_stop_at_the_ends(slicerApp):
    table = LabelTable.fromSegmentations([drawn("a", "b", "c")])
    table.move("a", 5)
    table.move("c", -9)
    assert names(table) == ["c", "b", "a"]


def test_json_round_trip_and_damage(slicerApp):
    table = LabelTable.fromSegmentations([drawn(("liver", terminology(LIVER)), "脑")])
    table.setMode(REGIONS)
    again = LabelTable.fromJson(table.toJson())
    assert again.labels == table.labels
    assert again.mode == REGIONS
    for damaged in ("", "{", "[]", '{"labels": [{"wrong": 1}], "mode": "x"}', '{"labels": [1], "mode": "precedence"}'):
        assert LabelTable.fromJson(damaged).labels == []


def test_no_labels_is_a_problem(slicerApp):
    table = LabelTable.fromSegmentations([drawn("liver")])
    assert table.problems() == []
    table.setRole("liver", OUT)
    assert len(table.problems()) == 1


# -- an existing dataset

DATASET = {
    "labels": {"background": 0, "tumour": 2, "liver": 1},
    "regions_class_order": None,
    "segments": {"liver": {"color": [0.9, 0.5, 0.4], "terminology": terminology(LIVER)}},
}


def test_labels_of_a_dataset_come_first_and_stay(slicerApp):
    table = LabelTable.fromSegmentations([drawn("vessels", "LIVER", ("Leber", terminology(SPLEEN)))], DATASET)
    assert names(table) == ["liver", "tumour", "vessels", "Leber"]
    assert [table.value(label) for label in table.labels] == [1, 2, 3, 4]
    assert table.labels[0].color == (0.9, 0.5, 0.4)
    assert table.labels[1].color == distinctColor(2)
    for change in (
        lambda: table.rename("liver", "x"),
        lambda: table.move("liver", 1),
        lambda: table.setRole("liver", OUT),
        lambda: table.merge("vessels", "liver"),
        lambda: table.setMode(REGIONS),
    ):
        with pytest.raises(UserProblem):
            change()
    table.move("Leber", -9)
    assert names(table) == ["liver", "tumour", "Leber", "vessels"]
    table.merge("liver", "Leber")
    assert table.labelOfSegment("Leber").name == "liver"
    table.split("liver", "Leber")
    assert names(table) == ["liver", "tumour", "vessels", "Leber"]


def test_terminology_of_a_dataset_matches(slicerApp):
    table = LabelTable.fromSegmentations([drawn(("Leber", terminology(LIVER)))], DATASET)
    assert names(table) == ["liver", "tumour"]
    assert table.labelOfSegment("Leber").name == "liver"
    assert "“liver” and “Leber”" in table.infos[0]


def test_going_to_another_dataset_and_back(slicerApp):
    cases = [drawn("vessels", "liver")]
    table = LabelTable.fromSegmentations(cases)
    table.rename("vessels", "veins")
    table.setDataset(DATASET, cases)
    assert names(table) == ["liver", "tumour", "veins"]
    assert table.label("liver").sources == ["liver"]
    table.setDataset(None, cases)
    assert names(table) == ["liver", "veins"]
    assert not any(label.fixed for label in table.labels)


def test_a_dataset_with_ignore_takes_no_new_labels(slicerApp):
    dataset = {"labels": {"background": 0, "liver": 1, "ignore": 2}}
    table = LabelTable.fromSegmentations([drawn("liver", "ignore", "spleen")], dataset)
    assert "spleen" in table.problems()[0].message
    table.setRole("spleen", OUT)
    assert table.problems() == []
    assert table.asDatasetLabels()[0] == dataset["labels"]


def test_ignored_segments_become_the_ignore_label_of_the_dataset(slicerApp):
    cases = [drawn("liver", "tumor", "unsure")]
    table = LabelTable.fromSegmentations(cases)
    table.setRole("unsure", IGNORE)
    assert [table.numberInFiles(label) for label in table.labels] == [1, 2, 3]
    made = {"labels": {"background": 0, "liver": 1, "tumor": 2, "ignore": 3}}
    table.setDataset(made, cases)
    rows = [(label.name, label.role, label.sources, table.numberInFiles(label)) for label in table.labels]
    assert rows[2:] == [("ignore", IGNORE, ["unsure"], 3)]
    table.setDataset(None, cases)
    assert [(label.name, label.role) for label in table.labels][2:] == [("ignore", IGNORE)]


def test_regions_have_no_single_number(slicerApp):
    cases = [drawn("liver", "tumor", "unsure")]
    table = LabelTable.fromSegmentations(cases)
    table.setRole("unsure", IGNORE)
    table.setMode(REGIONS)
    made = {"labels": {"background": 0, "liver": [1, 3], "tumor": [2, 3], "ignore": 4}, "regions_class_order": [1, 2]}
    table.setDataset(made, cases)
    assert names(table) == ["liver", "tumor", "ignore"]
    assert [table.numberInFiles(label) for label in table.labels] == [None, None, None]


def test_a_dataset_with_regions(slicerApp):
    dataset = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    table = LabelTable.fromSegmentations([drawn("core")], dataset)
    assert table.mode == REGIONS
    assert names(table) == ["whole", "core"]
    assert table.combinations == [["whole"], ["whole", "core"]]
    assert LabelTable.fromJson(table.toJson()).combinations == table.combinations
    table.setDataset(DATASET, [])
    assert (table.mode, table.combinations) == (PRECEDENCE, [])


def test_colors_of_many_labels_differ(slicerApp):
    colors = np.array([distinctColor(number) for number in range(1, 100)])
    assert len(np.unique(colors.round(3), axis=0)) == 99
