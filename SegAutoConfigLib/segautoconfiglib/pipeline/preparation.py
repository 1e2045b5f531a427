"""From a raw dataset to preprocessed cases: convert, verify, fingerprint, plan, preprocess."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, UserError
from segautoconfiglib.base.records import check_writable, read_json, write_json
from segautoconfiglib.base.words import command
from segautoconfiglib.dataset.dataset import Dataset, load_dataset
from segautoconfiglib.dataset.splits import SPLITS_FILE, take_over_splits
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.pipeline.folds import GROUND_TRUTH, follow_splits, forget_cases, known_cases
from segautoconfiglib.pipeline.options import PlanOptions
from segautoconfiglib.planning.plans import Plans

FINGERPRINT_FILE = "dataset_fingerprint.json"
#: Folder among the plans for what only this program reads.
OWN_FOLDER = ".segautoconfig"
#: Below this GPU memory target (gigabytes) the number was probably meant otherwise.
SMALL_TARGET_GB = 1


def convert_msd(
    context: Context,
    source: Path,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    workers: int | None = None,
) -> Path:
    """A Decathlon folder becomes ``nnUNet_raw/DatasetXXX_Name``; returns that folder."""
    from segautoconfiglib.dataset import convert

    folder = convert.convert_msd(
        source,
        context.workspace.raw,
        dataset_id=dataset_id,
        name=name,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("artifact", path=str(folder), description="raw dataset")
    return folder


def verify(context: Context, dataset: str | int, *, workers: int | None = None) -> None:
    """Check the raw dataset. Raises: ProblemsError: listing every problem of every case."""
    from segautoconfiglib.dataset.verify import verify_dataset

    raw = _raw_dataset(context, dataset)
    result = verify_dataset(raw, workers=workers, report=context.report, cancel=context.cancel)
    report_warnings(context, result.warnings)
    result.raise_if_problems()
    context.report("done", stage="verify", cases=result.cases, problems=0, warnings=len(result.warnings))


def fingerprint(
    context: Context, dataset: str | int, *, overwrite: bool = False, check: bool = True, workers: int | None = None
) -> Fingerprint:
    """Measure the dataset (after checking it), or read the measurement if it was made before and still holds."""
    from segautoconfiglib.fingerprint.extract import extract_fingerprint, is_current

    name = context.workspace.dataset_name(dataset)
    file = context.workspace.preprocessed / name / FINGERPRINT_FILE
    if file.exists() and not overwrite:
        before = Fingerprint.load(file)
        here = (context.workspace.raw / name).exists()
        if not here or is_current(before, _raw_dataset(context, name), file.stat().st_mtime_ns):
            return before
        context.report("log", message=f"{name} has changed since it was measured.")
    check_writable(file.parent)
    if check:
        verify(context, name, workers=workers)
    raw = _raw_dataset(context, name)
    result = extract_fingerprint(raw, workers=workers, report=context.report, cancel=context.cancel)
    result.save(file, sort_keys=True)
    context.report("artifact", path=str(file), description="fingerprint")
    return result


def plan(
    context: Context,
    dataset: str | int,
    options: PlanOptions | None = None,
    *,
    check: bool = True,
    workers: int | None = None,
) -> Plans:
    """Plan all configurations and write the plans file, with what training needs beside it."""
    from segautoconfiglib.planning.planner import plan_experiment

    options = options or PlanOptions()
    if options.gpu_memory_target_gb is not None and options.gpu_memory_target_gb < SMALL_TARGET_GB:
        context.report(
            "warning",
            message=f"The GPU memory target of {options.gpu_memory_target_gb:g} GB leaves room for small patches only.",
            hint=f"Networks learn little from them. Give {SMALL_TARGET_GB} or more; the number is in GB.",
        )
    name = context.workspace.dataset_name(dataset)
    folder = context.workspace.preprocessed / name
    file = folder / f"{options.file_name}.json"  # knows the planner: refuses an unknown one first
    measured = fingerprint(context, name, check=check, workers=workers)
    raw = _raw_dataset(context, name)
    plans = plan_experiment(
        raw.description,
        measured,
        dataset_name=name,
        reader_name=raw.reader_name,
        planner=options.planner,
        gpu_memory_target_gb=options.gpu_memory_target_gb,
        target_spacing=options.target_spacing,
        plans_name=options.plans_name,
        previous=Plans.load(file) if file.exists() else None,
    )
    raw.description.save(folder / "dataset.json")
    take_over_splits(raw.folder / SPLITS_FILE, folder / SPLITS_FILE)
    plans.save(file)
    write_json(_note(file), {"content": _digest(file), "options": asdict(options)})
    context.report("artifact", path=str(file), description="plans")
    return plans


def noted_options(file: Path) -> PlanOptions | None:
    """The options that a plans file was made with; None where that is not known, or it was changed since."""
    options = _noted(file).get("options")
    if options is None:
        return None
    spacing = options["target_spacing"]
    return PlanOptions(**{**options, "target_spacing": None if spacing is None else tuple(spacing)})


def note_origin(file: Path, dataset: str) -> None:
    """Keep in mind that a plans file was made for another dataset."""
    write_json(_note(file), {"content": _digest(file), "moved_from": dataset})


def is_moved(file: Path) -> bool:
    """Whether a plans file is one of another dataset, and unchanged."""
    return "moved_from" in _noted(file)


def _noted(file: Path) -> dict[str, Any]:
    """What is known about a plans file; nothing where it was changed since."""
    note = read_json(_note(file)) if _note(file).is_file() else {}
    return note if note.get("content") == _digest(file) else {}


def _note(file: Path) -> Path:
    return file.parent / OWN_FOLDER / file.name


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def preprocess(
    context: Context,
    dataset: str | int,
    plans_name: str = "nnUNetPlans",
    configurations: Sequence[str] | None = None,
    *,
    workers: int | None = None,
    skip_unplanned: bool = False,
) -> None:
    """Preprocess the configurations (default: all with data of their own), continuing what was begun."""
    from segautoconfiglib.preprocessing.in_use import readers
    from segautoconfiglib.preprocessing.run import copy_ground_truth, preprocess_dataset

    name = context.workspace.dataset_name(dataset)
    folder = context.workspace.preprocessed / name
    plans = load_plans(folder, plans_name)
    raw = _raw_dataset(context, name)
    wanted = list(configurations or [key for key in plans.configuration_names if _has_own_data(plans, key)])
    for configuration in [key for key in wanted if skip_unplanned and key not in plans.configuration_names]:
        context.report("log", message=f"{configuration} is not in {plans_name}: nothing to preprocess.")
        wanted.remove(configuration)
    identifiers = [plans.configuration(configuration).data_identifier for configuration in wanted]
    check_writable(folder)
    known = known_cases(folder)
    for configuration, identifier in zip(wanted, identifiers, strict=True):
        preprocess_dataset(
            raw,
            plans,
            configuration,
            folder / identifier,
            workers=workers,
            report=context.report,
            cancel=context.cancel,
        )
    copy_ground_truth(raw, folder / GROUND_TRUTH)
    follow_splits(context, raw, folder, known)
    if not any(readers(folder / identifier) for identifier in identifiers):
        forget_cases(folder, known - {case.id for case in raw.cases})


def report_warnings(context: Context, warnings: Sequence[Problem]) -> None:
    """One warning event for each finding."""
    for warning in warnings:
        message = str(replace(warning, hint=""))
        context.report("warning", message=message, hint=warning.hint, action=warning.action)


def load_plans(folder: Path, plans_name: str) -> Plans:
    file = folder / f"{plans_name}.json"
    if not file.exists():
        raise UserError(
            f"{file} does not exist.",
            f"Run {command('plan', folder.name)} first. Plans here: {', '.join(plans_files(folder)) or 'none'}.",
            "plan",
        )
    return Plans.load(file)


def plans_files(folder: Path) -> list[str]:
    """Names of the plans files in a preprocessed folder."""
    other = {"dataset.json", FINGERPRINT_FILE, SPLITS_FILE}
    return sorted(file.stem for file in folder.glob("*.json") if file.name not in other)


def _raw_dataset(context: Context, dataset: str | int) -> Dataset:
    return load_dataset(context.workspace.raw / context.workspace.dataset_name(dataset))


def _has_own_data(plans: Plans, configuration: str) -> bool:
    """False for the cascade, whose cases are those of 3d_fullres."""
    return "data_identifier" in plans.configurations[configuration]
