"""Segmenting images with a trained model, and comparing segmentations with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import load_description
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.structure import unused_files
from segautoconfiglib.pipeline.options import Fold
from segautoconfiglib.pipeline.preparation import report_warnings

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.inference.run import PredictOptions


def find_model(
    context: Context,
    dataset: str | int,
    *,
    configuration: str | None = None,
    trainer: str | None = None,
    plans: str | None = None,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> Path:
    """The folder of the model that fits the wishes. Raises: UserError: none, listing what there is."""
    from segautoconfiglib.models import folder

    name = context.workspace.dataset_name(dataset)
    found = folder.find_model(
        context.workspace,
        name,
        configuration=configuration,
        trainer=trainer,
        plans=plans,
        folds=folds,
        checkpoint=checkpoint,
    )
    context.report("log", message=f"Model: {found.path}")
    return found.path


def predict(
    context: Context,
    model: Path,
    images: Path,
    output: Path,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = "checkpoint_final.pth",
    device: str = "auto",
    options: PredictOptions | None = None,
) -> Path:
    """Segment every case of an image folder; returns the output folder.

    Raises:
        UserError: nothing can be predicted.
        ProblemsError: some cases can't be; all others are.
    """
    from segautoconfiglib.inference.cases import oddities, usable_cases
    from segautoconfiglib.inference.model import described
    from segautoconfiglib.inference.run import PredictOptions, load_model, predict_cases
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.networks.device import resolve_device

    options = options or PredictOptions()
    options.check()
    check_writable(output)
    place, folder = str(resolve_device(device)), ModelFolder.open(model)
    description = described(folder, folder.chosen_folds(folds, checkpoint)[0], checkpoint)
    ending = options.file_ending or description.file_ending
    cases, problems = usable_cases(images, ending, description.channels)
    loaded = load_model(
        folder,
        folds=folds,
        checkpoint=checkpoint,
        device=place,
        previous=options.previous_predictions is None,
        report=context.report,
    )
    if options.cases is not None:
        cases = [case for case in cases if case.id in options.cases]
        problems = [problem for problem in problems if problem.case in options.cases]
    report_warnings(context, [*unused_files(images, ending), *problems, *oddities(cases)])
    try:
        predict_cases(loaded, cases, output, options=options, report=context.report, cancel=context.cancel)
    except UserError as error:
        if not problems:
            raise
        more = error.problems if isinstance(error, ProblemsError) else [Problem.of(error)]
        problems += more
    if problems:
        total = len({*(case.id for case in cases), *(problem.case for problem in problems)} - {""})
        raise ProblemsError(f"{len(problems)} of {counted(total, 'case')} could not be predicted:", problems)
    return output


def evaluate(
    context: Context,
    truth: Path,
    predictions: Path,
    *,
    description_file: Path | None = None,
    labels: Sequence[int] | None = None,
    ignore_label: int | None = None,
    output: Path | None = None,
    allow_missing: bool = False,
    workers: int | None = None,
) -> Summary:
    """Compare two folders of segmentations and write summary.json."""
    from segautoconfiglib.evaluation.compare import evaluate_folder, guess_file_ending, labels_found

    output = output or predictions / "summary.json"
    check_writable(output.parent)
    file_ending = guess_file_ending(truth)
    if labels is not None:
        spec = _numbered_labels(labels, ignore_label)
    else:
        found = description_file or _description_beside(truth, predictions)
        spec = load_description(found).label_spec if found else labels_found(truth, file_ending)
    summary = evaluate_folder(
        truth,
        predictions,
        spec,
        file_ending=file_ending,
        output=output,
        allow_missing=allow_missing,
        all_declared=labels is None,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage="evaluate", mean_dice=summary.mean_dice, cases=summary.cases)
    return summary


def _numbered_labels(labels: Sequence[int], ignore_label: int | None) -> LabelSpec:
    """Labels that have no names."""
    names = {"background": 0, **{f"label {value}": value for value in labels}}
    return LabelSpec(names if ignore_label is None else {**names, "ignore": ignore_label})


def _description_beside(truth: Path, predictions: Path) -> Path | None:
    candidates = (predictions / "dataset.json", truth / "dataset.json", truth.parent / "dataset.json")
    return next((file for file in candidates if file.exists()), None)
