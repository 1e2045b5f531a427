"""The command line as a user and a program see it: arguments, exit codes, events, tables."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib import pipeline
from segautoconfiglib.base import packages
from segautoconfiglib.cli.main import COMMANDS, CONTINUE_OPTIONS, NNUNET_COMMANDS, TASK_COMMANDS, main
from segautoconfiglib.cli.options import duration, fold, positive, whole_number
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.volume import Geometry

DATASET = "Dataset007_Test"
Cli = Callable[..., Any]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("20min", 1200), ("1h30m", 5400), ("1h 30m", 5400), ("2d", 172800), ("5", 300)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    assert duration(text.upper()) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "20x", "m20", "1h30", "-5m", "0", "0m", "1,5h", "5m!", "nan", "inf", "5m,2h"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a time; write for example 90s, 20m, 1h30m"):
        duration(text)


def test_folds_and_numbers() -> None:
    assert [fold(text) for text in ("0", "4", "all")] == [0, 4, "all"]
    assert [positive("1"), positive("010"), whole_number("0")] == [1, 10, 0]
    for read, text in ((fold, "first"), (fold, "-1"), (positive, "0"), (positive, "1.5"), (whole_number, "-1")):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
            read(text)


@pytest.mark.parametrize("name", [*COMMANDS, *NNUNET_COMMANDS, *TASK_COMMANDS])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m segautoconfiglib {name}")
    assert "--workspace FOLDER" in text
    for option in CONTINUE_OPTIONS.get(name, "--events").split():
        assert option in text


def test_the_overview_and_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert all(f"\n  {name} " in text for name in (*COMMANDS, *NNUNET_COMMANDS, *TASK_COMMANDS))
        assert max(map(len, text.splitlines())) <= 130
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("segautoconfiglib ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], ["no command 'trian'", "'train'", "convert-msd"]),
        (["nnUNetv2_trian"], ["nnUNetv2_trian is not available", "nnUNetv2_train"]),
        (["--workspace", "x", "verify", "4"], ["The command comes first"]),
        (["train"], ["required: DATASET", "train --help"]),
        (["train", "4", "--epoks", "5"], ["unrecognized arguments: --epoks", "train --help"]),
        (["train", "4", "--seed", "99999999999999999999999"], ["--seed", "not below 4294967296"]),
        (["nnUNetv2_train", "4", "2d", "0", "--seed", "-1"], ["--seed", "'-1' is not a whole number"]),
        (["train", "4", "--budget", "soon"], ["--budget", "'soon' is not a time", "20m"]),
        (["train", "4", "--fold", "first"], ["--fold", "'first' is not a fold"]),
        (["train", "4", "--epochs", "0"], ["--epochs", "'0' is not a whole number above 0"]),
        (["train", "4", "--resume", "--overwrite"], ["not allowed with"]),
        (["verify", "4", "--workers", "-1"], ["--workers"]),
        (["predict", "-i", "a", "-o", "b"], ["--dataset", "--model", "required"]),
        (["nnUNetv2_train", "4", "3d_fullres"], ["required: FOLD"]),
        (["nnUNetv2_predict", "-d", "4", "-i", "a", "-o", "b"], ["required: -c"]),
        (["info", "--events", "xml"], ["--events", "'xml'", "jsonl"]),
    ],
)
def test_wrong_arguments(words: list[str], says: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    text = captured.err.lower()
    assert text.startswith("error: ")
    assert len(text.splitlines()) == 2
    for part in says:
        assert part.lower() in text


def test_wrong_arguments_are_events_where_these_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["trian", "--events", "jsonl"], ["train", "--events=jsonl"]):
        assert main(words) == 2
        captured = capsys.readouterr()
        started, event = [json.loads(line) for line in captured.out.splitlines()]
        assert (started["kind"], started["command"]) == ("started", words[0])
        assert (event["kind"], event["exit_code"], event["problems"]) == ("error", 2, [])
        assert event["message"]
        assert event["hint"]
        assert captured.err == ""


def test_nnunet_flags_that_ask_for_what_is_not_there(raw: Path, refused: Refused) -> None:
    pytest.importorskip("torch")
    refused("nnUNetv2_train", 7, "2d", 0, "-num_gpus", 99, says=["99 GPUs were asked for", "has: cpu"])
    refused("nnUNetv2_train", 7, "2d", 0, "--disable_checkpointing", "--val_best", says=["nothing that --val"])
    refused("nnUNetv2_train", 7, "2d", 0, "-tr", "MyTrainer", says=["'MyTrainer'", "nnUNetTrainer", "NoMirroring"])
    refused("nnUNetv2_extract_fingerprint", "-d", 7, "-fpe", "Mine", says=["'Mine'", "DatasetFingerprintExtractor"])
    refused("nnUNetv2_plan_experiment", "-d", 7, "-pl", "Mine", says=["'Mine'", "ExperimentPlanner"])
    refused("nnUNetv2_plan_experiment", "-d", 7, "-preprocessor_name", "Mine", says=["'Mine'", "DefaultPreprocessor"])
    refused("nnUNetv2_preprocess", "-d", 7, "-c", "2d", "-np", 1, 2, says=["-np has 2 numbers for 1"])
    refused("plan", 7, "--overwrite-target-spacing", 0, 1, 1, says=["spacing", "'0' is not a number above 0"])
    refused("plan", 7, "--gpu-memory-target", "much", says=["memory", "'much'"])
    refused("plan", 7, "--overwrite-plans-name", "a/b", says=["'a/b'", "letters, digits"])
    refused("plan", 7, "--overwrite-plans-name", "dataset", says=["'dataset'", "none of dataset"])


def test_an_unknown_dataset_lists_the_known_ones(raw: Path, refused: Refused) -> None:
    for command in ("verify", "plan", "preprocess", "info"):
        refused(command, 8, says=["no dataset with id 8", DATASET])
        refused(command, "Liver", says=["'Liver' is not a dataset", DATASET])
        refused(command, "Dataset007_Liver", says=["no dataset 'Dataset007_Liver'", DATASET])


def test_events_are_json_lines_and_nothing_else(raw: Path, cli: Cli) -> None:
    outcome = cli("plan", 7, "--events", "jsonl")
    assert (outcome.code, outcome.err) == (0, "")
    kinds = [event.kind for event in outcome.events]
    assert kinds[0] == "started"
    assert outcome.of("progress")[0] == {
        **outcome.of("progress")[0], "stage": "verify", "done": 1, "total": 5, "case": "c0",
    }  # fmt: skip
    assert [Path(event["path"]).name for event in outcome.of("artifact")] == [
        "dataset_fingerprint.json",
        "nnUNetPlans.json",
    ]
    assert all(Path(event["path"]).is_file() for event in outcome.of("artifact"))


def test_an_error_event_holds_all_that_people_see(raw: Path, cli: Cli) -> None:
    (raw / "imagesTr" / "c1_0000.nii.gz").write_text("nonsense")
    (raw / "labelsTr" / "c2.nii.gz").unlink()
    outcome = cli("verify", 7, "--events", "jsonl")
    assert (outcome.code, outcome.err) == (2, "")
    (error,) = outcome.of("error")
    assert error["exit_code"] == 2
    assert "2 problems" in error["message"]
    assert [problem["case"] for problem in error["problems"]] == ["c2", "c1"]
    assert all(problem["message"] and problem["hint"] for problem in error["problems"])
    assert outcome.events[-1].kind == "error"


def test_a_bug_is_reported_as_one(raw: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("segautoconfiglib.pipeline.verify", broken)
    outcome = cli("verify", 7, "--events", "jsonl")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "ZeroDivisionError: a bug" in outcome.of("error")[0]["message"]
    assert outcome.of("error")[0]["exit_code"] == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "No permission: /a/b."),
        (OSError(28, "No space left on device", "/a/b"), "The disk is full while writing /a/b."),
        (OSError(5, "Input/output error", "/a/b"), "Can't use /a/b: Input/output error."),
        (MemoryError("Unable to allocate 9 GiB"), "The memory ran out: Unable to allocate 9 GiB."),
        (ModuleNotFoundError("no", name="torch"), "'torch' is needed for this command"),
    ],
)
def test_failures_of_the_environment_are_no_bugs(
    raw: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("segautoconfiglib.pipeline.verify", fail)
    outcome = cli("verify", 7)
    assert outcome.code == 2
    assert says in outcome.err
    assert "Traceback" not in outcome.err


def test_info_on_an_empty_workspace(cli: Cli, workspace: Path) -> None:
    outcome = cli("info")
    assert (outcome.code, outcome.out) == (0, "")
    assert "No datasets" in outcome.err
    assert not workspace.exists()
    assert cli("info", 7).code == 2
    assert cli("info", "--events", "jsonl").of("done")[0]["datasets"] == []


def test_info_and_doctor_on_a_raw_and_a_planned_dataset(raw: Path, cli: Cli) -> None:
    rows = [line.split() for line in cli("info").out.splitlines()]
    assert [DATASET, "5", "MRI", "2", "no", "-", "0", "no"] in rows
    empty = cli("info", 7)
    assert empty.code == 0
    assert "Nothing is planned" in empty.err
    assert cli("plan", 7).code == 0
    assert "nnUNetPlans" in cli("info").out
    table = cli("info", 7).out
    assert "3d_fullres" in table
    assert "8 x 20 x 24" in table
    assert table.count(" no") == 2


@pytest.mark.torch
def test_info_on_a_full_workspace(trained: Path, cli: Cli) -> None:
    outcome = cli("info", 7, "--events", "jsonl").of("done")[0]
    assert [row["plans"] for row in outcome["plans"]] == ["nnUNetPlans"] * 2 + ["tiny"] * 2
    assert [row["preprocessed"] for row in outcome["plans"]] == ["no", "5 of 5"] * 2
    (trained / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres" / "c0.pkl").unlink()
    assert "4 of 5" in cli("info", 7).out
    (model,) = outcome["models"]
    assert (Path(model["path"]).name, model["folds"]) == ("nnUNetTrainer__tiny__3d_fullres", [0])
    assert 0 <= model["dice"] <= 1
    (row,) = cli("info", "--events", "jsonl").of("done")[0]["datasets"]
    assert (row["dataset"], row["cases"], row["models"]) == (DATASET, 5, 1)
    killed = Path(model["path"]) / "fold_3"
    killed.mkdir()
    (killed / "checkpoint_latest.pth").touch()
    assert "0; unfinished: 3" in cli("info").out


def test_info_goes_on_where_one_dataset_is_damaged(raw: Path, cli: Cli) -> None:
    shutil.copytree(raw, raw.with_name("Dataset008_Broken"))
    (raw.with_name("Dataset008_Broken") / "dataset.json").write_text("{,}")
    outcome = cli("info")
    assert outcome.code == 0
    assert DATASET in outcome.out
    assert "Dataset008_Broken" in outcome.out
    assert "not valid JSON" in outcome.err
    (raw.with_name("Dataset008_Broken") / "dataset.json").write_text("{}")
    assert "  - The key file_ending is missing" in cli("info").err
    assert "labels" in cli("info", "--events", "jsonl").of("warning")[0]["message"]


@pytest.mark.torch
def test_doctor(cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    outcome = cli("doctor")
    assert outcome.code == 0
    for part in ("Python", "numpy", "torch", "cores", "free memory", "cpu", "nnUNet_results", "will be made"):
        assert part in outcome.out
    assert not workspace.exists()
    findings = cli("doctor", "--events", "jsonl").of("done")[0]["findings"]
    assert findings["SimpleITK"][0].isdigit()
    assert set(findings) >= {"tifffile", "pillow", "blosc2", "threadpoolctl", "batchgenerators", "matplotlib"}
    assert not set(findings) & {"pytest", "ruff"}
    workspace.write_text("a file")
    blocked = cli("doctor")
    assert blocked.code == 2
    assert "is no folder" in blocked.err
    assert "Traceback" not in blocked.err


def test_doctor_on_a_drive_that_is_not_there(
    cli: Cli, workspace: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    refused("doctor", says=[f"Can't write to {workspace}", "there is no", "Connect the drive"])


def test_doctor_says_on_what_networks_can_run(cli: Cli) -> None:
    pytest.importorskip("torch")
    done = cli("doctor", "--events", "jsonl").of("done")[0]
    cpu = done["devices"][-1]
    assert (cpu["device"], cpu["usable"], cpu["reason"]) == ("cpu", True, "")
    assert 0 < cpu["free_gb"] <= cpu["memory_gb"]
    assert done["torch"]
    assert done["missing"] == []


def test_doctor_without_torch(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_torch(package: str) -> str:
        if package == "torch":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", without_torch)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "segautoconfiglib.networks.device", raising=False)
    outcome = cli("doctor")
    assert outcome.code == 0
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["torch", "missing"] in rows
    assert "Without torch there is no training, prediction and demo; everything else works." in outcome.err
    assert 'pip install "segautoconfiglib[train]"' in outcome.err
    done = cli("doctor", "--events", "jsonl").of("done")[0]
    assert (done["torch"], done["devices"], done["missing"]) == (None, [], ["torch"])


def test_doctor_with_packages_missing_or_too_old(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.ALWAYS, "nothing", ("nothing", "1"))
    monkeypatch.setitem(packages.ALWAYS, "rich", ("rich", "900"))
    outcome = cli("doctor", "--events", "jsonl")
    assert outcome.code == 2
    torch = [] if find_spec("torch") else ["torch"]
    assert outcome.of("done")[0]["missing"] == ["rich", "nothing", *torch]
    old, absent = outcome.of("error")[0]["problems"]
    assert "is too old; 900 or newer is needed." in old["message"]
    assert (absent["message"], absent["hint"]) == ("nothing is not installed.", "pip install --upgrade nothing")


@pytest.mark.torch
def test_which_model_predicts(trained: Path, cli: Cli, refused: Refused) -> None:
    results, images = trained / "nnUNet_results" / DATASET, trained / "nnUNet_raw" / DATASET / "imagesTr"
    command = ("predict", "-d", 7, "-i", images, "-o", trained / "out", "--device", "cpu")
    there = "nnUNetTrainer__tiny__3d_fullres (fold 0)"
    refused(*command, "-f", 3, says=["folds", "[3]", there])
    refused(*command, "-c", "2d", says=["configuration 2d", there])
    refused(*command, "-tr", "nnUNetTrainer_5epochs", says=["trainer nnUNetTrainer_5epochs", there])
    refused(*command, "-chk", "checkpoint_none.pth", says=["checkpoint_none.pth", "fold_0/checkpoint_final.pth"])
    refused("nnUNetv2_predict", *command[1:], "-c", "3d_fullres", says=["plans nnUNetPlans", there])
    nnunet = ("nnUNetv2_predict", *command[1:], "-c", "3d_fullres", "-p", "tiny")
    refused(*nnunet, "-f", 0, 1, says=["folds [0, 1]", there])
    refused(*nnunet, "-f", 0, "-step_size", 0, says=["step"])
    refused(*nnunet, "-f", 0, "-num_parts", 2, "-part_id", 2, says=["Part 2 of 2", "0 to 1"])
    refused(
        *nnunet,
        "-f",
        0,
        "-prev_stage_predictions",
        images,
        says=["3d_fullres takes no predictions of a previous stage"],
    )
    model = results / "nnUNetTrainer__tiny__3d_fullres"
    newer = shutil.copytree(model, results / "nnUNetTrainer__newer__3d_fullres")
    (newer / "fold_0" / "checkpoint_final.pth").touch()
    outcome = cli(*command, "--events", "jsonl")
    assert outcome.code == 0
    assert "nnUNetTrainer__newer__3d_fullres" in outcome.of("log")[0]["message"]
    (warning,) = [row for row in outcome.of("warning") if "models fit" in row["message"]]
    assert warning["message"] == (
        "2 models fit: nnUNetTrainer__newer__3d_fullres, nnUNetTrainer__tiny__3d_fullres. "
        "The first is used, because it was trained last."
    )
    assert warning["hint"] == "Choose with -p NAME, or --model FOLDER."
    missing = ("-i", trained / "none", "-o", trained / "out2")
    for chosen in (("-d", 7), ("-m", model), ("--choice", 7)):
        text = refused("predict", *chosen, *missing, says=[f"There is no folder {trained / 'none'}."])
        assert "Model" not in text
    assert "Model:" not in cli("predict", "-d", 7, *missing).err
    assert len(list((trained / "out").glob("c*.nii.gz"))) == 5
    shutil.rmtree(results)
    refused(*command, says=["no trained model of Dataset007_Test", "Train one first"])
    refused("predict", "-m", model, "-i", images, "-o", trained / "out2", says=["no model folder"])
    model.mkdir(parents=True)
    refused("predict", "-m", model, "-i", images, "-o", trained / "out2", says=["plans.json and dataset.json missing"])
    refused("nnUNetv2_train", 7, "3d_fullres", 0, "-p", "tiny", "--val", says=["plans.json and dataset.json missing"])


@pytest.mark.torch
def test_nnunets_five_folds_are_those_that_were_trained(
    trained: Path, cli: Cli, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres"
    images = trained / "nnUNet_raw" / DATASET / "imagesTr"
    command = ("-i", images, "-o", trained / "out", "-device", "cpu", "--disable_tta")
    by_folder = ("nnUNetv2_predict_from_modelfolder", "-m", model, *command)
    monkeypatch.setattr("segautoconfiglib.inference.prepare.fits_beside", lambda *_: pytest.fail("read ahead"))
    warned = cli("nnUNetv2_predict", "-d", 7, "-c", "3d_fullres", "-p", "tiny", *command, "-npp", 0, "-nps", 0)
    assert warned.code == 0
    lacking = f"of {model.name}: there is no checkpoint_final.pth of folds"
    assert f"Predicting with fold 0 {lacking} 1, 2, 3, 4." in warned.err
    assert "-f 0" in warned.err
    assert len(list((trained / "out").glob("c*.nii.gz"))) == 5
    told = cli(*by_folder, "-f", 0, "-npp", 0, "--continue_prediction")
    assert told.code == 0
    assert "there is no checkpoint" not in told.err
    refused(*by_folder, "-f", 0, 1, says=["fold_1", "does not exist", "fold_0/checkpoint_final.pth"])
    refused(*by_folder, "-npp", -1, says=["-npp", "'-1'"])
    (model / "fold_0").rename(model / "fold_all")
    everything = cli(*by_folder, "-npp", 0, "--continue_prediction")
    assert f"Predicting with fold all {lacking} 0, 1, 2, 3, 4." in everything.err
    (model / "fold_all" / "checkpoint_final.pth").rename(model / "fold_all" / "checkpoint_latest.pth")
    refused(*by_folder, says=["No fold of", "has checkpoint_final.pth", "fold_all/checkpoint_latest.pth", "-chk"])
    again = cli(*by_folder, "-chk", "checkpoint_latest.pth", "-npp", 0, "--continue_prediction")
    assert again.code == 0


@pytest.mark.torch
def test_a_trained_fold_is_not_trained_again_by_mistake(trained: Path, refused: Refused, cli: Cli) -> None:
    command = ("train", 7, "-p", "tiny", "--epochs", 1, "--iterations", 2, "--device", "cpu", "--workers", 0)
    refused(*command, says=["fold_0 of", "is trained already", "checkpoint_final.pth", "--resume", "--overwrite"])
    refused(*command, "-c", "4d", says=["4d", "2d", "3d_fullres"])
    refused(*command, "-p", "nonsense", says=["nonsense.json does not exist", "tiny"])
    refused(*command, "--seed", -1, says=["seed"])
    again = cli(*command, "--resume")
    assert again.code == 0
    assert "nothing is left to train" in again.err
    words = ("nnUNetv2_train", 7, "3d_fullres", 0, "-p", "tiny", *command[4:])
    refused(*words, says=["is trained already", "--resume"])
    for option in ("--resume", "--c"):
        assert "nothing is left to train" in cli(*words, option).err
    assert "organ" in again.out
    assert "preprocess: started" not in again.err
    fold = next(trained.glob("nnUNet_results/*/*/fold_0"))
    words = ("train", 7, "-p", "tiny", "--device", "cpu", "--workers", 0)
    assert cli(*words, "--resume", "--save-probabilities").code == 0
    assert list((fold / "validation").glob("*.npz"))
    over = cli(*command, "--overwrite", "--events", "jsonl")
    assert over.code == 0
    assert [row["epoch"] for row in over.of("metric")] == [0]


@pytest.mark.torch
def test_a_fold_is_fine_tuned_again(trained: Path, refused: Refused, cli: Cli) -> None:
    """Even with its own weights, which --overwrite discards."""
    checkpoint = next(trained.glob("nnUNet_results/*/*/fold_0/checkpoint_final.pth"))
    words = ("train", 7, "-p", "tiny", "--epochs", 1, "--iterations", 2, "--device", "cpu", "--workers", 0)
    given = (*words, "--pretrained-weights", checkpoint)
    refused(*given, says=["is trained already", "--overwrite"])
    refused(*given, "--resume", says=["--resume goes on with the weights of the fold", "Leave one of them out"])
    outcome = cli(*given, "--overwrite")
    assert outcome.code == 0, outcome.err
    assert str(checkpoint) in outcome.err


@pytest.mark.torch
def test_input_is_looked_at_before_the_model_is_loaded(trained: Path, refused: Refused, tmp_path: Path) -> None:
    checkpoint = next(trained.glob("nnUNet_results/*/*/fold_0/checkpoint_final.pth"))
    checkpoint.write_bytes(b"damaged")
    (tmp_path / "empty").mkdir()
    refused("predict", "-d", 7, "-i", tmp_path / "empty", "-o", tmp_path / "out", says=["empty is empty"])


@pytest.mark.torch
def test_training_without_checkpoints_keeps_curves_only(trained: Path, cli: Cli) -> None:
    model = trained / "nnUNet_results" / "Dataset007_Test" / "nnUNetTrainer__tiny__3d_fullres"
    before = (model / "fold_0" / "checkpoint_final.pth").read_bytes()
    for number in (0, 1):  # the first one was trained before, and stays
        words = ("nnUNetv2_train", 7, "3d_fullres", number, "-p", "tiny", "-device", "cpu", "--disable_checkpointing")
        outcome = cli(*words, "--epochs", 1, "--iterations", 2, "--workers", 0, "--events", "jsonl")
        assert outcome.code == 0, outcome.err
        assert "no held-out cases are predicted" in outcome.out
        assert not [data for data in outcome.of("done") if data["stage"] == "validate"]
    assert (model / "fold_0" / "checkpoint_final.pth").read_bytes() == before
    assert sorted(path.suffix for path in (model / "fold_1").iterdir()) == [".json", ".png", ".txt"]


@pytest.mark.parametrize(("slices", "planned", "trained"), [(0, "3d", "2d"), (3, "3d", "2d"), (4, "3d", "3d_fullres")])
def test_slices_and_thin_stacks_are_2d(
    raw_dataset: Callable[..., Path], cli: Cli, workspace: Path, slices: int, planned: str, trained: str
) -> None:
    raw = raw_dataset(file_ending=".mha")
    for folder in (raw / "imagesTr", raw / "labelsTr"):
        shutil.rmtree(folder)
    for case, edge in enumerate((0.4, 0.8, 1.2, 0.8, 0.4)):
        if slices:
            grid = Geometry((3.0, edge, edge))
        else:  # the made-up thickness of a slice differs from case to case
            grid = Geometry((999 * edge, edge, edge), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
        shape = (slices or 1, 40, 40)
        write_image(np.random.default_rng(case).normal(size=shape), raw / "imagesTr" / f"c{case}_0000.mha", grid)
        write_labels((np.indices(shape)[1] // 14).astype(np.uint8), raw / "labelsTr" / f"c{case}.mha", grid)
    assert cli("plan", 7).code == 0
    plans = pipeline.load_plans(workspace / "nnUNet_preprocessed" / raw.name, "nnUNetPlans")
    assert ("3d_fullres" in plans.configuration_names) == (planned == "3d")
    assert pipeline.default_configuration(plans) == trained


def test_evaluate(raw: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    truth, predictions = raw / "labelsTr", tmp_path / "predictions"
    refused("evaluate", truth, predictions, says=[str(predictions), "does not exist"])
    predictions.mkdir()
    refused("evaluate", truth, predictions, says=[".nii.gz", str(predictions)])
    for case in ("c0", "c1"):
        shutil.copyfile(truth / f"{case}.nii.gz", predictions / f"{case}.nii.gz")
    text = refused("evaluate", truth, predictions, says=["c2", "c3", "c4", "no prediction"])
    assert "c0" not in text
    shutil.copyfile(truth / "c0.nii.gz", predictions / "extra.nii.gz")
    refused("evaluate", truth, predictions, "--allow-missing", says=["extra", "no truth"])
    (predictions / "extra.nii.gz").unlink()
    outcome = cli("evaluate", truth, predictions, "--allow-missing", "--csv", tmp_path / "all.csv")
    assert outcome.code == 0
    assert ["organ", "1.000", "1.000", "0.000", "1.000"] in [line.split() for line in outcome.out.splitlines()]
    assert "No prediction for 3 of 5 cases, left out: c2, c3, c4." in outcome.err
    assert "cases, worst first" in outcome.out
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 1 + 2 * 2
    assert "the 1 worst of 2 cases" in cli("evaluate", truth, predictions, "--chill", "--worst", 1).out
    summary = json.loads((predictions / "summary.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert summary["foreground_mean"]["Dice"] == 1
    refused("evaluate", truth, predictions, "-djfile", tmp_path / "none.json", says=["none.json does not exist"])
    refused(
        "nnUNetv2_evaluate_folder", truth, predictions, "-djfile", tmp_path / "n.json", "-pfile", "x", says=["n.json"]
    )


def test_evaluate_simple(raw: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    truth = raw / "labelsTr"
    output = tmp_path / "new" / "summary.json"
    outcome = cli("nnUNetv2_evaluate_simple", truth, truth, "-l", 1, 2, "-o", output)
    assert outcome.code == 0
    assert "label 1" in outcome.out
    assert set(json.loads(output.read_text())["mean"]) == {"1", "2"}
    partial = tmp_path / "partial"
    partial.mkdir()
    shutil.copyfile(truth / "c0.nii.gz", partial / "c0.nii.gz")
    refused("nnUNetv2_evaluate_simple", truth, partial, "-l", 1, says=["c1", "no prediction"])
    assert cli("nnUNetv2_evaluate_simple", truth, partial, "-l", 1, "--chill").code == 0


def decathlon(raw: Path, task: Path) -> Path:
    """The cases of dataset 7 in the Decathlon's form."""
    shutil.copytree(raw / "labelsTr", task / "labelsTr")
    (task / "imagesTr").mkdir()
    for number in range(5):
        shutil.copyfile(raw / "imagesTr" / f"c{number}_0000.nii.gz", task / "imagesTr" / f"c{number}.nii.gz")
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ", "2": "core"}}
    (task / "dataset.json").write_text(json.dumps(content))
    return task


