"""A model folder of nnU-Net 1 made into one of nnU-Net 2: plans.json, dataset.json, checkpoints, postprocessing.

The plans say in keys of their own what v1 does in another way, so that predictions are v1's: the decoder's kernels,
normalisation after resampling, averages of probabilities.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import read_json, write_json
from segautoconfiglib.dataset.description import V1_FILE_ENDING, DatasetDescription
from segautoconfiglib.models.folder import DATASET_FILE, FINAL, PLANS_FILE, ModelFolder
from segautoconfiglib.models.packed import V1_CHECKPOINT, V1_PLANS
from segautoconfiglib.planning.architectures import PLAIN_UNET, Architecture, stage_features, unet_architecture
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.preprocessing.safe_pickle import load_pickle

#: Writes a checkpoint of v2: of a file of v1, to a file, for an architecture, with what nnU-Net reads besides.
ConvertCheckpoint = Callable[[Path, Path, Architecture, Mapping[str, Any]], None]
#: Whether a checkpoint of v1 has batch normalisation.
HasBatchNorm = Callable[[Path], bool]

NNUNET_TRAINER = "nnUNetTrainer"
AGAIN = "Get the model's zip file again."
#: What comes of values of another kind than expected, infinite numbers and lists too deep among them.
MALFORMED = (
    *(AttributeError, LookupError, TypeError, ValueError, SyntaxError),
    *(ArithmeticError, MemoryError, RecursionError),
)
#: Highest number of features, by dimension.
MOST_FEATURES = {2: 480, 3: 320}
SCHEMES = {"CT": "CTNormalization", "nonCT": "ZScoreNormalization", "noNorm": "NoNormalization"}
INTENSITIES = {
    "mean": "mean",
    "median": "median",
    "sd": "std",
    "mn": "min",
    "mx": "max",
    "percentile_99_5": "percentile_99_5",
    "percentile_00_5": "percentile_00_5",
}
#: The structures of v1's trainers for BraTS (their names contain "BraTSRegions").
BRATS_REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
KEEP_LARGEST = "remove_all_but_largest_component_from_segmentation"


def convert_model(folder: Path, convert: ConvertCheckpoint, has_batch_norm: HasBatchNorm) -> None:
    """Convert an unpacked model in its place.

    Args:
        folder: ``DatasetXXX_Name/<trainer>__<plans>__<configuration>`` with plans.pkl and the folds.
        convert: See `segautoconfiglib.networks.v1.convert_checkpoint`.
        has_batch_norm: See there.

    Raises:
        UserError: plans.pkl or a checkpoint is damaged, would run code, or asks for what v2 does not have.
    """
    model, file = ModelFolder(folder), folder / V1_PLANS
    trainer, plans_name, configuration = model.name_parts
    old = load_pickle(file, remedy=AGAIN)
    checkpoints = sorted(folder.glob(f"fold_*/{V1_CHECKPOINT}"))
    try:
        description = v2_description(old, trainer)
        plans = v2_plans(old, model.path.parent.name, plans_name, batch_norm=has_batch_norm(checkpoints[0]))
    except MALFORMED as error:
        raise UserError(f"{file} is no plans file of nnU-Net 1 ({type(error).__name__}: {error}).", AGAIN) from error
    axes = len(plans.configuration(configuration).patch_size)
    plans.save(folder / PLANS_FILE)
    description.save(folder / DATASET_FILE)
    for checkpoint in checkpoints:
        fold = checkpoint.parent.name.removeprefix("fold_")
        identity = {
            "init_args": {
                "plans": plans.to_json(),
                "configuration": configuration,
                "fold": int(fold) if fold.isdigit() else fold,
                "dataset_json": description.to_json(),
            },
            "trainer_name": NNUNET_TRAINER,
            "inference_allowed_mirroring_axes": None if "nomirror" in trainer.lower() else tuple(range(axes)),
        }
        convert(checkpoint, checkpoint.with_name(FINAL), plans.configuration(configuration).architecture, identity)
        checkpoint.unlink()
    _convert_postprocessing(folder, [checkpoint.parent.name.removeprefix("fold_") for checkpoint in checkpoints])
    file.unlink()


def v2_description(old: Mapping[str, Any], trainer: str) -> DatasetDescription:
    """dataset.json; plans of v1 tell no names of structures. Raises: KeyError, TypeError, ...: malformed plans."""
    modalities = old["modalities"]
    content: dict[str, Any] = {
        "channel_names": {str(index): str(modalities[index]) for index in range(int(old["num_modalities"]))},
        "labels": {"background": 0, **{f"class {n}": n for n in range(1, int(old["num_classes"]) + 1)}},
        "numTraining": len(old["dataset_properties"]["all_sizes"]),
        "file_ending": V1_FILE_ENDING,
    }
    if "BraTSRegions" in trainer:
        content |= {"labels": BRATS_REGIONS, "regions_class_order": [1, 2, 3]}
    return DatasetDescription.from_json(content, V1_PLANS)


def v2_plans(old: Mapping[str, Any], dataset: str, plans_name: str, *, batch_norm: bool = False) -> Plans:
    """plans.json of v1's plans. Raises: KeyError, TypeError, ...: malformed plans; UserError: see `_schemes`."""
    stages = dict(old["plans_per_stage"])
    entries = [_configuration(old, stages[key], batch_norm=batch_norm) for key in sorted(stages)]
    flat = len(entries[-1]["patch_size"]) == 2
    if flat or len(entries) == 1:
        configurations = {"2d" if flat else "3d_fullres": entries[-1]}
    else:
        configurations = {
            "3d_lowres": {**entries[0], "next_stage": "3d_cascade_fullres"},
            "3d_fullres": entries[-1],
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        }
    for name, entry in configurations.items():
        if "inherits_from" not in entry:
            entry["data_identifier"] = f"{plans_name}_{name}"
    last = stages[max(stages)]
    return Plans.from_json(
        {
            "dataset_name": dataset,
            "plans_name": plans_name,
            "original_median_spacing_after_transp": _numbers(last["current_spacing"]),
            "original_median_shape_after_transp": _numbers(last["median_patient_size_in_voxels"]),
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [int(axis) for axis in old.get("transpose_forward") or (0, 1, 2)],
            "transpose_backward": [int(axis) for axis in old.get("transpose_backward") or (0, 1, 2)],
            "configurations": configurations,
            "experiment_planner_used": "nnU-Net 1",
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": _intensities(old),
        },
        V1_PLANS,
    )


