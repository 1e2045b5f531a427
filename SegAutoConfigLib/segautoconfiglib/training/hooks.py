"""What happens beside the training loop: events, the log file, the picture of the curves, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from segautoconfiglib.base.events import Reporter
from segautoconfiglib.networks.checkpoint import write_checkpoint
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.pace import Pace
from segautoconfiglib.training.picture import draw_progress
from segautoconfiglib.training.state import TrainingState, make_checkpoint

LATEST, BEST, FINAL = "checkpoint_latest.pth", "checkpoint_best.pth", "checkpoint_final.pth"

#: Seconds between two progress events.
_PROGRESS_EVERY_S = 0.5
#: The picture is drawn again once this many times its own drawing time has passed: it costs at most 1 % of a run.
_PICTURE_REST = 100


@dataclass(frozen=True)
class EpochResult:
    """The numbers of one epoch.

    Attributes:
        epoch: From 0.
        train_loss, val_loss: Means over batches; NaN if there were none.
        dice: Per foreground class, on validation patches; NaN where a class did not occur.
        mean_dice: Over the classes.
        ema_dice: Moving average of the mean over epochs.
        learning_rate: Of the last step.
        seconds: Training and validation.
        is_best: The moving average is the highest so far.
    """

    epoch: int
    train_loss: float
    val_loss: float
    dice: list[float]
    mean_dice: float
    ema_dice: float
    learning_rate: float
    seconds: float
    is_best: bool

    def append_to(self, history: dict[str, list[Any]]) -> None:
        """Add the epoch to nnU-Net's log; the start is counted back from now, without pauses."""
        now = time.time()
        for key, value in (
            ("mean_fg_dice", self.mean_dice),
            ("ema_fg_dice", self.ema_dice),
            ("dice_per_class_or_region", list(self.dice)),
            ("train_losses", self.train_loss),
            ("val_losses", self.val_loss),
            ("lrs", self.learning_rate),
            ("epoch_start_timestamps", now - self.seconds),
            ("epoch_end_timestamps", now),
        ):
            history[key].append(value)


class Hook:
    """Told about the course of training; does nothing by itself."""

    def step_done(self, state: TrainingState, loss: float | None) -> None:
        """After every training step; ``loss`` is None if the step was skipped."""

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        """After every epoch; the state's position is at the start of the next one."""

    def stopped(self, state: TrainingState) -> None:
        """The run stops on request, between two steps."""

    def finished(self, state: TrainingState) -> None:
        """The run has come to its end."""


class EventHook(Hook):
    """Progress, metrics and warnings as events."""

    def __init__(self, report: Reporter, recipe: Recipe, pace: Pace) -> None:
        self._report = report
        self._recipe = recipe
        self._pace = pace
        self._last = 0.0

    def step_done(self, state: TrainingState, loss: float | None) -> None:
        """A progress event, not too often; a warning about a skipped step."""
        position = state.position
        if loss is None:
            self._report(
                "warning",
                message=f"Epoch {position.epoch}, step {position.step}: the loss or its gradient is NaN or infinite; "
                "step skipped.",
                hint="If this goes on, lower the learning rate.",
            )
        if time.monotonic() - self._last >= _PROGRESS_EVERY_S:
            self._last = time.monotonic()
            self._progress(position.epoch, position.step)

    def _progress(self, epoch: int, step: int, *, finished: bool = False) -> None:
        """A progress event. Validation and checkpoints follow the last step: only ``finished`` is the whole."""
        total = self._recipe.epochs * self._recipe.iterations_per_epoch
        done = total if finished else min(round(self._pace.done(epoch, step) * total), total - 1)
        self._report(
            "progress",
            stage="train",
            done=done,
            total=total,
            epoch=epoch,
            step=step,
            seconds_left=self._pace.seconds_left(epoch, step),
        )

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        """The epoch's numbers."""
        self._report(
            "metric",
            stage="train",
            epoch=result.epoch,
            train_loss=result.train_loss,
            val_loss=result.val_loss,
            dice=result.dice,
            mean_dice=result.mean_dice,
            ema_dice=result.ema_dice,
            learning_rate=result.learning_rate,
            seconds=result.seconds,
        )
        self._progress(state.position.epoch, 0)

    def finished(self, state: TrainingState) -> None:
        """The end of the progress."""
        self._progress(state.position.epoch, 0, finished=True)


