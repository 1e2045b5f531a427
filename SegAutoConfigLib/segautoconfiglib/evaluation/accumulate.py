"""The held-out cases of all folds of a model in one folder, with their metrics: its cross-validation."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import copy_file
from segautoconfiglib.base.words import counted, named
from segautoconfiglib.dataset.dataset import visible_files
from segautoconfiglib.evaluation.compare import evaluate_folder
from segautoconfiglib.evaluation.places import SUMMARY, VALIDATION, accumulated_folder
from segautoconfiglib.evaluation.summary import Summary
from segautoconfiglib.models.folder import DATASET_FILE, PLANS_FILE, Fold, ModelFolder

NPZ_HINT = "Predict the held-out cases of each fold again with probabilities: train ... --resume --save-probabilities."


def has_held_out(model: ModelFolder, fold: Fold, ending: str) -> bool:
    """Whether there are predictions of a fold's held-out cases, in files with this ending."""
    folder = model.fold_folder(fold) / VALIDATION
    return folder.is_dir() and bool(visible_files(folder, ending))


def held_out_files(model: ModelFolder, folds: Sequence[Fold], ending: str) -> dict[str, Path]:
    """The predictions of held-out cases, case to file.

    Args:
        model: With validated folds.
        folds: Which.
        ending: Of the files: that of label maps, or ".npz".

    Raises:
        UserError: a fold has none, or a case is in two folds.
    """
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for fold in folds:
        folder = model.fold_folder(fold) / VALIDATION
        files = visible_files(folder, ending) if folder.is_dir() else []
        if not files:
            problems.append(Problem(f"fold {fold} has no {ending} files in {folder}."))
        for file in files:
            case = file.name[: -len(ending)]
            if case in found:
                both = f"{found[case].parent.parent.name} and {folder.parent.name}"
                problems.append(Problem(f"is held out by {both}.", case=case))
            found[case] = file
    if problems:
        hint = "Train the missing folds (train --fold N; --resume predicts their cases again). Folds may not overlap."
        raise ProblemsError(
            f"{model.path} has no complete cross-validation:", problems, NPZ_HINT if ending == ".npz" else hint
        )
    return found


def accumulate(
    model: ModelFolder,
    folds: Sequence[Fold],
    truth: Path,
    *,
    output: Path | None = None,
    overwrite: bool = True,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Summary:
    """Collect and evaluate the held-out cases of several folds.

    Args:
        model: With validated folds.
        folds: Which.
        truth: Folder of the true label maps.
        output: Gets the label maps, dataset.json, plans.json and, at the end, summary.json; must be empty. None: a
            folder of the model, which is replaced.
        overwrite: Also where the folder of the model is there and newer than the predictions.
        workers: Processes; None as many as cores and memory allow.
        report: As :func:`~segautoconfiglib.evaluation.compare.evaluate_folder`.
        cancel: As there.

    Returns:
        The metrics.

    Raises:
        UserError: a fold has no predictions, a case is in two folds, or ``output`` is not empty.
    """
    ending = model.description.file_ending
    files = held_out_files(model, folds, ending)
    target = output or accumulated_folder(model, folds)
    if output is not None and output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output} is not empty.", "Choose another folder, or empty it.")
    if output is None and not overwrite and (summary := current_summary(target, files)) is not None:
        report("log", message=f"{target.name} of {model.path.name} is up to date.")
        return summary
    if output is None and target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)
    for source in (*files.values(), model.path / DATASET_FILE, model.path / PLANS_FILE):
        copy_file(source, target / source.name)  # no link: a later validation may write into the file itself
    report("log", message=f"{model.path.name}: {counted(len(files), 'held-out case')} of {named(folds, 'fold')}.")
    return evaluate_folder(
        truth,
        target,
        model.description.label_spec,
        file_ending=ending,
        cases=sorted(files),
        output=target / SUMMARY,
        workers=workers,
        report=report,
        cancel=cancel,
    )


def current_summary(folder: Path, sources: dict[str, Path]) -> Summary | None:
    """The metrics in a folder if they are of these cases and newer than the files they come from; else None."""
    file = folder / SUMMARY
    if not file.is_file() or file.stat().st_mtime < max(source.stat().st_mtime for source in sources.values()):
        return None
    try:
        summary = Summary.load(file)
    except UserError:
        return None
    return summary if summary.cases == len(sources) else None
