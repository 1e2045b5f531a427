"""Prediction of images in memory, of files, and of preprocessed cases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError, naming
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import write_json
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.image.files import sitk_from_labels, volume_from_sitk, write_labels
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.inference.model import Model, load_model
from segautoconfiglib.inference.predictor import Progress
from segautoconfiglib.inference.prepare import Prepared, memory_errors, prepared_cases, stored_cases
from segautoconfiglib.inference.probabilities import probabilities_array, write_probabilities
from segautoconfiglib.inference.window import check_step
from segautoconfiglib.preprocessing.case import preprocess_case
from segautoconfiglib.preprocessing.geometry import SpatialRecord
from segautoconfiglib.preprocessing.store import CaseStore

__all__ = [
    "Model",
    "PredictOptions",
    "Prediction",
    "load_model",
    "predict_cases",
    "predict_image",
    "predict_preprocessed",
]

STAGE = "predict"


@dataclass(frozen=True)
class PredictOptions:
    """How files are predicted.

    Attributes:
        save_probabilities: Also write ``<case>.npz`` (probabilities, float32) and ``<case>.pkl`` (geometry).
        continue_: Leave out cases whose files are there already.
        part, parts: Only the cases ``part``, ``part + parts``, ... of the sorted list.
        mirror: Average over mirrored images, along the axes the network was trained for.
        step: Distance of tiles, share of the patch.
        workers: 0 prepares each case only when its turn comes; otherwise the next one is prepared meanwhile, where the
            memory suffices for both.
    """

    save_probabilities: bool = False
    continue_: bool = False
    part: int = 0
    parts: int = 1
    mirror: bool = True
    step: float = INFERENCE.step
    workers: int | None = None

    def check(self) -> None:
        """Raises: UserError: values out of range."""
        check_step(self.step)
        if self.parts < 1 or not 0 <= self.part < self.parts:
            raise UserError(
                f"Part {self.part} of {self.parts} does not exist.",
                f"Parts are numbered 0 to {max(self.parts - 1, 0)}.",
            )


@dataclass(frozen=True)
class Prediction:
    """What is found in one image.

    Attributes:
        labels: Like the image that was given: a SimpleITK image, a Volume (1, z, y, x), or an array (z, y, x).
        probabilities: (class or region, z, y, x) float32 where they were asked for.
    """

    labels: Any
    probabilities: np.ndarray | None = None


def predict_image(
    image: Volume | np.ndarray | sitk.Image | Sequence[sitk.Image],
    model: Model,
    *,
    spacing_mm: Sequence[float] | None = None,
    mirror: bool = True,
    step: float = INFERENCE.step,
    probabilities: bool = False,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Prediction:
    """Segment one image in memory.

    Args:
        image: A SimpleITK image, one SimpleITK image per channel, an array (channel, z, y, x), or a Volume.
        model: From :func:`load_model`.
        spacing_mm: Voxel edges (z, y, x) of an array; other images know theirs.
        mirror: Average over mirrored images, along the axes the network was trained for.
        step: Distance of tiles, share of the patch.
        probabilities: Return those too.
        report: Gets "progress" events.
        cancel: Asked between tiles.

    Returns:
        The labels on the image's grid, in the form in which the image was given.

    Raises:
        UserError: the image is none of these, an array has no spacing, the channels are not those that the model was
            trained with, or the memory does not suffice.
        Cancelled: on request.

    Example:
        Segment a file with all folds of a model::

            import SimpleITK as sitk
            from segautoconfiglib.inference.run import load_model, predict_image

            model = load_model("Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres", device="cpu")
            prediction = predict_image(sitk.ReadImage("case_0000.nii.gz"), model)
            sitk.WriteImage(prediction.labels, "case.nii.gz")

        An array of your own, axes (channel, z, y, x)::

            labels = predict_image(array, model, spacing_mm=(3.0, 0.8, 0.8)).labels
    """
    volume = _as_volume(image, spacing_mm)
    classes = model.label_spec.output_channels
    with memory_errors(model.device, volume.shape, classes):
        case = preprocess_case(volume, None, model.plans, model.configuration, None)
        values = np.empty((classes, *volume.shape), np.float32) if probabilities else None
        found = model.segment(
            case.data,
            case.record,
            mirror=mirror,
            step=step,
            probabilities=values,
            progress=_tile_progress(report, "image", 0, 1),
            cancel=cancel,
        )
    report("progress", stage=STAGE, done=1, total=1, case="image")
    if isinstance(image, Volume):
        return Prediction(Volume(found[None], volume.geometry), values)
    if isinstance(image, np.ndarray):
        return Prediction(found, values)
    return Prediction(sitk_from_labels(found, volume.geometry), values)


def _as_volume(image: Any, spacing_mm: Sequence[float] | None) -> Volume:
    """An image of any kind that `predict_image` takes."""
    if isinstance(image, Volume):
        return image
    if isinstance(image, np.ndarray):
        return _array_volume(image, spacing_mm)
    channels = [image] if isinstance(image, sitk.Image) else image
    if not isinstance(channels, (list, tuple)) or not all(isinstance(channel, sitk.Image) for channel in channels):
        raise UserError(
            f"A {type(image).__name__} is no image in memory.",
            "Give a SimpleITK image (SimpleITK.ReadImage reads a file), one for each channel, or an array "
            "(channel, z, y, x) with spacing_mm.",
        )
    volumes = [volume_from_sitk(channel) for channel in channels]
    if not volumes:
        raise UserError("There is no image.", "Give one for each channel.")
    for number, volume in enumerate(volumes[1:], start=1):
        differences = volumes[0].geometry.differences(volume.geometry)
        if differences or volumes[0].shape != volume.shape:
            raise UserError(
                f"Channel {number} has not the grid of channel 0 (shape {volume.shape} against {volumes[0].shape}"
                f"{''.join('; ' + text for text in differences)}).",
                "Resample all channels to one grid.",
            )
    return Volume(np.concatenate([volume.array for volume in volumes]), volumes[0].geometry)


def _array_volume(array: np.ndarray, spacing_mm: Sequence[float] | None) -> Volume:
    if array.ndim != 4:
        raise UserError(
            f"The array has the shape {array.shape}; its axes must be (channel, z, y, x).",
            "array[None] adds the axis of a single channel, array[:, None] that of a single slice.",
        )
    z, y, x = spacing_mm if spacing_mm is not None and len(spacing_mm) == 3 else (0.0, 0.0, 0.0)
    if not all(0 < edge < math.inf for edge in (z, y, x)):
        raise UserError(
            f"The array's spacing is {spacing_mm}.", "Give spacing_mm=(z, y, x), the edges of a voxel in millimetres."
        )
    return Volume(array, Geometry((float(z), float(y), float(x))))


def predict_cases(
    model: Model,
    cases: Sequence[Case],
    output: Path,
    *,
    options: PredictOptions = PredictOptions(),
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Segment the images of many cases. A case's label file appears last, and only when it is whole.

    Args:
        model: From :func:`load_model`.
        cases: Such as :func:`~segautoconfiglib.dataset.dataset.list_cases` gives, which checks the channels.
        output: Folder for ``<case><file ending of the dataset>``.
        options: How.
        report: Gets "started", "progress" per case and within cases, "done", and "artifact" if any case was predicted.
        cancel: Asked between tiles; cases that are finished stay.

    Returns:
        The label files of the cases of this part, in order.

    Raises:
        UserError: names the case that can't be predicted.
        Cancelled: on request.
    """
    options.check()
    mine = sorted(cases, key=lambda case: case.id)[options.part :: options.parts]
    job = _Job(model, Path(output), options, report, cancel or CancelToken())
    waiting = [case for case in mine if not (options.continue_ and job.finished(case.id))]
    if len(waiting) < len(mine):
        report("log", message=f"{len(mine) - len(waiting)} of {len(mine)} cases are there already.")
    job.write_description(cases)
    job.run([case.id for case in waiting], prepared_cases(waiting, model, ahead=options.workers != 0))
    if waiting:
        report("artifact", path=str(output), description=counted(len(waiting), "segmentation"))
    return [job.label_file(case.id) for case in mine]


