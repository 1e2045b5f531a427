"""The order of a cascade's stages: what the stage before has to predict until the next one can learn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.words import command, counted, first_of, named
from segautoconfiglib.dataset.dataset import load_dataset
from segautoconfiglib.dataset.splits import SPLITS_FILE, Split, current_splits, make_splits, split_for_fold
from segautoconfiglib.models.folder import FINAL
from segautoconfiglib.pipeline.folds import known_cases
from segautoconfiglib.pipeline.options import TrainOptions
from segautoconfiglib.pipeline.preparation import preprocess
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.preprocessing.in_use import in_use
from segautoconfiglib.preprocessing.stages import NEXT_STAGE_FOLDER, PredictedStage, previous_stage
from segautoconfiglib.preprocessing.store import CaseStore

if TYPE_CHECKING:
    from segautoconfiglib.inference.cascade import NextStage
    from segautoconfiglib.inference.model import Model
    from segautoconfiglib.training.job import TrainJob


def check_cascade(plans: Plans, configuration: str, options: TrainOptions, model_folder: Path) -> None:
    """Whether a configuration, if it is a cascade, can be trained as asked for.

    Args:
        plans: The standard ones.
        configuration: Of them.
        options: Of the training.
        model_folder: That will be trained.

    Raises:
        UserError: the stage before is missing from the plans, or the wishes do not go with a cascade.
    """
    *before, _ = stages = plans.stages(configuration)
    if not before:
        return
    if before[0] not in plans.configuration_names:
        raise UserError(
            f"Configuration {stages[1]} of {plans.plans_name} is a cascade after {before[0]!r}, which is not in these "
            "plans.",
            f'Correct "previous_stage"; the plans have {", ".join(plans.configuration_names)}.',
        )
    if options.budget_s is not None and model_folder.name.split("__")[1] != plans.plans_name:
        raise UserError(
            f"Configuration {configuration} is a cascade, and --budget makes a plan of its own, for which {before[-1]} "
            "has predicted nothing.",
            "Give a length (--epochs N --iterations N), or train 3d_fullres with --budget.",
            "length-for-cascade",
        )


def check_previous_stage(context: Context, job: TrainJob, words: Sequence[str] = ()) -> None:
    """Find out before any work whether the stage before was trained on all folds that a cascade's fold needs.

    A cascade learns from predictions of cases that the stage before has not seen; every case has its own fold.

    Args:
        context: Knows where datasets lie.
        job: The cascade's.
        words: Of the command line, with which the stage before is to be trained, too.

    Raises:
        UserError: a fold is missing; says which, and the commands that train them.
    """
    if job.previous is None:
        return
    ids = _case_ids(context, job)
    if not ids:
        return  # preprocessing says what is missing
    splits = _splits(context, job, ids)
    later = {case for fold in _trained(job.previous, splits) for case in splits[fold].val}
    wanted = _wanted(job, ids, splits)
    missing = {case for case in wanted - later if not job.previous.file(case).is_file()}
    if missing:
        raise _missing_predictions(
            job, job.previous, splits, missing, f"{len(missing)} of {counted(len(wanted), 'case')}", words
        )


def _missing_predictions(
    job: TrainJob,
    previous: PredictedStage,
    splits: Sequence[Split],
    missing: set[str],
    share: str,
    words: Sequence[str],
) -> UserError:
    stage = _lower(job)
    never = missing - {case for split in splits for case in split.val}
    if never:
        return UserError(
            f"No fold of {SPLITS_FILE} holds out {_some(never)}: {stage} can't predict what {job.configuration} learns "
            "from.",
            'Have every case in the "val" of one fold.',
        )
    folds = [fold for fold, split in enumerate(splits) if missing & set(split.val)]
    commands = "\n".join(_command(job, stage, fold, words) for fold in folds)
    return UserError(
        f"{job.configuration} learns from what {stage} predicts for cases that it was not trained on. "
        f"{share} have no such prediction in {previous.folder}: train "
        f"{named(folds, 'fold')} of {stage} first.",
        f"Run:\n{commands}\nThen this again.",
        "train-lower-stage",
    )


def _some(cases: Collection[str]) -> str:
    return first_of(sorted(cases), 3)


def _command(job: TrainJob, stage: str, fold: int, more: Sequence[str]) -> str:
    """What trains a fold of the stage before."""
    trainer, plans_name, _ = job.model_folder.name.split("__")
    words = ["train", job.dataset_folder.name, "--configuration", stage, "--fold", str(fold)]
    words += [] if plans_name == "nnUNetPlans" else ["--plans", plans_name]
    return command(*words, *([] if trainer == "nnUNetTrainer" else ["--trainer", trainer]), *more)


def _validation_command(job: TrainJob) -> str:
    """What has a fold of the stage before predict its cases again."""
    trainer, plans_name, _ = job.model_folder.name.split("__")
    return command(
        "nnUNetv2_train", job.dataset_folder.name, _lower(job), "FOLD", "--val", "-p", plans_name, "-tr", trainer
    )


def complete_previous_stage(context: Context, job: TrainJob) -> None:
    """Have the trained folds of the stage before predict what is missing, outdated, or on another grid.

    Raises:
        UserError: predictions are missing still.
        Cancelled: on request; what is predicted stays.
    """
    if job.previous is None:
        return
    _refresh_stage_before(context, job)
    ids = job.store.case_ids()
    splits = _splits(context, job, ids)
    wanted = _wanted(job, ids, splits)
    if any(_outdated(job, splits, wanted)):
        _predict_outdated(context, job, splits, wanted)
    lost = {case for case in wanted if not _is_current(job, case, 0)}
    if lost:
        raise UserError(
            f"The predictions in {job.previous.folder} do not fit the preprocessed cases of {job.configuration} "
            f"({_some(lost)}).",
            f"Validate the folds of the stage before again: {_validation_command(job)}.",
            "train-lower-stage",
        )


def _refresh_stage_before(context: Context, job: TrainJob) -> None:
    """Preprocess again, for the stage before, what has changed since; not what was taken away as no longer needed."""
    if _lower_store(job).case_ids() and (context.workspace.raw / job.dataset_folder.name).exists():
        preprocess(context, job.dataset_folder.name, job.plans.plans_name, [_lower(job)], workers=job.workers)


def _predict_outdated(context: Context, job: TrainJob, splits: Sequence[Split], wanted: Collection[str]) -> None:
    """Predict for a cascade what is outdated; of several folds that start together one does, the others wait."""
    from segautoconfiglib.inference.model import release_memory

    assert job.previous is not None
    lock = job.previous.model_folder / f".{NEXT_STAGE_FOLDER}.{job.previous.next_name}.lock"
    work = f"Predicting {job.previous.next_name}"
    with alone(lock, work, report=context.report, cancel=context.cancel):
        for fold, cases in _outdated(job, splits, wanted):
            _predict_for(context, job, fold, cases)
        release_memory()


def _outdated(job: TrainJob, splits: Sequence[Split], wanted: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    """The trained folds of the stage before with those of their held-out cases that they are to predict."""
    assert job.previous is not None
    for fold in _trained(job.previous, splits):
        made = (job.previous.model_folder / f"fold_{fold}" / FINAL).stat().st_mtime_ns
        cases = [case for case in splits[fold].val if case in wanted and not _is_current(job, case, made)]
        if cases:
            yield fold, cases


def _is_current(job: TrainJob, case: str, made_ns: int) -> bool:
    """Whether a case's prediction is there, has its grid, and was made after a checkpoint and what it was made from."""
    assert job.previous is not None
    file = job.previous.file(case)
    if not file.is_file() or file.stat().st_mtime_ns < max(made_ns, _lower_store(job).made_ns(case)):
        return False
    return job.previous.shape(case) == tuple(job.store.open(case).data.shape[1:])


