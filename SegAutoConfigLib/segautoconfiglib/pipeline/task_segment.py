"""Segmenting an image with a task of TotalSegmentator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.words import counted
from segautoconfiglib.pipeline.tasks import task_weights
from segautoconfiglib.tasks.api import Outcome, run_task
from segautoconfiglib.tasks.catalogue import load_catalogue
from segautoconfiglib.tasks.loaded import LoadedModels
from segautoconfiglib.tasks.output.derived import DERIVED
from segautoconfiglib.tasks.output.label_files import ENDING
from segautoconfiglib.tasks.wishes import Wishes, device_name

STAGE = "task"


def segment_task(
    context: Context, image: Path, output: Path, task: str, wishes: Wishes, *, weights: Path | None = None
) -> Outcome:
    """Find the structures of a task in an image, and write them.

    Args:
        context: Its workspace may hold weights; gets progress, and can cancel.
        image: A file, or a DICOM series as a folder or zip file.
        output: A folder, or a file.
        task: Its name.
        wishes: TotalSegmentator's options.
        weights: A folder or zip file that is looked into first.

    Raises:
        UserError: see :func:`~segautoconfiglib.tasks.api.totalsegmentator`; what was there is as it was.
        Cancelled: on request, likewise.
    """
    output = output.expanduser().absolute()
    models = LoadedModels(task_weights(context, weights), device_name(wishes.device))
    outcome = run_task(image, output, task, wishes, models, report=context.report, cancel=context.cancel)
    found = np.count_nonzero(np.bincount(outcome.result.labels.reshape(-1))[1:])
    structures = {*outcome.result.names.values(), *DERIVED}
    masks = [file for file in outcome.files if file.parent == output and _structure(file) in structures]
    if masks:
        context.report("artifact", path=str(output), description=counted(len(masks), "mask"))
        _tell_older(context, output, masks)
    for file in outcome.files:
        if file not in masks:
            context.report("artifact", path=str(file), description="")
    nothing = "" if outcome.files else "; nothing was written"
    context.report(
        "done",
        stage=STAGE,
        message=f"{outcome.task.name}: {found} of {counted(len(outcome.result.names), 'structure')} found{nothing}.",
        task=outcome.task.name,
        output=str(output),
        files=[str(file) for file in outcome.files],
        labels={name: label for label, name in outcome.result.names.items()},
        warnings=list(outcome.result.warnings),
    )
    return outcome


def _tell_older(context: Context, folder: Path, masks: Sequence[Path]) -> None:
    """That there are masks of other structures which are of other runs."""
    structures = {*load_catalogue().colours, *DERIVED}
    older = sum(_structure(file) in structures for file in folder.glob(f"*{ENDING}") if file not in masks)
    if older:
        stay = "stays" if older == 1 else "stay"
        context.report("log", message=f"{counted(older, 'older mask')} {stay} in {folder}.")


def _structure(file: Path) -> str:
    """What a mask is called after; empty for other files."""
    return file.name[: -len(ENDING)] if file.name.endswith(ENDING) else ""
