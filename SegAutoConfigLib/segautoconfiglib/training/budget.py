"""Training in a given time: measure this device, then choose network, patch, batch and length to fit.

On a CUDA device the standard plan stays and only the number of epochs follows from the time. Elsewhere the standard
plan would get a few dozen steps, so a small plain U-Net is planned instead (`segautoconfiglib.training.small_plans`).
The choice is made in two steps: plans first, because cases are preprocessed for them; then, with the time that is left
after preprocessing, the length.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import usable_cores
from segautoconfiglib.base.words import counted
from segautoconfiglib.defaults import BUDGET, INFERENCE, TRAINING
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.planning.spacing import resampled_shape
from segautoconfiglib.training.batches import default_workers
from segautoconfiglib.training.patch import patch_geometry
from segautoconfiglib.training.small_plans import probe_configuration, same_data, small_configuration
from segautoconfiglib.training.speed import Speed

STAGE = "speed"


@dataclass(frozen=True)
class Budget:
    """The time for everything, from now on.

    Attributes:
        seconds: As asked for.
        begin: Value of ``time.monotonic()`` at the start.
    """

    seconds: float
    begin: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds to the end. Raises: UserError: there are none."""
        left = self.begin + self.seconds - time.monotonic()
        if left <= 0:
            raise UserError(
                f"The budget of {_minutes(self.seconds)} is used up before training could start.",
                "What was prepared is kept: start again, or give more time (--budget).",
                "more-time",
            )
        return left


@dataclass(frozen=True)
class Length:
    """What fits into the time.

    Attributes:
        recipe: With its length.
        deadline: Value of ``time.monotonic()`` when training has to end; the rest is for the held-out cases.
        compile: Compile the training step.
        threads: Of torch, where the device is a CPU.
        mirror_validation: Average over mirrored images when the held-out cases are predicted.
    """

    recipe: Recipe
    deadline: float
    compile: bool
    threads: int | None
    mirror_validation: bool


def budget_plans(
    plans: Plans,
    configuration: str,
    file: Path,
    speed: Speed,
    budget: Budget,
    *,
    stored: bool,
    remake: bool = False,
    report: Reporter = silent,
) -> Plans:
    """The small plans for a time: those that an earlier fold was trained with, or new ones, written to ``file``.

    Args:
        plans: The standard plans.
        configuration: Name of the configuration to start from, 2d or 3d_fullres.
        file: Of the small plans, beside the fingerprint.
        speed: Of this device.
        budget: The time.
        stored: The standard configuration's cases are preprocessed already.
        remake: Make new ones even if there are some.
        report: Gets the choice as a log event; "started" and "done" of the stage ``speed`` around measurements.

    Raises:
        UserError: the time is used up.
    """
    made = Plans.load(file) if file.is_file() else None
    others = made.configurations if made is not None and same_data(made, plans) else {}
    if configuration in others and made is not None and not remake:
        report("log", message=f"Using the plans {file.stem}, made for an earlier training in a given time.")
        report("log", message=network_reason(made.configuration(configuration), speed.recipe))
        return made
    standard = plans.configuration(configuration)
    seconds = budget.left - (0 if stored else preprocessing_seconds(_fingerprint(file.parent)))
    with _measuring(report):
        speed = speed.with_best_threads(probe_configuration(standard, speed.recipe))
        planned = small_configuration(standard, file.stem, configuration, speed, max(seconds, budget.left / 2))
    small = plans.model_copy(
        update={"plans_name": file.stem, "configurations": {**others, configuration: planned.to_json()}}
    )
    small.save(file)
    report("log", message=network_reason(planned, speed.recipe))
    return small


@contextmanager
def _measuring(report: Reporter) -> Iterator[None]:
    """A stage of its own: trying how fast a device is takes seconds in which nothing else happens."""
    report("started", stage=STAGE)
    yield
    report("done", stage=STAGE)


def preprocessing_seconds(fingerprint: Fingerprint) -> float:
    """How long preprocessing all cases will take, roughly."""
    shapes = fingerprint.shapes_after_crop
    megavoxels = sum(math.prod(shape) for shape in shapes) / 1e6
    return (BUDGET.prepare_case_s * len(shapes) + BUDGET.prepare_megavoxel_s * megavoxels) / usable_cores()


