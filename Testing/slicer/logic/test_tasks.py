"""TotalSegmentator's tasks as models of the Segment panel: what is said of rows, and the engine's words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
import slicer

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Segment import Tasks
from SegAutoConfigGui.Segment.Segmentation import Segmentation
from SegAutoConfigGui.Segment.SegmentChoices import problemsOfInput

ADDRESS = "https://github.com/wasserth/TotalSegmentator/releases/download/v1/Dataset{}.zip"


def missing(*numbers: int, published: bool = True) -> list[dict]:
    return [
        {"dataset_id": n, "dataset": f"Dataset{n}_x", "model": "m", "address": ADDRESS.format(n) if published else None}
        for n in numbers
    ]


def mode(name: str, edge: float | None, absent: list[dict] | None = None, problem: str | None = None) -> dict:
    return {
        "mode": name,
        "spacing_mm": [edge] * 3 if edge else None,
        "models": 2,
        "missing": absent or [],
        "problem": problem,
        "ready": not absent and not problem,
    }


def row(name: str, *modes: dict, **values: object) -> dict:
    labels = {"background": 0, "spleen": 1, "kidney_right": 2, "liver": 5}
    known = {"modality": "CT", "labels": labels, "segments": {"liver": {"color": [1, 0, 0]}}, "licence": False}
    known |= {"subset": False, "subset_missing": [], "cropped_images": False, "note": ""}
    return {"name": name, "modes": list(modes), **known, **values}


TOTAL = row("total", mode("default", 1.5, missing(291, 292)), mode("fast", 3.0), subset=True)
CLOSED = row("face", mode("default", 1.5, missing(303, published=False)), licence=True)
BODY = row("body", mode("default", 1.5, missing(299)))
NATIVE = row("teeth", mode("default", None))


def test_a_task_as_a_model() -> None:
    model = Tasks.taskModel(TOTAL, "fast")
    assert (model["path"], model["title"], model["channels"]) == ("TotalSegmentator/total", "total", ["CT"])
    assert model["labels"] == TOTAL["labels"]
    assert (model["structures"], model["missing"], model["mode"]) == (None, [], "fast")
    some = Tasks.taskModel(TOTAL, "fast", ["liver", "nothing", "spleen"])
    assert some["structures"] == ["spleen", "liver"]
    assert some["labels"] == {"background": 0, "spleen": 1, "liver": 5}
    assert Tasks.taskModel(BODY, "fast", ["liver"])["structures"] is None  # a choice saves nothing
    assert Tasks.taskModel(BODY, "fast")["mode"] == "default"


def test_a_choice_of_structures_takes_the_model_that_finds_their_surroundings() -> None:
    total = {**TOTAL, "subset_missing": missing(298, 291)}
    assert [one["dataset_id"] for one in Tasks.taskModel(total, "default")["missing"]] == [291, 292]
    assert [one["dataset_id"] for one in Tasks.taskModel(total, "default", ["liver"])["missing"]] == [291, 292, 298]
    assert Tasks.taskModel(total, "fast")["missing"] == []
    assert Tasks.problemsOfTask(Tasks.taskModel(total, "fast", ["liver"]))


def test_tasks_that_can_be_run_come_first_and_closed_ones_last() -> None:
    rows = Tasks.sortedTasks([CLOSED, BODY, TOTAL, NATIVE])
    assert [one["name"] for one in rows] == ["total", "teeth", "body", "face"]
    assert [Tasks.taskText(one) for one in rows[1:]] == ["teeth", "body (weights missing)", "face (license key needed)"]
    assert Tasks.bestMode(TOTAL) == "fast"
    assert Tasks.bestMode(BODY) == "default"


def test_texts() -> None:
    assert [Tasks.modeText(one) for one in TOTAL["modes"]] == ["1.5 mm (weights missing)", "3 mm (fast)"]
    assert Tasks.modeText(NATIVE["modes"][0]) == "as the volume"
    assert Tasks.taskTooltip(TOTAL) == "CT: spleen, kidney_right, liver"
    assert Tasks.infoText(Tasks.taskModel(TOTAL, "fast", ["liver"])) == "1 structure · for CT images · liver"
    noted = {**NATIVE, "note": "Only for TOF images.", "cropped_images": True}
    assert (
        Tasks.infoText(Tasks.taskModel(noted)).splitlines()[1].startswith("Only for TOF images. Expects volumes that")
    )
    damaged = Tasks.taskModel(row("body", mode("default", 1.5, problem="No plans.")))
    assert Tasks.infoText(damaged) == "Can't be used: No plans."
    assert "No plans." in str(Tasks.problemsOfTask(damaged)[0])


def test_refused_weights_say_why() -> None:
    """The engine counts them among the missing ones, too."""
    refused = Tasks.taskModel(row("body", mode("default", 1.5, missing(299), problem="299 is of another task.")))
    (problem,) = Tasks.problemsOfTask(refused)
    assert "299 is of another task." in str(problem)
    assert "can't be used" in str(problem)
    assert "missing, or can't be used: datasets 299" in Tasks.missingText(refused)
    assert "299 is of another task." in Tasks.missingText(refused)
    assert "weights of body are missing" in str(Tasks.problemsOfTask(Tasks.taskModel(BODY))[0])


def test_what_is_missing_and_how_it_gets_here() -> None:
    model = Tasks.taskModel(TOTAL)
    assert "datasets 291, 292 of github.com/wasserth/TotalSegmentator (Apache License 2.0)" in Tasks.missingText(model)
    assert Tasks.downloadCommand(model) == ["totalseg_download_weights", "-t", "291", "292"]
    assert Tasks.terminalLine(model) == "python -m segautoconfiglib totalseg_download_weights -t 291 292"
    question = Tasks.downloadQuestion(model, Path("/w"))
    assert [line for line in question.splitlines() if "Dataset" in line] == [ADDRESS.format(291), ADDRESS.format(292)]
    assert "Apache License 2.0" in question
    closed = Tasks.taskModel(CLOSED)
    assert not Tasks.canDownload(closed)
    assert "license key" in Tasks.missingText(closed)
    assert Tasks.missingText(Tasks.taskModel(NATIVE)) == ""
    assert "weights of face are missing" in str(problemsOfInput(closed, [])[0])


@pytest.mark.parametrize(
    ("name", "chosen", "structures", "text"),
    [
        ("totl", "default", None, "no task totl.*total"),
        ("body", "fast", None, "no mode fast. It has: default"),
        ("total", "fast", ["lever"], "can't look for lever alone"),
        ("total", "fast", ["background"], "can't look for background alone"),
        ("body", "default", ["liver"], "can't look for liver alone"),
    ],
)
def test_wishes_that_cant_be_met(name: str, chosen: str, structures: list[str] | None, text: str) -> None:
    with pytest.raises(UserProblem, match=text):
        Tasks.findTask([TOTAL, BODY], name, chosen, structures)


def test_command_lines() -> None:
    start = ["TotalSegmentator", "-i", "a.nrrd", "-o", "b.nrrd", "--ml", "-ta", "total", "--device", "auto"]
    files = (Path("a.nrrd"), Path("b.nrrd"), "auto")
    assert Tasks.taskCommand(Tasks.taskModel(TOTAL), *files) == start
    some = Tasks.taskModel(TOTAL, "fast", ["liver", "spleen"])
    end = ["--fast", "--weights", "/w", "--roi_subset", "spleen", "liver"]
    assert Tasks.taskCommand(some, *files, "/w") == [*start, *end]
    assert Tasks.weightsWords("") == []


def test_stages() -> None:
    texts = ["", "rough crop", "part 2 of 5: vertebrae", "part 1 of 2", "liver_vessels"]
    assert [Tasks.stageText(text) for text in texts] == [
        *("", "Looking for the region", "Part 2 of 5: vertebrae", "Part 1 of 2", "Segmenting"),
    ]
    assert [Tasks.stageShare(text, 0.5) for text in (*texts, "write")] == [0.0, 0.0, 0.3, 0.25, 0.5, 1.0]


def test_the_bar_goes_through_all_cases_of_a_task(makeVolume, tmp_path: Path) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_options: object) -> SimpleNamespace:
        started.append(command)
        return SimpleNamespace(stage="part 1 of 2", progress={"done": 1, "total": 2}, running=False)

    engine = SimpleNamespace(workspace=tmp_path, start=start)
    volumes = [[makeVolume(f"v{number}")] for number in range(2)]
    run = Segmentation(engine, Tasks.taskModel(NATIVE), volumes)
    for _share in run.export():
        pass
    shares = []
    while run.more:
        run.start()
        shares.append(run.share())
    run.remove()
    assert [Path(words[words.index("-o") + 1]).name for words in started] == ["case_001.nrrd", "case_002.nrrd"]
    assert shares == pytest.approx([0.05 + 0.9 * 0.125, 0.05 + 0.9 * 0.625])
    assert not (tmp_path / "staging").exists()


class Engine:
    """Finds the spleen everywhere in a volume at once; ends as it is told instead.

    Args:
        workspace: A folder.
        ends: State of each job; "ENDLESS": it does not end; an exception: it can't be started.
    """

    def __init__(self, workspace: Path, *ends: object) -> None:
        self.workspace, self.ends = workspace, list(ends)

    def start(self, command: list[str], **_options: object) -> SimpleNamespace:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        image, output = (command[command.index(word) + 1] for word in ("-i", "-o"))
        if end == "FINISHED":
            sitk.WriteImage(sitk.Cast(sitk.ReadImage(image) * 0 + 1, sitk.sitkUInt8), output)
        states = {name: name for name in ("FINISHED", "STOPPED")}
        problems = [Problem(f"{image} is constant.", "Leave it out.", "log")] if end == "FAILED" else []
        return SimpleNamespace(
            **states, state=end, problems=problems, running=False, wait=lambda *_: end != "ENDLESS", kill=lambda: None
        )


def test_volumes_without_result_do_not_take_those_of_others(makeVolume, tmp_path: Path) -> None:
    ends = ("FINISHED", "FAILED", UserProblem("No space."), "ENDLESS", "LOST", "FINISHED")
    volumes = [makeVolume(f"v{number}") for number in range(6)]
    run = Segmentation(Engine(tmp_path, *ends), Tasks.taskModel(NATIVE), [[volume] for volume in volumes])
    with pytest.raises(UserProblem) as told:
        run.segment(timeout=7)
    assert [node.GetName() for node in run.nodes] == ["v0 segmentation", "v5 segmentation"]
    assert str(told.value).splitlines() == [
        "4 of 6 volumes could not be segmented.",
        "v1: The volume is constant. Leave it out.",
        "v2: No space.",
        "v3: The segmentation took longer than 7 s.",
        "v4: The segmentation ended unexpectedly.",
    ]
    assert told.value.problems[1].details == "log"
    assert not (tmp_path / "staging").exists()


def test_warnings_say_which_of_several_volumes_they_mean(makeVolume, tmp_path: Path) -> None:
    volumes = [[makeVolume(name)] for name in ("first", "second")]
    run = Segmentation(Engine(tmp_path, "FINISHED", "FINISHED"), Tasks.taskModel(NATIVE), volumes)
    list(run.export())
    said = []
    while run.more:
        run.start()
        (image,) = (tmp_path / "staging").glob(f"*/images/{run.ids[run.place[0] - 1]}_0000.nrrd")
        said += [str(run.inWords(Problem(text))) for text in ("liver: reaches the border", f"{image} is an MR.")]
    run.remove()
    assert said == [
        *("first: liver: reaches the border", "first: The volume is an MR."),
        *("second: liver: reaches the border", "second: The volume is an MR."),
    ]
    alone = Segmentation(Engine(tmp_path, "FINISHED"), Tasks.taskModel(NATIVE), volumes[:1])
    list(alone.export())
    alone.start()
    assert str(alone.inWords(Problem("liver: reaches the border"))) == "liver: reaches the border"
    alone.remove()


def test_frames_without_result_stay_empty(makeVolume, tmp_path: Path) -> None:
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    for number in range(3):
        sequence.SetDataNodeAtValue(makeVolume("frame"), str(10 * number))
    run = Segmentation(Engine(tmp_path, "FINISHED", "FAILED", "FINISHED"), Tasks.taskModel(NATIVE), sequence=sequence)
    with pytest.raises(UserProblem) as told:
        run.segment()
    (result,) = run.nodes
    assert [result.GetNthIndexValue(place) for place in range(3)] == ["0", "10", "20"]
    frames = [result.GetNthDataNode(place).GetSegmentation() for place in range(3)]
    layers = [[frame.GetNthSegment(n).GetRepresentation("Binary labelmap") for n in range(3)] for frame in frames]
    found = [any(layer.GetNumberOfPoints() and layer.GetScalarRange()[1] for layer in frame) for frame in layers]
    assert found == [True, False, True]
    assert {frame.GetNumberOfSegments() for frame in frames} == {3}
    assert str(told.value).splitlines() == [
        "1 of 3 frames could not be segmented and stayed empty.",
        "film, frame 2: The volume is constant. Leave it out.",
    ]


def test_nothing_is_loaded_where_all_fail_or_one_is_canceled(makeVolume, tmp_path: Path, sameNodes) -> None:
    volumes = [[makeVolume(f"v{number}")] for number in range(2)]
    for ends, cases, text in (
        (("FAILED",), volumes[:1], "The volume is constant. Leave it out."),
        (
            ("FAILED",) * 2,
            volumes,
            "v0: The volume is constant. Leave it out.\nv1: The volume is constant. Leave it out.",
        ),
        (("FINISHED", "STOPPED"), volumes, "The segmentation was canceled."),
    ):
        run = Segmentation(Engine(tmp_path, *ends), Tasks.taskModel(NATIVE), cases)
        with sameNodes(), pytest.raises(UserProblem) as told:
            run.segment()
        assert str(told.value) == text
        assert run.nodes == []
