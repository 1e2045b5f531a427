"""The average of weights, checkpoints of this program and of nnU-Net, and what is refused on resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import read_checkpoint  # noqa: E402
from segautoconfiglib.planning.plans import Plans  # noqa: E402
from segautoconfiglib.planning.recipe import Recipe  # noqa: E402
from segautoconfiglib.training.optimizers import OPTIMIZERS  # noqa: E402
from segautoconfiglib.training.state import OWN_KEY, TrainingState, make_checkpoint, restore  # noqa: E402

pytestmark = pytest.mark.torch

LinearState = Callable[..., TrainingState]
#: A tiny model saved by the trainer of nnunetv2 2.8.1 after one step.
NNUNET_CHECKPOINT = Path(__file__).parents[1] / "networks" / "fixtures" / "nnunet_checkpoint.pth"


def weight_of(state: TrainingState) -> float:
    return state.network.weight.item()


def set_weight(state: TrainingState, value: float) -> None:
    torch.nn.init.constant_(state.network.weight, value)


def test_average_forgets_the_first_weights_and_reaches_its_decay(linear_state: LinearState):
    state = linear_state(0.0, decay=0.5)
    set_weight(state, 1.0)
    state.average.update(state.network)  # decay 1/10
    assert state.average.weights["weight"].item() == pytest.approx(0.9)
    state.average.steps = 1000
    state.average.update(state.network)  # decay 1/2
    assert state.average.weights["weight"].item() == pytest.approx(0.95)


def test_best_weights_are_the_average_for_a_while(linear_state: LinearState):
    state = linear_state(0.0, decay=0.5)
    set_weight(state, 3.0)
    with state.best_weights() as shown:
        assert shown.weight.item() == 0.0
    assert weight_of(state) == 3.0


def test_checkpoint_keeps_averaged_and_own_weights_apart(linear_state: LinearState):
    state = linear_state(0.0, decay=0.5)
    set_weight(state, 3.0)
    content = make_checkpoint(state, Recipe(), {})
    assert content["network_weights"]["weight"].item() == 0.0
    assert content[OWN_KEY]["weights"]["weight"].item() == 3.0


@pytest.fixture
def checkpoint(linear_state: LinearState) -> dict[str, Any]:
    """Of a weight of 2 after a step with gradient 1."""
    state = linear_state(2.0)
    state.network(torch.ones(1, 1)).backward()
    state.optimizer.step()
    return make_checkpoint(state, Recipe(), {})


def test_nnunets_own_checkpoint_is_continued_at_its_epoch(linear_state: LinearState, checkpoint: dict[str, Any]):
    del checkpoint[OWN_KEY]
    checkpoint["current_epoch"], checkpoint["_best_ema"] = 5, 0.25
    state = linear_state(0.0)
    recipe = Recipe(iterations_per_epoch=10, validation_iterations=2)
    assert restore(state, checkpoint, recipe, Path("x.pth")) == {}
    position = state.position
    assert (position.epoch, position.train_batches, position.validation_batches, position.best_ema) == (5, 50, 10, 0.25)
    assert weight_of(state) == 1.5
    assert state.optimizer.state_dict()["state"][0]["momentum_buffer"].item() == 1.0


def test_nnunets_momentum_comes_to_the_same_weights():
    """A real checkpoint: its optimizer numbers the parameters, ours must have them in the same order."""
    content = read_checkpoint(NNUNET_CHECKPOINT)
    plans = Plans.from_json(content["init_args"]["plans"], NNUNET_CHECKPOINT)
    architecture = plans.configuration(content["init_args"]["configuration"]).architecture
    description = content["init_args"]["dataset_json"]
    network = build_network(
        architecture, len(description["channel_names"]), len(description["labels"]), deep_supervision=True
    )
    state = TrainingState(network, network, OPTIMIZERS.get("sgd")(network.parameters(), 0.01))
    restore(state, content, Recipe(), NNUNET_CHECKPOINT)
    assert state.position.epoch == content["current_epoch"]
    saved = content["optimizer_state"]["state"]
    for number, parameter in enumerate(network.parameters()):
        assert torch.equal(state.optimizer.state[parameter]["momentum_buffer"], saved[number]["momentum_buffer"])


def test_changes_of_the_recipe_are_told(linear_state: LinearState, checkpoint: dict[str, Any]):
    changes = restore(linear_state(0.0), checkpoint, Recipe(epochs=9, seed=0), Path("x.pth"))
    assert changes == {"epochs": "epochs is 9, was 1000"}


def adam_state() -> dict[str, Any]:
    parameter = torch.nn.Parameter(torch.ones(1, 1))
    return torch.optim.AdamW([parameter]).state_dict()


def momentum_of_another_shape(checkpoint: dict[str, Any]) -> None:
    checkpoint["optimizer_state"]["state"][0]["momentum_buffer"] = torch.zeros(2, 1)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda content: content.pop("optimizer_state"), r"optimizer \(optimizer_state\).*KeyError"),
        (lambda content: content.update(optimizer_state={"state": {}, "param_groups": []}), "optimizer_state.*groups"),
        (lambda content: content.update(optimizer_state=None), "optimizer_state"),
        (lambda content: content.update(optimizer_state=adam_state()), "of another optimizer, without .*momentum"),
        (momentum_of_another_shape, r"momentum_buffer is \(2, 1\) for weights of \(1, 1\)"),
        (lambda content: content.pop("logging"), r"curves of the epochs \(logging\)"),
        (lambda content: content.update(logging=["lrs"]), "logging"),
        (lambda content: content.update(logging={"lrs": 0.01}), "logging.*lrs is 0.01, not a list"),
        (lambda content: content[OWN_KEY].update(position={"epoch": 1}), "position in the training"),
        (lambda content: content[OWN_KEY]["position"].update(page=3), "position in the training.*page"),
        (lambda content: content[OWN_KEY]["random"].update(cpu=[1, 2]), "random numbers"),
        (lambda content: (content.pop(OWN_KEY), content.update(current_epoch=None)), "position in the training"),
    ],
)
def test_a_part_that_does_not_fit_is_named(
    linear_state: LinearState, checkpoint: dict[str, Any], damage: Callable[[dict[str, Any]], Any], text: str
):
    damage(checkpoint)
    with pytest.raises(UserError, match=rf"(?s)here/x\.pth can't be resumed: its .*{text}.*--overwrite"):
        restore(linear_state(0.0), checkpoint, Recipe(), Path("here/x.pth"))


def test_a_loss_scale_that_does_not_fit_is_named(linear_state: LinearState, checkpoint: dict[str, Any]):
    state = linear_state(0.0)
    state.scaler = torch.amp.GradScaler("cpu")
    checkpoint["grad_scaler_state"] = {"scale": 2.0}
    with pytest.raises(UserError, match="loss scale"):
        restore(state, checkpoint, Recipe(), Path("x.pth"))
