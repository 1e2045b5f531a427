"""Raw datasets from what people have: v1 tasks, folders, masks, lists; and datasets put right or divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.source_cases import Making, SourceCase
from segautoconfiglib.dataset.splits import SPLITS_FILE
from segautoconfiglib.pipeline.membership import check_not_read, name_to_add_to, report_membership

if TYPE_CHECKING:
    from segautoconfiglib.dataset.relabel import LabelValues
    from segautoconfiglib.dataset.repair import Repairs


def convert_v1(context: Context, source: Path, name: str | None = None, *, workers: int | None = None) -> Path:
    """A v1 task becomes ``nnUNet_raw/DatasetXXX_Name``; returns that folder.

    Raises:
        UserError: see `dataset.convert_v1.convert_v1`; or the name is none, or its number is taken.
    """
    from segautoconfiglib.dataset import convert_v1 as v1

    source = Path(source).expanduser().absolute()
    target = context.workspace.raw / name_to_add_to(context, name or v1.v1_name(source))
    folder = v1.convert_v1(source, target, workers=workers, report=context.report, cancel=context.cancel)
    context.report("artifact", path=str(folder), description="raw dataset")
    return folder


def from_folder(
    context: Context,
    dataset: str | int,
    images: Path,
    labels: Path | None = None,
    making: Making | None = None,
    *,
    unlabelled_as_test: bool = False,
    workers: int | None = None,
) -> Path:
    """Images and label maps in plain folders, paired by their names, become cases of a dataset; returns its folder."""
    from segautoconfiglib.dataset.from_folder import cases_from_folder

    name = name_to_add_to(context, dataset)
    cases = cases_from_folder(images, labels, unlabelled_as_test=unlabelled_as_test, report=context.report)
    return _make(context, "from-folder", name, cases, making, workers)


def from_masks(
    context: Context,
    dataset: str | int,
    folder: Path,
    making: Making | None = None,
    *,
    labels: Mapping[str, tuple[str, ...]] | None = None,
    images: Sequence[str] = (),
    masks: str | None = None,
    workers: int | None = None,
) -> Path:
    """Images with one mask file per structure become cases of a dataset; returns its folder."""
    from segautoconfiglib.dataset.from_masks import cases_from_masks

    name = name_to_add_to(context, dataset)
    cases = cases_from_masks(folder, labels=labels, images=images, masks=masks, report=context.report)
    return _make(context, "from-masks", name, cases, making, workers)


def from_csv(
    context: Context, dataset: str | int, file: Path, making: Making | None = None, *, workers: int | None = None
) -> Path:
    """Files that a list names become cases of a dataset; returns its folder."""
    from segautoconfiglib.dataset.from_csv import cases_from_csv

    name = name_to_add_to(context, dataset)
    cases, channels = cases_from_csv(file, report=context.report)
    making = making or Making()
    return _make(context, "from-csv", name, cases, replace(making, channels=making.channels or channels), workers)


def _make(
    context: Context, stage: str, name: str, cases: Sequence[SourceCase], making: Making | None, workers: int | None
) -> Path:
    from segautoconfiglib.dataset.making import make_dataset

    folder = context.workspace.raw / name
    result = make_dataset(cases, folder, making, workers=workers, report=context.report, cancel=context.cancel)
    context.report("artifact", path=str(folder), description="raw dataset")
    report_membership(context, stage, folder, result)
    return folder


def repair(
    context: Context,
    dataset: str | int,
    *,
    values: Mapping[int, int] | None = None,
    labels: LabelValues | None = None,
    apply: bool = False,
    workers: int | None = None,
) -> Repairs:
    """Put right what needs no decision in a raw dataset, or only say what that would be.

    Args:
        dataset: Name or number.
        values: Old to new label value.
        labels: Structure to its values in the label maps (`relabel.named_values`); they are numbered in this order.
        apply: Write; the old files are kept in the dataset's folder ``replaced``.
        workers: Processes.
    """
    from segautoconfiglib.dataset.repair import REPLACED, repair_dataset

    name = context.workspace.dataset_name(dataset)
    if apply:
        check_not_read(context, name)
    folder = context.workspace.raw / name
    found = repair_dataset(
        folder,
        values=values,
        labels=labels,
        apply=apply,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report(
        "done",
        stage="repair",
        dataset=name,
        folder=str(folder),
        cases={one.case: one.done for one in found.cases if one.done},
        description=list(found.description),
        applied=apply,
        **({"replaced": str(folder / REPLACED)} if found.kept else {}),
    )
    return found


def split(
    context: Context,
    dataset: str | int,
    *,
    test: Sequence[str] = (),
    folds: int | None = None,
    seed: int = 12345,
    group: str | None = None,
    groups: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Move cases from training to testing, write folds of one's own, or both.

    Args:
        dataset: Name or number.
        test: "20%", a number, or names of cases.
        folds: Number of folds.
        seed: Of both choices.
        group: Regular expression that finds the patient in a case's name.
        groups: CSV file with columns "id" and "patient".
        overwrite: Replace the splits file of the raw folder.

    Raises:
        UserError: see `dataset.split.split_dataset`; or models may have been trained with other folds.
    """
    from segautoconfiglib.dataset.from_csv import groups_from_csv
    from segautoconfiglib.dataset.members import load_members
    from segautoconfiglib.dataset.split import groups_by_pattern, split_dataset

    name = context.workspace.dataset_name(dataset)
    check_not_read(context, name)
    if not test and folds is None:
        raise UserError("Nothing to do.", "Say --test 20%, --folds 5, or both.")
    used = context.workspace.preprocessed / name / SPLITS_FILE
    if folds is not None and used.exists():
        raise UserError(f"{used} exists: models may have been trained with it.", "Delete it to have other folds.")
    folder = context.workspace.raw / name
    patients = groups_from_csv(groups) if groups is not None else None
    if group is not None:
        patients = groups_by_pattern(list(load_members(folder).training), group)
    result = split_dataset(
        folder,
        test=test,
        folds=folds,
        seed=seed,
        groups=patients,
        overwrite=overwrite,
        report=context.report,
        cancel=context.cancel,
    )
    if folds is not None:
        context.report("artifact", path=str(folder / SPLITS_FILE), description="folds")
    report_membership(context, "split", folder, result)
