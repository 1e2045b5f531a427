"""Prediction of files and of preprocessed cases; images in memory are in images.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError, naming, reworded
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import write_json
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.image.files import write_image, write_labels
from segautoconfiglib.image.formats import readable_endings
from segautoconfiglib.image.volume import Volume
from segautoconfiglib.inference.cascade import NextStage, Prepared, PreviousLabels, labels_in, predicted_labels
from segautoconfiglib.inference.images import Prediction, predict_image
from segautoconfiglib.inference.model import LogitsUser, Model, load_model
from segautoconfiglib.inference.predictor import STAGE, Progress, tile_progress
from segautoconfiglib.inference.prepare import memory_errors, prepared_cases, stored_cases
from segautoconfiglib.inference.probabilities import (
    map_file,
    map_files,
    probabilities_array,
    write_maps,
    write_probabilities,
)
from segautoconfiglib.inference.window import check_step
from segautoconfiglib.preprocessing.geometry import SpatialRecord
from segautoconfiglib.preprocessing.stages import PredictedStage
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
        file_ending: Of the files that are written; None: that of the model's training cases.
        probability_images: Also write ``<case>_probability_<label value><ending>``, float32 images from 0 to 1, one for
            each structure (for regions: the value that stands for the region in the segmentation).
        uncertainty_image: Also write ``<case>_uncertainty<ending>``, float32 from 0 (certain) to 1.
        previous_predictions: Of a cascade: folder with the labels of the previous stage, ``<case><ending>`` on the grid
            of the images; None: that stage is run first, case by case, and its labels stay in memory.
        cases: Only the cases with these names; None: all.
    """

    save_probabilities: bool = False
    continue_: bool = False
    part: int = 0
    parts: int = 1
    mirror: bool = True
    step: float = INFERENCE.step
    workers: int | None = None
    file_ending: str | None = None
    probability_images: bool = False
    uncertainty_image: bool = False
    previous_predictions: Path | None = None
    cases: tuple[str, ...] | None = None

    def check(self) -> None:
        """Raises: UserError: values out of range."""
        check_step(self.step)
        if self.parts < 1 or not 0 <= self.part < self.parts:
            raise UserError(
                f"Part {self.part} of {self.parts} does not exist.",
                f"Parts are numbered 0 to {max(self.parts - 1, 0)}.",
            )
        if self.file_ending is not None and self.file_ending not in readable_endings():
            raise UserError(
                f"Files ending in {self.file_ending!r} can't be written.", f"Known: {', '.join(readable_endings())}."
            )


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
        output: Folder for ``<case><file ending>``.
        options: How.
        report: Gets "started", "progress" per case and within cases, "done", and "artifact" if any case was predicted.
        cancel: Asked between tiles; cases that are finished stay.

    Returns:
        The label files of the cases of this part, in order.

    Raises:
        UserError: names the cases that can't be predicted, when all others are.
        Cancelled: on request.
    """
    options.check()
    previous = _previous_labels(model, options, cancel)
    mine = sorted(cases, key=lambda case: case.id)[options.part :: options.parts]
    job = _Job(model, Path(output), options, report, cancel or CancelToken())
    waiting = [case for case in mine if not (options.continue_ and job.finished(case.id))]
    if len(waiting) < len(mine):
        report("log", message=f"{len(mine) - len(waiting)} of {len(mine)} cases are there already.")
    job.write_description(cases)
    ahead = options.workers != 0 and model.previous is None  # else two networks would run at the same time
    job.run([case.id for case in waiting], prepared_cases(waiting, model, ahead=ahead, previous=previous))
    return [job.label_file(case.id) for case in mine]


def _previous_labels(model: Model, options: PredictOptions, cancel: CancelToken | None) -> PreviousLabels | None:
    """Where a cascade has the labels of its previous stage from. Raises: UserError: there are none, or none needed."""
    if options.previous_predictions is not None:
        ending = options.file_ending or model.description.file_ending
        return labels_in(options.previous_predictions, ending, model)
    if model.configuration.previous_stage is None:
        return None

    def predict(case: str, image: Volume) -> Volume:
        labels = predicted_labels(image, model, mirror=options.mirror, step=options.step, cancel=cancel)
        assert labels is not None, case
        return labels

    return predict


def predict_preprocessed(
    model: Model,
    store: CaseStore,
    case_ids: Sequence[str],
    output: Path,
    *,
    save_probabilities: bool = False,
    mirror: bool = True,
    step: float = INFERENCE.step,
    previous: PredictedStage | None = None,
    next_stages: Sequence[NextStage] = (),
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
        previous: Of a cascade: what the previous stage predicted for the cases.
        next_stages: Also write the labels for these, on their grids.
        report: As in :func:`predict_cases`.
        cancel: As there.

    Returns:
        The label files, in the order of ``case_ids``.

    Raises:
        UserError: names the cases that can't be predicted, when all others are.
        Cancelled: on request.
    """
    options = PredictOptions(save_probabilities=save_probabilities, mirror=mirror, step=step)
    options.check()
    store = CaseStore(store.folder, model.plans.transpose_forward)
    job = _Job(model, Path(output), options, report, cancel or CancelToken(), next_stages)
    cases = stored_cases(store, case_ids, previous, model.label_spec.foreground_labels)
    job.run(case_ids, cases, kept=False)
    return [job.label_file(case) for case in case_ids]


