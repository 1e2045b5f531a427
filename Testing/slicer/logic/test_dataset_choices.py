"""What the Dataset panel decides, without its widgets."""

from pathlib import Path

import pytest

from SegAutoConfigGui.Dataset.DatasetChoices import (
    Target,
    caseOfProblem,
    casesToExport,
    casesWith,
    clashes,
    datasetName,
    doneText,
    exportReason,
    labelNotes,
    nameProblem,
    nextNumber,
    numberOfCases,
    overlapLines,
    stateIn,
    summary,
)
from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Cases import NEW, Case
from SegAutoConfigGui.Scene.Labels import Label, LabelTable

LIVER = {"dataset": "Dataset002_Liver", "id": 2, "case_files": {"a": {}, "b": {}}}
TARGET = Target("Dataset002_Liver", LIVER)
ADDED = stateIn("Dataset002_Liver")


def test_the_next_number_is_the_smallest_free_one():
    assert nextNumber([]) == 1
    assert nextNumber([{"id": 1}, {"id": 3}]) == 2
    assert datasetName(7, "Lung") == "Dataset007_Lung"


@pytest.mark.parametrize(
    ("number", "name", "words"),
    [(1, "Liver", ""), (1, "", "name"), (1, "Leber/2", "letters"), (1, "_x", "begins"), (2, "Lung", "taken")],
)
def test_names_of_new_datasets(number, name, words):
    problem = nameProblem(number, name, [LIVER])
    assert words in problem
    assert bool(words) == bool(problem)


@pytest.mark.parametrize(
    ("case", "exported", "clashing"),
    [
        (Case("new"), True, False),
        (Case("a", state=NEW), True, True),
        (Case("a", state=NEW, replace=True), True, False),
        (Case("a", state=ADDED), False, False),
        (Case("a", state=ADDED, replace=True), True, False),
        (Case("a", state=stateIn("Dataset001_Other")), True, True),
        (Case("gone", state=ADDED), True, False),
    ],
)
def test_which_cases_go_into_a_dataset_that_has_some(case, exported, clashing):
    assert bool(casesToExport([case], TARGET)) == exported
    assert [problem.case for problem in clashes([case], TARGET)] == [case.id] * clashing
    assert casesToExport([case], Target("Dataset003_New")) == [case]


def test_why_nothing_can_be_exported():
    assert exportReason([Case("new")], TARGET, "", False) == ""
    assert "running" in exportReason([Case("new")], TARGET, "", True)
    assert "no cases" in exportReason([], TARGET, "", False)
    assert exportReason([Case("new")], TARGET, "A name is missing.", False) == "A name is missing."
    assert "already" in exportReason([Case("a", state=ADDED)], TARGET, "", False)


def test_cases_that_cannot_be_exported_are_counted():
    cases = [Case("new"), Case("bad"), Case("a", state=ADDED)]
    wrong = [Problem("no volume", case="bad"), Problem("no segmentation", case="bad"), Problem("gone", case="a")]
    reason = exportReason(cases, TARGET, "", False, wrong)
    assert reason == "1 of 3 cases can't be exported: bad. Select a red row to see what is wrong."
    assert exportReason(cases, TARGET, "", False, wrong[2:]) == ""
    assert exportReason(cases, TARGET, "", False, [Problem("No label.", "Add one.")]) == "No label. Add one."


def test_numbers_of_cases_and_what_an_export_did():
    assert [numberOfCases(1), numberOfCases(2), numberOfCases(1, 1), numberOfCases(0, 2)] == [
        "1 case",
        "2 cases",
        "1 of 1 case",
        "0 of 2 cases",
    ]
    added = {"dataset": "D", "training": 1, "cases": [], "replaced": ["a"]}
    assert doneText(added, False, True) == "D: 1 training case (1 replaced)."
    assert "put right" in doneText(added, True, True)
    assert "not finished" in doneText(added, False, False)


def test_labels_are_counted_once_per_case_and_overlaps_follow_the_order():
    table = LabelTable([Label("liver", sources=["liver", "Leber"]), Label("tumor", sources=["tumor"])])
    assert casesWith(table, [["liver", "Leber"], ["LIVER", "tumor"], ["vein"]]) == {"liver": 2, "tumor": 1}
    counts = {("liver", "tumor"): (1200, 2), ("gone", "liver"): (5, 1)}
    assert overlapLines(counts, 3, table, False) == ["liver and tumor: 1,200 voxels in 2 of 3 cases, tumor wins"]
    table.labels.reverse()
    assert overlapLines(counts, 3, table, False) == ["tumor and liver: 1,200 voxels in 2 of 3 cases, liver wins"]
    assert overlapLines(counts, 3, table, True)[0].endswith("both are kept")


def test_segments_that_are_taken_together_are_named():
    rows = [
        Label("liver", sources=["liver", "LIVER"]),
        Label("lung", sources=["left", "right"]),
        Label("x", sources=["x"]),
    ]
    spelling, merged = labelNotes(LabelTable(rows))
    assert spelling == "“liver”, “LIVER” are taken for one structure, since only the spelling differs."
    assert merged == "“left”, “right” become one label."


def test_a_finding_is_about_the_case_it_names_or_the_last_one_in_its_text():
    ids = ["c1", "c1_b", "c2"]
    assert caseOfProblem(Problem("bad", case="c2"), ids) == "c2"
    assert caseOfProblem(Problem("RAS: c2; LPS: c1_b"), ids) == "c1_b"
    assert caseOfProblem(Problem("xc1 has"), ids) == ""
    assert caseOfProblem(Problem("bad"), []) == ""


def test_the_summary_names_what_was_made(tmp_path):
    added = {"dataset": "Dataset001_A", "cases": ["a", "b"], "replaced": [], "training": 1, "test": 1}
    text = summary(added, ["<b>", *"cdefgh"], tmp_path / "ä b")
    assert (
        "<b>Dataset001_A</b>: 1 training case and 1 test case (2 added); labels: &lt;b&gt;, c, d, e, f, g and 1 more."
        in text
    )
    assert f'href="{Path(tmp_path / "ä b").as_uri()}"' in text
