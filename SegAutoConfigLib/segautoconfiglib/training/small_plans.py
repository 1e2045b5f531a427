"""A network that learns well in little time: the recipe, and patch, spacing, batch and width that the time allows.

nnU-Net's plan would get a few dozen steps on a CPU. The small plan has the patch as large as ``BUDGET.min_steps`` steps
allow (at most the standard one), the spacing coarser where a patch would show too little of an image, and the network
as wide as ``BUDGET.wide_steps`` steps allow. It is a plans file beside the standard one, under a name of its own, so
that further folds, and nnU-Net, use the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.planning.architectures import with_network
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.planning.recipe import UMAMBA_NETWORKS, Recipe
from segautoconfiglib.planning.spacing import coarser_spacing
from segautoconfiglib.planning.topology import initial_patch, plan_network, shrink_patch, unet_topology
from segautoconfiglib.training.speed import Speed


def small_recipe(recipe: Recipe, chosen: Collection[str] = ()) -> Recipe:
    """A recipe that learns in few steps: Muon, averaged weights, cheap augmentation.

    Args:
        recipe: As asked for.
        chosen: Fields that stay as they are; with an optimizer its learning rate.
    """
    small: dict[str, Any] = {
        "optimizer": "muon",
        "learning_rate": BUDGET.learning_rate,
        "schedule": "poly_warmup",
        "augmentation": "none" if recipe.augmentation == "none" else "fast",
        "average_weights": BUDGET.average_weights,
    }
    kept = set(chosen)
    for field, dependent in (("optimizer", "learning_rate"), ("warmup_epochs", "schedule")):
        if field in chosen:
            kept.add(dependent)
    return replace(recipe, **{field: value for field, value in small.items() if field not in kept})


def small_plans_name(plans_name: str, seconds: float, device: torch.device) -> str:
    """Name of the plans for a time and a kind of device: ``nnUNetPlans_20m_cpu``; plans of such a name keep it."""
    if is_timed(plans_name):
        return plans_name
    minutes = round(seconds / 60)
    text = f"{minutes}m" if minutes < 120 or minutes % 60 else f"{minutes // 60}h"
    if seconds < 180:
        text = f"{seconds:.0f}s"
    return f"{plans_name}_{text}_{device.type}"


def is_timed(plans_name: str) -> bool:
    """Whether plans of this name were made for a time (`small_plans_name`)."""
    return re.search(r"_[0-9]+[smh]_(cpu|mps)$", plans_name) is not None


def same_data(made: Plans, plans: Plans) -> bool:
    """Whether small plans were made from these standard plans, or from ones that prepare images in the same way."""
    keys = ("transpose_forward", "original_median_spacing_after_transp", "foreground_intensity_properties_per_channel")
    return all(getattr(made, key) == getattr(plans, key) for key in keys)


def small_configuration(
    standard: Configuration, plans_name: str, name: str, speed: Speed, seconds: float
) -> Configuration:
    """Patch, spacing, batch and network for the time.

    Args:
        standard: The standard plan's configuration.
        plans_name: Of the new plans; also names the data folder if the spacing changes.
        name: Of the configuration.
        speed: Of this device.
        seconds: For training.
    """
    batch = BUDGET.batch_size_3d if standard.dimension == 3 else BUDGET.batch_size_2d
    probe = probe_configuration(standard, speed.recipe)
    rate = batch * math.prod(probe.patch_size) / speed.step_seconds(probe)
    fitting = rate * seconds / (BUDGET.min_steps * batch)
    limit = min(fitting, math.prod(standard.patch_size))  # a larger one would need more memory than the standard plan
    spacing, shape = _working_grid(standard, limit)
    patch = _largest_patch(spacing, shape, limit)
    chosen = _configured(standard, spacing, patch, batch, BUDGET.widths[0], speed.recipe)
    steps = seconds * rate / (batch * math.prod(patch))
    for width in BUDGET.widths[1:] if steps >= BUDGET.wide_steps else ():
        wider = _configured(standard, spacing, patch, batch, width, speed.recipe)
        if seconds / speed.step_seconds(wider) < BUDGET.wide_steps:
            break
        chosen = wider
    identifier = f"{plans_name}_{name}" if spacing != standard.spacing else standard.data_identifier
    return chosen.model_copy(update={"data_identifier": identifier, "median_image_size_in_voxels": shape})


def probe_configuration(standard: Configuration, recipe: Recipe) -> Configuration:
    """The narrowest network on the standard patch, or on a part of it that is measured quickly."""
    three = standard.dimension == 3
    voxels, batch = (
        (BUDGET.probe_voxels_3d, BUDGET.batch_size_3d) if three else (BUDGET.probe_voxels_2d, BUDGET.batch_size_2d)
    )
    patch = _largest_patch(standard.spacing, standard.median_image_size_in_voxels, voxels)
    return _configured(standard, standard.spacing, patch, batch, BUDGET.widths[0], recipe)


def _largest_patch(spacing_mm: Sequence[float], shape: Sequence[float], voxels: float) -> tuple[int, ...]:
    """The planner's patch for an image, shrunk by the planner's rule until it has at most ``voxels`` voxels."""
    topology = unet_topology(spacing_mm, initial_patch(spacing_mm, shape))
    while math.prod(topology.patch_size) > voxels and max(topology.patch_size) > 1:
        try:
            smaller = shrink_patch(topology, spacing_mm, shape)
        except UserError:  # it can't become smaller
            break
        if len(smaller.strides) < 2:  # no U-Net any more
            break
        topology = smaller
    return topology.patch_size


def _working_grid(standard: Configuration, patch_voxels: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Spacing and median shape of the images, coarsened until a patch shows enough of them.

    2D images keep their spacing: there a patch of the usual size is affordable.
    """
    spacing, shape = standard.spacing, standard.median_image_size_in_voxels
    if standard.dimension == 2:
        return spacing, shape
    full = list(spacing)
    while patch_voxels / math.prod(shape) < BUDGET.patch_share:
        coarser = coarser_spacing(spacing)
        if max(new / old for new, old in zip(coarser, full, strict=True)) > BUDGET.max_coarsening:
            break
        spacing = tuple(coarser)
        whole = zip(standard.median_image_size_in_voxels, full, spacing, strict=True)
        shape = tuple(float(max(1, round(size * old / new))) for size, old, new in whole)
    return spacing, shape


def _configured(
    standard: Configuration,
    spacing: tuple[float, ...],
    patch: tuple[int, ...],
    batch: int,
    width: int,
    recipe: Recipe,
) -> Configuration:
    """A plain U-Net, which the recipe's network is made of; where the plans name one of U-Mamba's, that."""
    architecture, planned = plan_network(spacing, patch, base_features=width), standard.architecture.network_class_name
    if recipe.network is None and planned in UMAMBA_NETWORKS:
        architecture = with_network(architecture, planned)
    return standard.model_copy(
        update={
            "spacing": spacing,
            "patch_size": patch,
            "batch_size": batch,
            "architecture": architecture,
            "batch_dice": True,
            "next_stage": None,
        }
    )
