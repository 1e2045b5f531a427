"""The order of steps, epochs and hooks; stopping between steps; what becomes of steps that fail."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, UserError  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.training import loop  # noqa: E402
from segautoconfiglib.training.hooks import EpochResult, Hook  # noqa: E402
from segautoconfiglib.training.loop import Course, fit  # noqa: E402
from segautoconfiglib.training.losses import LossSettings  # noqa: E402
from segautoconfiglib.training.pace import Pace  # noqa: E402
from segautoconfiglib.training.state import TrainingState  # noqa: E402
from segautoconfiglib.training.step import Objective, ValidationSums  # noqa: E402

pytestmark = pytest.mark.torch

LinearState = Callable[..., TrainingState]
RECIPE = Recipe(epochs=2, iterations_per_epoch=3, validation_iterations=0)


class Notes(Hook):
    """Writes down what it is told, and calls a function after every step."""

    def __init__(self, after_step: Callable[[], None] = lambda: None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.results: list[EpochResult] = []
        self._after_step = after_step

    def step_done(self, state: TrainingState, loss: float | None) -> None:
        self.told.append(("step", state.position.epoch, state.position.step))
        self._after_step()

    def epoch_done(self, state: TrainingState, result: EpochResult) -> None:
        self.told.append(("epoch", result.epoch))
        self.results.append(result)

    def stopped(self, state: TrainingState) -> None:
        self.told.append(("stopped", state.position.epoch, state.position.step))

    def finished(self, state: TrainingState) -> None:
        self.told.append(("finished",))


def square_root(output: Any, target: Any, settings: LossSettings) -> Any:
    """A loss that is 0 and whose gradient is infinite where the output is 0."""
    return output.sqrt().mean()


def batches(images: Sequence[float] = ()) -> Iterator[dict[str, np.ndarray]]:
    """Batches of one image of one voxel, from then on with the value 1."""
    for image in chain(images, repeat(1.0)):
        yield {"data": np.full((1, 1), image, np.float32), "target": np.zeros((1, 1), np.int16)}


def course(images: Sequence[float] = (), loss: Any = None, recipe: Recipe = RECIPE, **changes: Any) -> Course:
    """A course whose loss is the network's output, unless another one is given."""
    objective = Objective(loss or (lambda output, *_: output.mean()), LossSettings(), torch.device("cpu"))
    parts = {"pace": Pace(recipe), "cancel": CancelToken(), "training": batches(images), **changes}
    return Course(recipe=recipe, objective=objective, validation=batches(), **parts)


def test_hooks_are_told_about_every_step_and_epoch(linear_state: LinearState):
    notes, state = Notes(), linear_state(1.0)
    fit(state, course(), [notes])
    steps = [[("step", epoch, step) for step in (1, 2, 3)] for epoch in (0, 1)]
    assert notes.told == [*steps[0], ("epoch", 0), *steps[1], ("epoch", 1), ("finished",)]
    assert (state.position.epoch, state.position.step, state.position.train_batches) == (2, 0, 6)


def test_a_stop_comes_between_two_steps_and_the_rest_follows(linear_state: LinearState):
    cancel, state = CancelToken(), linear_state(1.0)
    images = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    stopping = Notes()
    stopping._after_step = lambda: cancel.cancel() if len(stopping.told) == 2 else None
    with pytest.raises(Cancelled):
        fit(state, course(images, cancel=cancel), [stopping])
    assert stopping.told[1:] == [("step", 0, 2), ("stopped", 0, 2)]
    rest = Notes()
    fit(state, course(images[2:]), [rest])
    assert rest.told[0] == ("step", 0, 3)
    unbroken, notes = linear_state(1.0), Notes()
    fit(unbroken, course(images), [notes])
    assert torch.equal(state.network.weight, unbroken.network.weight)
    assert [result.train_loss for result in rest.results] == [result.train_loss for result in notes.results]


def test_skipped_steps_do_not_count_in_the_mean(linear_state: LinearState):
    notes, state = Notes(), linear_state(1.0)
    fit(state, course([4.0, math.nan, math.nan]), [notes])
    assert notes.results[0].train_loss == 4.0
    assert state.position.bad_steps == 0  # the second epoch's were good


