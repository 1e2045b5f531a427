"""Models as rows for programs and tables. No checkpoint is opened, and a damaged model is a row that says so."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import read_json
from segautoconfiglib.base.workspace import DATASET_NAME, Workspace
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.image.formats import stem
from segautoconfiglib.models.card import load_card
from segautoconfiglib.models.folder import FINAL, LATEST, PLANS_FILE, SEPARATOR, Fold, ModelFolder, file_name
from segautoconfiglib.planning.architectures import PLAIN_UNET
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.trainer_names import as_trained

Row = dict[str, Any]

#: Key of dataset.json under which the colours and terminology of the structures lie.
SEGMENTS_KEY = "segments"
TRAINED_HERE, BY_NNUNET = "trained here", "nnU-Net"
#: The network that titles do not name.
USUAL_NETWORK = PLAIN_UNET.rpartition(".")[2]


def model_folders(workspace: Workspace) -> list[ModelFolder]:
    """All models of all datasets, damaged ones too, sorted by path."""
    folders = workspace.results.glob(f"Dataset*/*{SEPARATOR}*{SEPARATOR}*")
    return [ModelFolder(folder) for folder in sorted(folders) if looks_like_model(folder)]


def looks_like_model(folder: Path) -> bool:
    """Whether a folder is a model, or the remains of one."""
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return (folder / PLANS_FILE).is_file() or any(folder.glob("fold_*/checkpoint_*.pth"))


def model_row(model: ModelFolder) -> Row:
    """What there is to know about a model without opening its checkpoints; see README for the keys. Never raises."""
    problems: list[str] = []
    card, (trainer, plans_name, _) = load_card(model.path), model.name_parts
    plans: Plans | None = None
    description: DatasetDescription | None = None
    configuration, dataset, network = model.name_parts[2], model.path.absolute().parent.name, ""
    with _noted(problems):
        plans = model.plans
        configuration, dataset = model.configuration_name, model.dataset
        plans.configuration(configuration)
        with suppress(UserError):  # what keeps it from being used is told where that is tried
            network = _network(plans, configuration, trainer)
    with _noted(problems):
        description = model.description
    dates = [file.stat().st_mtime for file in model.path.glob("fold_*/checkpoint_*.pth")]
    finished = model.folds()
    return {
        "path": str(model.path),
        "title": card.title or default_title(model, dataset, configuration, network),
        "dataset": dataset,
        "trainer": trainer,
        "plans": plans_name or (plans.plans_name if plans else ""),
        "configuration": configuration,
        "folds": finished,
        "unfinished": [fold for fold in model.folds(LATEST) if fold not in finished],
        "channels": description.channels if description else [],
        "labels": description.labels if description else {},
        "regions_class_order": description.regions_class_order if description else None,
        "segments": segments_of(description),
        "file_ending": description.file_ending if description else None,
        "dice": model.validation_dice(),
        "date": datetime.fromtimestamp(max(dates)).astimezone().isoformat(timespec="seconds") if dates else None,
        "origin": card.origin or _maker(model),
        "size_mb": round(_size_bytes(model.path) / 1e6, 1),
        "problem": " ".join(problems) or None,
    }


def default_title(model: ModelFolder, dataset: str, configuration: str, network: str = "") -> str:
    """The title of a model that was not given one: dataset, configuration and plans; a network other than the usual."""
    match = DATASET_NAME.fullmatch(dataset)
    plans_name = model.name_parts[1]
    name = (match[2] if match else dataset).replace("_", " ")
    if not plans_name:
        return f"{name} ({model.path.name})"
    unusual = f", {network}" if network not in ("", USUAL_NETWORK) else ""
    return f"{name} ({configuration}, {plans_name}{unusual})"


def _network(plans: Plans, configuration: str, trainer: str) -> str:
    """Class name of the network. Raises: UserError: there is no such configuration."""
    architecture = as_trained(plans.configuration(configuration).architecture, trainer)
    return architecture.network_class_name.rpartition(".")[2]


def segments_of(description: DatasetDescription | None) -> dict[str, Any]:
    """Colour and terminology by structure, where dataset.json has them."""
    segments = (description.model_extra or {}).get(SEGMENTS_KEY) if description else None
    return segments if isinstance(segments, dict) else {}


def model_details(model: ModelFolder) -> Row:
    """The row of a model with its folds, its plan, and the text of its plans file. Never raises."""
    plan: Row = {}
    with suppress(UserError):
        plan = _plan_row(model.plans, model.configuration_name, model.name_parts[0])
    try:
        text = (model.path / PLANS_FILE).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        text = ""
    return {
        **model_row(model),
        "fold_table": [_fold_row(model, fold) for fold in model.folds(None)],
        "plan": plan,
        "plans_text": text,
    }


def _plan_row(plans: Plans, name: str, trainer: str) -> Row:
    configuration = plans.configuration(name)
    architecture = as_trained(configuration.architecture, trainer)
    return {
        "patch_size": configuration.patch_size,
        "spacing": configuration.spacing,
        "batch_size": configuration.batch_size,
        "network": _network(plans, name, trainer),
        "features": architecture.arch_kwargs.get("features_per_stage"),
        "normalization": [scheme.removesuffix("Normalization") for scheme in configuration.normalization_schemes],
        "planner": plans.experiment_planner_used,
        "median_image_size": configuration.median_image_size_in_voxels,
    }


def _fold_row(model: ModelFolder, fold: Fold) -> Row:
    folder, summary = model.fold_folder(fold), model.fold_summary(fold)
    logs = sorted(folder.glob("training_log_*.txt"), key=lambda file: file.stat().st_mtime)
    picture = folder / "progress.png"
    names: Mapping[str, str] = {}
    with suppress(UserError):
        names = {str(entry): name for entry, name in model.description.label_spec.names.items()}
    return {
        "fold": fold,
        "random_split": model.is_random(fold),
        "state": "finished" if (folder / FINAL).is_file() else "unfinished",
        "dice": model.fold_dice(fold),
        "per_label": _label_rows(summary, names),
        "cases": _case_rows(summary),
        "progress_picture": str(picture) if picture.is_file() else None,
        "log": str(logs[-1]) if logs else None,
        "epochs": _epochs(logs),
    }


def _label_rows(summary: Row, names: Mapping[str, str]) -> list[Row]:
    """One row per class of a summary.json, ours or nnU-Net's (which has no HD95 and no NSD)."""
    rows = []
    with suppress(AttributeError, TypeError):
        for key, metrics in summary.get("mean", {}).items():
            values = {name.lower(): _number(metrics.get(name)) for name in ("Dice", "HD95", "NSD")}
            rows.append({"label": names.get(key, key), **values})
    return rows


