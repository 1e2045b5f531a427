"""Running a task: rough crop, resampling, the models one after the other, clean-up, and back to the image's grid.

The steps are TotalSegmentator's, in its order and with its rounding; all of them in memory and in this process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.words import counted
from segautoconfiglib.image.crop import Box, uncrop
from segautoconfiglib.image.integrity import count_non_finite
from segautoconfiglib.image.volume import Volume
from segautoconfiglib.tasks import cleanup
from segautoconfiglib.tasks.catalogue import BODY_CLASSES, TOTAL, Crop, Part, Task, find_task, load_catalogue
from segautoconfiglib.tasks.crop import crop_box, cropped, cut_labels
from segautoconfiglib.tasks.grid import Turn, nearest, resample, stored_spacing
from segautoconfiglib.tasks.loaded import LoadedModels
from segautoconfiglib.tasks.options import TaskOptions, TaskResult, Working
from segautoconfiglib.tasks.parts import merge, pieces, too_large

DEFAULTS = TaskOptions()
ROUGH = "rough crop"
#: An image with fractions whose values span less (HU, or the units of the scanner) has been normalised, it seems.
LEAST_SPAN = 10.0
#: Where the name of a model's dataset tells about its structures.
STRUCTURES_IN_NAME = re.compile(r"part\d+_([a-z]+)_\d+subj$")


def segment(
    volume: Volume,
    task: Task | str,
    options: TaskOptions = DEFAULTS,
    *,
    models: LoadedModels,
    name: str = "The image",
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> TaskResult:
    """Find the structures of a task in an image.

    Args:
        volume: (1, z, y, x) of any type and orientation; of several channels the first is used, with a warning.
        task: Or its name.
        options: How.
        models: Their device is computed on.
        name: Of the image, for errors: its file.
        report: Gets "started" and "progress" of each stage ("rough crop", "part 2 of 5: vertebrae"), and "warning".
        cancel: Asked between tiles.

    Raises:
        UserError: the image can't be used, the options do not go with the task, or weights are missing.
        Cancelled: on request.
    """
    task = find_task(task) if isinstance(task, str) else task
    options.check(task)
    run = _Run(models, name, report, cancel or CancelToken())
    image = run.checked(volume)
    crop = run.crop_for(task, options)
    mode = options.mode(task).model_copy(update={"parts": options.parts(task)})
    models.check(load_catalogue().needed(task, mode, crop))
    result = run.task(image, task, options, crop)
    return replace(result, warnings=tuple(run.warnings))


@dataclass(frozen=True)
class _Rough:
    """What a rough model found: its labels (z, y, x) on the image's grid, and the box around the wanted ones."""

    task: Task
    labels: np.ndarray
    box: Box | None

    def mask(self, classes: Sequence[str]) -> np.ndarray:
        """Where structures are, (z, y, x) bool."""
        return _mask(self.labels, self.task, classes)


