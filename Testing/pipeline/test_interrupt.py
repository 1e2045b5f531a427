"""Ctrl-C at any moment: exit code 130, no traceback, no half-written file, and the command can be continued."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs process groups")

DATASET = "Dataset007_Test"

Start = Callable[..., Any]


def assert_stopped(outcome: Any, workspace: Path) -> None:
    """The process has stopped as it should."""
    assert outcome.code == 130, outcome.err
    assert "Traceback" not in outcome.err
    assert "Error" not in outcome.err
    assert outcome.events[-1].data["cancelled"] is True
    assert_tidy(workspace)


def assert_tidy(workspace: Path) -> None:
    left = [file for file in workspace.rglob("*") if ".partial-" in file.name or "unfinished-" in file.name]
    assert left == []


def assert_finishes(outcome: Any) -> None:
    assert outcome.code == 0, outcome.err + outcome.out


@pytest.mark.parametrize(
    ("workers", "sign"), [(1, '"progress"'), (2, '"progress"'), (2, '"started", "stage": "preprocess"')]
)
def test_during_preprocessing(
    raw_dataset: Callable[..., Path], workspace: Path, cli: Callable[..., Any], start: Start, workers: int, sign: str
) -> None:
    """Also while worker processes are started, which have not set up anything yet."""
    raw_dataset(cases=24)
    assert cli("plan", 7).code == 0
    command = ("preprocess", 7, "-c", "3d_fullres", "--workers", workers)
    process = start(*command)
    process.wait_for(sign)
    time.sleep(0.1 if "started" in sign else 0)
    process.interrupt()
    outcome = process.outcome()
    assert_stopped(outcome, workspace)
    store = workspace / "nnUNet_preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
    done = {file.name: file.stat().st_mtime_ns for file in store.glob("*.pkl")}
    assert (1 if "progress" in sign else 0) <= len(done) < 24
    assert_finishes(cli(*command))
    assert len(list(store.glob("*.pkl"))) == 24
    assert {name: (store / name).stat().st_mtime_ns for name in done} == done


def test_during_verification_and_fingerprint(
    raw_dataset: Callable[..., Path], workspace: Path, cli: Callable[..., Any], start: Start
) -> None:
    raw_dataset(cases=40)
    for stage in ("verify", "fingerprint"):
        process = start("nnUNetv2_extract_fingerprint", "-d", 7, "--verify_dataset_integrity")
        process.wait_for(f'"started", "stage": "{stage}"')
        process.interrupt()
        assert_stopped(process.outcome(), workspace)
        assert not (workspace / "nnUNet_preprocessed").exists()
    assert_finishes(cli("plan", 7))


@pytest.mark.torch
def test_during_training(trained: Path, cli: Callable[..., Any], start: Start) -> None:
    command = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "-f", 1, "--iterations", 4, "--device", "cpu")
    process = start(*command, "--epochs", 500)
    process.wait_for('"metric"')
    process.interrupt()
    outcome = process.outcome()
    assert_stopped(outcome, trained)
    fold = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres" / "fold_1"
    assert (fold / "checkpoint_latest.pth").is_file()
    assert not (fold / "checkpoint_final.pth").exists()
    again = cli(*command, "--epochs", 500)
    assert again.code == 2
    assert "--resume" in again.err
    last = outcome.of("metric")[-1]["epoch"]
    resumed = cli(*command, "--epochs", last + 3, "--resume", "--events", "jsonl")
    assert_finishes(resumed)
    assert [row["epoch"] for row in resumed.of("metric")] == [last + 1, last + 2]
    assert (fold / "checkpoint_final.pth").is_file()
    assert (fold / "validation" / "summary.json").is_file()
    assert_tidy(trained)


@pytest.mark.torch
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_during_training_with_worker_processes(
    trained: Path, cli: Callable[..., Any], start: Start, number: signal.Signals
) -> None:
    """The signal reaches the workers too: Ctrl-C in a terminal, a job scheduler that ends a job."""
    command = ("nnUNetv2_train", 7, "3d_fullres", 2, "-p", "tiny", "--iterations", 4, "-device", "cpu")
    process = start(*command, "--epochs", 500, "--workers", 2)
    process.wait_for('"metric"')
    process.interrupt(number)
    outcome = process.outcome()
    assert_stopped(outcome, trained)
    fold = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres" / "fold_2"
    assert (fold / "checkpoint_latest.pth").is_file()
    last = outcome.of("metric")[-1]["epoch"]
    resumed = cli(*command, "--epochs", last + 2, "--workers", 0, "--c", "--events", "jsonl")
    assert_finishes(resumed)
    assert [row["epoch"] for row in resumed.of("metric")] == [last + 1]


@pytest.mark.torch
def test_during_prediction(trained: Path, cli: Callable[..., Any], start: Start) -> None:
    images, output = trained / "images", trained / "out"
    images.mkdir()
    source = trained / "nnUNet_raw" / DATASET / "imagesTr" / "c0_0000.nii.gz"
    for number in range(30):
        shutil.copyfile(source, images / f"p{number:02}_0000.nii.gz")
    command = ("predict", "-d", 7, "-i", images, "-o", output, "--device", "cpu")
    process = start(*command)
    process.wait_for('"progress"')
    process.interrupt()
    assert_stopped(process.outcome(), trained)
    done = {file.name: file.stat().st_mtime_ns for file in output.glob("p*.nii.gz")}
    assert 1 <= len(done) < 30
    assert_finishes(cli(*command, "--continue"))
    assert len(list(output.glob("p*.nii.gz"))) == 30
    assert {name: (output / name).stat().st_mtime_ns for name in done} == done


def test_a_second_interrupt_stops_at_once(raw: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("segautoconfiglib.pipeline.verify", busy)
    outcome = cli("verify", 7)
    assert outcome.code == 130
    assert outcome.err.splitlines() == [
        "Stopping after the current step (press Ctrl-C again to stop at once) ...",
        "Stopped. What was finished is kept; to continue, run the command again.",
    ]
    assert signal.getsignal(signal.SIGINT) == before


def test_what_is_said_where_nothing_is_kept(
    raw: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segautoconfiglib.pipeline.train", stopped)
    outcome = cli("nnUNetv2_train", 7, "2d", 0, "--disable_checkpointing")
    assert outcome.code == 130
    assert outcome.err.splitlines() == ["Stopped. Nothing of this training is kept (--disable_checkpointing)."]
    outcome = cli("nnUNetv2_train", 7, "2d", 0)
    assert outcome.err.splitlines() == ["Stopped. What was finished is kept; to continue, run the command with --c."]


@pytest.mark.parametrize(
    "module",
    [
        "segautoconfiglib.base.errors",
        "segautoconfiglib.cli.main",
        "pydantic",
        "numpy",
        "segautoconfiglib.pipeline",
    ],
)
def test_while_modules_are_imported(raw_dataset: Callable[..., Path], start: Start, module: str) -> None:
    raw_dataset(cases=100)  # so that it is not done before a busy machine delivers the signal
    process = start("verify", 7, python=("-X", "importtime"))
    process.wait_for(f" {module}\n")
    process.interrupt()
    outcome = process.outcome()
    said = [line for line in outcome.err.splitlines() if not line.startswith("import time:")]
    assert outcome.code == 130, said
    assert said in (["Interrupted."], ["Stopping after the current step (press Ctrl-C again to stop at once) ..."])


@pytest.mark.torch
def test_while_torch_is_imported(trained: Path, start: Start) -> None:
    process = start("train", 7, "-p", "tiny", "-f", 4, "--device", "cpu", python=("-X", "importtime"))
    process.wait_for(" torch\n")
    process.interrupt()
    outcome = process.outcome()
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert not (trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres" / "fold_4").exists()
    assert_tidy(trained)


def test_the_line_cancel_on_standard_input(raw: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"cancel\n")
    os.close(writer)
    with open(reader) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        outcome = cli("verify", 7, "--events", "jsonl")
    assert outcome.code == 130
    assert outcome.events[-1].data["cancelled"] is True


@pytest.mark.torch
def test_training_with_a_worker_process_and_a_program_at_standard_input(
    trained: Path, cli: Callable[..., Any], start: Start
) -> None:
    """An open pipe stops nothing, its end neither; the line cancel does."""
    words = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "--iterations", 4, "--device", "cpu", "--workers", 1)
    process = start(*words, "-f", 1, "--epochs", 500, stdin=subprocess.PIPE)
    process.wait_for('"metric"')
    process.stdin.write("go on\ncancel\n")
    process.stdin.flush()
    assert_stopped(process.outcome(), trained)
    fold = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres" / "fold_1"
    assert (fold / "checkpoint_latest.pth").is_file()
    process = start(*words, "-f", 2, "--epochs", 3, stdin=subprocess.PIPE)
    process.wait_for('"metric"')
    process.stdin.close()
    outcome = process.outcome()
    assert_finishes(outcome)
    assert len(outcome.of("metric")) == 3


@pytest.mark.torch
def test_a_fold_is_trained_by_one_process(trained: Path, cli: Callable[..., Any], start: Start) -> None:
    """A second one is refused at once; when the first is killed another can go on."""
    words = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "-f", 1, "--iterations", 4, "--device", "cpu")
    first = start(*words, "--epochs", 500, "--workers", 1)
    first.wait_for('"metric"')
    for options in ((), ("--resume",), ("--overwrite",)):
        second = cli(*words, "--epochs", 500, *options)
        assert second.code == 2
        assert f"another process is at it (process {first.pid} on " in second.err
    first.kill()
    resumed = cli(*words, "--epochs", 1, "--workers", 0, "--resume", "--events", "jsonl")
    assert_finishes(resumed)
    assert (resumed.of("metric") or [{"epoch": 1}])[0]["epoch"] > 0
    assert not list((trained / "nnUNet_results" / DATASET).glob(".*"))


@pytest.mark.torch
def test_folds_that_start_together_with_a_budget_get_the_same_plans(
    raw: Path, cli: Callable[..., Any], workspace: Path, start: Start
) -> None:
    assert cli("plan", 7).code == 0
    both = [start("train", 7, "-f", fold, "--budget", "10m", "--device", "cpu") for fold in (0, 1)]
    for process in both:
        process.wait_for('"Network: ')
        process.interrupt()
    logs = ["".join(process.outcome().out) for process in both]
    assert sorted("made for an earlier training" in log for log in logs) == [False, True]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["info", "verify 7", "verify 7 --events jsonl", "--help"])
def test_closed_standard_streams(raw: Path, workspace: Path, command: str, closed: str) -> None:
    place = "" if command == "--help" else f"--workspace {workspace}"
    line = f"{sys.executable} -m segautoconfiglib {command} {place} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_whoever_reads_the_output_may_leave(raw: Path, workspace: Path) -> None:
    for command in ("info", "verify 7 --events jsonl"):
        line = f"{sys.executable} -m segautoconfiglib {command} --workspace {workspace} | head -c 1"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
        assert "Traceback" not in done.stderr
        assert "Error" not in done.stderr
