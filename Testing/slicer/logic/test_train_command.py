"""The command lines and sentences of the Train panel: plain functions."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from SegAutoConfigGui.Train.TrainCommand import (
    EarlierTraining,
    TrainChoices,
    cpuNote,
    datasetLine,
    earlierTraining,
    foregroundNames,
    previewDevice,
    reasonNotToTrain,
    resumeCommand,
    trainCommand,
)
from SegAutoConfigGui.Train.TrainProgress import (
    TrainProgress,
    durationText,
    leftText,
    metricText,
    resourcesText,
    stageText,
    trainingTexts,
)
from segautoconfiglib.base.events import Event

CHOICES = TrainChoices(dataset="Dataset001_Liver")
LABELS = {"background": 0, "tumor": 2, "liver": 1}
DATASET = {"dataset": "Dataset001_Liver", "cases": 24, "test_cases": 2, "channels": ["CT"], "labels": LABELS}
CPU = {"device": "cpu", "usable": True, "reason": ""}
BAD_GPU = {"device": "cuda:0", "usable": False, "reason": "its driver is too old"}


def test_the_default_command():
    assert trainCommand(CHOICES) == [
        *("train", "Dataset001_Liver", "--fold", "0", "--budget", "60m", "--device", "auto"),
    ]


def test_everything_that_can_be_chosen():
    choices = replace(
        CHOICES,
        timed=False,
        epochs=7,
        configuration="2d",
        fold="all",
        device="cuda:1",
        planner="resenc_l",
        memoryTarget=16,
    )
    words = trainCommand(choices, EarlierTraining("/m", finished=False))
    assert words[4:] == [
        *("--epochs", "7", "--configuration", "2d", "--planner", "resenc_l", "--gpu-memory-target", "16"),
        *("--device", "cuda:1", "--resume"),
    ]


def test_a_model_to_start_from_brings_its_own_plan():
    words = trainCommand(replace(CHOICES, minutes=240, configuration="2d", planner="resenc_m", startFrom="/models/m"))
    assert words[4:] == ["--budget", "4h", "--continue-from", "/models/m", "--device", "auto"]


@pytest.mark.parametrize(("finished", "overwrite"), [(True, False), (True, True), (False, True)])
def test_a_finished_fold_can_only_be_overwritten(finished, overwrite):
    words = trainCommand(replace(CHOICES, overwrite=overwrite), EarlierTraining("/m", finished))
    assert words[-1] == "--overwrite"


def test_resuming_names_the_plans_and_gives_the_rest_of_the_time(tmp_path):
    model = tmp_path / "nnUNetTrainer__nnUNetPlans_60m_cpu__3d_fullres"
    (model / "fold_0").mkdir(parents=True)
    (model / "fold_0" / "checkpoint_latest.pth").touch()
    words = resumeCommand([*trainCommand(CHOICES), "--overwrite"], str(model), 22.6)
    assert words == [
        *("train", "Dataset001_Liver", "--fold", "0", "--device", "auto", "--plans", "nnUNetPlans_60m_cpu"),
        *("--configuration", "3d_fullres", "--budget", "23m", "--resume"),
    ]
    again = resumeCommand(words, str(model), -3)
    assert "2m" in again
    assert again.count("--resume") == 1


def test_what_left_nothing_behind_begins_anew(tmp_path):
    command = [*trainCommand(CHOICES), "--resume"]
    assert resumeCommand(command, "", 5) == trainCommand(CHOICES)
    assert resumeCommand(command, str(tmp_path), 5) == trainCommand(CHOICES)


def test_names_in_the_order_of_the_engines_dice():
    assert foregroundNames({**LABELS, "ignore": 3}) == ["liver", "tumor"]
    assert foregroundNames({"background": 0, "whole": [1, 2], "core": [2]}) == ["whole", "core"]


def test_what_a_dataset_holds():
    assert datasetLine(DATASET) == "24 cases (2 for testing) · CT · liver, tumor"
    assert datasetLine({"cases": 1, "channels": ["T1", "T2"], "labels": {}}) == "1 case · T1, T2"


@pytest.mark.parametrize(
    ("choices", "dataset", "text"),
    [
        (CHOICES, None, "no dataset"),
        (CHOICES, {**DATASET, "problem": "dataset.json is cut off."}, "cut off"),
        (CHOICES, {**DATASET, "cases": 0}, "no training cases"),
        (CHOICES, {**DATASET, "cases": 1}, "add cases"),
        (replace(CHOICES, device="cuda:0"), DATASET, "driver is too old"),
    ],
)
def test_why_training_is_not_possible(choices, dataset, text):
    assert text in reasonNotToTrain(choices, dataset, {"cpu": CPU, "cuda:0": BAD_GPU})


def test_training_is_possible():
    assert reasonNotToTrain(CHOICES, DATASET, {"cpu": CPU, "cuda:0": BAD_GPU}) == ""
    assert reasonNotToTrain(replace(CHOICES, fold="all"), {**DATASET, "cases": 1}) == ""
    assert "right now" in reasonNotToTrain(CHOICES, DATASET, busy=True)


def model(plans, **values):
    common = {"dataset": "Dataset001_Liver", "trainer": "nnUNetTrainer", "configuration": "3d_fullres"}
    return {**common, "path": f"/r/{plans}", "plans": plans, "folds": [], "unfinished": [], **values}


@pytest.mark.parametrize(
    ("choices", "devices", "plans"),
    [
        (CHOICES, {"cpu": CPU}, "nnUNetPlans_60m_cpu"),
        (CHOICES, {"cpu": CPU, "cuda:0": {**BAD_GPU, "usable": True}}, "nnUNetPlans"),
        (CHOICES, {"cpu": CPU, "cuda:0": BAD_GPU}, "nnUNetPlans_60m_cpu"),
        (replace(CHOICES, device="mps", minutes=240), {}, "nnUNetPlans_4h_mps"),
        (replace(CHOICES, minutes=1), {}, "nnUNetPlans_60s_cpu"),
        (replace(CHOICES, timed=False), {}, "nnUNetPlans"),
        (replace(CHOICES, timed=False, planner="resenc_m"), {}, "nnUNetResEncUNetMPlans"),
    ],
)
def test_what_a_fold_holds_already(choices, devices, plans):
    others = [model("nnUNetPlans_20m_cpu", unfinished=[0]), model(plans, dataset="Dataset002_X", folds=[0])]
    assert earlierTraining([*others, model(plans, folds=[1])], choices, devices) is None
    found = earlierTraining([*others, model(plans, folds=[0], dice=0.9)], choices, devices)
    assert found == EarlierTraining(f"/r/{plans}", finished=True, dice=0.9)
    found = earlierTraining([*others, model(plans, unfinished=[0])], choices, devices)
    assert found == EarlierTraining(f"/r/{plans}", finished=False)


def test_the_note_about_a_missing_gpu():
    assert cpuNote({}, CHOICES) == ""
    assert "No GPU" in cpuNote({"cpu": CPU}, CHOICES)
    assert "driver is too old" in cpuNote({"cpu": CPU, "cuda:0": BAD_GPU}, CHOICES)
    assert "choose a time" in cpuNote({"cpu": CPU}, replace(CHOICES, timed=False))
    assert cpuNote({"cpu": CPU, "cuda:0": {**BAD_GPU, "usable": True}}, CHOICES) == ""


@pytest.mark.parametrize(("seconds", "text"), [(45.9, "45 s"), (200, "3 min 20 s"), (3900, "1 h 05 min"), (-1, "0 s")])
def test_times(seconds, text):
    assert durationText(seconds) == text


def test_time_left():
    assert [leftText(value) for value in (None, 40, 700, 5000)] == [
        *("", "less than a minute left", "about 12 min left", "about 1 h 23 min left"),
    ]


def test_numbers_of_an_epoch():
    row = {"epoch": 4, "train_loss": -0.25, "val_loss": None, "mean_dice": 0.5, "dice": [0.6, 0.4]}
    assert metricText(row, ["liver", "tumor"]) == (
        "Epoch 5: loss -0.250, validation –; Dice 0.500 (liver 0.600, tumor 0.400)"
    )
    assert "label 2 0.400" in metricText(row, ["liver"])
    assert metricText(None, []) == ""


def test_resources():
    text = resourcesText({"memory_gb": 1.23, "free_memory_gb": 20.4, "free_disk_gb": 60.0, "gpu": None})
    assert text == "memory 1.2 GB (20 free) · disk 60 GB free"
    gpu = {"gpu": "RTX 4090", "gpu_memory_gb": 5.5, "gpu_free_gb": 17.0}
    assert resourcesText(gpu) == "RTX 4090 5.5 GB (17 free)"


def test_entries_of_the_list_begin_with_the_state_and_differ():
    times = [
        "2026-11-21T12:59:07",
        "2026-11-21T12:59:07",
        "2026-11-21T12:59:01",
        "2026-11-21T12:58:00",
        "2026-11-20T08:01:02",
    ]
    jobs = [SimpleNamespace(state="LOST", created=time) for time in times]
    assert trainingTexts(["A"] * 5, jobs, "2026-11-21") == [
        "ended unexpectedly · A · 12:59:07 (2)",
        "ended unexpectedly · A · 12:59:07 (1)",
        "ended unexpectedly · A · 12:59:01",
        "ended unexpectedly · A · 12:58",
        "ended unexpectedly · A · 2026-11-20 08:01",
    ]


def event(kind, time, **data):
    return Event(kind, {"time": time, **data})


def test_stages_times_and_model_of_two_runs(tmp_path):
    progress = TrainProgress()
    stages = []
    for item in (
        event("started", 100, stage="command", pid=1),
        event("started", 101, stage="verify", total=3),
        event("started", 102, stage="fingerprint", total=3),
        event("artifact", 103, path="/f", description="fingerprint"),
        event("started", 103, stage="speed"),
        event("done", 104, stage="speed"),
        event("progress", 104, stage="preprocess", done=1, total=3),
        event("started", 105, stage="train", total=9, model_folder=str(tmp_path)),
        event("started", 108, stage="predict", total=1),
        event("done", 110, stage="command", cancelled=True),
    ):
        progress.take([item])
        stages.append(stageText(progress.stage))
    assert stages == [
        *("Starting", "Checking", "Measuring the images", "Planning"),
        *("Measuring this computer's speed", "Measuring this computer's speed"),
        *("Preprocessing", "Training", "Validating", "Validating"),
    ]
    assert progress.modelFolder == str(tmp_path)
    assert progress.secondsNow(False, 500) == 10
    progress.take([event("started", 300, stage="command", pid=2), event("log", 305, message="Planning.")])
    assert stageText(progress.stage) == "Planning"
    assert progress.secondsUsed == 15
    assert progress.secondsNow(True, 320) == 30
    assert progress.modelFolder == str(tmp_path)


@pytest.mark.parametrize(
    ("running", "free", "device"),
    [(True, 2.0, "cpu"), (True, 8.0, "cuda:1"), (True, None, "cuda:1"), (False, 2.0, "cuda:1")],
)
def test_a_preview_leaves_a_full_gpu_to_the_training(running, free, device):
    job = SimpleNamespace(running=running, resources={} if free is None else {"gpu_free_gb": free})
    assert previewDevice("cuda:1", job) == device
