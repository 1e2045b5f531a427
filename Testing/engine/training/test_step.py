"""One training step: what it changes, and what it leaves alone when numbers overflow; validation; counted voxels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.defaults import TRAINING  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.training.losses import LossSettings  # noqa: E402
from segautoconfiglib.training.setup import make_objective, make_state, random_batch  # noqa: E402
from segautoconfiglib.training.state import TrainingState  # noqa: E402
from segautoconfiglib.training.step import (  # noqa: E402
    Objective,
    ValidationSums,
    count_voxels,
    mean_dice,
    train_step,
    validate,
)

pytestmark = pytest.mark.torch

LinearState = Callable[..., TrainingState]
CPU = torch.device("cpu")


def product(output: Any, target: Any, settings: LossSettings) -> Any:
    """A loss whose gradient is the image."""
    return output.mean()


def square_root(output: Any, target: Any, settings: LossSettings) -> Any:
    """A loss that is 0 and whose gradient is infinite where the output is 0."""
    return output.sqrt().mean()


def batch(image: float) -> dict[str, np.ndarray]:
    return {"data": np.full((1, 1), image, np.float32), "target": np.zeros((1, 1), np.int16)}


def objective(loss: Any) -> Objective:
    return Objective(loss, LossSettings(), CPU)


def weight_of(state: TrainingState) -> float:
    return state.network.weight.item()


def test_a_step_goes_down_the_gradient_at_its_learning_rate(linear_state: LinearState):
    state = linear_state(1.0)
    assert train_step(state, objective(product), batch(2.0), 0.25) == 2.0
    assert weight_of(state) == 0.5
    assert train_step(state, objective(product), batch(2.0), 0.125) == 1.0
    assert weight_of(state) == pytest.approx(0.5 - 0.125 * (0.9 * 2 + 2))  # momentum


def test_a_gpu_gets_its_batches_from_pinned_memory(monkeypatch: pytest.MonkeyPatch):
    """Only from there it can fetch them while the program goes on."""
    pinned, sent = [], []

    def pin(tensor: Any) -> Any:
        pinned.append(tensor.clone())
        return pinned[-1]

    def send(tensor: Any, device: Any, *, non_blocking: bool, **_: Any) -> Any:
        sent.append((any(tensor is each for each in pinned), device.type, non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", send)
    Objective(product, LossSettings(), torch.device("cuda")).move(batch(2.0))
    assert sent == [(True, "cuda", True)] * 2
    sent.clear()
    objective(product).move(batch(2.0))
    assert sent == [(False, "cpu", True)] * 2


def test_long_gradients_are_shortened(linear_state: LinearState):
    state = linear_state(1.0)
    train_step(state, objective(product), batch(100.0), 0.25)
    assert weight_of(state) == pytest.approx(1 - 0.25 * TRAINING.gradient_clip_norm)


def test_the_average_follows_every_step(linear_state: LinearState):
    state = linear_state(1.0, decay=0.5)
    train_step(state, objective(product), batch(2.0), 0.25)
    assert state.average.steps == 1
    assert state.average.weights["weight"].item() == pytest.approx(0.1 * 1.0 + 0.9 * 0.5)


@pytest.mark.parametrize(("loss", "image"), [(product, math.nan), (product, math.inf), (square_root, 1.0)])
def test_a_loss_or_gradient_that_is_not_finite_changes_nothing(linear_state: LinearState, loss: Any, image: float):
    state = linear_state(0.0, decay=0.5)
    assert train_step(state, objective(loss), batch(image), 0.25) is None
    assert weight_of(state) == 0.0
    assert not state.optimizer.state
    assert state.average.steps == 0


def test_a_whole_network_is_left_alone_too(make_job, tiny_recipe: Recipe):
    job = make_job()
    configuration = job.plans.configuration("3d_fullres")
    state = make_state(tiny_recipe, job.description, configuration, CPU)
    real = make_objective(tiny_recipe, job.description, configuration, CPU)
    images = random_batch(2, configuration, job.description)
    assert train_step(state, real, images, 0.01) is not None
    before = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
    images["data"][0, 0, 0, 0, 0] = math.nan
    assert train_step(state, real, images, 0.01) is None
    assert all(torch.equal(before[name], tensor) for name, tensor in state.network.state_dict().items())


def test_loss_scaling_does_not_change_the_step(linear_state: LinearState):
    state = linear_state(1.0)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert train_step(state, objective(product), batch(2.0), 0.25) == 2.0
    assert weight_of(state) == 0.5
    assert state.scaler.get_scale() == 1024.0


def test_a_scaler_may_search_its_scale_but_not_forever(linear_state: LinearState):
    """The loss stays finite all the time; below a scale of 1 scaling is no excuse for the gradient."""
    state = linear_state(0.0, decay=0.5)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    losses = [train_step(state, objective(square_root), batch(1.0), 0.25) for _ in range(5)]
    assert losses == [0.0, 0.0, None, None, None]
    assert state.scaler.get_scale() == 4.0 / 2**5
    assert weight_of(state) == 0.0
    assert state.average.steps == 0
    assert train_step(state, objective(product), batch(2.0), 0.25) == 0.0
    assert weight_of(state) == -0.5


class Watched(torch.nn.Module):
    """Says whether it was asked in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, image: Any) -> Any:
        self.modes.append(self.training)
        return torch.stack([1 - image, image], 1)


def test_validation_adds_up_batches_and_puts_the_mode_back():
    """Two images of four voxels; class 1 is predicted where the image is 1."""
    network = Watched()
    images = [np.array([[1, 1, 0, 0]], np.float32), np.array([[1, 0, 0, 0]], np.float32)]
    targets = [np.array([[[1, 0, 0, 0]]], np.int16), np.array([[[1, 1, 0, 0]]], np.int16)]
    batches = ({"data": image, "target": target} for image, target in zip(images, targets, strict=True))
    sums = validate(network, objective(product), batches)
    assert network.modes == [False, False]
    assert network.training
    assert sums.losses == [0.5, 0.5]
    assert sums.loss == 0.5
    assert sums.dice == [pytest.approx(2 * 2 / (3 + 3))]


def test_a_failed_validation_puts_the_mode_back():
    def fail() -> Any:
        raise KeyError
        yield

    network = Watched()
    with pytest.raises(KeyError):
        validate(network, objective(product), fail())
    assert network.training


def test_validation_without_batches_has_no_numbers():
    assert math.isnan(ValidationSums([]).loss)
    assert ValidationSums([]).dice == []


def test_count_voxels_of_labels_without_ignored_ones():
    logits = torch.tensor([[[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 0.0, 0.0]]])
    target = torch.tensor([[[1, 2, 1, 0]]], dtype=torch.int16)
    for ignore, expected in ((2, (1, 1, 2)), (None, (1, 2, 2))):
        counts = count_voxels(logits, target, LossSettings(ignore_label=ignore))
        assert tuple(int(count) for count in counts) == expected


def test_count_voxels_of_regions():
    logits = torch.tensor([[[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]])
    target = torch.tensor([[[1, 1, 1], [0, 1, 0], [0, 0, 1]]], dtype=torch.bool)  # the last channel: ignored
    counts = count_voxels(logits, target, LossSettings(regions=True, ignore_label=3))
    assert [count.tolist() for count in counts] == [[1, 1], [1, 1], [2, 1]]


def test_mean_dice_leaves_out_what_has_no_value():
    assert mean_dice([0.5, math.nan, 1.0]) == 0.75
    assert math.isnan(mean_dice([math.nan]))
