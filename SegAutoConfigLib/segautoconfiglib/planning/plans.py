"""plans.json: every choice of the method, in nnU-Net's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.records import Record
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.defaults import PLANNING
from segautoconfiglib.planning.architectures import Architecture
from segautoconfiglib.planning.upgrade import resolve_inheritance, upgrade_plans

__all__ = ["Architecture", "Configuration", "Plans"]

#: An edge of a patch (voxels), and of a voxel (millimetres).
Edge = Annotated[int, Field(gt=0)]
Spacing = Annotated[float, Field(gt=0, allow_inf_nan=False)]

#: nnU-Net's names of its resampling: on the CPU; with torch, linear throughout; none.
RESAMPLING_FUNCTION = "resample_data_or_seg_to_shape"
TORCH_RESAMPLING = "resample_torch_fornnunet"
NO_RESAMPLING = "no_resampling_hack"

#: Which resampling a planner writes into plans: splines; linear; linear with a coarse axis by itself; none.
Resampling = Literal["spline", "torch", "torch_separate_z", "none"]


def resampling_arguments(what: Literal["data", "seg", "probabilities"]) -> dict[str, Any]:
    """nnU-Net's arguments of the resampling of images, labels or network outputs."""
    order = PLANNING.resampling_order_data if what == "data" else PLANNING.resampling_order_seg
    return {
        "is_seg": what == "seg",
        "order": order,
        "order_z": PLANNING.resampling_order_z,
        "force_separate_z": None,
    }


def resampling_entries(kind: Resampling) -> dict[str, Any]:
    """A configuration's entries about the resampling of images, labels and network outputs, as nnU-Net writes them."""
    functions = {"spline": RESAMPLING_FUNCTION, "none": NO_RESAMPLING}
    function = functions.get(kind, TORCH_RESAMPLING)

    def arguments(what: Literal["data", "seg", "probabilities"]) -> dict[str, Any]:
        if kind == "spline":
            return resampling_arguments(what)
        if kind == "none":
            return {}
        separate = kind == "torch_separate_z"
        axis = {"separate_z_anisotropy_threshold": int(PLANNING.anisotropy_threshold)} if separate else {}
        force = None if separate else False
        return {"is_seg": what == "seg", "force_separate_z": force, "memefficient_seg_resampling": False, **axis}

    return {
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_data_kwargs": arguments("data"),
        "resampling_fn_seg_kwargs": arguments("seg"),
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": arguments("probabilities"),
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
        normalize_after_resampling: Intensities are normalised on the network's grid (nnU-Net 1), not before.
        average_probabilities: Mirrored images and folds are averaged, and brought to the file's grid, as probabilities
            (nnU-Net 1), not as logits.
    """

    data_identifier: str
    preprocessor_name: str = "DefaultPreprocessor"
    batch_size: int = Field(gt=0)
    patch_size: tuple[Edge, ...]
    median_image_size_in_voxels: tuple[int | float, ...] = ()
    spacing: tuple[Spacing, ...]
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
    normalize_after_resampling: bool = False
    average_probabilities: bool = False

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

    def input_channels(self, description: DatasetDescription) -> int:
        """Of the network: those of the images, and in a cascade one per foreground label."""
        images = len(description.channels)
        return images if self.previous_stage is None else images + len(description.label_spec.foreground_labels)

    def contradictions(self) -> list[Problem]:
        """Entries that do not fit each other."""
        found = []
        patch, spacing = list(self.patch_size), list(self.spacing)
        if len(patch) not in (2, 3):
            return [Problem(f"patch_size {patch} has {len(patch)} axes, images have 2 or 3.")]
        if len(spacing) != len(patch):
            found.append(Problem(f"spacing {spacing} has {len(spacing)} axes, patch_size {patch} has {len(patch)}."))
        schemes, masks = len(self.normalization_schemes), len(self.use_mask_for_norm)
        if schemes != masks:
            text = f"normalization_schemes names {counted(schemes, 'channel')}, use_mask_for_norm {masks}."
            found.append(Problem(text))
        return found + self._patch_problems()

    def _patch_problems(self) -> list[Problem]:
        """Whether the network can take the patch, as far as the network is described in the usual way."""
        patch = list(self.patch_size)
        try:
            dimension, divisor = self.architecture.dimension, list(self.architecture.patch_divisor)
        except (KeyError, TypeError, ValueError):  # building the network tells what is wrong
            return []
        if dimension != len(patch):
            return [Problem(f"patch_size {patch} has {len(patch)} axes, the network (conv_op) {dimension}.")]
        if any(step > 0 and edge % step for edge, step in zip(patch, divisor, strict=True)):
            hint = "Change patch_size, or the strides of the architecture."
            return [Problem(f"patch_size {patch} is no multiple of {divisor}, the network's strides.", hint)]
        return []


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
    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, data: Any) -> Any:
        return upgrade_plans(data) if isinstance(data, dict) else data

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read and check a file; its configurations are checked when they are asked for.

        Raises:
            UserError: missing, not JSON, or wrong content.
        """
        plans = super().load(path)
        plans._file = Path(path)
        return plans

    def __eq__(self, other: object) -> bool:
        """Whether the content is the same; the files may be different ones."""
        if not isinstance(other, Plans):
            return NotImplemented
        return (self.__dict__, self.model_extra) == (other.__dict__, other.model_extra)

    @property
    def configuration_names(self) -> tuple[str, ...]:
        """The names of all configurations, in the file's order."""
        return tuple(self.configurations)

    def configuration(self, name: str) -> Configuration:
        """A configuration with everything it inherits.

        Raises:
            UserError: unknown name, a circle of ``inherits_from``, or entries that are missing, out of range or do not
                fit each other.
        """
        source = f"Configuration {name!r} of {self._file or f'plans {self.plans_name!r}'}"
        found = Configuration.from_json(resolve_inheritance(name, self.configurations), source)
        if contradictions := found.contradictions():
            raise ProblemsError(f"{source} can't be used:", contradictions)
        return found

    def stages(self, name: str) -> tuple[str, ...]:
        """The names of a cascade's stages, the first one first and this one last; this one alone if it is no cascade.

        A stage that the plans do not have is named, too; it ends the search.

        Raises:
            UserError: a stage comes before itself; or see :meth:`configuration`.
        """
        chain = [name]
        while chain[0] == name or chain[0] in self.configurations:
            stage = self.configuration(chain[0]).previous_stage
            if stage is None:
                break
            if stage in chain:
                circle = "itself" if stage == chain[0] else f"a cascade after it: {' -> '.join([stage, *chain])}"
                raise UserError(
                    f"Configuration {chain[0]} of {self.plans_name} is a cascade after {stage!r}, which is {circle}.",
                    f'Correct "previous_stage"; the plans have {", ".join(self.configuration_names)}.',
                )
            chain.insert(0, stage)
        return tuple(chain)
