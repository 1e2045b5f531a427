"""Prediction with a choice file: each model with what it needs, the mean of their probabilities, postprocessing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.lock import scratch_folder
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.base.words import command, counted
from segautoconfiglib.base.workspace import stage_model
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.defaults import EVALUATION
from segautoconfiglib.evaluation.choice import CHOICE_FILE, Choice
from segautoconfiglib.evaluation.ensemble import ensemble_folders
from segautoconfiglib.evaluation.postprocessing import Target, apply_postprocessing, load_postprocessing, target_names
from segautoconfiglib.image.files import read_header
from segautoconfiglib.models.folder import ModelFolder

if TYPE_CHECKING:
    from segautoconfiglib.inference.run import PredictOptions

STAGE = "predict"
#: Folders of an unfinished prediction in the output folder.
UNFINISHED = ".unfinished-"


def choice_file(context: Context, place: str) -> Path:
    """The choice file that is meant. place: The file, its folder, or a dataset. Raises: UserError: there is none."""
    for file in (Path(place), Path(place) / CHOICE_FILE):
        if file.is_file():
            return file
    file = context.workspace.results / context.workspace.dataset_name(place) / CHOICE_FILE
    if not file.is_file():
        raise UserError(
            f"There is no choice file {file}.",
            f"Make it with {command('find-best', file.parent.name)}, or name a file.",
        )
    return file


def predict_choice(
    context: Context,
    file: Path,
    images: Path,
    output: Path,
    *,
    checkpoint: str = "checkpoint_final.pth",
    device: str = "auto",
    options: PredictOptions | None = None,
) -> Path:
    """Segment every case of an image folder as a choice file says; returns the output folder.

    What lies in between goes to a folder in ``output`` that is removed at the end; one that a killed run has left is
    removed by the next. Probabilities are there for so many cases at a time only as the disk can hold.

    Args:
        context: Gets the events.
        file: From find-best or of nnunetv2; the models lie beside it.
        images: ``<case>_0000...`` files.
        output: Gets the label maps; with ``save_probabilities`` also those before postprocessing.
        checkpoint: Of each fold.
        device: Where to predict.
        options: As :func:`~segautoconfiglib.pipeline.predict`; images of probabilities can't be had.

    Raises:
        UserError: the choice, a model or the images can't be used.
        ProblemsError: some cases can't be predicted; all others are.
    """
    from segautoconfiglib.inference.cases import usable_cases
    from segautoconfiglib.inference.model import described
    from segautoconfiglib.inference.run import PredictOptions

    options = options or PredictOptions()
    options.check()
    if options.probability_images or options.uncertainty_image:
        raise UserError(
            "Images of probabilities and uncertainty are not made with a choice file.",
            "Predict with one of its models (--model), or take --save_probabilities.",
        )
    check_writable(output)
    choice = Choice.load(file)
    models = choice.models(file.parent)
    for model in models:
        model.chosen_folds(choice.folds, checkpoint)
    description = described(models[0], choice.folds[0], checkpoint)
    job = _Job(
        models, load_postprocessing(choice.postprocessing_file(file.parent)), choice.folds, checkpoint, device, options
    )
    ending = options.file_ending or description.file_ending
    cases, problems = usable_cases(images, ending, description.channels)
    mine = sorted(cases, key=lambda case: case.id)[options.part :: options.parts]
    waiting = [case for case in mine if not (options.continue_ and (output / f"{case.id}{ending}").is_file())]
    if len(waiting) < len(mine):
        context.report("log", message=f"{len(mine) - len(waiting)} of {len(mine)} cases are there already.")
    context.report("log", message=f"Choice: {job.description}.")
    failed: list[Problem] = []
    inner = replace(context, report=_inner_reporter(context.report))
    for batch in _batches(waiting, job.bytes_per_voxel):
        with scratch_folder(output, UNFINISHED) as folder:
            failed += job.run(inner, [case.id for case in batch], images, folder, output, ending)
    if len(failed) < len(mine):
        context.report("artifact", path=str(output), description=counted(len(mine) - len(failed), "segmentation"))
    if problems := [*problems, *failed]:
        total = len({*(case.id for case in mine), *(problem.case for problem in problems)} - {""})
        raise ProblemsError(f"{len(problems)} of {counted(total, 'case')} could not be predicted:", problems)
    context.report("done", stage=STAGE, cases=len(mine), output=str(output))
    return output


class _Job:
    """The steps for some cases."""

    def __init__(
        self,
        models: Sequence[ModelFolder],
        targets: Sequence[Target],
        folds: Sequence[int],
        checkpoint: str,
        device: str,
        options: PredictOptions,
    ) -> None:
        self.models, self.targets, self.options = models, targets, options
        self._how: dict[str, Any] = {"folds": folds, "checkpoint": checkpoint, "device": device}

    @property
    def averaged(self) -> bool:
        return len(self.models) > 1

    @property
    def bytes_per_voxel(self) -> int:
        """Disk that probabilities take at most while cases are predicted."""
        channels = self.models[0].description.label_spec.output_channels
        return 4 * channels * (len(self.models) + 1) if self.averaged else 0

    @property
    def description(self) -> str:
        names = target_names(self.targets, self.models[0].description.label_spec)
        return f"{' + '.join(model.path.name for model in self.models)}; largest part only: {names or 'nowhere'}"

    def run(
        self, context: Context, cases: Sequence[str], images: Path, folder: Path, output: Path, ending: str
    ) -> list[Problem]:
        """Predict cases by way of ``folder``. Returns: what is wrong with those that could not be predicted."""
        problems: list[Problem] = []
        places: list[Path] = []
        for number, model in enumerate(self.models, start=1):
            place = folder / f"model_{number}"
            problems += self._predict(context, model, cases, images, place, self._stage_before(model, places))
            cases = [case for case in cases if (place / f"{case}{ending}").is_file()]
            if not cases:
                return problems
            places.append(place)
        common: dict[str, Any] = {"cases": cases, "report": context.report, "cancel": context.cancel}
        source = places[0]
        if self.averaged:
            source = folder / "mean"
            ensemble_folders(places, source, save_probabilities=self.options.save_probabilities, **common)
        if self.options.save_probabilities:
            output.mkdir(parents=True, exist_ok=True)
            for name in (f"{case}{kind}" for case in cases for kind in (".npz", ".pkl")):
                os.replace(source / name, output / name)
        apply_postprocessing(source, output, self.targets, file_ending=ending, **common)
        return problems

    def _stage_before(self, model: ModelFolder, places: Sequence[Path]) -> Path | None:
        """The labels of a cascade's previous stage, where that is one of the models that have predicted already."""
        stage = model.plans.configuration(model.configuration_name).previous_stage
        if stage is None:
            return None
        done = zip(self.models, places, strict=False)
        return next((place for other, place in done if other.path == stage_model(model.path, stage)), None)

    def _predict(
        self, context: Context, model: ModelFolder, cases: Sequence[str], images: Path, place: Path, before: Path | None
    ) -> list[Problem]:
        from segautoconfiglib.pipeline.prediction import predict

        options = replace(
            self.options,
            save_probabilities=self.averaged or self.options.save_probabilities,
            continue_=False,
            part=0,
            parts=1,
            cases=tuple(cases),
            previous_predictions=before,
        )
        context.report("log", message=f"Predicting with {model.path.name}.")
        try:
            predict(context, model.path, images, place, options=options, **self._how)
        except ProblemsError as error:
            return error.problems
        except UserError as error:
            if len(cases) > 1:  # not about one case
                raise
            return [Problem(error.message.removeprefix(f"Case {cases[0]}: "), error.hint, case=cases[0])]
        return []


def _batches(cases: Sequence[Case], bytes_per_voxel: int) -> Iterator[list[Case]]:
    """Cases in groups whose probabilities take no more disk than set; without averaging all at once."""
    batch: list[Case] = []
    size = 0
    for case in cases:
        needed = bytes_per_voxel * int(np.prod(read_header(case.images[0]).shape)) if bytes_per_voxel else 0
        if batch and size + needed > EVALUATION.probabilities_on_disk:
            yield batch
            batch, size = [], 0
        batch.append(case)
        size += needed
    if batch:
        yield batch


def _inner_reporter(report: Reporter) -> Reporter:
    """Passes events on, but not files that are removed again, ends of steps, and warnings that were given before."""
    warned: set[str] = set()

    def inner(kind: str, **data: Any) -> None:
        if kind in ("artifact", "done") or (kind == "warning" and data.get("message", "") in warned):
            return
        if kind == "warning":
            warned.add(data.get("message", ""))
        report(kind, **data)

    return inner
