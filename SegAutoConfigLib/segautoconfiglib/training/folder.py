"""A fold's folder and the model folder around it: what is in them before and besides the checkpoints."""

from __future__ import annotations

import platform
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.records import atomic_path, write_json
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.training.hooks import BEST, FINAL, LATEST
from segautoconfiglib.training.job import Means, TrainJob

#: nnU-Net needs a trainer class of its own to read a checkpoint; this one fits all of ours.
NNUNET_TRAINER = "nnUNetTrainer"


def prepare_folder(job: TrainJob, report: Reporter) -> Path | None:
    """Make the fold's folder, or decide about what is in it (nothing is removed yet).

    Returns:
        The checkpoint to resume from; None to start anew.

    Raises:
        UserError: the fold has checkpoints, and the job says neither to resume nor to overwrite.
    """
    folder = job.fold_folder
    found = [folder / name for name in (LATEST, FINAL, BEST) if (folder / name).is_file()]
    if found and not job.resume and not job.overwrite:
        done = "is trained already" if found[0].name == FINAL else "was trained before and not finished"
        raise UserError(
            f"Fold {job.fold} {done}: {found[0]} exists.",
            "Continue it with --resume, or discard it with --overwrite.",
        )
    if job.resume and found:
        return found[0]
    if job.resume:
        report("warning", message=f"{folder} holds no checkpoint to resume from.", hint="Training starts anew.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Can't make {folder}: {error.strerror}.", "Check the permissions and the free space."
        ) from error
    return None


def discard_training(folder: Path) -> None:
    """Remove what an earlier training of a fold left; called when nothing can keep the new one from starting."""
    for name in (FINAL, LATEST, BEST, "progress.png"):
        (folder / name).unlink(missing_ok=True)
    for name in ("validation", "validation_best"):
        shutil.rmtree(folder / name, ignore_errors=True)


def checkpoint_identity(job: TrainJob, device: torch.device) -> dict[str, Any]:
    """What nnU-Net reads from a checkpoint to predict with it."""
    return {
        "init_args": {
            "plans": job.plans.to_json(),
            "configuration": job.configuration,
            "fold": job.fold,
            "dataset_json": job.description.to_json(),
            "device": device,
        },
        "trainer_name": NNUNET_TRAINER,
        "inference_allowed_mirroring_axes": job.geometry.mirror_axes or None,
    }


def write_model_files(job: TrainJob) -> None:
    """plans.json, dataset.json and dataset_fingerprint.json in the model folder.

    Raises:
        UserError: the folder holds other folds that were trained with another plan.
    """
    old = job.model_folder / "plans.json"
    others = [file for file in job.model_folder.glob("fold_*/checkpoint_*.pth") if file.parent != job.fold_folder]
    if old.is_file() and others and _other_plan(Plans.load(old), job):
        raise UserError(
            f"{job.model_folder} holds {others[0].parent.name}, which was trained with another plan.",
            "Give the new plans another name, or remove the old folds.",
        )
    job.plans.save(old)
    job.description.save(job.model_folder / "dataset.json")
    fingerprint = job.dataset_folder / "dataset_fingerprint.json"
    if fingerprint.is_file():
        with atomic_path(job.model_folder / fingerprint.name) as temporary:
            shutil.copyfile(fingerprint, temporary)


def _other_plan(plans: Plans, job: TrainJob) -> bool:
    """True if predictions of the two could not be combined."""
    if job.configuration not in plans.configuration_names:
        return True
    old: Configuration = plans.configuration(job.configuration)
    new = job.plans.configuration(job.configuration)
    return (old.spacing, old.patch_size, old.architecture) != (new.spacing, new.patch_size, new.architecture)


def write_debug_file(job: TrainJob, means: Means) -> None:
    """debug.json: everything about this run that may explain its result."""
    write_json(
        job.fold_folder / "debug.json",
        {
            "job": {
                **{name: str(getattr(job, name)) for name in ("dataset_folder", "model_folder", "initial_weights")},
                "configuration_name": job.configuration,
                "fold": job.fold,
                "resume": job.resume,
                "compile": job.compile,
            },
            "recipe": asdict(job.recipe),
            "configuration": job.plans.configuration(job.configuration).to_json(),
            "patches": asdict(job.geometry),
            "batch_size": job.batch_size,
            "split": asdict(means.split),
            "workers": means.workers,
            "threads": means.threads,
            "device": str(means.device),
            "gpu_name": torch.cuda.get_device_name(means.device) if means.device.type == "cuda" else None,
            "hostname": platform.node(),
            "platform": platform.platform(),
            "torch_version": torch.__version__,
            "cudnn_version": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        },
    )