@dataclass
class _Run:
    """One call: what its steps share."""

    models: LoadedModels
    name: str
    report: Reporter
    cancel: CancelToken
    warnings: list[str] = field(default_factory=list)
    fractions_told: bool = False

    def warn(self, message: str, hint: str = "") -> None:
        """Tell it, once."""
        text = f"{message} {hint}".strip()
        if text not in self.warnings:
            self.warnings.append(text)
            self.report("warning", message=message, hint=hint)

    def checked(self, volume: Volume) -> Volume:
        """The image as a task takes it. Raises: UserError: it can't be used."""
        if volume.geometry.dimension != 3:
            raise UserError(f"{self.name} is 2D; TotalSegmentator's tasks need 3D images.", "Give a whole scan.")
        if len(volume.array) > 1:
            self.warn(f"{self.name} has {counted(len(volume.array), 'channel')}; only the first is used.")
            volume = Volume(volume.array[:1], volume.geometry)
        if 1 in volume.shape:
            self.warn(f"{self.name} has one slice only; the models know volumes.", "Give the whole scan.")
        wrong = sum(count_non_finite(volume.array))
        if wrong:
            raise UserError(
                f"{self.name} holds {counted(wrong, 'voxel')} that {'is' if wrong == 1 else 'are'} NaN or infinite.",
                "Replace them, usually by the background value.",
            )
        return volume

    def crop_for(self, task: Task, options: TaskOptions) -> Crop | None:
        """What the image is cropped to for a task."""
        crop = load_catalogue().rough_crop(task, options.subset, robust=options.robust_crop)
        if crop is None and options.body_crop:
            if task.modality == "CT":
                return load_catalogue().body_crop()
            self.warn("Only CT can be cropped to the body; the whole image is used.")
        return crop

    def task(
        self, volume: Volume, task: Task, options: TaskOptions, crop: Crop | None, purpose: str = ""
    ) -> TaskResult:
        """All steps of a task for a purpose (what users read; empty: the result)."""
        names = options.names(task)
        rough = self.rough(volume, crop, options) if crop else None
        if rough and rough.box is None:
            self.warn(f"The structures around which {task.name} looks were not found: its result is empty.")
            return TaskResult(np.zeros(volume.shape, np.uint8), volume.geometry, names)
        box = rough.box if rough else None
        part = cropped(volume, box) if box else volume
        turn = Turn.canonical(part.geometry)
        upright = turn.volume(part)
        working = self.working(upright, task, options, purpose)
        if options.low_resolution and not options.higher_order:
            found = turn.inverse.volume(Volume(working.labels[None], working.image.geometry))
            labels = _chosen(np.ascontiguousarray(found.array[0]), task, options, names)
            return TaskResult(labels, found.geometry, names, working)
        labels = turn.inverse.array(nearest(working.labels, upright.shape))
        if rough and crop and box:
            if not purpose:
                self.warn_if_cut(cut_labels(labels, box, volume.shape), task, crop, options)
            labels = uncrop(labels, box, volume.shape)
        return TaskResult(self.finished(labels, volume, task, options, rough, names), volume.geometry, names, working)

    def rough(self, volume: Volume, crop: Crop, options: TaskOptions) -> _Rough:
        """Run a rough model, or a whole task in its place."""
        task, whole = find_task(crop.task), crop.mode == "default"
        settings = TaskOptions(fast=crop.mode == "fast", fastest=crop.mode == "fastest", order=options.order)
        purpose = f"{ROUGH}: {crop.task}" if whole else ROUGH
        own = self.crop_for(task, settings) if whole else None
        labels = self.task(volume, task, settings, own, purpose).labels
        return _Rough(task, labels, crop_box(_mask(labels, task, crop.classes), volume.geometry, crop.addon_mm))

    def working(self, image: Volume, task: Task, options: TaskOptions, purpose: str) -> Working:
        """What a task's networks find in an image whose axes run to head, front and right."""
        mode = options.mode(task)
        given = image
        if mode.spacing_mm is not None and not options.higher_order:
            image = resample(image, mode.spacing_mm, options.order)
        if task.modality == "CT" or image is not given:
            self.warn_of_fractions(given.array, image.array)
        image = Volume(image.array, replace(image.geometry, spacing_mm=stored_spacing(image.geometry)))
        several, parts = len(mode.parts) > 1, options.parts(task)
        steps = len(parts) + (task.refined_by is not None)
        split = options.force_split or (several and too_large(image.shape))
        labels = np.zeros(image.shape, np.uint8)
        for number, part in enumerate(parts, start=1):
            stage = f"part {number} of {steps}{_structures(part)}" if several or steps > 1 else purpose or task.name
            self.predict(image, part, mode.step, labels, stage, split=split)
        return Working(image, _cleaned(labels, task, image.geometry.spacing_mm, options.small_blobs_mm3))

    def predict(self, image: Volume, part: Part, step: float, labels: np.ndarray, stage: str, *, split: bool) -> None:
        """Write what one model finds into ``labels``, piece by piece."""
        from segautoconfiglib.inference.images import predict_image

        self.cancel.raise_if_cancelled()
        places = pieces(image.shape, split=split)
        self.report("started", stage=stage, total=len(places))
        model = self.models.get(part)
        for done, piece in enumerate(places):
            seen = Volume(image.array[:, piece.read], image.geometry)
            report = _as_stage(self.report, stage, done, len(places))
            found = predict_image(seen, model, mirror=False, step=step, report=report, cancel=self.cancel).labels
            merge(labels[piece.written], found.array[0, piece.kept], part.labels)

    def finished(
        self,
        labels: np.ndarray,
        volume: Volume,
        task: Task,
        options: TaskOptions,
        rough: _Rough | None,
        names: dict[int, str],
    ) -> np.ndarray:
        """The last steps, on the image's grid."""
        spacing = volume.geometry.spacing_mm
        if task.refined_by is not None:
            other, settings = find_task(task.refined_by), TaskOptions(order=options.order)
            last = len(options.parts(task)) + 1
            purpose = f"part {last} of {last}: {other.name}"
            bodies = self.task(volume, other, settings, self.crop_for(other, settings), purpose).labels
            labels = cleanup.refine_vertebrae(labels, spacing, _mask(bodies, other, [task.refined_by]))
        labels = _chosen(labels, task, options, names)
        if task.remove_outside is not None and rough is not None:
            mask = rough.mask(task.remove_outside.classes)
            labels = cleanup.remove_outside(labels, mask, spacing, task.remove_outside.margin_mm)
        return np.ascontiguousarray(labels)

    def warn_of_fractions(self, given: np.ndarray, whole: np.ndarray) -> None:
        """Tell of an image in fractions of which little is left in whole numbers."""
        if given.dtype.kind != "f" or self.fractions_told:
            return
        low, high = float(given.min()), float(given.max())
        little = high - low < LEAST_SPAN or whole.min() == whole.max()
        if little and any((plane % 1).any() for plane in given[0]):
            self.fractions_told = True  # of a part of the image the range would be another one
            self.warn(
                f"{self.name} has fractions from {low:g} to {high:g}; the models know whole numbers of a wider range.",
                "Give the intensities as the scanner gave them (CT in Hounsfield units), not normalised ones.",
            )

    def warn_if_cut(self, labels: Sequence[int], task: Task, crop: Crop, options: TaskOptions) -> None:
        found = [task.classes[label] for label in labels]
        cut = [name for name in found if not options.subset or name in options.subset]
        if not cut:
            return
        hint = "Use --robust_crop, which finds the surroundings with a finer model." if crop.mode == "fastest" else ""
        self.warn(f"{', '.join(cut)}: reaches the border of the rough crop, and may be cut off there.", hint)