def _case_rows(summary: Row) -> list[Row]:
    """Mean Dice of each held-out case over its classes."""
    rows = []
    with suppress(AttributeError, KeyError, TypeError):
        for entry in summary.get("metric_per_case", []):
            values = [_number(metrics.get("Dice")) for metrics in entry["metrics"].values()]
            known = [value for value in values if value is not None]
            case = stem(file_name(entry["prediction_file"]))
            rows.append({"case": case, "dice": sum(known) / len(known) if known else None})
    return rows


def _number(value: Any) -> float | None:
    """None for what is no finite number (NaN in nnU-Net's files)."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < float("inf") else None


def _epochs(logs: list[Path]) -> int | None:
    """Epochs that were finished, as the logs tell; None without logs."""
    last = None
    for file in logs:
        begun = None
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := re.search(r": Epoch (\d+) *$", line):
                begun = int(match[1])
            elif ": Epoch time" in line and begun is not None:
                last = begun if last is None else max(last, begun)
    return None if last is None else last + 1


def _maker(model: ModelFolder) -> str:
    """Who trained a model: nnU-Net's debug.json has other keys than ours."""
    for file in sorted(model.path.glob("fold_*/debug.json")):
        with suppress(UserError):
            content = read_json(file)
            if isinstance(content, dict) and {"job", "recipe"} <= content.keys():
                return TRAINED_HERE
    return BY_NNUNET


def _size_bytes(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """What keeps a model from being used becomes an entry of a list."""
    try:
        yield
    except UserError as error:
        problems.append(str(error))
