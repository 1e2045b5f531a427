"""plans.json: every choice of the method, in nnU-Net's format."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from segautoconfiglib.base.records import Record
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning.architectures import Architecture
from segautoconfiglib.planning.upgrade import resolve_inheritance, upgrade_plans

__all__ = ["Architecture", "Configuration", "Plans"]

#: nnU-Net's name of its resampling.
RESAMPLING_FUNCTION = "resample_data_or_seg_to_shape"


def resampling_arguments(what: Literal["data", "seg", "probabilities"]) -> dict[str, Any]:
    """nnU-Net's arguments of the resampling of images, labels or network outputs."""
    order = PLANNING.resampling_order_data if what == "data" else PLANNING.resampling_order_seg
    return {
        "is_seg": what == "seg",
        "order": order,
        "order_z": PLANNING.resampling_order_z,
        "force_separate_z": None,
    }


class Configuration(Record):
    """One configuration with everything it inherits. Axes are the plans' transposed ones, (z, y, x) or (y, x).

    Attributes:
        data_identifier: Name of the folder with the preprocessed cases.
        preprocessor_name: nnU-Net's class name.
        batch_size: Samples per training step.
        patch_size: Voxels.
        median_image_size_in_voxels: Of the training images after resampling.
        spacing: Millimetres, after resampling.
        normalization_schemes: nnU-Net's class name per channel.
        use_mask_for_norm: Per channel: statistics of non-zero voxels only.
        resampling_fn_data: nnU-Net's function for images; likewise ``_seg`` for labels, ``_probabilities`` for outputs.
        resampling_fn_data_kwargs: Its arguments: order, order_z, force_separate_z, is_seg; likewise the others.
        architecture: The network.
        batch_dice: The Dice loss sums over the batch rather than each sample.
        next_stage: Configuration(s) that take this one's predictions as input.
        previous_stage: The configuration whose predictions are an input of this one.
    """

    data_identifier: str
    preprocessor_name: str = "DefaultPreprocessor"
    batch_size: int
    patch_size: tuple[int, ...]
    median_image_size_in_voxels: tuple[int | float, ...] = ()
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    resampling_fn_data: str = RESAMPLING_FUNCTION
    resampling_fn_seg: str = RESAMPLING_FUNCTION
    resampling_fn_data_kwargs: dict[str, Any] = Field(default_factory=lambda: resampling_arguments("data"))
    resampling_fn_seg_kwargs: dict[str, Any] = Field(default_factory=lambda: resampling_arguments("seg"))
    resampling_fn_probabilities: str = RESAMPLING_FUNCTION
    resampling_fn_probabilities_kwargs: dict[str, Any] = Field(
        default_factory=lambda: resampling_arguments("probabilities")
    )
    architecture: Architecture
    batch_dice: bool
    next_stage: str | tuple[str, ...] | None = None
    previous_stage: str | None = None

    @property
    def dimension(self) -> int:
        """2 or 3."""
        return len(self.patch_size)

    @property
    def next_stages(self) -> tuple[str, ...]:
        """``next_stage`` as a tuple, empty if there is none."""
        if self.next_stage is None:
            return ()
        return (self.next_stage,) if isinstance(self.next_stage, str) else self.next_stage


class Plans(Record):
    """A plans file. Files of older nnU-Net releases are brought to today's format when they are read.

    Attributes:
        dataset_name: ``DatasetXXX_Name``.
        plans_name: The file's name without its ending.
        original_median_spacing_after_transp: Millimetres, transposed axes.
        original_median_shape_after_transp: Voxels after cropping, transposed axes.
        image_reader_writer: nnU-Net's class name.
        transpose_forward: ``array.transpose(transpose_forward)`` brings (z, y, x) of the file to the plans' axes.
        transpose_backward: The inverse.
        configurations: As in the file; :meth:`configuration` resolves what they inherit.
        experiment_planner_used: nnU-Net's class name.
        label_manager: nnU-Net's class name.
        foreground_intensity_properties_per_channel: Copied from the fingerprint; the keys are channel numbers.
    """

    dataset_name: str
    plans_name: str
    original_median_spacing_after_transp: tuple[float, ...] = ()
    original_median_shape_after_transp: tuple[int | float, ...] = ()
    image_reader_writer: str = "SimpleITKIO"
    transpose_forward: tuple[int, int, int] = (0, 1, 2)
    transpose_backward: tuple[int, int, int] = (0, 1, 2)
    configurations: dict[str, dict[str, Any]]
    experiment_planner_used: str = "ExperimentPlanner"
    label_manager: str = "LabelManager"
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, data: Any) -> Any:
        return upgrade_plans(data) if isinstance(data, dict) else data

    @property
    def configuration_names(self) -> tuple[str, ...]:
        """The names of all configurations, in the file's order."""
        return tuple(self.configurations)

    def configuration(self, name: str) -> Configuration:
        """A configuration with everything it inherits.

        Raises:
            UserError: unknown name, a circle of ``inherits_from``, or missing entries.
        """
        entries = resolve_inheritance(name, self.configurations)
        return Configuration.from_json(entries, f"Configuration {name!r} of plans {self.plans_name!r}")
