"""From dataset.json and the fingerprint to plans, by nnU-Net's rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.dataset import DatasetDescription
from segautoconfiglib.defaults import BUDGET, PLANNING, TRAINING
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.planning.normalization import normalization_schemes, use_mask
from segautoconfiglib.planning.patch import Budget, NetworkPlan
from segautoconfiglib.planning.plans import Plans, resampling_entries
from segautoconfiglib.planning.presets import DEFAULT_PLANNER, Edit, PlannerPreset, checked_plans_name, planner_preset
from segautoconfiglib.planning.spacing import Triple, axis_order, coarser_spacing, resampled_shape, target_spacing

#: The configurations that planning makes, in the order of the file.
STANDARD_CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")


@dataclass(frozen=True)
class _Images:
    """The training images after resampling; axes are the plans' transposed ones.

    Attributes:
        spacing_mm: Target spacing.
        median_shape: Voxels, may be fractional.
        count: Number of training cases.
    """

    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    count: int

    @property
    def voxels(self) -> float:
        """Of all images together."""
        return math.prod(self.median_shape) * self.count


def plan_experiment(
    description: DatasetDescription,
    fingerprint: Fingerprint,
    *,
    dataset_name: str,
    reader_name: str,
    planner: str = DEFAULT_PLANNER.name,
    gpu_memory_target_gb: float | None = None,
    target_spacing: Sequence[float] | None = None,
    plans_name: str | None = None,
    previous: Plans | None = None,
) -> Plans:
    """Choose everything that plans hold. The result equals that of nnU-Net's planner of the same name.

    Args:
        description: dataset.json.
        fingerprint: Of the same dataset.
        dataset_name: ``DatasetXXX_Name``.
        reader_name: nnU-Net's class name of the image reader.
        planner: nnU-Net's class name, or a short name (see :mod:`segautoconfiglib.planning.presets`).
        gpu_memory_target_gb: None takes the planner's standard.
        target_spacing: (z, y, x) of the files, millimetres, in place of the rule. Residual planners then keep their
            own preprocessed data, as it differs from the default planner's.
        plans_name: None takes the planner's standard.
        previous: The plans file that is about to be replaced: configurations of its own names are kept, the standard
            ones are not, even if the new plans lack them.

    Raises:
        UserError: an argument is out of range, the fingerprint is empty, nothing is left of the images at the target
            spacing, or no patch fits the memory.
    """
    preset = planner_preset(planner)
    name = checked_plans_name(plans_name or preset.plans_name)
    gigabytes = _checked_target(gpu_memory_target_gb, preset)
    file_spacing = _file_spacing(fingerprint, target_spacing)
    forward, backward = axis_order(file_spacing)
    images = _resampled_images(fingerprint, file_spacing, forward, description.numTraining)
    networks = _plan_networks(Budget(preset, gigabytes, counted_outputs(description, preset)), images)
    data_owner = DEFAULT_PLANNER.plans_name if preset.shares_data and target_spacing is None else name
    schemes = normalization_schemes(description.channels)
    mask = use_mask(schemes, fingerprint.median_relative_size_after_cropping)
    common = {
        "normalization_schemes": schemes,
        "use_mask_for_norm": mask,
        **resampling_entries(preset.resampling),
    }
    owners = {key: data_owner if _keeps_spacing(plan, images) else name for key, plan in networks.items()}
    configurations = _configurations(networks, owners, common)
    configurations.update(_own_configurations(previous))
    plans = Plans(
        dataset_name=dataset_name,
        plans_name=name,
        original_median_spacing_after_transp=_median(fingerprint.spacings, forward),
        original_median_shape_after_transp=tuple(
            round(edge) for edge in _median(fingerprint.shapes_after_crop, forward)
        ),
        image_reader_writer=reader_name,
        transpose_forward=forward,
        transpose_backward=backward,
        configurations=configurations,
        experiment_planner_used=preset.name,
        label_manager="LabelManager",
        foreground_intensity_properties_per_channel=fingerprint.foreground_intensity_properties_per_channel,
    )
    return plans if preset.edit is None else _edited(plans, preset.edit)


def counted_outputs(description: DatasetDescription, preset: PlannerPreset) -> int:
    """Outputs of the network in the memory estimate.

    nnU-Net counts all entries of dataset.json's ``labels``, so an ignore label and, with regions, the background, too;
    plans of its planners must be met.
    """
    return description.label_spec.output_channels if preset.own_rules else len(description.labels)


def _edited(plans: Plans, edit: Edit) -> Plans:
    """The plans after a plug-in's function. Raises: ProblemsError: they can't be used any more."""
    content = plans.to_json()
    changed = edit(content)
    result = Plans.from_json(content if changed is None else changed, f"The plans {plans.plans_name!r}, edited,")
    for name in result.configuration_names:
        result.configuration(name)
    return result.model_copy(update={"plans_name": plans.plans_name})


def _checked_target(gigabytes: float | None, preset: PlannerPreset) -> float:
    if gigabytes is None:
        return preset.standard_gb
    if not gigabytes > 0:
        raise UserError(f"The GPU memory target is {gigabytes} GB.", "Give a number above 0.")
    return gigabytes


def _file_spacing(fingerprint: Fingerprint, wanted: Sequence[float] | None) -> tuple[float, ...]:
    """Target spacing (z, y, x) in the axes of the files."""
    if not fingerprint.spacings:
        raise UserError("The fingerprint holds no cases.", "Extract the dataset's fingerprint again.")
    if wanted is None:
        rule = target_spacing(np.array(fingerprint.spacings, dtype=float), np.array(fingerprint.shapes_after_crop))
        return tuple(rule.tolist())
    if len(wanted) != 3 or not all(edge > 0 for edge in wanted):
        raise UserError(f"The target spacing is {tuple(wanted)}.", "Give three numbers above 0: z, y, x in mm.")
    return tuple(float(edge) for edge in wanted)


def _median(rows: Sequence[Sequence[float]], order: Triple) -> tuple[float, ...]:
    median = np.median(np.array(rows, dtype=float), axis=0)
    return tuple(float(median[axis]) for axis in order)


def _resampled_images(fingerprint: Fingerprint, file_spacing: Sequence[float], forward: Triple, count: int) -> _Images:
    pairs = zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True)
    shapes = [resampled_shape(shape, spacing, file_spacing) for shape, spacing in pairs]
    median = _median(shapes, forward)
    if min(median) < 1:
        raise UserError(
            f"At the target spacing {tuple(file_spacing)} mm (z, y, x) the median image vanishes.",
            "Give a finer spacing, or check the spacings in the headers of the images.",
        )
    return _Images(tuple(file_spacing[axis] for axis in forward), median, count)


@dataclass(frozen=True)
class _Planned:
    """A network and the images it is planned for."""

    network: NetworkPlan
    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]


def _plan_networks(budget: Budget, images: _Images) -> dict[str, _Planned]:
    """2d always; 3d_fullres for volumes; 3d_lowres where a patch shows too little of a volume."""
    planned = {"2d": _plan(budget, images.spacing_mm[1:], images.median_shape[1:], images.voxels)}
    slices = images.median_shape[0]
    if (slices >= TRAINING.min_slices_3d) if budget.preset.own_rules else slices != 1:
        fullres = _plan(budget, images.spacing_mm, images.median_shape, images.voxels)
        if budget.preset.coarsens:
            return {**planned, "3d_fullres": _coarsened(budget, images, fullres)}
        lowres = _plan_lowres(budget, images, fullres)
        planned |= {"3d_lowres": lowres} if lowres else {}
        planned["3d_fullres"] = fullres
    return planned


def _plan(budget: Budget, spacing: tuple[float, ...], shape: tuple[float, ...], voxels: float) -> _Planned:
    return _Planned(budget.plan(spacing, shape, voxels), spacing, shape)


def _coarsened(budget: Budget, images: _Images, planned: _Planned) -> _Planned:
    """Coarser voxels, within limits, until a patch shows enough of the median image."""
    spacing = list(images.spacing_mm)
    while math.prod(planned.network.patch_size) / math.prod(planned.median_shape) < BUDGET.patch_share:
        spacing = coarser_spacing(spacing)
        if max(new / old for new, old in zip(spacing, images.spacing_mm, strict=True)) > BUDGET.max_coarsening:
            break
        planned, _ = _plan_coarser(budget, images, spacing)
    return planned


def _plan_coarser(budget: Budget, images: _Images, spacing: Sequence[float]) -> tuple[_Planned, float]:
    """A plan for larger voxels, and how many of them the median image has (not rounded)."""
    shrink = [full / low for full, low in zip(images.spacing_mm, spacing, strict=True)]
    shape = tuple(round(ratio * edge) for ratio, edge in zip(shrink, images.median_shape, strict=True))
    voxels = math.prod(shrink) * math.prod(images.median_shape)
    return _plan(budget, tuple(spacing), shape, voxels * images.count), voxels


def _plan_lowres(budget: Budget, images: _Images, fullres: _Planned) -> _Planned | None:
    """Coarsen until a patch covers enough of the median image; None where that is not worth it."""
    planned = fullres
    full_voxels = voxels = math.prod(images.median_shape)
    spacing = list(images.spacing_mm)
    while math.prod(planned.network.patch_size) / voxels < PLANNING.lowres_patch_fraction:
        spacing = coarser_spacing(spacing)
        planned, voxels = _plan_coarser(budget, images, spacing)
    return planned if full_voxels / voxels >= PLANNING.lowres_min_shrink else None


def _keeps_spacing(plan: _Planned, images: _Images) -> bool:
    return plan.spacing_mm == images.spacing_mm[-len(plan.spacing_mm) :]


def _configurations(
    planned: dict[str, _Planned], owners: dict[str, str], common: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The entries of the plans file. ``owners``: the plans whose name the preprocessed data bear."""
    has_lowres = "3d_lowres" in planned
    batch_dice = {"2d": True, "3d_lowres": False, "3d_fullres": has_lowres}
    configurations = {}
    for name, plan in planned.items():
        configurations[name] = _entry(f"{owners[name]}_{name}", plan, common) | {"batch_dice": batch_dice[name]}
    if has_lowres:
        configurations["3d_lowres"]["next_stage"] = "3d_cascade_fullres"
        configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return configurations


def _entry(data_identifier: str, plan: _Planned, common: dict[str, Any]) -> dict[str, Any]:
    return {
        "data_identifier": data_identifier,
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": plan.network.batch_size,
        "patch_size": list(plan.network.patch_size),
        "median_image_size_in_voxels": list(plan.median_shape),
        "spacing": list(plan.spacing_mm),
        **common,
        "architecture": plan.network.architecture.to_json(),
    }


def _own_configurations(previous: Plans | None) -> dict[str, dict[str, Any]]:
    """What a user added to the file."""
    if previous is None:
        return {}
    own = previous.configurations.items()
    return {name: dict(entries) for name, entries in own if name not in STANDARD_CONFIGURATIONS}
