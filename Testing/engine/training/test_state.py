"""The average of weights, the epoch's book-keeping, checkpoints of nnU-Net, the picture, compiling."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.training import setup  # noqa: E402
from segautoconfiglib.training.loop import _note_epoch  # noqa: E402
from segautoconfiglib.training.losses import LossSettings  # noqa: E402
from segautoconfiglib.training.picture import draw_progress  # noqa: E402
from segautoconfiglib.training.state import TrainingState, WeightAverage, make_checkpoint, restore  # noqa: E402
from segautoconfiglib.training.step import ValidationSums, count_voxels, mean_dice  # noqa: E402

pytestmark = pytest.mark.torch


def one_weight(value: float) -> torch.nn.Module:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, value)
    return network


def simple_state(network: torch.nn.Module, average: WeightAverage | None = None) -> TrainingState:
    return TrainingState(network, network, torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9), average=average)


def test_average_forgets_the_first_weights_and_reaches_its_decay():
    network = one_weight(0.0)
    average = WeightAverage(network, 0.5)
    torch.nn.init.constant_(network.weight, 1.0)
    average.update(network)  # decay 1/10
    assert average.weights["weight"].item() == pytest.approx(0.9)
    average.steps = 1000
    average.update(network)  # decay 1/2
    assert average.weights["weight"].item() == pytest.approx(0.95)


def test_best_weights_are_the_average_for_a_while():
    network = one_weight(0.0)
    state = simple_state(network, WeightAverage(network, 0.5))
    torch.nn.init.constant_(network.weight, 3.0)
    with state.best_weights() as shown:
        assert shown.weight.item() == 0.0
    assert network.weight.item() == 3.0


def test_checkpoint_keeps_averaged_and_own_weights_apart():
    network = one_weight(0.0)
    state = simple_state(network, WeightAverage(network, 0.5))
    torch.nn.init.constant_(network.weight, 3.0)
    content = make_checkpoint(state, Recipe(), {})
    assert content["network_weights"]["weight"].item() == 0.0
    assert content["segautoconfig"]["weights"]["weight"].item() == 3.0


def test_nnunets_own_checkpoint_is_continued_at_its_epoch():
    network = one_weight(2.0)
    network(torch.ones(1, 1)).backward()
    old = simple_state(network)
    old.optimizer.step()
    content = make_checkpoint(old, Recipe(), {})
    del content["segautoconfig"]
    content["current_epoch"], content["_best_ema"] = 5, 0.25
    state = simple_state(one_weight(0.0))
    assert restore(state, content, Recipe(iterations_per_epoch=10, validation_iterations=2), Path("x.pth")) == []
    position = state.position
    assert (position.epoch, position.train_batches, position.validation_batches, position.best_ema) == (5, 50, 10, 0.25)
    assert state.network.weight.item() == network.weight.item()
    assert state.optimizer.state_dict()["state"][0]["momentum_buffer"].item() == 1.0


def sums(overlap: list[float], predicted: list[float], true: list[float]) -> ValidationSums:
    return ValidationSums([0.5, 0.7], *(torch.tensor(each, dtype=torch.float64) for each in (overlap, predicted, true)))


def test_epoch_results_moving_average_and_best():
    state = simple_state(one_weight(0.0))
    state.position.losses = [1.0, 2.0]
    first = _note_epoch(state, sums([2, 0], [4, 0], [4, 0]))
    assert first.dice[0] == 0.5
    assert math.isnan(first.dice[1])
    assert (first.mean_dice, first.ema_dice, first.is_best) == (0.5, 0.5, True)
    assert (first.train_loss, first.val_loss, first.learning_rate) == (1.5, pytest.approx(0.6), 0.5)
    second = _note_epoch(state, sums([4], [4], [4]))
    assert second.ema_dice == pytest.approx(0.55)
    assert math.isnan(second.train_loss)
    third = _note_epoch(state, sums([0], [0], [0]))  # nothing there: the average stays
    assert (third.ema_dice, third.is_best) == (second.ema_dice, False)
    assert state.position.epoch == 3
    assert state.position.best_ema == second.ema_dice
    assert [len(values) for values in state.history.values()] == [3] * 8


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


@pytest.mark.parametrize("epochs", [1, 3])
def test_picture_is_a_png_of_its_size(tmp_path: Path, epochs: int):
    from PIL import Image

    row = [math.nan] + [0.5] * (epochs - 1)
    history = {key: row for key in ("train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice", "lrs")}
    history["lrs"] = [0.01] * epochs
    history["epoch_start_timestamps"], history["epoch_end_timestamps"] = [0.0] * epochs, [2.0] * epochs
    draw_progress(history, tmp_path / "progress.png")
    with Image.open(tmp_path / "progress.png") as picture:
        assert picture.size == (960, 1120)
        assert len(picture.convert("RGB").getcolors(10**6)) > 3


def test_without_a_compiler_the_plain_network_stays(make_job, monkeypatch: pytest.MonkeyPatch):
    def no_compiler(network: torch.nn.Module) -> object:
        def fail(image: torch.Tensor) -> None:
            raise RuntimeError("no C++ compiler found\nand more")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    job = make_job()
    configuration = job.plans.configuration("3d_fullres")
    device = torch.device("cpu")
    state = setup.make_state(job.recipe, job.description, configuration, device)
    objective = setup.make_objective(job.recipe, job.description, configuration, device)
    report = ListReporter()
    setup.compile_network(state, objective, 2, configuration, job.description, report)
    assert state.forward is state.network
    assert report.of("log")[0]["message"] == "The network is not compiled (RuntimeError: no C++ compiler found)."


def test_random_batch_has_the_shape_of_training(make_job, describe):
    job = make_job()
    configuration = job.plans.configuration("3d_fullres")
    batch = setup.random_batch(2, configuration, job.description)
    assert batch["data"].shape == batch["target"].shape == (2, 1, 8, 16, 16)
    assert batch["target"].max() == 2
    regions = describe(labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, regions_class_order=[1, 2])
    assert setup.random_batch(2, configuration, regions)["target"].shape == (2, 3, 8, 16, 16)