def test_convert_msd(raw: Path, cli: Cli, refused: Refused, tmp_path: Path) -> None:
    refused("convert-msd", tmp_path / "Task09_New", says=["no folder", "Task09_New"])
    refused("convert-msd", raw, says=["'Dataset007_Test' is not a Decathlon name", "--id"])
    refused("nnUNetv2_convert_MSD_dataset", "-i", tmp_path / "Task09_New", says=["no folder"])
    task = decathlon(raw, tmp_path / "Task09_New")
    description = (task / "dataset.json").rename(tmp_path / "kept.json")
    refused("convert-msd", task, says=["dataset.json does not exist"])
    description.rename(task / "dataset.json")
    refused("convert-msd", task, "--id", 7, says=["id 7 exists already", "--id"])
    assert cli("convert-msd", task).code == 0
    assert cli("verify", 9).code == 0
    refused("convert-msd", task, says=["id 9 exists already"])


@pytest.mark.torch
def test_demo(raw: Path, refused: Refused, cli: Cli, tmp_path: Path, short_budgets: None) -> None:
    pytest.importorskip("torch")
    task, output = decathlon(raw, tmp_path / "Task09_New"), tmp_path / "output"
    demo = ("demo", "--data", task, "--output", output, "--device", "cpu")
    (output / "predictions").mkdir(parents=True)
    refused(*demo, says=["predictions exists", "--output"])
    leftover = output / ".partial-0123-curves.png"
    (output / "predictions").rename(leftover.with_name("mine"))
    leftover.touch()
    outcome = cli(*demo, "--budget", "15s")
    assert outcome.code == 0, outcome.err
    assert ["1", "case"] in [line.split() for line in outcome.out.splitlines()]
    new = raw.with_name("Dataset009_New")
    for folder, count in (("imagesTr", 4), ("labelsTr", 4), ("imagesTs", 1), ("labelsTs", 1)):
        assert len(list((new / folder).iterdir())) == count
    assert (output / "curves.png").stat().st_size > 1000
    assert len(list((output / "pictures").glob("001_c*.png"))) == 1
    assert not leftover.exists()
    assert json.loads((output / "demo.json").read_text()) == {"data": str(task), "seed": 0}
    refused(*demo, "--seed", 1, says=["Dataset009_New exists", "data and seed", "--output"])
    refused("demo", "--output", output, says=["predictions exists", "data and seed", "--output"])
    refused(*demo[:3], "--output", tmp_path / "other", says=["Dataset009_New exists", "--output"])


