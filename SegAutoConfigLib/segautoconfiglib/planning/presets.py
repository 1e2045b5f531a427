"""The planners: which network, and how much memory it may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning.architectures import PLAIN_UNET, RESIDUAL_UNET

#: Other JSON files beside the plans.
RESERVED_NAMES = ("dataset", "dataset_fingerprint", "splits_final")


@dataclass(frozen=True)
class PlannerPreset:
    """A planner of nnU-Net 2 (residual ones: Isensee et al. 2024, arXiv:2404.09556).

    Attributes:
        name: nnU-Net's class name, written into plans.
        plans_name: Standard name of the plans file.
        network_class_name: A key of ``ARCHITECTURES``.
        reference_cost_3d: Memory estimate of a network that, with the reference batch size, fills ``reference_gb``.
        reference_cost_2d: Likewise in 2D.
        reference_gb: GPU memory of the references, gigabytes; also the standard target.
        dataset_share: A batch holds at most this share of the training set's voxels.
        min_batch_size_2d: The 2D patch shrinks until a batch of this size fits.
        shares_data: The preprocessed 2d and 3d_fullres cases are those of the default planner.
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

    def budget(self, dimension: int, gpu_memory_target_gb: float) -> float:
        """Memory estimate that a reference batch may have (linear in the target)."""
        reference = self.reference_cost_3d if dimension == 3 else self.reference_cost_2d
        return reference * (gpu_memory_target_gb / self.reference_gb)

    def min_batch_size(self, dimension: int) -> int:
        """The batch that must fit before the patch stops shrinking."""
        return PLANNING.reference_batch_size_3d if dimension == 3 else self.min_batch_size_2d


def _residual(
    name: str, plans_name: str, cost_3d: float, cost_2d: float, gigabytes: float, dataset_share: float
) -> PlannerPreset:
    batch_2d = PLANNING.reference_batch_size_2d
    return PlannerPreset(name, plans_name, RESIDUAL_UNET, cost_3d, cost_2d, gigabytes, dataset_share, batch_2d, True)


#: The planner of the published plans' default data folders.
DEFAULT_PLANNER = PlannerPreset(
    "ExperimentPlanner", "nnUNetPlans", PLAIN_UNET, 560e6, 85e6, 8, 0.05, PLANNING.min_batch_size, False
)

PLANNERS: dict[str, PlannerPreset] = {
    preset.name: preset
    for preset in (
        DEFAULT_PLANNER,
        _residual("ResEncUNetPlanner", "nnUNetResEncUNetPlans", 680e6, 135e6, 8, 0.05),
        _residual("nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans", 680e6, 135e6, 8, 1),
        _residual("nnUNetPlannerResEncL", "nnUNetResEncUNetLPlans", 2100e6, 380e6, 24, 1),
        _residual("nnUNetPlannerResEncXL", "nnUNetResEncUNetXLPlans", 3600e6, 560e6, 40, 1),
    )
}

#: Short names of the planners.
ALIASES = {
    "default": "ExperimentPlanner",
    "resenc": "ResEncUNetPlanner",
    "resenc_m": "nnUNetPlannerResEncM",
    "resenc_l": "nnUNetPlannerResEncL",
    "resenc_xl": "nnUNetPlannerResEncXL",
}


def planner_preset(name: str) -> PlannerPreset:
    """The planner with nnU-Net's class name or a short name. Raises: UserError: listing the known names."""
    preset = PLANNERS.get(ALIASES.get(name.lower(), name))
    if preset is None:
        raise UserError(f"Unknown planner {name!r}.", f"Known: {', '.join([*ALIASES, *PLANNERS])}.")
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
