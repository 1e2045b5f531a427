"""Training in a given time: measure this device, then choose network, patch, batch and length to fit.

On a CUDA device the standard plan stays and only the number of epochs follows from the time. Elsewhere the standard
plan would get a few dozen steps, so a small plain U-Net is planned instead: the patch as large as the time allows
``defaults.BUDGET.min_steps`` steps, the spacing coarser where a patch would show too little of
an image, the network as wide as ``wide_steps`` steps allow. The plans are written beside the standard ones under a name
of their own, so that further folds, and nnU-Net, use the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import usable_cores
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.defaults import BUDGET, INFERENCE
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.networks.device import cpu_threads
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.planning.spacing import coarser_spacing, resampled_shape
from segautoconfiglib.planning.topology import initial_patch, plan_network, shrink_patch, unet_topology
from segautoconfiglib.training.setup import compile_network, make_objective, make_state, random_batch
from segautoconfiglib.training.step import train_step

#: Steps whose time is measured, after one that is not.
TIMED_STEPS = 3


@dataclass(frozen=True)
class BudgetChoice:
    """What fits into the time.

    Attributes:
        plans: With the configuration to train.
        recipe: With its length.
        training_s: Seconds from now until training has to end; the rest is for the held-out cases.
        compile: Compile the training step.
        threads: Of torch, where the device is a CPU.
        mirror_validation: Average over mirrored images when the held-out cases are predicted.
        reasons: What was chosen and why, one sentence each.
    """

    plans: Plans
    recipe: Recipe
    training_s: float
    compile: bool
    threads: int | None
    mirror_validation: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """The measured side of a choice: what is to be trained, where, and for how long."""

    description: DatasetDescription
    recipe: Recipe
    device: torch.device
    seconds: float
    held_out: int
    fingerprint: Fingerprint
    threads: int | None = None

    def with_best_threads(self, configuration: Configuration) -> _Task:
        """On a CPU, the number of threads that is fastest now: threads wait for each other where cores are busy."""
        if self.device.type != "cpu":
            return self
        candidates = [replace(self, threads=count) for count in sorted({usable_cores(), 1})]
        return min(candidates, key=lambda task: task.step_seconds(configuration))

    def step_seconds(self, configuration: Configuration, *, compiled: bool = False) -> float:
        """Median time of a training step, making its batch included."""
        with cpu_threads(self.threads):
            return self._step_seconds(configuration, compiled)

    def forward_seconds(self, configuration: Configuration) -> float:
        """Median time of the network on one patch, without learning."""
        network = make_state(self.recipe, self.description, configuration, self.device).network.eval()
        network.deep_supervision = False  # type: ignore[assignment]
        image = torch.from_numpy(random_batch(1, configuration, self.description)["data"]).to(self.device)
        times = []
        with torch.inference_mode():
            for _ in range(TIMED_STEPS + 1):
                begin = time.monotonic()
                network(image).sum().item()  # waits for the device
                times.append(time.monotonic() - begin)
        return median(times[1:])

    def _step_seconds(self, configuration: Configuration, compiled: bool) -> float:
        state = make_state(self.recipe, self.description, configuration, self.device)
        objective = make_objective(self.recipe, self.description, configuration, self.device)
        batch_size = self.recipe.batch_size or configuration.batch_size
        if compiled:
            compile_network(state, objective, batch_size, configuration, self.description, silent)
            if state.forward is state.network:
                return math.inf
        batch = random_batch(batch_size, configuration, self.description)
        times = []
        for _ in range(TIMED_STEPS + 1):
            begin = time.monotonic()
            train_step(state, objective, batch, self.recipe.learning_rate)  # waits for the device to read the loss
            times.append(time.monotonic() - begin)
        return median(times[1:]) * (1 + BUDGET.reading_share)


def fit_to_budget(
    plans: Plans,
    configuration: str,
    description: DatasetDescription,
    plans_folder: Path,
    *,
    recipe: Recipe,
    device: torch.device,
    seconds: float,
    budget_s: float,
    held_out: int,
    report: Reporter = silent,
) -> BudgetChoice:
    """Measure this device and choose.

    Args:
        plans: The standard plans.
        configuration: Name of the configuration to start from, 2d or 3d_fullres.
        description: dataset.json.
        plans_folder: The preprocessed dataset, with its fingerprint. Plans made here are written there, and taken from
            there when they exist.
        recipe: Seed and whatever else was asked for.
        device: To train on.
        seconds: From now to the end of everything.
        budget_s: The whole time that was asked for; names the plans.
        held_out: Number of cases to predict afterwards.
        report: Gets the reasons as log events.

    Raises:
        UserError: the time is too short to train anything.
    """
    if seconds <= 0:
        raise UserError(
            f"The budget of {_minutes(budget_s)} is used up before training could start.", "Give more time (--budget)."
        )
    started = time.monotonic()
    fingerprint = Fingerprint.load(plans_folder / "dataset_fingerprint.json")
    if device.type == "cuda":
        task = _Task(description, recipe, device, seconds, held_out, fingerprint)
    else:
        task = _Task(description, small_recipe(recipe), device, seconds, held_out, fingerprint)
        task = task.with_best_threads(_probe(plans.configuration(configuration)))
        file = plans_folder / f"{budget_plans_name(plans.plans_name, budget_s, device)}.json"
        plans = _small_plans(plans, configuration, file, task, report)
    entry = plans.configuration(configuration)
    step = task.step_seconds(entry)
    compiled = False
    if device.type == "cpu" and seconds >= BUDGET.compile_from_s:
        fast = task.step_seconds(entry, compiled=True)
        compiled = fast < step * BUDGET.compile_gain
        step = min(step, fast)
    choice = _lengths(task, plans, entry, step, compiled, seconds - (time.monotonic() - started))
    if device.type != "cuda":
        plans.save(file)
    for reason in choice.reasons:
        report("log", message=reason)
    return choice


def small_recipe(recipe: Recipe) -> Recipe:
    """A recipe that learns in few steps: AdamW, no deep supervision, averaged weights, cheap augmentation.

    No mirroring: what a small network has to spend on looking the same from all sides it lacks elsewhere, and where a
    structure's name depends on its side, as with the front and back of the hippocampus, it learns much more slowly.
    """
    return replace(
        recipe,
        optimizer="adamw",
        learning_rate=BUDGET.learning_rate,
        schedule="poly_warmup",
        deep_supervision=False,
        augmentation="fast",
        mirror=False,
        average_weights=BUDGET.average_weights,
    )


def budget_plans_name(plans_name: str, seconds: float, device: torch.device) -> str:
    """Name of the plans for a time and a kind of device: ``nnUNetPlans_20m_cpu``."""
    minutes = round(seconds / 60)
    text = f"{minutes}m" if minutes < 120 or minutes % 60 else f"{minutes // 60}h"
    if seconds < 180:
        text = f"{seconds:.0f}s"
    return f"{plans_name}_{text}_{device.type}"


def _small_plans(plans: Plans, configuration: str, file: Path, task: _Task, report: Reporter) -> Plans:
    """The small plans of an earlier fold, or new ones (not written yet)."""
    name = file.stem
    made = Plans.load(file) if file.is_file() else None
    if made is not None and configuration in made.configuration_names and _same_data(made, plans):
        report("log", message=f"Using the plans {name}, made for an earlier training with this budget.")
        return made
    planned = small_configuration(plans.configuration(configuration), name, configuration, task)
    others = made.configurations if made is not None and _same_data(made, plans) else {}
    together = {**others, configuration: planned.to_json()}
    return plans.model_copy(update={"plans_name": name, "configurations": together})


def _same_data(made: Plans, plans: Plans) -> bool:
    """Whether small plans were made from these standard plans, or from ones that prepare images in the same way."""
    keys = ("transpose_forward", "original_median_spacing_after_transp", "foreground_intensity_properties_per_channel")
    return all(getattr(made, key) == getattr(plans, key) for key in keys)


def small_configuration(standard: Configuration, plans_name: str, name: str, task: _Task) -> Configuration:
    """Patch, spacing, batch and network for the time.

    Args:
        standard: The standard plan's configuration.
        plans_name: Of the new plans; also names the data folder if the spacing changes.
        name: Of the configuration.
        task: What is known of data and device.
    """
    batch = BUDGET.batch_size_3d if standard.dimension == 3 else BUDGET.batch_size_2d
    probe = _probe(standard)
    rate = batch * math.prod(probe.patch_size) / task.step_seconds(probe)
    limit = rate * task.seconds / (BUDGET.min_steps * batch)
    spacing, shape = _working_grid(standard, limit)
    changed = spacing != standard.spacing
    patch = _largest_patch(spacing, shape, limit)
    chosen = _configured(standard, spacing, patch, batch, BUDGET.widths[0])
    for width in BUDGET.widths[1:]:
        wider = _configured(standard, spacing, patch, batch, width)
        if task.seconds / task.step_seconds(wider) < BUDGET.wide_steps:
            break
        chosen = wider
    identifier = f"{plans_name}_{name}" if changed else standard.data_identifier
    return chosen.model_copy(update={"data_identifier": identifier, "median_image_size_in_voxels": shape})


def _probe(standard: Configuration) -> Configuration:
    """The narrowest network on the standard patch, or on a part of it that is measured quickly."""
    three = standard.dimension == 3
    voxels, batch = (
        (BUDGET.probe_voxels_3d, BUDGET.batch_size_3d) if three else (BUDGET.probe_voxels_2d, BUDGET.batch_size_2d)
    )
    patch = _largest_patch(standard.spacing, standard.median_image_size_in_voxels, voxels)
    return _configured(standard, standard.spacing, patch, batch, BUDGET.widths[0])


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
    standard: Configuration, spacing: tuple[float, ...], patch: tuple[int, ...], batch: int, width: int
) -> Configuration:
    return standard.model_copy(
        update={
            "spacing": spacing,
            "patch_size": patch,
            "batch_size": batch,
            "architecture": plan_network(spacing, patch, base_features=width),
            "batch_dice": True,
            "next_stage": None,
        }
    )


def _lengths(
    task: _Task, plans: Plans, entry: Configuration, step: float, compiled: bool, seconds: float
) -> BudgetChoice:
    """Divide the time among training and the held-out cases."""
    batch_size = task.recipe.batch_size or entry.batch_size
    once = task.held_out * tiles_per_case(plans, entry, task.fingerprint) * task.forward_seconds(entry)
    writing = task.held_out * BUDGET.case_overhead_s
    mirrored = once * 2**entry.dimension
    mirror = task.recipe.mirror and mirrored <= BUDGET.mirror_validation_share * seconds
    validation = writing + (mirrored if mirror else once)
    reserve = max(BUDGET.reserve_s, BUDGET.reserve_share * seconds)
    training = seconds - validation - reserve
    steps = int(training / (step * (1 + BUDGET.validation_share)))
    if steps < BUDGET.min_epochs:
        raise UserError(
            f"{_minutes(max(0.0, seconds))} are too short on this device: a training step takes {step:.2g} s and the "
            f"{task.held_out} held-out cases {_minutes(validation)}.",
            "Give more time (--budget)"
            + (", or train on all cases (--fold all), which needs no validation." if task.held_out else "."),
        )
    per_epoch = max(1, min(round(BUDGET.epoch_seconds / step), steps // BUDGET.min_epochs))
    recipe = replace(
        task.recipe,
        epochs=math.ceil(steps / per_epoch),
        iterations_per_epoch=per_epoch,
        validation_iterations=max(1, round(per_epoch * BUDGET.validation_share)),
    )
    reasons = (
        _network_reason(entry, batch_size),
        f"A training step takes {step:.2f} s {_where(task)}{' (compiled)' if compiled else ''}: about {steps} "
        f"steps in {recipe.epochs} epochs fit into {_minutes(training)}; the learning rate falls to zero by then.",
        f"About {_minutes(validation)} are kept for predicting and evaluating {task.held_out} held-out cases"
        f"{'' if mirror else ', without mirroring'}."
        if task.held_out
        else "All cases are used for training; none is held out.",
    )
    return BudgetChoice(plans, recipe, training, compiled, task.threads, mirror, reasons)


def tiles_per_case(plans: Plans, entry: Configuration, fingerprint: Fingerprint) -> float:
    """Mean number of tiles of the sliding window over the training cases; 2D networks see every slice."""
    order = plans.transpose_forward
    counts = []
    for shape, spacing in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True):
        edges, old = [shape[axis] for axis in order], [spacing[axis] for axis in order]
        slices = 1 if entry.dimension == 3 else edges[0]
        kept = slice(3 - entry.dimension, 3)
        sizes = resampled_shape(edges[kept], old[kept], entry.spacing)
        counts.append(slices * math.prod(map(_tiles, sizes, entry.patch_size)))
    return sum(counts) / len(counts)


def _tiles(size: int, patch: int) -> int:
    return max(0, math.ceil((size - patch) / (patch * INFERENCE.step))) + 1


def _network_reason(entry: Configuration, batch_size: int) -> str:
    kind = entry.architecture.network_class_name.rpartition(".")[2]
    features = entry.architecture.features_per_stage
    patch = " x ".join(map(str, entry.patch_size))
    spacing = " x ".join(f"{edge:.3g}" for edge in entry.spacing)
    image = " x ".join(f"{size:.0f}" for size in entry.median_image_size_in_voxels)
    return (
        f"Network: {kind} in {entry.dimension}D, {features[0]} to {features[-1]} features in {len(features)} stages; "
        f"patch {patch} voxels at {spacing} mm (the median image has {image}), batch {batch_size}."
    )


def _where(task: _Task) -> str:
    threads = f" with {task.threads} thread{'s' if task.threads != 1 else ''}" if task.threads else ""
    return f"on {task.device} here{threads}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
