"""The files of a task: labels, statistics, preview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.image.label_names import write_label_names
from segautoconfiglib.image.label_table import Colour
from segautoconfiglib.tasks.catalogue import Task, load_catalogue
from segautoconfiglib.tasks.options import TaskResult
from segautoconfiglib.tasks.output.derived import derived_masks
from segautoconfiglib.tasks.output.dicom_rtstruct import write_dicom_rtstruct
from segautoconfiglib.tasks.output.dicom_seg import write_dicom_seg
from segautoconfiglib.tasks.output.label_files import ENDING, write_masks
from segautoconfiglib.tasks.output.preview import draw_preview
from segautoconfiglib.tasks.output.statistics import border_warning, statistics, write_statistics
from segautoconfiglib.tasks.places import Places
from segautoconfiglib.tasks.source import Source
from segautoconfiglib.tasks.staging import Staging
from segautoconfiglib.tasks.wishes import Wishes

DICOM_WRITERS = {"dicom_seg": write_dicom_seg, "dicom_rtstruct": write_dicom_rtstruct}

Numbers = dict[str, dict[str, Any]]


def write_results(
    result: TaskResult,
    source: Source,
    task: Task,
    wishes: Wishes,
    to: Places,
    numbers: Numbers | None,
    staging: Staging,
    *,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> None:
    """Write label files, statistics and preview.

    Args:
        result: Of the task.
        source: Its image.
        task: Gives colours.
        wishes: How.
        to: Which files, and where to.
        numbers: The statistics.
        staging: Takes the files until all are complete.
        report: Told of progress, and warned.
        cancel: Asked between masks and structures.

    Raises:
        UserError: they can't be written.
        Cancelled: on request.
    """
    if to.masks is not None:
        _write_masks(result, source, wishes, to, staging.folder(to.masks), report, cancel)
    _write_files(result, source, task, to, staging, report, cancel)
    if to.preview is not None:
        _draw(result, task, staging.file(to.preview), report, cancel)
    if to.statistics is not None and numbers is not None:
        write_statistics(staging.file(to.statistics), numbers)


def measured(result: TaskResult, source: Source, task: Task, wishes: Wishes, *, report: Reporter = silent) -> Numbers:
    """Volume and intensity of the structures; of fast models on their own grid, which is as good and faster.

    What the border of the image, or of its crop on that grid, cuts is reported: its numbers are 0 unless others are
    wished for.
    """
    labels, image, spacing, names = result.labels, source.volume, result.geometry.spacing_mm, result.names
    own_grid = task.refined_by is None and task.remove_outside is None and (wishes.fast or wishes.save_lowres)
    cropped = False
    if own_grid and result.working is not None:
        options = wishes.options()
        cropped = bool(options.subset or options.body_crop or task.crop_rule)
        labels, image = result.working.labels, result.working.image
        spacing, names = image.geometry.spacing_mm, replace(options, v1_order=False).names(task)
    cut = "" if wishes.stats_include_incomplete else border_warning(labels, names, cropped=cropped)
    if cut:
        report("warning", message=cut, hint="--stats_include_incomplete counts what was found of them.")
    return statistics(
        labels,
        image.array[0],
        spacing,
        names,
        aggregation=wishes.stats_aggregation,
        include_incomplete=wishes.stats_include_incomplete,
        extra=wishes.statistics_extra,
    )


def _write_masks(
    result: TaskResult,
    source: Source,
    wishes: Wishes,
    to: Places,
    folder: Path,
    report: Reporter,
    cancel: CancelToken | None,
) -> None:
    like, workers = source.header, wishes.nr_thr_saving
    write_masks(
        result.labels, folder, result.geometry, result.names, like=like, workers=workers, report=report, cancel=cancel
    )
    if to.derived and result.labels.shape == source.volume.shape:
        for name, mask in derived_masks(result.labels, source.volume.array[0], result.names).items():
            write_label_names(mask, folder / f"{name}{ENDING}", result.geometry, {}, like=like)


def _write_files(
    result: TaskResult,
    source: Source,
    task: Task,
    to: Places,
    staging: Staging,
    report: Reporter,
    cancel: CancelToken | None,
) -> None:
    colours = _colours(result.names)
    for kind, file in to.labels.items():
        if kind == "nifti":
            place = staging.file(file)
            write_label_names(result.labels, place, result.geometry, result.names, colours, like=source.header)
        elif result.labels.any():
            assert source.series is not None
            DICOM_WRITERS[kind](
                result.labels, source.series, staging.file(file), result.names, colours, algorithm=task.name,
                report=report, cancel=cancel,
            )  # fmt: skip
        else:
            report("warning", message=f"Nothing was found: {file.name} is not written.", hint="DICOM has no such form.")


def _draw(result: TaskResult, task: Task, file: Path, report: Reporter, cancel: CancelToken | None) -> None:
    """The picture, from what the networks found: fewer voxels, and the axes of the body."""
    if result.working is None or task.refined_by is not None:
        names, labels, geometry = result.names, result.labels, result.geometry
    else:
        wanted = set(result.names.values())
        names = {label: name for label, name in task.classes.items() if name in wanted}
        labels, geometry = result.working.labels, result.working.image.geometry
    colours = _colours(names)
    draw_preview(labels, geometry, names, file, colours=colours, title=task.name, report=report, cancel=cancel)


def _colours(names: Mapping[int, str]) -> dict[int, Colour]:
    catalogue = load_catalogue()
    return {label: catalogue.colour(name) for label, name in names.items()}
