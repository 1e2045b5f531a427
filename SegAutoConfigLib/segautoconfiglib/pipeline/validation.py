"""Prediction and evaluation of the cases that a fold holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Cancelled, UserError, merged
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.base.words import command
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.dataset.splits import SPLITS_FILE, split_for_fold
from segautoconfiglib.pipeline.cascade import next_stages, stage_before
from segautoconfiglib.pipeline.folds import known_cases
from segautoconfiglib.pipeline.jobs import chosen_model_folder, reader
from segautoconfiglib.pipeline.options import Fold, TrainOptions
from segautoconfiglib.pipeline.preparation import load_plans
from segautoconfiglib.preprocessing.in_use import in_use

if TYPE_CHECKING:
    from segautoconfiglib.evaluation.summary import Summary
    from segautoconfiglib.preprocessing.store import CaseStore
    from segautoconfiglib.training.distributed import Group
    from segautoconfiglib.training.team import Team


def validate(
    context: Context, dataset: str | int, options: TrainOptions, *, checkpoint: str = "checkpoint_final.pth"
) -> Summary | None:
    """Predict and evaluate the held-out cases of a fold that was trained before."""
    from segautoconfiglib.training.team import assemble

    team = assemble(options.device, options.gpus, options.processes)
    options = replace(options, device=team.devices[0])

    def work() -> Summary | None:
        name = context.workspace.dataset_name(dataset)
        plans = load_plans(context.workspace.preprocessed / name, options.plans_name or options.planning.file_name)
        folder = chosen_model_folder(context, name, options, plans)
        return validate_fold(context, team, name, folder, options, checkpoint)

    return team.lead(work, context.cancel)


def validate_fold(
    context: Context,
    team: Team,
    name: str,
    model_folder: Path,
    options: TrainOptions,
    checkpoint: str,
    *,
    mirror: bool = True,
    held_out: Sequence[str] | None = None,
) -> Summary | None:
    """Predict the fold's held-out cases (None: those of splits_final.json) from preprocessed data and evaluate them."""
    from segautoconfiglib.evaluation.compare import evaluate_folder
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.preprocessing.store import CaseStore

    if options.fold == "all":
        context.report("log", message="Fold all holds no case out, so there is nothing to validate.")
        return None
    folder = context.workspace.preprocessed / name
    model = ModelFolder.open(model_folder)
    model.checkpoint(options.fold, checkpoint)
    store = CaseStore(folder / model.plans.configuration(model.configuration_name).data_identifier)
    if held_out is None:
        held_out = _held_out(context, folder, store, options.fold)
    best = checkpoint == "checkpoint_best.pth"
    output = model_folder / f"fold_{options.fold}" / ("validation_best" if best else "validation")
    with in_use(store.folder, reader(model_folder, options.fold)):
        part = _HeldOut(
            context.workspace, model_folder, store.folder, tuple(held_out), output, checkpoint, mirror, options
        )
        team.run(_predict_part, part, report=context.report, cancel=context.cancel)
    summary = evaluate_folder(
        folder / "gt_segmentations",
        output,
        model.description.label_spec,
        file_ending=model.description.file_ending,
        cases=held_out,
        output=output / "summary.json",
        workers=options.workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage="validate", mean_dice=summary.mean_dice, cases=summary.cases)
    return summary


@dataclass(frozen=True)
class _HeldOut:
    """What is to be predicted, for every process alike."""

    workspace: Workspace
    model_folder: Path
    store_folder: Path
    cases: tuple[str, ...]
    output: Path
    checkpoint: str
    mirror: bool
    options: TrainOptions


def _predict_part(work: _HeldOut, *, report: Reporter, cancel: CancelToken, group: Group) -> None:
    """Predict one process's part of the cases; all processes come to the same end.

    Raises:
        Cancelled: one of the processes was asked to stop.
        UserError: in the first process: what went wrong in any of them.
    """
    from segautoconfiglib.inference.run import load_model, predict_preprocessed
    from segautoconfiglib.preprocessing.store import CaseStore

    mine = work.cases[group.rank :: group.size]
    report = _for_all(report, len(mine), len(work.cases))
    context, options = Context(work.workspace, report, cancel), work.options
    end: UserError | Cancelled | None = None
    try:
        model = load_model(
            work.model_folder,
            folds=[options.fold],
            checkpoint=work.checkpoint,
            device=group.device or options.device,
            previous=False,
        )
        best = work.checkpoint == "checkpoint_best.pth"
        predict_preprocessed(
            model,
            CaseStore(work.store_folder),
            mine,
            work.output,
            save_probabilities=options.save_probabilities,
            mirror=work.mirror,
            previous=stage_before(work.model_folder, model),
            next_stages=[] if best else next_stages(context, work.model_folder, model),
            report=report,
            cancel=cancel,
        )
    except (UserError, Cancelled) as error:
        end = error
    ends = group.gather(end)
    if any(isinstance(each, Cancelled) for each in ends):
        raise Cancelled("Stopped on request.")
    failures = [each for each in ends if isinstance(each, UserError)]
    if failures and group.is_first:
        raise merged(failures, f"{len(failures)} of {group.size} processes could not predict all of their cases:")


def _for_all(report: Reporter, part: int, total: int) -> Reporter:
    """A reporter that speaks of all cases where one process predicts a part; the others are about as far."""

    def scaled(kind: str, **data: Any) -> None:
        counts: dict[str, Any] = {key: total for key in ("total", "cases") if key in data}
        if "done" in data:
            counts["done"] = int(data["done"] * total / part)
        report(kind, **{**data, **counts})

    return scaled if part < total else report


def _held_out(context: Context, folder: Path, store: CaseStore, fold: Fold) -> Sequence[str]:
    """A fold's cases for validation as far as they are preprocessed for this configuration. Raises: UserError: none."""
    there = store.case_ids()
    val = split_for_fold(folder / SPLITS_FILE, sorted({*there, *known_cases(folder)}), fold).val
    held_out, missing = ([case for case in val if (case in there) is wanted] for wanted in (True, False))
    if missing:
        context.report("log", message=f"Not preprocessed in {store.folder.name}, and left out: {', '.join(missing)}.")
    if not held_out:
        hint = f"Run {command('preprocess', folder.name)} first."
        raise UserError(f"No held-out case of fold {fold} is in {store.folder}.", hint)
    return held_out
