"""The planners: which network, and how much memory it may take."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.registry import Registry
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning.architectures import (
    PLAIN_UNET,
    RESIDUAL_UNET,
    UMAMBA_BOT,
    UMAMBA_ENC,
    architecture_spec,
)
from segautoconfiglib.planning.plans import Resampling

#: Other JSON files beside the plans.
RESERVED_NAMES = ("dataset", "dataset_fingerprint", "splits_final")

#: A plug-in's last word on plans: their JSON content, which it changes, or returns changed.
Edit = Callable[[dict[str, Any]], "dict[str, Any] | None"]


@dataclass(frozen=True)
class PlannerPreset:
    """A planner of nnU-Net 2 (residual ones: Isensee et al. 2024, arXiv:2404.09556), or one of our own.

    Attributes:
        name: nnU-Net's class name, written into plans; or our name.
        plans_name: Standard name of the plans file.
        network_class_name: A key of ``ARCHITECTURES``.
        reference_cost_3d: Memory estimate of a network that, with the reference batch size, fills ``reference_gb``.
        reference_cost_2d: Likewise in 2D.
        reference_gb: GPU memory of the references, gigabytes.
        dataset_share: A batch holds at most this share of the training set's voxels.
        min_batch_size_2d: The 2D patch shrinks until a batch of this size fits.
        shares_data: The preprocessed 2d and 3d_fullres cases are those of the default planner.
        target_gb: GPU memory that is used unless asked otherwise; None: the references'.
        base_features: Channels of the first stage.
        resampling: Written into the plans.
        own_rules: Without what nnU-Net's planners are known to do wrong: the ignore label and, with regions, the
            background take no memory; batches of small images are limited (``PLANNING.max_batch_size_*``); stacks of
            few slices get no 3D configurations.
        coarsens: 3d_fullres gets coarser voxels where a patch would show too little of an image; so no 3d_lowres.
        edit: Has the last word on the plans (of a plug-in).
    """

    name: str
    plans_name: str
    network_class_name: str
    reference_cost_3d: float
    reference_cost_2d: float
    reference_gb: float
    dataset_share: float
    min_batch_size_2d: int
    shares_data: bool
    target_gb: float | None = None
    base_features: int = PLANNING.base_features
    resampling: Resampling = "spline"
    own_rules: bool = False
    coarsens: bool = False
    edit: Edit | None = None

    @property
    def standard_gb(self) -> float:
        """GPU memory that is used unless asked otherwise, gigabytes."""
        return self.reference_gb if self.target_gb is None else self.target_gb

    def budget(self, dimension: int, gpu_memory_target_gb: float) -> float:
        """Memory estimate that a reference batch may have (linear in the target)."""
        reference = self.reference_cost_3d if dimension == 3 else self.reference_cost_2d
        return reference * (gpu_memory_target_gb / self.reference_gb)

    def min_batch_size(self, dimension: int) -> int:
        """The batch that must fit before the patch stops shrinking."""
        return PLANNING.reference_batch_size_3d if dimension == 3 else self.min_batch_size_2d

    def max_batch_size(self, dimension: int) -> float:
        """The largest batch, whatever fits."""
        if not self.own_rules:
            return float("inf")
        return PLANNING.max_batch_size_3d if dimension == 3 else PLANNING.max_batch_size_2d


def _residual(
    name: str, plans_name: str, cost_3d: float, cost_2d: float, gigabytes: float, dataset_share: float
) -> PlannerPreset:
    batch_2d = PLANNING.reference_batch_size_2d
    return PlannerPreset(name, plans_name, RESIDUAL_UNET, cost_3d, cost_2d, gigabytes, dataset_share, batch_2d, True)


#: The planner of the published plans' default data folders.
DEFAULT_PLANNER = PlannerPreset(
    "ExperimentPlanner", "nnUNetPlans", PLAIN_UNET, 560e6, 85e6, 8, 0.05, PLANNING.min_batch_size, False
)

_RESENC_M = _residual("nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans", 680e6, 135e6, 8, 1)
_RESENC_L = _residual("nnUNetPlannerResEncL", "nnUNetResEncUNetLPlans", 2100e6, 380e6, 24, 1)
_RESENC_XL = _residual("nnUNetPlannerResEncXL", "nnUNetResEncUNetXLPlans", 3600e6, 560e6, 40, 1)


def _resampling(preset: PlannerPreset, name: str, resampling: Resampling) -> PlannerPreset:
    ending = name.partition("_")[2]
    plans_name = f"{preset.plans_name}_{ending}"
    return replace(preset, name=name, plans_name=plans_name, resampling=resampling, shares_data=False)


#: nnU-Net's planners; their plans equal nnU-Net's.
_NNUNET = (
    DEFAULT_PLANNER,
    _residual("ResEncUNetPlanner", "nnUNetResEncUNetPlans", 680e6, 135e6, 8, 0.05),
    _RESENC_M,
    _RESENC_L,
    _RESENC_XL,
    _resampling(DEFAULT_PLANNER, "nnUNetPlanner_torchres", "torch"),
    _resampling(_RESENC_L, "nnUNetPlannerResEncL_torchres", "torch"),
    _resampling(_RESENC_L, "nnUNetPlannerResEncL_torchres_sepz", "torch_separate_z"),
    _resampling(_RESENC_L, "nnUNetPlannerResEncL_noResampling", "none"),
)
NNUNET_PLANNERS = tuple(preset.name for preset in _NNUNET)


def _own(preset: PlannerPreset, name: str, plans_name: str, **changes: Any) -> PlannerPreset:
    share = DEFAULT_PLANNER.dataset_share
    return replace(
        preset, name=name, plans_name=plans_name, dataset_share=share, shares_data=True, own_rules=True, **changes
    )


def _umamba(
    name: str, plans_name: str, network: str, cost_3d: float, cost_2d: float, gigabytes: float
) -> PlannerPreset:
    return _own(
        DEFAULT_PLANNER,
        name,
        plans_name,
        network_class_name=network,
        reference_cost_3d=cost_3d,
        reference_cost_2d=cost_2d,
        reference_gb=gigabytes,
    )


#: Our own planners. Costs of "cpu": 2**17 voxels in 3D and twelve slices of 2**16 in 2D, at 16 features; of "small":
#: what is left of 4 GB beside CUDA itself (0.8 GB), in proportion to nnU-Net's default, which takes 7.7 GB. Costs of
#: U-Mamba's: their networks on the default's reference patches, and the memory that these took (Isensee et al. 2024).
_OURS = (
    _own(
        DEFAULT_PLANNER,
        "cpu",
        "CpuPlans",
        reference_cost_3d=14.5e6,
        reference_cost_2d=10.5e6,
        reference_gb=1,
        min_batch_size_2d=4,
        base_features=16,
        coarsens=True,
    ),
    _own(DEFAULT_PLANNER, "small", "SmallPlans", reference_cost_3d=235e6, reference_cost_2d=35.6e6, reference_gb=4),
    _own(_RESENC_M, "medium", "MediumPlans"),
    _own(_RESENC_L, "large", "LargePlans"),
    _own(_RESENC_XL, "xlarge", "XLargePlans"),
    _umamba("umamba_bot", "UMambaBotPlans", UMAMBA_BOT, 1400e6, 200e6, 12.4),
    _umamba("umamba_enc", "UMambaEncPlans", UMAMBA_ENC, 2650e6, 261e6, 24.9),
)

#: Short names of the planners, and what the commands of nnU-Net v1 call theirs.
ALIASES = {
    "default": "ExperimentPlanner",
    "resenc": "ResEncUNetPlanner",
    "resenc_m": "nnUNetPlannerResEncM",
    "resenc_l": "nnUNetPlannerResEncL",
    "resenc_xl": "nnUNetPlannerResEncXL",
    "experimentplanner3d_v21": "ExperimentPlanner",
    "experimentplanner2d_v21": "ExperimentPlanner",
}


def own_planner(
    name: str,
    *,
    like: str = "default",
    gpu_memory_gb: float | None = None,
    network: str | None = None,
    plans_name: str | None = None,
    edit: Edit | None = None,
    **fields: Any,
) -> PlannerPreset:
    """A planner of a plug-in: another one with other values.

    Args:
        name: For ``--planner``; written into plans.
        like: The planner to start from.
        gpu_memory_gb: GPU memory that is used unless asked otherwise.
        network: A network's class name, also of a plug-in.
        plans_name: Standard name of the plans file; None: ``<name>Plans``.
        edit: Changes, or returns changed, the JSON content of the plans at the end. Such plans get preprocessed data of
            their own.
        fields: Further fields of `PlannerPreset`.

    Raises:
        UserError: an unknown planner or network, no memory, or a name of plans that another planner writes.
    """
    start = planner_preset(like)
    if gpu_memory_gb is not None and not gpu_memory_gb > 0:
        raise UserError(f"The GPU memory target is {gpu_memory_gb} GB.", "Give a number above 0.")
    architecture_spec(network or start.network_class_name)
    plans_name = checked_plans_name(plans_name or f"{name}Plans")
    writers = [other for other in PLANNERS if PLANNERS.get(other).plans_name == plans_name]
    if writers:
        raise UserError(f"The planner {writers[0]} writes plans named {plans_name!r}, too.", "Give another plans_name.")
    values: dict[str, Any] = {
        "shares_data": edit is None and start.resampling == "spline",
        "network_class_name": network or start.network_class_name,
        "target_gb": start.target_gb if gpu_memory_gb is None else float(gpu_memory_gb),
    }
    return replace(start, **{**values, **fields, "name": name, "plans_name": plans_name, "edit": edit})


def _registered_planner(name: str, **values: Any) -> PlannerPreset:
    if name.lower() in ALIASES:
        raise UserError(f"The planner {name!r} exists already.", "Give yours another name.")
    return own_planner(name, **values)


PLANNERS = Registry("planner", {preset.name: preset for preset in (*_NNUNET, *_OURS)}, _registered_planner)


def planner_preset(name: str) -> PlannerPreset:
    """The planner with nnU-Net's class name or a short name. Raises: UserError: listing the known names."""
    full = ALIASES.get(name.lower(), name)
    if full not in PLANNERS:
        first = f"{name} is a planner of nnU-Net v1. " if re.search(r"_v2\d", name) else ""
        short = [alias for alias in ALIASES if not alias.endswith("_v21")]
        raise UserError(
            f"Unknown planner {name!r}.",
            f"{first}Known: {', '.join([*short, *PLANNERS])}. If it is of a plug-in, name that: --plugin FILE.",
            "plugin",
        )
    preset: PlannerPreset = PLANNERS.get(full)
    return preset


def checked_plans_name(plans_name: str) -> str:
    """``plans_name``, which becomes part of file and folder names. Raises: UserError: it does not fit there."""
    if not re.fullmatch(r"(?!.*__)[\w.+-]+", plans_name) or plans_name in RESERVED_NAMES:
        raise UserError(
            f"{plans_name!r} can't be the name of plans.",
            "It becomes part of file and folder names: use letters, digits, '-', '.' and single '_', and none of "
            f"{', '.join(RESERVED_NAMES)}.",
        )
    return plans_name
