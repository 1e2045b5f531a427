"""The parts of a run: network, optimizer, objective, first weights, compiled step."""

from __future__ import annotations

import torch
from torch import nn

from segautoconfiglib.base.events import Reporter
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.networks.build import build_network
from segautoconfiglib.networks.checkpoint import canonical_weights, load_weights, read_checkpoint
from segautoconfiglib.networks.device import gradient_scaler, memory_format
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.batches import Batch
from segautoconfiglib.training.losses import LOSSES, LossSettings
from segautoconfiglib.training.optimizers import OPTIMIZERS
from segautoconfiglib.training.state import TrainingState, WeightAverage
from segautoconfiglib.training.step import Objective

#: Parts of a weight's name that mark the last layers, which depend on the labels.
HEADS = ".seg_layers."


def make_state(
    recipe: Recipe, description: DatasetDescription, configuration: Configuration, device: torch.device
) -> TrainingState:
    """A fresh state: initial weights from the recipe's seed, nothing trained."""
    torch.manual_seed(recipe.seed)
    network = build_network(
        configuration.architecture,
        len(description.channels),
        description.label_spec.output_channels,
        deep_supervision=recipe.deep_supervision,
    )
    network.to(device=device, memory_format=layout(configuration.dimension, device))  # type: ignore[call-overload]
    return TrainingState(
        network=network,
        forward=network,
        optimizer=OPTIMIZERS.get(recipe.optimizer)(network.parameters(), recipe.learning_rate),
        scaler=gradient_scaler(device),
        average=None if recipe.average_weights is None else WeightAverage(network, recipe.average_weights),
    )


def layout(dimension: int, device: torch.device) -> torch.memory_format:
    """Channels last on the CPU, where it is faster (measured); torch's usual order elsewhere."""
    return memory_format(dimension) if device.type == "cpu" else torch.contiguous_format


def make_objective(
    recipe: Recipe, description: DatasetDescription, configuration: Configuration, device: torch.device
) -> Objective:
    """Loss, meaning of labels and device. Raises: UserError: unknown loss."""
    spec = description.label_spec
    return Objective(
        loss=LOSSES.get(recipe.loss),
        settings=LossSettings(spec.has_regions, spec.ignore_label, configuration.batch_dice),
        device=device,
        layout=layout(configuration.dimension, device),
    )


def load_initial_weights(network: nn.Module, file: str | object, *, heads: bool = False) -> bool:
    """Put the weights of a checkpoint into a network.

    Args:
        network: Its own parameters are replaced.
        file: The checkpoint.
        heads: The last layers, too, if all of them fit; otherwise those keep their random weights.

    Returns:
        Whether the last layers were taken.

    Raises:
        UserError: the file is no checkpoint, or of another network.
    """
    given = canonical_weights(read_checkpoint(file)["network_weights"])  # type: ignore[arg-type]
    own = {name: tensor for name, tensor in network.state_dict().items() if HEADS in name}
    body = {name: tensor for name, tensor in given.items() if HEADS not in name}
    theirs = {name: tensor for name, tensor in given.items() if HEADS in name}
    fit = theirs.keys() == own.keys() and all(theirs[name].shape == own[name].shape for name in own)
    taken = heads and fit
    load_weights(network, body | (theirs if taken else own), str(file))
    return taken


def random_batch(batch_size: int, configuration: Configuration, description: DatasetDescription) -> Batch:
    """A batch of the shape that training has, of random numbers."""
    spec, rng = description.label_spec, torch.Generator().manual_seed(0)
    size = (batch_size, len(description.channels), *configuration.patch_size)
    channels = spec.output_channels + (spec.ignore_label is not None) if spec.has_regions else 1
    highest = 2 if spec.has_regions else spec.output_channels
    target = torch.randint(highest, (batch_size, channels, *configuration.patch_size), generator=rng)
    return {
        "data": torch.randn(size, generator=rng).numpy(),
        "target": target.to(torch.bool if spec.has_regions else torch.int16).numpy(),
    }


def compile_network(
    state: TrainingState,
    objective: Objective,
    batch_size: int,
    configuration: Configuration,
    description: DatasetDescription,
    report: Reporter,
) -> None:
    """Let training steps use the compiled network; where that is not possible the plain one stays, with a log event."""
    image, target = objective.move(random_batch(batch_size, configuration, description))
    random_state = torch.get_rng_state()
    try:
        compiled = torch.compile(state.network)
        _, loss = objective.evaluate(compiled, image, target)
        loss.backward()
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways, and none of them is fatal
        reason = (str(error).strip().splitlines() or [""])[0]
        report("log", message=f"The network is not compiled ({type(error).__name__}: {reason:.200}).", level="info")
        torch._dynamo.reset()
    else:
        state.forward = compiled
        report("log", message="The network's training step is compiled.", level="info")
    finally:
        state.optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(random_state)