def _lower(job: TrainJob) -> str:
    """The configuration of the stage before."""
    return str(job.plans.configuration(job.configuration).previous_stage)


def _lower_store(job: TrainJob) -> CaseStore:
    """Its preprocessed cases."""
    return CaseStore(job.dataset_folder / job.plans.configuration(_lower(job)).data_identifier)


def _predict_for(context: Context, job: TrainJob, fold: int, cases: Sequence[str]) -> None:
    from segautoconfiglib.inference.cascade import NextStage, predict_next_stages
    from segautoconfiglib.inference.model import load_model
    from segautoconfiglib.inference.prepare import stored_cases

    assert job.previous is not None
    folder, stage = job.previous.model_folder, _lower(job)
    if not _lower_store(job).case_ids() and (context.workspace.raw / job.dataset_folder.name).exists():
        preprocess(context, job.dataset_folder.name, job.plans.plans_name, [stage], workers=job.workers)
    model = load_model(folder, folds=[fold], device=job.device, previous=False)
    store = CaseStore(job.dataset_folder / model.configuration.data_identifier, model.plans.transpose_forward)
    next_stage = NextStage(job.plans.configuration(job.configuration), job.previous)
    before = stage_before(folder, model)
    prepared = stored_cases(store, cases, before, model.label_spec.foreground_labels)
    name = f"predict {job.previous.next_name}"
    context.report("started", stage=name, total=len(cases))
    with in_use(store.folder, f"{folder.name}, fold {fold}"):
        done = predict_next_stages(model, zip(cases, prepared, strict=True), [next_stage], cancel=context.cancel)
        for number, case in enumerate(done, start=1):
            context.report("progress", stage=name, done=number, total=len(cases), case=case)


def stage_before(model_folder: Path, model: Model) -> PredictedStage | None:
    """What was predicted for a model if it is a cascade."""
    return previous_stage(model_folder, model.configuration_name, model.configuration)


def next_stages(context: Context, model_folder: Path, model: Model) -> list[NextStage]:
    """The stages that learn from what a model predicts; one that its plans do not have is left out with a message."""
    from segautoconfiglib.inference.cascade import NextStage

    found = []
    for name in model.configuration.next_stages:
        if name in model.plans.configuration_names:
            found.append(NextStage(model.plans.configuration(name), PredictedStage(model_folder, name)))
        else:
            context.report("log", message=f"The plans have no configuration {name}: nothing is predicted for it.")
    return found


def _case_ids(context: Context, job: TrainJob) -> list[str]:
    """All cases of the dataset: the raw ones, or those that came preprocessed."""
    raw = context.workspace.raw / job.dataset_folder.name
    return [case.id for case in load_dataset(raw).cases] if raw.exists() else job.store.case_ids()


def _splits(context: Context, job: TrainJob, ids: Sequence[str]) -> list[Split]:
    """The folds as training will find them."""
    folder = job.dataset_folder
    raw = context.workspace.raw / folder.name / SPLITS_FILE
    return current_splits(raw, folder / SPLITS_FILE, ids, known_cases(folder)) or make_splits(ids)


def _wanted(job: TrainJob, ids: Sequence[str], splits: Sequence[Split]) -> set[str]:
    """The cases that a fold learns from or is validated with."""
    split = split_for_fold(job.dataset_folder / SPLITS_FILE, ids, job.fold, splits=splits, save=False)
    return {*split.train, *split.val}


def _trained(previous: PredictedStage, splits: Collection[Split]) -> list[int]:
    """The folds that the stage before has finished."""
    return [fold for fold in range(len(splits)) if (previous.model_folder / f"fold_{fold}" / FINAL).is_file()]