@dataclass(frozen=True)
class _Job:
    """The cases of one call, one after the other."""

    model: Model
    output: Path
    options: PredictOptions
    report: Reporter
    cancel: CancelToken
    next_stages: Sequence[NextStage] = ()

    @property
    def ending(self) -> str:
        return self.options.file_ending or self.model.description.file_ending

    def label_file(self, case: str) -> Path:
        return self.output / f"{case}{self.ending}"

    def maps(self, case: str) -> dict[int, Path]:
        if not self.options.probability_images:
            return {}
        return map_files(self.model.label_spec, self.output / case, self.ending)

    def uncertainty_file(self, case: str) -> Path:
        return map_file(self.output / case, "uncertainty", self.ending)

    def finished(self, case: str) -> bool:
        wanted = [self.label_file(case), *self.maps(case).values()]
        if self.options.save_probabilities:
            wanted += [self.output / f"{case}.npz", self.output / f"{case}.pkl"]
        if self.options.uncertainty_image:
            wanted.append(self.uncertainty_file(case))
        return all(file.is_file() for file in wanted)

    def write_description(self, cases: Sequence[Case]) -> None:
        """The files that nnU-Net puts beside predictions: ensembling and post-processing read them."""
        self.model.description.model_copy(update={"file_ending": self.ending}).save(self.output / "dataset.json")
        self.model.plans.save(self.output / "plans.json")
        folder, previous = self.model.folder, self.options.previous_predictions
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
            "folder_with_segs_from_prev_stage": str(previous) if previous else None,
        }
        write_json(self.output / "predict_from_raw_data_args.json", arguments)

    def run(self, names: Sequence[str], cases: Iterator[Prepared | UserError], *, kept: bool = True) -> None:
        """Predict cases. One that can't be is left out; all of those are named at the end.

        Args:
            names: Of the cases.
            cases: The same ones, prepared.
            kept: The segmentations are what the user wants, and are reported as such.
        """
        failed: dict[str, UserError] = {}
        self.report("started", stage=STAGE, total=len(names))
        for done, name in enumerate(names):
            self.cancel.raise_if_cancelled()
            error = self._attempt(name, cases, tile_progress(self.report, name, done, len(names)))
            if error is not None:
                failed[name] = error
                if len(names) > 1:
                    self.report("warning", message=error.message, hint=error.hint, action=error.action)
            self.report("progress", stage=STAGE, done=done + 1, total=len(names), case=name)
        predicted = len(names) - len(failed)
        if kept and predicted:
            self.report("artifact", path=str(self.output), description=counted(predicted, "segmentation"))
        self._raise_failed(failed, len(names))
        self.report("done", stage=STAGE, cases=len(names), output=str(self.output))

    def _attempt(self, name: str, cases: Iterator[Prepared | UserError], progress: Progress) -> UserError | None:
        """Predict the next case. Returns: why it can't be, in a new error: the first would keep its images alive."""
        try:
            with _naming(name):
                prepared = next(cases)
                if isinstance(prepared, UserError):
                    raise prepared
                self._predict(name, *prepared, progress)
        except UserError as error:
            return reworded(error, error.message)
        return None

    def _raise_failed(self, failed: Mapping[str, UserError], total: int) -> None:
        if failed and total == 1:
            raise next(iter(failed.values()))
        if failed:
            problems = [
                replace(Problem.of(error, case=name), message=error.message.removeprefix(f"Case {name}: "))
                for name, error in failed.items()
            ]
            raise ProblemsError(f"{len(failed)} of {counted(total, 'case')} could not be predicted:", problems)

    def _predict(self, name: str, data: Any, record: SpatialRecord, progress: Progress) -> None:
        options, maps = self.options, self.maps(name)
        with (
            memory_errors(self.model.device, record.file_shape, self.model.label_spec.output_channels),
            probabilities_array(self.model, record, self.output, options.save_probabilities or bool(maps)) as values,
        ):
            uncertainty = np.empty(record.file_shape, np.float32) if options.uncertainty_image else None
            labels = self.model.segment(
                data,
                record,
                mirror=options.mirror,
                step=options.step,
                probabilities=values,
                uncertainty=uncertainty,
                also=self._next_stages_writer(name, record),
                progress=progress,
                cancel=self.cancel,
            )
            if values is not None and options.save_probabilities:
                write_probabilities(values, record, self.output / name)
            if values is not None:
                write_maps(values, maps, record.geometry)
            if uncertainty is not None:
                write_image(uncertainty, self.uncertainty_file(name), record.geometry)
            write_labels(labels, self.label_file(name), record.geometry)

    def _next_stages_writer(self, name: str, record: SpatialRecord) -> LogitsUser | None:
        def write(slabs: Sequence[torch.Tensor]) -> None:
            for stage in self.next_stages:
                stage.write(name, slabs, record, self.model)

        return write if self.next_stages else None


@contextmanager
def _naming(case: str) -> Iterator[None]:
    """Errors name the case."""
    try:
        yield
    except UserError as error:
        raise naming(case, error) from error
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise RuntimeError(f"Prediction of case {case} failed: {error}") from error
