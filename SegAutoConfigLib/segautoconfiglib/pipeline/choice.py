"""Comparing models, and pairs of them, on the held-out cases: the choice file."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.records import atomic_path, check_writable
from segautoconfiglib.base.words import command, counted, named
from segautoconfiglib.evaluation import accumulate as cross_validations
from segautoconfiglib.evaluation import ensemble as ensembles
from segautoconfiglib.evaluation.accumulate import has_held_out, held_out_files
from segautoconfiglib.evaluation.choice import (
    CHOICE_FILE,
    INSTRUCTIONS_FILE,
    Best,
    Choice,
    Member,
    cross_validation_folder,
    instructions,
)
from segautoconfiglib.evaluation.compare import evaluate_folder
from segautoconfiglib.evaluation.places import POSTPROCESSING_PICKLE
from segautoconfiglib.evaluation.summary import Summary
from segautoconfiglib.models.folder import PLANS_FILE, ModelFolder
from segautoconfiglib.pipeline.postprocessing import write_postprocessing
from segautoconfiglib.pipeline.validated import cross_validation, truth_folder
from segautoconfiglib.planning.trainer_names import BASE

STAGE = "find-best"


def ensemble(
    context: Context,
    folders: Sequence[Path],
    output: Path,
    *,
    save_probabilities: bool = False,
    workers: int | None = None,
) -> list[Path]:
    """Average folders of probabilities; see `segautoconfiglib.evaluation.ensemble.ensemble_folders`."""
    check_writable(output)
    files = ensembles.ensemble_folders(
        folders,
        output,
        save_probabilities=save_probabilities,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage=ensembles.STAGE, cases=len(files), output=str(output))
    return files


def find_best(
    context: Context,
    models: Sequence[ModelFolder],
    folds: Sequence[int],
    *,
    pairs: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
) -> Choice:
    """Compare models, and pairs of them, on their held-out cases; find the best one's postprocessing.

    Args:
        context: Gets the events.
        models: Of one dataset; of equally good ones the first is taken, and single ones before pairs.
        folds: That all of them have.
        pairs: Also average the probabilities of each two of them.
        overwrite: Do again what is there and newer than the predictions.
        workers: Processes; None as many as cores and memory allow.

    Returns:
        The choice, which is also written beside the models, with instructions.

    Raises:
        UserError: predictions or probabilities are missing, or no score can be computed.
    """
    results = models[0].path.parent
    check_writable(results)
    couples = list(combinations(models, 2)) if pairs else []
    _check_cases(context, models, folds, pairs=bool(couples))
    scores: dict[str, Summary] = {}
    members: dict[str, list[ModelFolder]] = {}
    for chosen in [*((model,) for model in models), *couples]:
        if len(chosen) == 1:
            summary = cross_validation(context, chosen[0], folds, overwrite=overwrite, workers=workers)
        else:
            summary = _evaluate_pair(context, chosen, folds, overwrite=overwrite, workers=workers)
        name = chosen[0].path.name if len(chosen) == 1 else cross_validation_folder(list(chosen), list(folds)).name
        scores[name], members[name] = summary, list(chosen)
        context.report("metric", stage=STAGE, name=f"{name}: mean Dice", value=summary.mean_dice)
    known = {name: summary.mean_dice for name, summary in scores.items() if not math.isnan(summary.mean_dice)}
    if not known:
        raise UserError(
            "No model has a mean Dice: none of the structures occurs in a held-out case.",
            "Draw the structures in more cases, or compare the models with other folds.",
        )
    best = max(known, key=lambda name: known[name])
    source = cross_validation_folder(members[best], list(folds))
    description = members[best][0].description
    cases = list(held_out_files(members[best][0], folds, description.file_ending))
    truth = truth_folder(context, results.name, cases, description.file_ending)
    _, after = write_postprocessing(context, truth, source, description, before=scores[best], workers=workers)
    choice = _choice(models, folds, pairs, scores, members[best], source, (scores[best], after))
    return _saved(context, choice, results)


def _check_cases(context: Context, models: Sequence[ModelFolder], folds: Sequence[int], *, pairs: bool) -> None:
    """Find out before the work whether everything needed is there; different cases are hard to compare."""
    if pairs:
        _check_probabilities(models, folds)
    ending = ".npz" if pairs else models[0].description.file_ending
    found = {model.path.name: set(held_out_files(model, folds, ending)) for model in models}
    everything = set().union(*found.values())
    problems = [
        Problem(
            f"lacks {counted(len(everything - cases), 'case')}: {', '.join(sorted(everything - cases)[:5])}.", case=name
        )
        for name, cases in found.items()
        if everything - cases
    ]
    if problems and pairs:
        raise ProblemsError(
            "The models were not validated on the same cases, so they can't be averaged:",
            problems,
            f"{cross_validations.NPZ_HINT} Or compare single models (--no-pairs, --disable_ensembling).",
        )
    if problems:
        text = "; ".join(str(problem) for problem in problems)
        context.report(
            "warning",
            message=f"The models were not validated on the same cases: {text}",
            hint="Their scores are compared all the same. Train them with the same folds for a fair comparison.",
        )


def _check_probabilities(models: Sequence[ModelFolder], folds: Sequence[int]) -> None:
    """Raises: UserError: naming all models and folds that have no probabilities."""
    lacking = [(model, [fold for fold in folds if not has_held_out(model, fold, ".npz")]) for model in models]
    problems = [
        Problem(f"has none of the held-out cases of {named(without, 'fold')}.", case=model.path.name)
        for model, without in lacking
        if without
    ]
    if problems:
        commands = "\n".join(_with_probabilities(model, fold) for model, without in lacking for fold in without)
        raise ProblemsError(
            "Pairs of models are averaged by their probabilities (.npz files), and some are missing:",
            problems,
            "Compare single models (--no-pairs, in nnU-Net's commands --disable_ensembling), or make them, without "
            f"training anew what is trained:\n{commands}",
        )


def _with_probabilities(model: ModelFolder, fold: int) -> str:
    """What predicts a fold's held-out cases with probabilities."""
    trainer, plans, configuration = model.name_parts
    words = ["train", model.dataset, "--configuration", configuration, "--fold", fold, "--plans", plans]
    words += [] if trainer == BASE else ["--trainer", trainer]
    return command(*words, "--resume", "--save-probabilities")


