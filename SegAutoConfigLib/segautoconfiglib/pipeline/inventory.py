"""What is in a workspace, as rows for programs. A damaged dataset or model is a row that says so, never an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.workspace import Workspace, dataset_id
from segautoconfiglib.dataset.dataset import DATASET_FILE, Case, list_cases, load_dataset, scan_images
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.evaluation.choice import CHOICE_FILE, Choice
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.models.listing import model_details, model_folders, model_row, segments_of
from segautoconfiglib.pipeline.preparation import plans_files

Row = dict[str, Any]

TEST_IMAGES, TEST_LABELS = "imagesTs", "labelsTs"


def inventory(context: Context) -> tuple[list[Row], list[Row]]:
    """Rows of all datasets and of all models."""
    models = [model_row(model) for model in model_folders(context.workspace)]
    counts = [Path(model["path"]).parent.name for model in models]
    names = context.workspace.dataset_names()
    return [dataset_row(context.workspace, name, models=counts.count(name)) for name in names], models


def dataset_models(context: Context, name: str) -> list[Row]:
    """Rows of the models of a dataset (full name)."""
    folder = context.workspace.results / name
    return [model_row(model) for model in model_folders(context.workspace) if model.path.parent == folder]


def choice_row(context: Context, name: str) -> Row | None:
    """What find-best has chosen among the models of a dataset (full name); None where it has not yet."""
    file = context.workspace.results / name / CHOICE_FILE
    if not file.is_file():
        return None
    row: Row = {"path": str(file), "models": [], "folds": [], "dice": None, "problem": None}
    try:
        choice = Choice.load(file)
    except UserError as error:
        return {**row, "problem": str(error)}
    names = [member.folder_name for member in choice.members]
    dice = choice.best_model_or_ensemble.result_on_crossval_post_pp
    return {**row, "models": names, "folds": list(choice.folds), "dice": dice}


def model_report(path: Path) -> Row:
    """Everything about one model. Raises: UserError: there is no such folder."""
    if not path.is_dir():
        ModelFolder.open(path)  # says what is wrong
    return model_details(ModelFolder(path))


def dataset_row(workspace: Workspace, name: str, *, models: int) -> Row:
    """What exists of a dataset; images are not opened.

    Args:
        workspace: Where it is.
        name: Its full name.
        models: How many it has.
    """
    raw, prepared, results = workspace.raw / name, workspace.preprocessed / name, workspace.results / name
    folder = next((place for place in (raw, prepared, results) if place.is_dir()), raw)
    description, problem = _description(raw if raw.is_dir() else prepared)
    training: list[Case] = []
    if raw.is_dir() and description is not None:
        try:
            training = list(load_dataset(raw).cases)
        except UserError as error:
            problem = str(error)
    tests = _test_cases(raw, description) if description else []
    return {
        "dataset": name,
        "id": dataset_id(name),
        "name": name.partition("_")[2],
        "folder": str(folder),
        "cases": len(training) if raw.is_dir() else description.numTraining if description else 0,
        "test_cases": len(tests),
        "channels": description.channels if description else [],
        "labels": description.labels if description else {},
        "regions_class_order": description.regions_class_order if description else None,
        "file_ending": description.file_ending if description else None,
        "segments": segments_of(description),
        "case_ids": [case.id for case in training],
        "case_files": {
            case.id: _files(case, test) for test, cases in ((True, tests), (False, training)) for case in cases
        },
        "plans": plans_files(prepared),
        "models": models,
        "choice": str(results / CHOICE_FILE) if (results / CHOICE_FILE).is_file() else None,
        "problem": problem,
    }


def _description(folder: Path) -> tuple[DatasetDescription | None, str | None]:
    """dataset.json, or what is wrong with it; neither where a dataset has only results."""
    if not folder.is_dir():
        return None, None
    try:
        return load_description(folder / DATASET_FILE), None
    except UserError as error:
        return None, str(error)


def _test_cases(raw: Path, description: DatasetDescription) -> list[Case]:
    """The cases that are kept for testing, with their labels where there are any; without those that lack files."""
    folder, ending = raw / TEST_IMAGES, description.file_ending
    if not folder.is_dir() or not scan_images(folder, ending).files:
        return []
    try:
        cases = list_cases(folder, ending)
    except ProblemsError:
        return []
    found = [(case, raw / TEST_LABELS / f"{case.id}{ending}") for case in cases]
    return [Case(case.id, case.images, label if label.is_file() else None) for case, label in found]


def _files(case: Case, test: bool) -> Row:
    return {
        "images": [str(file) for file in case.images],
        "labels": str(case.label) if case.label else None,
        "test": test,
    }
