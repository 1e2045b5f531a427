"""Weights of TotalSegmentator's tasks as they are published, but of narrow networks and random numbers."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segautoconfiglib.tasks.catalogue import ModeName, Part, Task, load_catalogue

#: Voxels (z, y, x) of the published models' patches at about these spacings (mm); in between the next finer one.
PATCHES = {6.0: (64, 64, 64), 3.0: (112, 112, 128), 0.0: (128, 128, 128)}
#: Of models that take images as they are (mm; z, y, x).
NATIVE_SPACING = (1.5, 0.8, 0.8)
FEATURES_MAX_FACTOR = 10


def make_task_weights(
    folder: Path,
    task: str | Task,
    mode: ModeName = "default",
    *,
    width: int = 4,
    seed: int = 0,
    old_plans: bool = False,
    patch: Sequence[int] | None = None,
    small: bool = False,
    folds: Sequence[int] | None = None,
    real: bool = True,
) -> list[Path]:
    """Write the models of a task, without those that it crops with.

    Args:
        folder: Of weights; gets ``DatasetXXX_Name/<trainer>__<plans>__<configuration>`` for each part.
        task: Name, or the task itself.
        mode: Its resolution.
        width: Channels of the first stage (32 in the published models); up to ten times as many in the last ones.
        seed: Of the random weights; parts of a task differ.
        old_plans: Describe the network as nnU-Net before 2.5 did (``UNet_class_name``).
        patch: Voxels (z, y, x), powers of two times the smallest: smaller ones for faster tests, with fewer stages.
        small: The small variant of the models.
        folds: To be made; None: those that the task uses (0 where it uses all that there are).
        real: False: zip files of a few bytes for checkpoints, where nothing is predicted (needs no torch).

    Returns:
        The model folders in the order of the parts.
    """
    catalogue = load_catalogue()
    task = catalogue.find(task) if isinstance(task, str) else task
    parts = task.mode(fast=mode == "fast", fastest=mode == "fastest", small=small).parts
    made = []
    for number, part in enumerate(parts):
        place = folder / catalogue.datasets[part.dataset_id].folder / part.model_name
        plans = plans_json(task, part, place.parent.name, width, patch)
        written = with_old_network(plans, part.configuration) if old_plans else plans
        description = dataset_json(task, part)
        place.mkdir(parents=True, exist_ok=True)
        (place / "plans.json").write_text(json.dumps(written, indent=4))
        (place / "dataset.json").write_text(json.dumps(description, indent=4))
        for fold in folds or part.folds or (0,):
            file = place / f"fold_{fold}" / "checkpoint_final.pth"
            file.parent.mkdir(exist_ok=True)
            if real:
                arguments = {"plans": written, "fold": fold, "dataset_json": description}
                write_checkpoint(file, part, plans, arguments, seed + 1000 * number + fold)
            else:
                file.write_bytes(no_checkpoint())
        made.append(place)
    return made


def no_checkpoint(content: bytes = b"weights") -> bytes:
    """A zip file, as torch writes, but without weights."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("checkpoint_final/data.pkl"), content)
    return file.getvalue()


def dataset_json(task: Task, part: Part) -> dict[str, Any]:
    """Its labels have the names of the task's structures."""
    names = {**task.classes, **task.auxiliary}
    return {
        "channel_names": {"0": task.modality if task.modality == "CT" else "MRI"},
        "labels": {"background": 0, **{names[wanted]: own for own, wanted in part.labels.items()}},
        "numTraining": 100,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }


def plans_json(task: Task, part: Part, dataset: str, width: int, patch: Sequence[int] | None) -> dict[str, Any]:
    """Plans as nnU-Net writes them today."""
    spacing = part.spacing_mm or NATIVE_SPACING
    size = tuple(patch or next(patch for edge, patch in PATCHES.items() if min(spacing) >= edge))
    strides = strides_of(size)
    stages = len(strides)
    residual = "ResEnc" in part.plans
    blocks = [1, 3, 4, 6, 6, 6, 6][:stages] if residual else [2] * stages
    configuration = {
        "data_identifier": f"{part.plans}_{part.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(size),
        "median_image_size_in_voxels": [2.0 * edge for edge in size],
        "spacing": list(spacing),
        "normalization_schemes": ["CTNormalization" if task.modality == "CT" else "ZScoreNormalization"],
        "use_mask_for_norm": [False],
        **resampling_json(),
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet."
            + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": [min(width * 2**stage, FEATURES_MAX_FACTOR * width) for stage in range(stages)],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": strides,
                "n_blocks_per_stage" if residual else "n_conv_per_stage": blocks,
                "n_conv_per_stage_decoder": [1 if residual else 2] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    intensities = {
        "max": 3000.0, "mean": 40.0, "median": 50.0, "min": -1024.0,
        "percentile_00_5": -1000.0, "percentile_99_5": 1000.0, "std": 300.0,
    }  # fmt: skip
    return {
        "dataset_name": dataset,
        "plans_name": part.plans,
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": [2 * edge for edge in size],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {part.configuration: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def strides_of(patch: Sequence[int]) -> list[list[int]]:
    """One stage more for each time that all edges can be halved, down to 4 voxels; at most five."""
    strides, size = [[1, 1, 1]], list(patch)
    while len(strides) < 6 and all(edge % 2 == 0 and edge >= 8 for edge in size):
        size = [edge // 2 for edge in size]
        strides.append([2, 2, 2])
    return strides


def resampling_json() -> dict[str, Any]:
    """nnU-Net's usual resampling."""
    function = "resample_data_or_seg_to_shape"

    def options(order: int, labels: bool) -> dict[str, Any]:
        return {"is_seg": labels, "order": order, "order_z": 0, "force_separate_z": None}

    return {
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_data_kwargs": options(3, False),
        "resampling_fn_seg_kwargs": options(1, True),
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": options(1, False),
    }


def with_old_network(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """The same plans with the network described as before nnU-Net 2.5."""
    configuration = dict(plans["configurations"][name])
    architecture = configuration.pop("architecture")
    options = architecture["arch_kwargs"]
    blocks = options.get("n_conv_per_stage") or options["n_blocks_per_stage"]
    strides = options["strides"]
    configuration |= {
        "UNet_class_name": architecture["network_class_name"].rpartition(".")[2],
        "UNet_base_num_features": options["features_per_stage"][0],
        "unet_max_num_features": options["features_per_stage"][-1],
        "n_conv_per_stage_encoder": blocks,
        "n_conv_per_stage_decoder": options["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [sum(stride[axis] == 2 for stride in strides) for axis in range(3)],
        "pool_op_kernel_sizes": strides,
        "conv_kernel_sizes": options["kernel_sizes"],
    }
    return {**plans, "configurations": {name: configuration}}


def write_checkpoint(file: Path, part: Part, plans: dict[str, Any], arguments: dict[str, Any], seed: int) -> None:
    """A checkpoint as nnU-Net writes it, with random weights."""
    import numpy as np
    import torch

    from segautoconfiglib.networks.build import build_network
    from segautoconfiglib.networks.checkpoint import nnunet_weights
    from segautoconfiglib.planning.architectures import Architecture

    architecture = Architecture.model_validate(plans["configurations"][part.configuration]["architecture"])
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        network = build_network(architecture, 1, part.count + 1, deep_supervision=True)
    finally:
        torch.random.set_rng_state(state)
    content = {
        "network_weights": nnunet_weights(network),
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "ema_fg_dice": [np.float32(0.5)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {**arguments, "configuration": part.configuration, "unpack_dataset": True, "device": "cuda"},
        "trainer_name": part.trainer,
        "inference_allowed_mirroring_axes": None if "NoMirroring" in part.trainer else (0, 1, 2),
    }
    torch.save(content, file)
