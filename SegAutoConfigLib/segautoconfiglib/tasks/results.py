"""The files of a task: all of them, or none; what they replace stays until they are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.image.label_names import write_label_names
from segautoconfiglib.tasks.catalogue import Colour, Task, load_catalogue
from segautoconfiglib.tasks.derived import derived_masks
from segautoconfiglib.tasks.dicom_rtstruct import write_dicom_rtstruct
from segautoconfiglib.tasks.dicom_seg import write_dicom_seg
from segautoconfiglib.tasks.dicom_series import need_dicom_packages
from segautoconfiglib.tasks.options import TaskResult
from segautoconfiglib.tasks.outputs import ENDING, OutputType, output_files, write_masks, write_multilabel
from segautoconfiglib.tasks.preview import draw_preview
from segautoconfiglib.tasks.source import Source
from segautoconfiglib.tasks.statistics import statistics, write_statistics
from segautoconfiglib.tasks.wishes import Wishes

STATISTICS_FILE = "statistics.json"
BODY = "body"
DICOM_WRITERS = {"dicom_seg": write_dicom_seg, "dicom_rtstruct": write_dicom_rtstruct}

Numbers = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Places:
    """Where files go.

    Attributes:
        labels: By format; a folder stands for one file per structure.
        folder: That holds them, and what else is written.
        masks: One file per structure is wanted.
    """

    labels: Mapping[OutputType, Path]
    folder: Path
    masks: bool


def places(output: Path, wishes: Wishes, task: Task, source: Source) -> Places:
    """Where files will go, found out before the work.

    Raises:
        UserError: formats that do not go with the image, lacking packages, or a folder that can't be written to.
    """
    masks = wishes.types == ("nifti",) and not wishes.ml
    files = output_files(output, wishes.types, task=task.name, multilabel=not masks)
    if any(kind != "nifti" for kind in files):
        if source.series is None:
            raise UserError(
                "DICOM objects can be written for images that come as DICOM only.",
                "Give the folder of the series, or write NIfTI (-ot nifti).",
            )
        need_dicom_packages()
    folder = next(iter(files.values())) if masks else next(iter(files.values())).parent
    for place in (folder, *(Path(file).parent for file in (wishes.statistics_file, wishes.report) if file)):
        check_writable(place)
    return Places(files, folder, masks)


def write_results(
    result: TaskResult,
    source: Source,
    task: Task,
    wishes: Wishes,
    to: Places,
    numbers: Numbers | None,
    *,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Write label files, statistics and preview.

    Args:
        result: Of the task.
        source: Its image.
        task: Gives colours.
        wishes: Which files.
        to: Where to.
        numbers: The statistics; written unless a file of their own was named.
        report: Told of progress, and warned.
        cancel: Asked between masks.

    Returns:
        The files.

    Raises:
        UserError: they can't be written, or there is nothing to write.
        Cancelled: on request.
    """
    with staged(to.folder) as folder:
        if not wishes.skip_saving and to.masks:
            _write_masks(result, source, task, wishes, folder, report, cancel)
        elif not wishes.skip_saving:
            _write_files(result, source, task, to, folder, report)
        if wishes.preview:
            _draw(result, task, folder / f"preview_{task.name}.png")
        if numbers is not None and wishes.statistics_file is None:
            write_statistics(folder / STATISTICS_FILE, numbers)
        return [to.folder / file.name for file in sorted(folder.iterdir())]


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """An empty folder; when the block ends well its files go to ``target``, else nothing has changed there.

    Raises:
        UserError: the folder can't be written to.
    """
    made = not target.exists()
    check_writable(target)
    target.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=target))
    try:
        yield folder
        files = sorted(folder.iterdir())
        in_the_way = [target / file.name for file in files if (target / file.name).is_dir()]
        if in_the_way:
            raise UserError(f"Can't write {in_the_way[0]}: it is a folder.", "Remove it, or choose another output.")
        for file in files:
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made:
            with suppress(OSError):  # something was written
                target.rmdir()


def measured(result: TaskResult, source: Source, task: Task, wishes: Wishes) -> Numbers:
    """Volume and intensity of the structures; of fast models on their own grid, which is as good and faster."""
    labels, image, spacing, names = result.labels, source.volume, result.geometry.spacing_mm, result.names
    own_grid = task.refined_by is None and task.remove_outside is None and (wishes.fast or wishes.save_lowres)
    if own_grid and result.working is not None:
        labels, image = result.working.labels, result.working.image
        spacing, names = image.geometry.spacing_mm, _names(task, wishes)
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
    task: Task,
    wishes: Wishes,
    folder: Path,
    report: Reporter,
    cancel: CancelToken | None,
) -> None:
    like, workers = source.header, wishes.nr_thr_saving
    write_masks(
        result.labels, folder, result.geometry, result.names, like=like, workers=workers, report=report, cancel=cancel
    )
    if task.name == BODY and not wishes.no_derived_masks and result.labels.shape == source.volume.shape:
        for name, mask in derived_masks(result.labels, source.volume.array[0], result.names).items():
            write_label_names(mask, folder / f"{name}{ENDING}", result.geometry, {}, like=like)


def _write_files(result: TaskResult, source: Source, task: Task, to: Places, folder: Path, report: Reporter) -> None:
    colours = _colours(result.names)
    for kind, file in to.labels.items():
        if kind == "nifti":
            write_multilabel(
                result.labels, folder / file.name, result.geometry, result.names, colours, like=source.header
            )
        elif result.labels.any() or len(to.labels) == 1:
            assert source.series is not None
            write = DICOM_WRITERS[kind]
            write(result.labels, source.series, folder / file.name, result.names, colours, algorithm=task.name)
        else:
            report("warning", message=f"Nothing was found: {file.name} is not written.", hint="DICOM has no such form.")


def _draw(result: TaskResult, task: Task, file: Path) -> None:
    """The picture, from what the networks found: fewer voxels, and the axes of the body."""
    if result.working is None or task.refined_by is not None:
        names, labels, geometry = result.names, result.labels, result.geometry
    else:
        wanted = set(result.names.values())
        names = {label: name for label, name in task.classes.items() if name in wanted}
        labels, geometry = result.working.labels, result.working.image.geometry
    draw_preview(labels, geometry, names, file, colours=_colours(names), title=task.name)


def _names(task: Task, wishes: Wishes) -> dict[int, str]:
    """Of the task's own labels, those that are wanted."""
    return {label: name for label, name in task.classes.items() if not wishes.subset or name in wishes.subset}


def _colours(names: Mapping[int, str]) -> dict[int, Colour]:
    catalogue = load_catalogue()
    return {label: catalogue.colour(name) for label, name in names.items()}
