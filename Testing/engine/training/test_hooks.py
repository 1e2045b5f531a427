"""Events, the log file, the picture and the checkpoints of a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.networks.checkpoint import read_checkpoint
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training import hooks
from segautoconfiglib.training.hooks import (
    BEST,
    FINAL,
    LATEST,
    CheckpointHook,
    EpochResult,
    EventHook,
    LogFile,
    PictureHook,
)
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.state import TrainingState

pytestmark = pytest.mark.torch

LinearState = Callable[..., TrainingState]
RECIPE = Recipe(epochs=5, iterations_per_epoch=10, validation_iterations=0)


def result(epoch: int = 0, *, is_best: bool = True) -> EpochResult:
    return EpochResult(
        epoch=epoch, train_loss=0.25, val_loss=-0.5, dice=[0.75, math.nan], mean_dice=0.75, ema_dice=0.7,
        learning_rate=0.01, seconds=12.0, is_best=is_best,
    )  # fmt: skip


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that hooks see: its only entry."""
    clock = [100.0]
    monkeypatch.setattr(hooks, "time", SimpleNamespace(monotonic=lambda: clock[0], time=lambda: clock[0]))
    return clock


def test_a_result_is_one_entry_of_every_list(linear_state: LinearState, now: list[float]):
    history = linear_state(0.0).history
    result().append_to(history)
    assert (history["epoch_start_timestamps"], history["epoch_end_timestamps"]) == ([88.0], [100.0])
    assert (history["lrs"], history["train_losses"], history["val_losses"]) == ([0.01], [0.25], [-0.5])
    assert (history["mean_fg_dice"], history["ema_fg_dice"]) == ([0.75], [0.7])
    assert history["dice_per_class_or_region"][0][0] == 0.75


def test_progress_comes_at_most_twice_a_second(linear_state: LinearState, now: list[float]):
    report, state = ListReporter(), linear_state(0.0)
    hook = EventHook(report, RECIPE, Pace(RECIPE))
    state.position.epoch = 2
    for state.position.step, now[0] in ((1, 100.0), (2, 100.25), (3, 100.5)):
        hook.step_done(state, 0.5)
    assert [(row["done"], row["total"], row["epoch"], row["step"]) for row in report.of("progress")] == [
        (21, 50, 2, 1),
        (23, 50, 2, 3),
    ]
    state.position.epoch, state.position.step = 3, 0
    hook.epoch_done(state, result(2))
    assert report.of("progress")[-1]["done"] == 30
    (row,) = report.of("metric")
    assert (row["stage"], row["epoch"], row["mean_dice"], row["seconds"]) == ("train", 2, 0.75, 12.0)


def test_the_whole_is_done_after_the_last_epoch(linear_state: LinearState, now: list[float]):
    report, state = ListReporter(), linear_state(0.0)
    hook = EventHook(report, RECIPE, Pace(RECIPE))
    state.position.epoch, state.position.step = RECIPE.epochs - 1, RECIPE.iterations_per_epoch
    hook.step_done(state, 0.5)
    state.position.epoch, state.position.step = RECIPE.epochs, 0
    hook.epoch_done(state, result(RECIPE.epochs - 1))
    hook.finished(state)
    assert [(event.kind, event.data.get("done")) for event in report.events] == [
        ("progress", 49),
        ("metric", None),
        ("progress", 49),
        ("progress", 50),
    ]


def test_a_skipped_step_is_a_warning(linear_state: LinearState):
    report, state = ListReporter(), linear_state(0.0)
    state.position.epoch, state.position.step = 1, 4
    hook = EventHook(report, RECIPE, Pace(RECIPE))
    hook.step_done(state, 0.5)
    hook.step_done(state, None)
    (warning,) = report.of("warning")
    assert warning["message"] == "Epoch 1, step 4: the loss or its gradient is NaN or infinite; step skipped."


def test_the_log_file_has_what_was_said_and_nnunets_lines(linear_state: LinearState, tmp_path: Path):
    report, state = ListReporter(), linear_state(0.0)
    log = LogFile(tmp_path / "model" / "fold_0", report)
    assert not (tmp_path / "model").exists()
    log.report("log", message="Beginning.")
    log.report("warning", message="Careful.", hint="Look.")
    log.report("progress", done=1, total=2)
    log.epoch_done(state, result(3))
    log.epoch_done(state, result(4, is_best=False))
    state.position.epoch, state.position.step = 5, 2
    log.stopped(state)
    log.finished(state)
    assert [event.kind for event in report.events] == ["log", "warning", "progress"]
    lines = [line.split(": ", 1)[1] for line in log.path.read_text().splitlines()]
    epoch = [
        "Current learning rate: 0.01",
        "train_loss 0.2500",
        "val_loss -0.5000",
        "Pseudo dice [0.7500, nan]",
        "Epoch time: 12.00 s",
    ]
    assert lines == [
        *("Beginning.", "Careful. Look."),
        *("Epoch 3", *epoch, "New best EMA pseudo Dice: 0.7000"),
        *("Epoch 4", *epoch),
        *("Stopped on request in epoch 5 after step 2.", "Training done."),
    ]


def test_checkpoints_come_and_go(linear_state: LinearState, tmp_path: Path):
    state = linear_state(1.0)
    hook = CheckpointHook(tmp_path, RECIPE, {"trainer_name": "T"})

    def written() -> dict[str, int]:
        return {file.name: read_checkpoint(file)["current_epoch"] for file in tmp_path.iterdir()}

    state.position.epoch = 1
    hook.epoch_done(state, result(0))
    assert written() == {BEST: 1, LATEST: 1}
    state.position.epoch = 2
    hook.epoch_done(state, result(1, is_best=False))
    assert written() == {BEST: 1, LATEST: 2}
    state.position.step = 7
    hook.stopped(state)
    assert read_checkpoint(tmp_path / LATEST)["segautoconfig"]["position"]["step"] == 7
    state.position.epoch = 5
    hook.finished(state)
    assert written() == {BEST: 1, FINAL: 5}
    assert read_checkpoint(tmp_path / FINAL)["trainer_name"] == "T"


def test_the_picture_is_drawn_rarely_and_at_the_end(
    linear_state: LinearState, now: list[float], monkeypatch: pytest.MonkeyPatch
):
    """A drawing takes two seconds, so the next one may come two hundred seconds later."""
    drawn: list[tuple[float, int]] = []

    def draw(history: dict[str, Any], path: Path) -> None:
        drawn.append((now[0], len(history["train_losses"])))
        now[0] += 2

    monkeypatch.setattr(hooks, "draw_progress", draw)
    state, hook = linear_state(0.0), PictureHook(Path("progress.png"))
    for epoch, now[0] in enumerate((100.0, 150.0, 301.0, 302.0, 303.0)):
        result(epoch).append_to(state.history)
        hook.epoch_done(state, result(epoch))
    assert drawn == [(100.0, 1), (302.0, 4)]
    hook.finished(state)
    hook.stopped(state)  # nothing new
    assert [epochs for _, epochs in drawn] == [1, 4, 5]