def predict_preprocessed(
    model: Model,
    store: CaseStore,
    case_ids: Sequence[str],
    output: Path,
    *,
    save_probabilities: bool = False,
    mirror: bool = True,
    step: float = INFERENCE.step,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Segment cases that are preprocessed already, such as the held-out cases of a fold.

    Args:
        model: From :func:`load_model`.
        store: The cases, preprocessed for the model's configuration.
        case_ids: Which.
        output: Folder for the label files.
        save_probabilities: Also write ``<case>.npz`` and ``<case>.pkl``.
        mirror: As in :func:`predict_image`.
        step: As there.
        report: As in :func:`predict_cases`.
        cancel: As there.

    Returns:
        The label files, in the order of ``case_ids``.

    Raises:
        UserError: names the case that can't be predicted.
        Cancelled: on request.
    """
    options = PredictOptions(save_probabilities=save_probabilities, mirror=mirror, step=step)
    options.check()
    store = CaseStore(store.folder, model.plans.transpose_forward)
    job = _Job(model, Path(output), options, report, cancel or CancelToken())
    job.run(case_ids, stored_cases(store, case_ids))
    return [job.label_file(case) for case in case_ids]


@dataclass(frozen=True)
class _Job:
    """The cases of one call, one after the other."""

    model: Model
    output: Path
    options: PredictOptions
    report: Reporter
    cancel: CancelToken

    def label_file(self, case: str) -> Path:
        return self.output / f"{case}{self.model.description.file_ending}"

    def finished(self, case: str) -> bool:
        wanted = [self.label_file(case)]
        if self.options.save_probabilities:
            wanted += [self.output / f"{case}.npz", self.output / f"{case}.pkl"]
        return all(file.is_file() for file in wanted)

    def write_description(self, cases: Sequence[Case]) -> None:
        """The files that nnU-Net puts beside predictions: ensembling and post-processing read them."""
        self.model.description.save(self.output / "dataset.json")
        self.model.plans.save(self.output / "plans.json")
        folder = self.model.folder
        arguments = {
            "model_folder": str(folder.path) if folder else None,
            "list_of_lists_or_source_folder": [[str(file) for file in case.images] for case in cases],
            "output_folder_or_list_of_truncated_output_files": str(self.output),
            "save_probabilities": self.options.save_probabilities,
            "overwrite": not self.options.continue_,
            "num_parts": self.options.parts,
            "part_id": self.options.part,
            "tile_step_size": self.options.step,
            "use_mirroring": self.options.mirror,
            "folder_with_segs_from_prev_stage": None,
        }
        write_json(self.output / "predict_from_raw_data_args.json", arguments)

    def run(self, names: Sequence[str], cases: Iterator[Prepared]) -> None:
        self.report("started", stage=STAGE, total=len(names))
        for done, name in enumerate(names):
            self.cancel.raise_if_cancelled()
            with _naming(name):
                data, record = next(cases)
                self._predict(name, data, record, _tile_progress(self.report, name, done, len(names)))
                del data  # before the next one comes
            self.report("progress", stage=STAGE, done=done + 1, total=len(names), case=name)
        self.report("done", stage=STAGE, cases=len(names), output=str(self.output))

    def _predict(self, name: str, data: np.ndarray, record: SpatialRecord, progress: Progress) -> None:
        with (
            memory_errors(self.model.device, record.file_shape, self.model.label_spec.output_channels),
            probabilities_array(self.model, record, self.output, self.options.save_probabilities) as values,
        ):
            labels = self.model.segment(
                data,
                record,
                mirror=self.options.mirror,
                step=self.options.step,
                probabilities=values,
                progress=progress,
                cancel=self.cancel,
            )
            if values is not None:
                write_probabilities(values, record, self.output / name)
            write_labels(labels, self.label_file(name), record.geometry)


@contextmanager
def _naming(case: str) -> Iterator[None]:
    """Errors name the case."""
    try:
        yield
    except UserError as error:
        raise naming(case, error) from error
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise RuntimeError(f"Prediction of case {case} failed: {error}") from error


def _tile_progress(report: Reporter, case: str, done: int, total: int) -> Progress:
    """Reports progress within a case as parts of 1, not too often."""
    last = time.monotonic()

    def progress(tile: int, tiles: int) -> None:
        nonlocal last
        if tile < tiles and time.monotonic() - last >= INFERENCE.report_interval_s:
            last = time.monotonic()
            report("progress", stage=STAGE, done=round(done + tile / tiles, 3), total=total, case=case)

    return progress