def _evaluate_pair(
    context: Context, models: Sequence[ModelFolder], folds: Sequence[int], *, overwrite: bool, workers: int | None
) -> Summary:
    """Average the probabilities of held-out cases and evaluate the labels; keeps what is up to date."""
    target = cross_validation_folder(list(models), list(folds))
    found = [held_out_files(model, folds, ".npz") for model in models]
    cases = {case: [files[case] for files in found] for case in sorted(found[0])}
    newest = {case: max(files, key=lambda file: file.stat().st_mtime) for case, files in cases.items()}
    summary = None if overwrite else cross_validations.current_summary(target, newest)
    if summary is not None:
        context.report("log", message=f"{target.name} is up to date.")
        return summary
    if target.exists():
        shutil.rmtree(target)
    description = models[0].description
    context.report("log", message=f"Mean of {models[0].path.name} and {models[1].path.name}.")
    ensembles.ensemble_cases(
        cases,
        target,
        description,
        plans_file=models[0].path / PLANS_FILE,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    return evaluate_folder(
        truth_folder(context, models[0].path.parent.name, list(cases), description.file_ending),
        target,
        description.label_spec,
        file_ending=description.file_ending,
        cases=list(cases),
        output=target / cross_validations.SUMMARY,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )


def _choice(
    models: Sequence[ModelFolder],
    folds: Sequence[int],
    pairs: bool,
    scores: dict[str, Summary],
    best: Sequence[ModelFolder],
    source: Path,
    found: tuple[Summary, Summary],
) -> Choice:
    """The record of what was found. found: Metrics before and after postprocessing; source: Where both lie."""

    def parts(model: ModelFolder) -> tuple[str, str, str]:
        return model.name_parts

    return Choice(
        folds=list(folds),
        dataset_name_or_id=models[0].path.parent.name,
        considered_models=[
            {"plans": plans, "configuration": configuration, "trainer": trainer}
            for trainer, plans, configuration in map(parts, models)
        ],
        ensembling_allowed=pairs,
        all_results={name: summary.mean_dice for name, summary in scores.items()},
        best_model_or_ensemble=Best(
            result_on_crossval_pre_pp=found[0].mean_dice,
            result_on_crossval_post_pp=found[1].mean_dice,
            postprocessing_file=str(source / POSTPROCESSING_PICKLE),
            some_plans_file=str(source / PLANS_FILE),
            selected_model_or_models=[
                Member(configuration=configuration, trainer=trainer, plans_identifier=plans)
                for trainer, plans, configuration in map(parts, best)
            ],
        ),
    )


def _saved(context: Context, choice: Choice, folder: Path) -> Choice:
    text = instructions(choice, folder / CHOICE_FILE)
    with atomic_path(folder / INSTRUCTIONS_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    choice.save(folder / CHOICE_FILE)
    context.report("artifact", path=str(folder / CHOICE_FILE), description="choice file (predict --choice)")
    names = [member.folder_name for member in choice.members]
    best = choice.best_model_or_ensemble
    context.report(
        "done", stage=STAGE, best=names, mean_dice=best.result_on_crossval_post_pp, choice=str(folder / CHOICE_FILE)
    )
    return choice
