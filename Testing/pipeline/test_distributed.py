"""Training in several processes: started by the command itself, and by torchrun."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

psutil = pytest.importorskip("psutil")
torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, Problem, ProblemsError, UserError  # noqa: E402
from segautoconfiglib.base.events import silent  # noqa: E402
from segautoconfiglib.base.workspace import Workspace  # noqa: E402
from segautoconfiglib.pipeline.options import TrainOptions  # noqa: E402
from segautoconfiglib.pipeline.validation import _HeldOut, _predict_part  # noqa: E402
from segautoconfiglib.training.distributed import Group  # noqa: E402

pytestmark = pytest.mark.torch

NAME = "Dataset007_Test"
WORDS = ("train", 7, "-p", "tiny", "-c", "3d_fullres", "--workers", 0)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
#: How long to wait for something that should happen soon (seconds).
PATIENCE = 60


@pytest.fixture
def planned(
    raw_dataset: Callable[..., Path], workspace: Path, cli: Callable[..., Any], tiny_plans: Callable[..., None]
) -> Path:
    """The fold folder of a dataset with ten cases, of which every fold holds out two."""
    raw_dataset(cases=10)
    assert cli("plan", 7).code == 0
    tiny_plans(workspace / "nnUNet_preprocessed" / NAME)
    return workspace / "nnUNet_results" / NAME / "nnUNetTrainer__tiny__3d_fullres" / "fold_0"


def test_what_can_not_be_is_refused_before_any_work(planned: Path, refused: Callable[..., str]) -> None:
    plans = planned.parents[3] / "nnUNet_preprocessed" / NAME / "tiny.json"
    batch = json.loads(plans.read_text())["configurations"]["3d_fullres"]["batch_size"]
    many = ("--device", "cpu", "--processes", batch + 1)
    refused(*WORDS, *many, says=[f"A batch of {batch} can't be divided among {batch + 1} processes"])
    refused(*WORDS[:2], "--device", "cpu", "--processes", 2, "--budget", "1h", says=["--budget", "epochs"])
    refused(*WORDS, "--device", "cpu", "--gpus", 2, says=["GPUs and the device cpu", "--processes"])
    refused(*WORDS, "--gpus", "0,0", says=["named twice"])
    refused(*WORDS, "--gpus", "two", says=["not a whole number"])
    refused(*WORDS, "--gpus", 2, "--processes", 2, says=["--gpus or --processes"])
    absent = 100
    refused(*WORDS, "--gpus", f"0,{absent}", says=[f"2 GPUs were asked for (cuda:0, cuda:{absent}); this machine has"])
    refused("nnUNetv2_train", 7, "3d_fullres", 0, "-p", "tiny", "-num_gpus", absent, says=["100 GPUs were asked for"])


@pytest.mark.skipif(os.name == "nt", reason="needs process groups")
def test_torchrun_stopped_in_the_middle_and_resumed_by_the_command(
    planned: Path, start: Callable[..., Any], cli: Callable[..., Any]
) -> None:
    words = (*WORDS, "--device", "cpu", "--iterations", 3)
    process = start(*words, "--epochs", 500, python=TORCHRUN)
    process.wait_for('"kind": "metric"')
    (planned / "stop").touch()
    outcome = process.outcome()
    assert outcome.code != 0
    assert len(outcome.of("started")) == len({json.dumps(each) for each in outcome.of("started")})
    assert [each["cancelled"] for each in outcome.of("done") if each["stage"] == "command"] == [True]
    assert not outcome.of("error")
    assert (planned / "checkpoint_latest.pth").is_file()

    done = outcome.of("metric")[-1]["epoch"] + 1
    resumed = cli(*words, "--epochs", done + 2, "--processes", 2, "--resume", "--events", "jsonl")
    assert resumed.code == 0, resumed.err
    assert [each["epoch"] for each in resumed.of("metric")][-1] == done + 1
    assert (planned / "checkpoint_final.pth").is_file()
    summary = json.loads((planned / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    assert [each["cases"] for each in resumed.of("done") if each["stage"] == "validate"] == [2]


class Together(Group):
    """The first of several processes, of which the others have ended as given."""

    others: tuple[Exception | None, ...] = ()

    def gather(self, value: Any) -> list[Any]:
        return [value, *self.others]


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (None, Cancelled("Stopped."), Cancelled),
        (Cancelled("Stopped."), None, Cancelled),
        (UserError("No a."), Cancelled("Stopped."), Cancelled),
        (None, UserError("No b."), "No b."),
        (UserError("No b."), UserError("No b."), "No b."),
        (
            UserError("No a."),
            ProblemsError("Some:", [Problem("No b."), Problem("No c.")]),
            "2 of 2 processes could not predict all of their cases:\n  - No a.\n  - No b.\n  - No c.",
        ),
    ],
)
def test_all_parts_of_the_held_out_cases_end_alike(
    own: Exception | None, other: Exception | None, expected: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def predict(*_: Any, **__: Any) -> None:
        if own is not None:
            raise own

    monkeypatch.setattr("segautoconfiglib.inference.run.load_model", lambda *_, **__: None)
    monkeypatch.setattr("segautoconfiglib.inference.run.predict_preprocessed", predict)
    for name in ("stage_before", "next_stages"):
        monkeypatch.setattr(f"segautoconfiglib.pipeline.validation.{name}", lambda *_: None)
    monkeypatch.setattr(Together, "others", (other,))
    part = _HeldOut(
        Workspace.at(tmp_path), tmp_path, tmp_path, ("a", "b"), tmp_path, "checkpoint_final.pth", True, TrainOptions()
    )
    with pytest.raises(Cancelled if expected is Cancelled else UserError) as caught:
        _predict_part(part, report=silent, cancel=CancelToken(), group=Together(0, 2))
    assert expected is Cancelled or str(caught.value) == expected


def test_the_processes_end_with_the_command_that_is_killed(planned: Path, start: Callable[..., Any]) -> None:
    process = start(*WORDS, "--device", "cpu", "--processes", 2, "--epochs", 500, "--iterations", 2)
    process.wait_for('"kind": "metric"')
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    until = time.monotonic() + PATIENCE
    while not (planned / "checkpoint_latest.pth").is_file():  # is written behind the epoch's numbers
        assert time.monotonic() < until
        time.sleep(0.1)
    process.kill()
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (planned / "checkpoint_latest.pth").is_file()