def budget_length(
    plans: Plans,
    configuration: str,
    folder: Path,
    speed: Speed,
    budget: Budget,
    *,
    held_out: int,
    workers: int | None = None,
    report: Reporter = silent,
) -> Length:
    """Divide the time that is left among training and the held-out cases.

    Args:
        plans: To train.
        configuration: Name of the configuration to train.
        folder: The preprocessed dataset, with its fingerprint.
        speed: Of this device.
        budget: The time.
        held_out: Number of cases to predict afterwards.
        workers: Processes that make batches; None: the usual number.
        report: Gets the choice as log events; "started" and "done" of the stage ``speed`` around measurements.

    Raises:
        UserError: the time is too short to train anything.
    """
    entry = plans.configuration(configuration)
    beside = default_workers(speed.device.type, usable_cores()) if workers is None else workers
    with _measuring(report):
        speed = speed.with_best_threads(entry, beside)
        step, compiled = _training_step(entry, speed, budget)
        once = held_out * tiles_per_case(plans, entry, _fingerprint(folder)) * speed.forward_seconds(entry)
    left = budget.left
    axes = patch_geometry(entry.patch_size, augment=True, mirror=speed.recipe.mirror).mirror_axes
    mirrored = once * 2 ** len(axes)
    mirror = bool(axes) and mirrored <= BUDGET.mirror_validation_share * left
    validation = held_out * _case_seconds(_fingerprint(folder)) + (mirrored if mirror else once)
    training = left - validation - max(BUDGET.reserve_s, BUDGET.reserve_share * left)
    steps = int(training / (step * (1 + BUDGET.validation_share)))
    if steps < BUDGET.min_epochs:
        raise UserError(
            f"{_minutes(left)} are too short on this device: a training step takes {step:.2g} s and the "
            f"{counted(held_out, 'held-out case')} {_minutes(validation)}.",
            "Give more time (--budget)"
            + (", or train on all cases (--fold all), which needs no validation." if held_out else "."),
            "more-time-or-fold-all" if held_out else "more-time",
        )
    length = Length(
        recipe=_timed_recipe(speed, step, steps),
        deadline=time.monotonic() + training,
        compile=compiled,
        threads=speed.threads,
        mirror_validation=mirror,
    )
    report(
        "log",
        message=f"A training step takes {step:.2g} s {_where(speed)}{' (compiled)' if compiled else ''}: about {steps} "
        f"steps in {length.recipe.epochs} epochs fit into {_minutes(training)}; the learning rate falls to zero by "
        "then.",
    )
    report("log", message=_mirror_reason(axes, entry.dimension))
    report("log", message=_validation_reason(held_out, validation, mirror))
    if steps < BUDGET.min_steps / 2:
        report(
            "warning",
            message=f"{steps} steps are few: of the {_minutes(budget.seconds)}, {_minutes(budget.seconds - left)} went "
            "into preparing.",
            hint="Preparing is done once: training again with --overwrite, or with more time, gives a better network.",
            action="more-time-or-overwrite",
        )
    return length


def _training_step(entry: Configuration, speed: Speed, budget: Budget) -> tuple[float, bool]:
    """Seconds of a training step, and whether it should be compiled for that."""
    plain = speed.step_seconds(entry)
    from_s = BUDGET.compile_from_cuda_s if speed.device.type == "cuda" else BUDGET.compile_from_s
    if speed.device.type == "mps" or budget.left < from_s:
        return plain, False
    fast = speed.step_seconds(entry, compiled=True)
    return (fast, True) if fast < plain * BUDGET.compile_gain else (plain, False)


def _timed_recipe(speed: Speed, step: float, steps: int) -> Recipe:
    """The recipe with epochs of a convenient length; at least a few, for the curve and the checkpoints."""
    usual = speed.recipe.iterations_per_epoch if speed.device.type == "cuda" else round(BUDGET.epoch_seconds / step)
    per_epoch = max(1, min(usual, steps // BUDGET.min_epochs))
    epochs = math.ceil(steps / per_epoch)
    return replace(
        speed.recipe,
        warmup_epochs=min(speed.recipe.warmup_epochs, int(epochs * TRAINING.most_warmup)),
        epochs=epochs,
        iterations_per_epoch=per_epoch,
        validation_iterations=max(1, round(per_epoch * BUDGET.validation_share)),
    )


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


def _case_seconds(fingerprint: Fingerprint) -> float:
    """What a held-out case takes besides the network: reading, restoring, writing, comparing."""
    voxels = sum(math.prod(shape) for shape in fingerprint.shapes_after_crop) / len(fingerprint.shapes_after_crop)
    return BUDGET.case_overhead_s + BUDGET.case_megavoxel_s * voxels / 1e6


def _fingerprint(folder: Path) -> Fingerprint:
    return Fingerprint.load(folder / "dataset_fingerprint.json")


def network_reason(entry: Configuration, recipe: Recipe) -> str:
    """Which network is trained on which patches, and what they are of the images."""
    kind = recipe.network or entry.architecture.network_class_name.rpartition(".")[2]
    features = entry.architecture.features_per_stage
    patch = " x ".join(map(str, entry.patch_size))
    spacing = " x ".join(f"{edge:.3g}" for edge in entry.spacing)
    image = " x ".join(f"{size:.0f}" for size in entry.median_image_size_in_voxels)
    shape = f", {features[0]} to {features[-1]} features in {len(features)} stages" if features else ""
    median = f" (the median image has {image})" if image else ""
    return (
        f"Network: {kind} in {entry.dimension}D{shape}; "
        f"patch {patch} voxels at {spacing} mm{median}, batch {recipe.batch_size or entry.batch_size}."
    )


def _mirror_reason(axes: Sequence[int], dimension: int) -> str:
    names = "zyx"[3 - dimension :]
    mirrored, fixed = (
        [names[axis] for axis in range(dimension) if (axis in axes) is wanted] for wanted in (True, False)
    )
    if not fixed:
        return "Patches are mirrored along all axes."
    reason = f"along {' and '.join(fixed)} the labels have fixed sides, or mirroring was turned off"
    return f"Patches are mirrored along {' and '.join(mirrored) or 'no axis'}: {reason}."


def _validation_reason(held_out: int, seconds: float, mirror: bool) -> str:
    if not held_out:
        return "All cases are used for training; none is held out."
    how = "" if mirror else ", without mirroring"
    cases = counted(held_out, "held-out case")
    return f"About {_minutes(seconds)} are kept for predicting and evaluating {cases}{how}."


def _where(speed: Speed) -> str:
    threads = f" with {speed.threads} thread{'s' if speed.threads != 1 else ''}" if speed.threads else ""
    return f"on {speed.device} here{threads}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
