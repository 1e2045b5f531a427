"""A fold's folder and the model folder around it: what is in them before and besides the checkpoints."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.plugins import plugin_names
from segautoconfiglib.base.records import check_writable, copy_file, write_json
from segautoconfiglib.dataset.splits import RANDOM_SPLIT, SPLITS_FILE, is_random
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.preprocessing.stages import ENDING, NEXT_STAGE_FOLDER
from segautoconfiglib.training.hooks import BEST, FINAL, LATEST
from segautoconfiglib.training.job import Means, TrainJob

#: nnU-Net needs a trainer class of its own to read a checkpoint; this one fits all of ours.
NNUNET_TRAINER = "nnUNetTrainer"

#: Making this file in a fold's folder stops its training after the current step.
STOP_FILE = "stop"


def find_checkpoint(folder: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """Decide about what an earlier training left in a fold's folder; nothing is changed.

    Returns:
        The checkpoint to resume from; None to start anew.

    Raises:
        UserError: the fold has checkpoints, and it is neither to be resumed nor to be overwritten.
    """
    found = [folder / name for name in (LATEST, FINAL, BEST) if (folder / name).is_file()]
    if found and not resume and not overwrite:
        done = "is trained already" if found[0].name == FINAL else "was trained before and not finished"
        raise UserError(
            f"{folder.name} of {folder.parent.name} {done}: {found[0]} exists.",
            "Continue it with --resume, or discard it with --overwrite.",
            "resume-or-overwrite",
        )
    return found[0] if resume and found else None


def check_folders(job: TrainJob, report: Reporter) -> Path | None:
    """Find out whether the job may write into its folders; nothing is made or changed.

    Returns:
        The checkpoint to resume from; None to start anew.

    Raises:
        UserError: see `find_checkpoint`; the model's other folds were trained with another plan; or the folder can't
            be written to.
    """
    folder = job.fold_folder
    checkpoint = find_checkpoint(folder, resume=job.resume, overwrite=job.overwrite or not job.checkpoints)
    _check_plan(job)
    check_writable(folder)
    if job.resume and checkpoint is None:
        report("warning", message=f"{folder} holds no checkpoint to resume from.", hint="Training starts anew.")
    return checkpoint


def _check_plan(job: TrainJob) -> None:
    file, others = job.model_folder / "plans.json", job.other_folds()
    if file.is_file() and others and _other_plan(Plans.load(file), job):
        raise UserError(
            f"{job.model_folder} holds {others[0]}, which was trained with another plan.",
            "Give the new plans another name, or remove the old folds.",
        )


def discard_training(folder: Path, held_out: Iterable[str] = ()) -> None:
    """Remove what an earlier training of a fold left; called when nothing can keep the new one from starting.

    Args:
        folder: Of the fold.
        held_out: Its cases: what was predicted of them for next stages of a cascade goes, too.
    """
    for name in (FINAL, LATEST, BEST, "progress.png"):
        (folder / name).unlink(missing_ok=True)
    for name in ("validation", "validation_best"):
        shutil.rmtree(folder / name, ignore_errors=True)
    stages = list((folder.parent / NEXT_STAGE_FOLDER).glob("*"))
    for case in held_out:
        for stage in stages:
            (stage / f"{case}{ENDING}").unlink(missing_ok=True)


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
    """plans.json, dataset.json and dataset_fingerprint.json in the model folder."""
    job.plans.save(job.model_folder / "plans.json")
    job.description.save(job.model_folder / "dataset.json")
    fingerprint = job.dataset_folder / "dataset_fingerprint.json"
    if fingerprint.is_file():
        copy_file(fingerprint, job.model_folder / fingerprint.name)


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
            "plugins": plugin_names(),
            "configuration": job.plans.configuration(job.configuration).to_json(),
            "patches": asdict(job.geometry),
            "batch_size": job.batch_size,
            "split": asdict(means.split),
            RANDOM_SPLIT: is_random(job.dataset_folder / SPLITS_FILE, job.fold),
            "processes": means.group.size,
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