def test_bad_steps_in_a_row_end_the_run(linear_state: LinearState):
    """Ten are borne, whatever epochs they are in; good ones in between begin the count anew."""
    images = [math.nan] * 10 + [1.0] + [math.nan] * 11
    state = linear_state(1.0)
    with pytest.raises(UserError, match=r"NaN or infinite in 11 steps in a row, the last one step 1 of epoch 7"):
        fit(state, course(images, recipe=Recipe(epochs=9, iterations_per_epoch=3, validation_iterations=0)), [])
    assert state.position.train_batches == 22


@pytest.mark.parametrize(
    ("device", "mixed", "named"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_the_way_out_names_learning_rate_and_mixed_precision(
    linear_state: LinearState, device: str, mixed: bool, named: bool
):
    state, objective = linear_state(1.0), SimpleNamespace(device=torch.device(device), mixed_precision=mixed)
    state.position.bad_steps, state.optimizer.param_groups[0]["lr"] = 10, 0.0025
    with pytest.raises(UserError) as caught:
        loop._note_loss(state, None, objective)
    assert "Lower the learning rate (0.0025 now), " in caught.value.hint
    assert ("without mixed precision (AMP)" in caught.value.hint) is named


def test_a_scaler_that_leaves_out_every_step_ends_the_run(linear_state: LinearState):
    """Two steps lower the scale from 4 to 1; the eleven after them are too many."""
    state = linear_state(0.0)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with pytest.raises(UserError, match=r"gradient was NaN or infinite in 11 steps in a row, the last one step 13 "):
        fit(state, course(loss=square_root, recipe=Recipe(iterations_per_epoch=99, validation_iterations=0)), [])


def test_a_deadline_ends_the_last_epoch_early(linear_state: LinearState, monkeypatch: pytest.MonkeyPatch):
    """Ten seconds for steps of one second; half a second is kept for the end of an epoch."""
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 0.0))
    now = [0.0]

    def pass_a_second() -> None:
        now[0] += 1

    recipe = Recipe(epochs=1, iterations_per_epoch=4, validation_iterations=0)
    notes, state = Notes(pass_a_second), linear_state(1.0)
    pace = Pace(recipe, deadline=10.0, clock=lambda: now[0])
    fit(state, course(recipe=recipe, pace=pace), [notes])
    assert [entry for entry in notes.told if entry[0] == "epoch"] == [("epoch", 0), ("epoch", 1), ("epoch", 2)]
    assert notes.told[-3:] == [("step", 2, 2), ("epoch", 2), ("finished",)]


def sums(overlap: list[float], predicted: list[float], true: list[float]) -> ValidationSums:
    return ValidationSums([0.5, 0.7], *(torch.tensor(each, dtype=torch.float64) for each in (overlap, predicted, true)))


def test_epoch_results_moving_average_and_best(linear_state: LinearState):
    state = linear_state(0.0)
    state.position.losses = [1.0, 2.0]
    first = loop._note_epoch(state, sums([2, 0], [4, 0], [4, 0]))
    assert first.dice[0] == 0.5
    assert math.isnan(first.dice[1])
    assert (first.mean_dice, first.ema_dice, first.is_best) == (0.5, 0.5, True)
    assert (first.train_loss, first.val_loss, first.learning_rate) == (1.5, pytest.approx(0.6), 0.5)
    second = loop._note_epoch(state, sums([4], [4], [4]))
    assert second.ema_dice == pytest.approx(0.55)
    assert math.isnan(second.train_loss)
    third = loop._note_epoch(state, sums([0], [0], [0]))  # nothing there: the average stays
    assert (third.ema_dice, third.is_best) == (second.ema_dice, False)
    assert state.position.epoch == 3
    assert state.position.best_ema == second.ema_dice
    assert [len(values) for values in state.history.values()] == [3] * 8


def test_fit_is_short():
    """The loop stays readable."""
    assert len(inspect.getsource(fit).splitlines()) < 60