class LogFile(Hook):
    """``training_log_<date>.txt``: one line per message, with the time in front, as nnU-Net writes it.

    Args:
        folder: Of the fold; made with the first line.
        report: Messages and warnings sent to :meth:`report` are written, and passed on to this reporter.
    """

    def __init__(self, folder: Path, report: Reporter) -> None:
        now = datetime.now()
        self.path = folder / f"training_log_{now.year}_{now.month}_{now.day}_{now:%H_%M_%S}.txt"
        self._pass_on = report

    def report(self, kind: str, **data: Any) -> None:
        """A reporter that also writes log, warning and error messages to the file."""
        if kind in ("log", "warning", "error"):
            self.write(" ".join(str(data[key]) for key in ("message", "hint") if data.get(key)))
        self._pass_on(kind, **data)

    def write(self, text: str) -> None:
        """Add a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}: {text}\n")

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        """The epoch's numbers, in nnU-Net's words."""
        self.write(f"Epoch {result.epoch}")
        self.write(f"Current learning rate: {result.learning_rate:.5g}")
        self.write(f"train_loss {result.train_loss:.4f}")
        self.write(f"val_loss {result.val_loss:.4f}")
        self.write(f"Pseudo dice [{', '.join(f'{value:.4f}' for value in result.dice)}]")
        self.write(f"Epoch time: {result.seconds:.2f} s")
        if result.is_best:
            self.write(f"New best EMA pseudo Dice: {result.ema_dice:.4f}")

    def stopped(self, state: TrainingState) -> None:
        """A note."""
        self.write(f"Stopped on request in epoch {state.position.epoch} after step {state.position.step}.")

    def finished(self, state: TrainingState) -> None:
        """A note."""
        self.write("Training done.")


class PictureHook(Hook):
    """``progress.png``; drawn as often as it costs little, and at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0
        self._drawn = 0

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        """Draw, if it is time."""
        if time.monotonic() >= self._due:
            self._draw(state)

    def stopped(self, state: TrainingState) -> None:
        """Draw what there is."""
        self._draw(state)

    def finished(self, state: TrainingState) -> None:
        """Draw the whole run."""
        self._draw(state)

    def _draw(self, state: TrainingState) -> None:
        epochs = len(state.history["train_losses"])
        if epochs == self._drawn:
            return
        begin = time.monotonic()
        draw_progress(state.history, self._path)
        self._drawn = epochs
        end = time.monotonic()
        self._due = end + _PICTURE_REST * (end - begin)


class CheckpointHook(Hook):
    """The latest checkpoint after every epoch and on a stop, the best one, and the final one.

    Args:
        folder: Of the fold.
        recipe: Of the run.
        identity: See `make_checkpoint`.
    """

    def __init__(self, folder: Path, recipe: Recipe, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._recipe = recipe
        self._identity = identity

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        """Write the latest and, if it is one, the best checkpoint."""
        self._write(state, *([BEST, LATEST] if result.is_best else [LATEST]))

    def stopped(self, state: TrainingState) -> None:
        """Keep the steps of the unfinished epoch."""
        self._write(state, LATEST)

    def finished(self, state: TrainingState) -> None:
        """The final checkpoint takes the latest one's place."""
        self._write(state, FINAL)
        (self._folder / LATEST).unlink(missing_ok=True)

    def _write(self, state: TrainingState, *names: str) -> None:
        content = make_checkpoint(state, self._recipe, self._identity)
        for name in names:
            write_checkpoint(self._folder / name, content)