def test_nothing_to_do_says_so_without_starting(raw: Path, cli: Cli) -> None:
    assert cli("plan", 7).code == 0
    first = cli("preprocess", 7, "-c", "3d_fullres")
    assert "3d_fullres: preprocessing 5 cases." in first.err
    assert "preprocess: 5/5 (100 %)" in first.err
    again = cli("preprocess", 7, "-c", "3d_fullres")
    assert again.code == 0
    assert again.err == "3d_fullres: 5 of 5 cases are preprocessed already.\n"


def test_demo_data_is_a_dataset_that_is_not_overwritten(cli: Cli, refused: Refused, workspace: Path) -> None:
    folder = workspace / "nnUNet_raw" / "Dataset050_Cases"
    made = cli("demo-data", folder, "--cases", 2, "--held-out", 1, "--events", "jsonl")
    assert made.code == 0
    done = [json.loads(line) for line in made.out.splitlines()]
    assert {"folder": str(folder), "cases": 2, "held_out": 1}.items() <= next(
        event for event in done if event["kind"] == "done" and event["stage"] == "demo-data"
    ).items()
    assert sorted(file.name for file in folder.glob("labelsT?/*")) == [f"demo_00{n}.nii.gz" for n in range(3)]
    assert cli("verify", 50).code == 0
    refused("demo-data", folder, says=[f"{folder} holds a dataset already."])