def _configuration(old: Mapping[str, Any], stage: Mapping[str, Any], *, batch_norm: bool) -> dict[str, Any]:
    patch = [int(edge) for edge in stage["patch_size"]]
    dimension, channels = len(patch), int(old["num_modalities"])
    return {
        "data_identifier": "",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": int(stage["batch_size"]),
        "patch_size": patch,
        "median_image_size_in_voxels": _numbers(stage["median_patient_size_in_voxels"])[-dimension:],
        "spacing": _numbers(stage["current_spacing"])[-dimension:],
        "normalization_schemes": _schemes(old, channels),
        "use_mask_for_norm": [bool(old["use_mask_for_norm"][index]) for index in range(channels)],
        "architecture": _architecture(old, stage, dimension, batch_norm=batch_norm),
        "batch_dice": True,
        "normalize_after_resampling": True,
        "average_probabilities": True,
    }


def _schemes(old: Mapping[str, Any], channels: int) -> list[str]:
    """Raises: UserError: for one that is not known."""
    names = [str(old["normalization_schemes"][index]) for index in range(channels)]
    unknown = [name for name in names if name not in SCHEMES]
    if unknown:
        raise UserError(
            f"The model normalises images by {unknown[0]!r}, which is not available.", f"Known: {', '.join(SCHEMES)}."
        )
    return [SCHEMES[name] for name in names]


def _architecture(
    old: Mapping[str, Any], stage: Mapping[str, Any], dimension: int, *, batch_norm: bool
) -> dict[str, Any]:
    kernels = [[int(edge) for edge in kernel] for kernel in stage["conv_kernel_sizes"]]
    strides = [[1] * dimension, *([int(edge) for edge in stride] for stride in stage["pool_op_kernel_sizes"])]
    convs, count = int(old.get("conv_per_stage") or 2), len(strides)
    architecture = unet_architecture(
        PLAIN_UNET,
        strides=strides,
        kernel_sizes=kernels,
        features_per_stage=stage_features(count, int(old["base_num_features"]), MOST_FEATURES[dimension]),
        depth={"n_conv_per_stage": [convs] * count, "n_conv_per_stage_decoder": [convs] * (count - 1)},
    ).to_json()
    decoder = kernels[:0:-1]
    if decoder != kernels[-2::-1]:
        architecture["arch_kwargs"]["decoder_kernel_sizes"] = decoder
    if batch_norm:
        architecture["arch_kwargs"]["norm_op"] = f"torch.nn.modules.batchnorm.BatchNorm{dimension}d"
    return architecture


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values]


def _intensities(old: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    found = old["dataset_properties"].get("intensityproperties") or {}
    return {
        str(int(channel)): {new: float(values[key]) for key, new in INTENSITIES.items() if key in values}
        for channel, values in found.items()
    }


def _convert_postprocessing(folder: Path, folds: list[str]) -> None:
    """v1's postprocessing.json in the place and form of v2's; nothing where it is missing or says nothing."""
    file = folder / "postprocessing.json"
    if not file.is_file():
        return
    targets = v2_targets(read_json(file), file)
    file.unlink()
    if targets:
        write_json(
            folder / f"crossval_results_folds_{'_'.join(folds)}" / file.name,
            {
                "postprocessing_fns": [KEEP_LARGEST] * len(targets),
                "postprocessing_kwargs": [{"labels_or_regions": target} for target in targets],
            },
        )


def v2_targets(content: Any, file: Path | str) -> list[int | list[int]]:
    """What v1 keeps the largest part of: labels, or lists of labels that count as one thing.

    Raises:
        UserError: the file is damaged, or keeps parts by their size (which v2 does not do).
    """
    try:
        sizes = content.get("min_valid_object_sizes")
        if sizes and ast.literal_eval(sizes if isinstance(sizes, str) else repr(sizes)):
            raise UserError(f"{file} removes parts below given sizes.", "That is not available; remove the file.")
        classes = content.get("for_which_classes") or []
        return [
            [int(label) for label in entry] if isinstance(entry, (list, tuple)) else int(entry) for entry in classes
        ]
    except MALFORMED as error:
        raise UserError(f"{file} is no postprocessing of nnU-Net 1 ({error}).", AGAIN) from error
