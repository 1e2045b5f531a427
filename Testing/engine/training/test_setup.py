"""The parts of a run: network, first weights, objective, compiled step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.planning.architectures import as_umamba  # noqa: E402
from segautoconfiglib.training import setup  # noqa: E402
from segautoconfiglib.training.losses import LossSettings  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


@pytest.fixture
def make_state(make_job: Any) -> Any:
    """``make_state(description=..., **recipe)``: a state of the tiny job, with changes of its recipe."""

    def make(description: Any = None, **changes: Any) -> Any:
        job = make_job()
        configuration = job.plans.configuration("3d_fullres")
        return setup.make_state(
            replace(job.recipe, **changes), description or job.description, configuration, torch.device("cpu")
        )

    return make


def weights(state: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in state.network.state_dict().items()}


def test_the_seed_decides_about_the_first_weights(make_state: Any):
    first, torch_seed = weights(make_state()), torch.manual_seed(99)
    assert torch_seed.initial_seed() == 99
    again, other = weights(make_state()), weights(make_state(seed=8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_state_is_what_the_recipe_says(make_state: Any, describe: Any):
    plain = make_state()
    assert plain.forward is plain.network
    assert (plain.scaler, plain.average) == (None, None)
    assert plain.network.deep_supervision
    assert [layer.out_channels for layer in plain.network.decoder.seg_layers] == [3, 3]
    regions = describe(labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    other = make_state(regions, optimizer="adamw", learning_rate=0.003, average_weights=0.9, deep_supervision=False)
    assert isinstance(other.optimizer, torch.optim.AdamW)
    assert other.optimizer.param_groups[0]["lr"] == 0.003
    assert other.average.decay == 0.9
    assert not other.network.deep_supervision
    assert [layer.out_channels for layer in other.network.decoder.seg_layers] == [2, 2]


def test_memory_layout():
    assert setup.layout(3, CPU) == torch.channels_last_3d
    assert setup.layout(2, CPU) == torch.channels_last
    assert setup.layout(3, torch.device("cuda")) == torch.contiguous_format


def test_the_objective_knows_what_channels_mean(make_job: Any, describe: Any):
    job = make_job()
    configuration = job.plans.configuration("3d_fullres")
    description = describe(
        labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, regions_class_order=[1, 2]
    )
    objective = setup.make_objective(job.recipe, description, configuration, CPU)
    assert objective.settings == LossSettings(regions=True, ignore_label=3, batch_dice=True)
    with pytest.raises(UserError, match="luck"):
        setup.make_objective(replace(job.recipe, loss="luck"), description, configuration, CPU)


def test_random_batch_has_the_shape_of_training(make_job: Any, describe: Any):
    job = make_job()
    configuration = job.plans.configuration("3d_fullres")
    batch = setup.random_batch(2, configuration, job.description)
    assert batch["data"].shape == batch["target"].shape == (2, 1, 8, 16, 16)
    assert batch["target"].max() == 2
    regions = describe(labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, regions_class_order=[1, 2])
    assert setup.random_batch(2, configuration, regions)["target"].shape == (2, 3, 8, 16, 16)


@pytest.mark.parametrize(("works", "asked"), [(True, False), (False, False), (False, True)])
def test_without_a_compiler_the_plain_network_stays(
    make_job: Any, make_state: Any, monkeypatch: pytest.MonkeyPatch, works: bool, asked: bool
):
    """It fails with the first image, or when it is asked for."""
    failure = RuntimeError("no C++ compiler found\nand more")

    def compiler(network: torch.nn.Module) -> Any:
        if asked:
            raise failure

        def forward(image: torch.Tensor) -> Any:
            if not works:
                raise failure
            return network(image)

        return forward

    monkeypatch.setattr(torch, "compile", compiler)
    job, state = make_job(), make_state()
    configuration = job.plans.configuration("3d_fullres")
    objective = setup.make_objective(job.recipe, job.description, configuration, CPU)
    before, random_state, report = weights(state), torch.get_rng_state(), ListReporter()
    setup.compile_network(state, objective, 2, configuration, job.description, report)
    (entry,) = report.of("log")
    if works:
        assert state.forward is not state.network
        assert entry["message"] == "The network's training step is compiled."
    else:
        assert state.forward is state.network
        assert entry["message"] == "The network is not compiled (RuntimeError: no C++ compiler found)."
    assert all(parameter.grad is None for parameter in state.network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(state).items())


def test_networks_with_a_scan_are_not_compiled(make_job: Any, make_state: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", pytest.fail)
    job = make_job()
    configuration = job.plans.configuration("3d_fullres")
    network = build_network(as_umamba(configuration.architecture, "UMambaBot"), 1, 3, deep_supervision=True)
    state, report = replace(make_state(), network=network, forward=network), ListReporter()
    objective = setup.make_objective(job.recipe, job.description, configuration, CPU)
    setup.compile_network(state, objective, 2, configuration, job.description, report)
    assert state.forward is network
    assert report.of("log")[0]["message"] == "UMambaBot is a network that is not compiled."


@pytest.mark.parametrize("gpus", [0, (), -1])
def test_no_gpu_at_all_is_refused(gpus):
    from segautoconfiglib.training.team import assemble

    with pytest.raises(UserError, match=r"No GPU was chosen\..*1 or more"):
        assemble("auto", gpus=gpus)