def _mask(labels: np.ndarray, task: Task, classes: Sequence[str]) -> np.ndarray:
    """Where structures of a task are, (z, y, x) bool."""
    return cleanup.keep(labels, task.labels(classes)) > 0


def _structures(part: Part) -> str:
    """ ": vertebrae" for a model whose dataset's name says so."""
    match = STRUCTURES_IN_NAME.search(load_catalogue().datasets[part.dataset_id].folder)
    return f": {match[1]}" if match else ""


def _as_stage(report: Reporter, stage: str, done: int, total: int) -> Reporter:
    """Tells of the progress of one image (a share of 1) as that of one step of a stage."""

    def relay(kind: str, **data: Any) -> None:
        if kind == "progress":
            report(kind, stage=stage, done=round(done + data["done"], 3), total=total)

    return relay


def _cleaned(
    labels: np.ndarray, task: Task, spacing_mm: tuple[float, float, float], small_blobs_mm3: float
) -> np.ndarray:
    """The clean-up at the resolution of the models."""
    if task.auxiliary:
        labels = cleanup.keep(labels, task.classes)
    if "body" in task.cleanup:
        labels = cleanup.clean_body(labels, spacing_mm, *task.labels(BODY_CLASSES))
    if "vertebrae_pp" in task.cleanup:
        labels = cleanup.clean_vertebrae(labels, spacing_mm, task.classes)
    if small_blobs_mm3 > 0:
        labels = cleanup.remove_small(labels, spacing_mm, small_blobs_mm3)
    return labels


def _chosen(labels: np.ndarray, task: Task, options: TaskOptions, names: dict[int, str]) -> np.ndarray:
    """Only wanted structures, under the numbers of the result."""
    if options.v1_order and task.name == TOTAL:
        numbers = {name: label for label, name in names.items()}
        return cleanup.relabel(labels, {old: numbers[name] for old, name in task.classes.items() if name in numbers})
    return cleanup.keep(labels, names) if options.subset else labels
