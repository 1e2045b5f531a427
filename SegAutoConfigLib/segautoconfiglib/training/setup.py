"""The parts of a run: network, optimizer, objective, first weights, compiled step."""

from __future__ import annotations

import math

import torch
from torch import nn

from segautoconfiglib.base.events import Reporter
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.networks.build import build_network
from segautoconfiglib.networks.device import gradient_scaler, memory_format
from segautoconfiglib.networks.own import check_outputs
from segautoconfiglib.planning.architectures import is_own_network, with_choices
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.augment import chosen_augmentation
from segautoconfiglib.training.batches import Batch
from segautoconfiglib.training.losses import LOSSES, LossSettings
from segautoconfiglib.training.optimizers import make_optimizer
from segautoconfiglib.training.schedules import chosen_schedule
from segautoconfiglib.training.state import TrainingState, WeightAverage
from segautoconfiglib.training.step import Objective


def make_state(
    recipe: Recipe, description: DatasetDescription, configuration: Configuration, device: torch.device
) -> TrainingState:
    """A fresh state: initial weights from the recipe's seed, nothing trained."""
    torch.manual_seed(recipe.seed)
    network = build_network(
        with_choices(configuration.architecture, recipe.network, recipe.norm),
        configuration.input_channels(description),
        description.label_spec.output_channels,
        deep_supervision=recipe.deep_supervision,
    )
    network.to(device=device, memory_format=layout(configuration.dimension, device))  # type: ignore[call-overload]
    if is_own_network(configuration.architecture.network_class_name):
        shape = (configuration.input_channels(description), *configuration.patch_size)
        check_outputs(network, shape, description.label_spec.output_channels, single=False)
    return TrainingState(
        network=network,
        forward=network,
        optimizer=make_optimizer(recipe, network.parameters()),
        scaler=gradient_scaler(device) if recipe.mixed_precision else None,
        average=None if recipe.average_weights is None else WeightAverage(network, recipe.average_weights),
    )


def check_recipe(recipe: Recipe) -> None:
    """Find out before the long work whether a recipe can be carried out.

    Raises:
        UserError: an option that its optimizer does not have, a missing package, or an unknown name.
    """
    make_optimizer(recipe, [nn.Parameter(torch.zeros(1))])
    LOSSES.get(recipe.loss)
    chosen_schedule(recipe)
    chosen_augmentation(recipe)


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
        settings=LossSettings(
            regions=spec.has_regions,
            ignore_label=spec.ignore_label,
            batch_dice=configuration.batch_dice,
            topk_share=recipe.topk_share,
            label_smoothing=recipe.label_smoothing,
            dice_smoothing=recipe.dice_smoothing,
        ),
        device=device,
        layout=layout(configuration.dimension, device),
        mixed_precision=recipe.mixed_precision,
        clip_norm=math.inf if recipe.gradient_clip is None else recipe.gradient_clip,
    )


def random_batch(batch_size: int, configuration: Configuration, description: DatasetDescription) -> Batch:
    """A batch of the shape that training has, of random numbers."""
    spec, rng = description.label_spec, torch.Generator().manual_seed(0)
    size = (batch_size, configuration.input_channels(description), *configuration.patch_size)
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
    if not getattr(state.network, "compilable", True):
        report("log", message=f"{type(state.network).__name__} is a network that is not compiled.", level="info")
        return
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
