"""``--job FOLDER``: what another program reads there, how it stops a command in every stage, and how one goes on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.events import Event, parse_line
from segautoconfiglib.base.lock import alone, is_taken

DATASET = "Dataset007_Test"
PATIENCE = 120

Cli = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder of a job, which does not exist yet."""
    return tmp_path / "jobs" / "one"


def events_of(job: Path) -> list[Event]:
    """The events of a job's last run; it begins and ends as promised."""
    events = [parse_line(line) for line in (job / "events.jsonl").read_text("utf-8").splitlines()]
    first = max(index for index, event in enumerate(events) if event.kind == "started" and is_of_command(event))
    events = events[first:]
    ends = [event for event in events if event.kind == "error" or (event.kind == "done" and is_of_command(event))]
    assert ends == events[-1:]
    return events


def is_of_command(event: Event) -> bool:
    return event.data.get("stage") == "command"


def wait_for(job: Path, text: str) -> None:
    """Wait until the job's events contain a text."""
    until = time.monotonic() + PATIENCE
    while text not in (job / "events.jsonl").read_text("utf-8") if (job / "events.jsonl").exists() else True:
        assert time.monotonic() < until, f"{text} never came"
        time.sleep(0.02)


def test_a_finished_command(raw: Path, cli: Cli, job: Path) -> None:
    outcome = cli("verify", 7, "--job", job)
    assert outcome.code == 0
    assert "command" not in outcome.err
    assert "resources" not in outcome.err
    events = events_of(job)
    assert events[0].data.items() >= {"command": "verify", "pid": os.getpid()}.items()
    assert events[-1].data.items() >= {"cancelled": False, "exit_code": 0}.items()
    (result,) = [event.data for event in events if event.kind == "done" and event.data["stage"] == "verify"]
    assert result["cases"] == 5
    assert any(event.data["stage"] == "resources" for event in events if event.kind == "metric")
    assert sorted(file.name for file in job.iterdir()) == ["events.jsonl", "job.json"]
    assert cli("verify", 7, "--job", job).code == 0
    assert (job / "events.jsonl").read_text().count('"started", "stage": "command"') == 2


def test_the_same_on_standard_output_but_for_the_resources(raw: Path, cli: Cli, job: Path) -> None:
    outcome = cli("verify", 7, "--job", job, "--events", "jsonl")
    shown = [(event.kind, event.data.get("stage")) for event in outcome.events]
    kept = [(event.kind, event.data.get("stage")) for event in events_of(job)]
    assert shown == [entry for entry in kept if entry != ("metric", "resources")]
    assert shown[0] == ("started", "command")
    assert shown[-1] == ("done", "command")


def test_failures(cli: Cli, raw: Path, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("verify", 8, "--job", job).code == 2
    error = events_of(job)[-1]
    assert (error.kind, error.data["exit_code"]) == ("error", 2)
    assert error.data["hint"]
    (raw / "labelsTr" / "c1.nii.gz").unlink()
    assert cli("verify", 7, "--job", job).code == 2
    assert "c1" in str(events_of(job)[-1].data["problems"])
    assert cli("train", 7, "--epoks", 2, "--job", job).code == 2
    assert "--epoks" in events_of(job)[-1].data["message"]
    assert cli("trian", f"--job={job}").code == 2
    assert "'trian'" in events_of(job)[-1].data["message"]
    monkeypatch.setattr("segautoconfiglib.pipeline.verify", lambda *_: 1 / 0)
    assert cli("verify", 7, "--job", job).code == 1
    assert events_of(job)[-1].data["exit_code"] == 1


def test_a_package_that_is_missing(cli: Cli, raw: Path, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for name in [name for name in sys.modules if name.startswith("segautoconfiglib.") and ".base." not in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "segautoconfiglib.base.records")
    assert cli("verify", 7, "--job", job).code == 2
    error = events_of(job)[-1].data
    assert error["missing"] == ["pydantic"]
    assert "'pydantic' is needed for this command and is not installed" in error["message"]


def test_a_job_that_runs_already_is_left_alone(raw: Path, cli: Cli, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("segautoconfiglib.base.job"), "LOCK_PATIENCE_S", 0.3)
    with alone(job / "lock", "Another"):
        (job / "events.jsonl").write_text("")
        outcome = cli("verify", 7, "--job", job)
        assert (job / "events.jsonl").read_text() == ""
    assert outcome.code == 2
    assert "another process is at it" in outcome.err


@pytest.mark.parametrize("command", [("verify", 7), ("fingerprint", 7), ("plan", 7), ("train", 7, "--device", "cpu")])
def test_a_stop_asked_for_before_the_beginning(raw: Path, cli: Cli, job: Path, command: tuple[object, ...]) -> None:
    if command[0] == "train":
        pytest.importorskip("torch")
    job.mkdir(parents=True)
    (job / "stop").touch()
    assert cli(*command, "--job", job).code == 130
    assert events_of(job)[-1].data.items() >= {"cancelled": True, "exit_code": 130}.items()
    assert not (job / "stop").exists()


def test_a_stop_during_preprocessing(
    raw_dataset: Callable[..., Path], workspace: Path, cli: Cli, start: Start, job: Path
) -> None:
    raw_dataset(cases=120)  # enough for a stop to be seen in between
    assert cli("plan", 7).code == 0
    command = ("preprocess", 7, "-c", "3d_fullres", "--workers", 2, "--job", job)
    process = start(*command)
    wait_for(job, '"progress", "stage": "preprocess"')
    assert is_taken(job / "lock")
    (job / "stop").touch()
    assert process.outcome().code == 130
    assert events_of(job)[-1].data["cancelled"] is True
    assert not is_taken(job / "lock")
    store = workspace / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
    assert 1 <= len(list(store.glob("*.pkl"))) < 120
    assert cli(*command).code == 0


@pytest.mark.torch
def test_a_stop_during_training_and_going_on_in_the_same_job(trained: Path, cli: Cli, start: Start, job: Path) -> None:
    command = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "-f", 1, "--iterations", 4, "--device", "cpu")
    process = start(*command, "--epochs", 500, "--job", job)
    wait_for(job, '"train_loss"')
    (job / "stop").touch()
    assert process.outcome().code == 130
    fold = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres" / "fold_1"
    assert (fold / "checkpoint_latest.pth").is_file()
    last = [event.data["epoch"] for event in events_of(job) if "epoch" in event.data and event.kind == "metric"][-1]
    assert cli(*command, "--epochs", last + 3, "--resume", "--job", job).code == 0
    epochs = [event.data["epoch"] for event in events_of(job) if "epoch" in event.data and event.kind == "metric"]
    assert epochs == [last + 1, last + 2]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_command_leaves_no_last_word_and_no_lock(
    raw_dataset: Callable[..., Path], start: Start, job: Path
) -> None:
    raw_dataset(cases=40)
    process = start("fingerprint", 7, "--job", job)
    wait_for(job, '"started"')
    process.interrupt(signal.SIGKILL)
    assert process.outcome().code == -signal.SIGKILL
    assert not is_taken(job / "lock")
    assert '"done", "stage": "command"' not in (job / "events.jsonl").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_does_not_end_a_job(
    raw: Path, workspace: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segautoconfiglib.cli.main import main

    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert main(["verify", "7", "--workspace", str(workspace), "--job", str(job)]) == 0
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.close()
    assert events_of(job)[-1].kind == "done"


def test_the_description_of_a_job_from_the_command_line(raw: Path, cli: Cli, job: Path) -> None:
    cli("verify", 7, "--job", job)
    description = json.loads((job / "job.json").read_text())
    assert description["command"][:2] == ["verify", "7"]
