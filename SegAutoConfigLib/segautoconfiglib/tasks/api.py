"""TotalSegmentator's tasks in one call: image in, labels and files out.

from segautoconfiglib.tasks.api import totalsegmentator

totalsegmentator("ct.nii.gz", "segmentations", task="total", fast=True)
labels = totalsegmentator(sitk.ReadImage("ct.nii.gz"), task="body")
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.image import dicom
from segautoconfiglib.image.medical import sitk_from_labels
from segautoconfiglib.image.volume import Volume
from segautoconfiglib.tasks.catalogue import Task, find_task
from segautoconfiglib.tasks.loaded import LoadedModels
from segautoconfiglib.tasks.options import TaskResult
from segautoconfiglib.tasks.output.report import run_report, write_report
from segautoconfiglib.tasks.places import places
from segautoconfiglib.tasks.results import Numbers, measured, write_results
from segautoconfiglib.tasks.run import segment
from segautoconfiglib.tasks.source import Image, Source, opened
from segautoconfiglib.tasks.staging import staged
from segautoconfiglib.tasks.weights import WeightsFolders
from segautoconfiglib.tasks.wishes import Wishes, device_name

#: The same task for the other kind of scanner, chosen by what DICOM says.
COUNTERPARTS = {("total", "MR"): "total_mr", ("total_mr", "CT"): "total"}
LICENCE = "weights under a licence of their own, which TotalSegmentator's authors give: it holds here, too."


@dataclass(frozen=True)
class Outcome:
    """What one run has made.

    Attributes:
        task: That was run; another one than was asked for where the scanner was another.
        result: The labels.
        statistics: If they were wished for.
        files: That were written.
    """

    task: Task
    result: TaskResult
    statistics: Numbers | None
    files: tuple[Path, ...]


def totalsegmentator(
    input: Image,
    output: Path | str | None = None,
    task: str = "total",
    *,
    weights: Path | str | None = None,
    events: Reporter = silent,
    cancel: CancelToken | None = None,
    **options: Any,
) -> Any:
    """Segment one image with a task of TotalSegmentator.

    Args:
        input: A file, a DICOM folder or zip file, a SimpleITK image, or a volume (1, z, y, x).
        output: A folder (one file per structure) or, with ``ml=True``, a file; None: only statistics and report
            are written, where they were given a file of their own, and a preview is refused.
        task: Its name.
        weights: A folder or zip file of weights; see `tasks.weights.WeightsFolders.search`.
        events: Gets progress and warnings.
        cancel: Asked meanwhile.
        options: TotalSegmentator's, see `tasks.wishes.Wishes`: ml, fast, roi_subset, statistics, preview, device ...

    Returns:
        The labels: a volume (1, z, y, x) for a volume, else a SimpleITK image. With ``statistics`` (labels, numbers).

    Raises:
        UserError: something in image, options or weights; nothing was written then.
        Cancelled: on request.
    """
    folders = WeightsFolders.search(weights, report=events, cancel=cancel)
    wishes = Wishes.of(**options)
    models = LoadedModels(folders, device_name(wishes.device))
    outcome = run_task(input, output, task, wishes, models, report=events, cancel=cancel)
    result = outcome.result
    labels: Any = Volume(result.labels[None], result.geometry)
    if not isinstance(input, Volume):
        labels = sitk_from_labels(result.labels, result.geometry)
    return labels if outcome.statistics is None else (labels, outcome.statistics)


def run_task(
    image: Image,
    output: Path | str | None,
    task: str,
    wishes: Wishes,
    models: LoadedModels,
    *,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Outcome:
    """Read the image, find the structures, measure them, write all files. See :func:`totalsegmentator`."""
    start = time.monotonic()
    warnings: list[str] = []

    def tell(kind: str, **data: Any) -> None:
        if kind == "warning":
            warnings.append(f"{data['message']} {data.get('hint') or ''}".strip())
        report(kind, **data)

    asked, options = find_task(task), wishes.options()
    wishes.check()
    with opened(image) as source:
        _tell_series(source, tell)
        chosen = _fitting(asked, source, tell)
        options.check(chosen)
        place = None if output is None else Path(output).expanduser().absolute()
        to = places(place, wishes, chosen, source)
        _tell(chosen, wishes, tell)
        models.used.clear()
        result = segment(source.volume, chosen, options, models=models, name=source.name, report=tell, cancel=cancel)
        numbers = measured(result, source, chosen, wishes, report=tell) if wishes.statistics else None
        with staged(tell) as staging:
            write_results(result, source, chosen, wishes, to, numbers, staging, report=tell, cancel=cancel)
            files = staging.targets
            if to.report is not None:
                content = run_report(
                    task=chosen.name, modality=chosen.modality, licence=chosen.licence, device=_device(wishes),
                    source=source.path, output=place, files=files,
                    weights=models.used, classes=result.names, runtime_seconds=time.monotonic() - start,
                    options=wishes.as_report(), warnings=warnings,
                )  # fmt: skip
                write_report(staging.file(to.report), content)
                files = [*files, to.report]
    return Outcome(chosen, replace(result, warnings=tuple(warnings)), numbers, tuple(files))


def _tell_series(source: Source, report: Reporter) -> None:
    """Which series was read, where another folder was named; and what is probably wrong with it."""
    series, path = source.series, source.path
    if series is None or path is None:
        return
    if path in series.parents:
        name = dicom.find_series(series).name
        report("log", message=f"The DICOM series {name!r} in {series} is read, the only one below {path}.")
    for problem in dicom.findings(series):
        report("warning", message=f"{path}: {problem.message}", hint=problem.hint)


def _fitting(task: Task, source: Source, report: Reporter) -> Task:
    """The task, or the same one for the scanner that the image comes from."""
    other = COUNTERPARTS.get((task.name, source.modality))
    if other is not None:
        report("warning", message=f"The image is {source.modality}: the task {other} is run, not {task.name}.", hint="")
        return find_task(other)
    if source.modality in ("CT", "MR") and source.modality != task.modality:
        text = f"The image is {source.modality}, the task {task.name} is for {task.modality}."
        report("warning", message=text, hint="Expect nothing of the result.")
    return task


def _tell(task: Task, wishes: Wishes, report: Reporter) -> None:
    """What a user should know about a task before it runs."""
    if task.licence:
        report("log", message=f"The task {task.name} uses {LICENCE}")
    if task.cropped_images:
        report(
            "warning", message=f"The task {task.name} expects an image that shows little else.", hint="Crop it first."
        )
    if task.note:
        report("log", message=f"{task.name}: {task.note}")
    device = _device(wishes)
    if wishes.device == "gpu" and device == "cpu":
        faster = " or ".join(_faster(task, wishes))
        advice = f"; faster with {faster}" if faster else ""
        report("log", message=f"There is no GPU: the processor is used{advice}.")


def _faster(task: Task, wishes: Wishes) -> list[str]:
    """Options that would save time and go with the task and the others."""
    options = wishes.options()
    coarser = not (options.fast or options.fastest) and "fast" in task.modes
    fewer = task.allows_subset and not options.subset and not options.low_resolution
    return [*(["--fast"] if coarser else []), *(["--roi_subset"] if fewer else [])]


def _device(wishes: Wishes) -> str:
    """What is computed on. Raises: UserError: there is no such device."""
    from segautoconfiglib.networks.device import resolve_device

    return resolve_device(device_name(wishes.device)).type
