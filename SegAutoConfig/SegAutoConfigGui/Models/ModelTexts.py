"""What is said about a model. No widgets."""

from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Train.TrainCommand import foregroundNames

#: Names that are written out in one line; the rest is counted.
SHOWN = 8


def infoText(model: Mapping[str, Any]) -> str:
    """What it segments, from what, how well, since when, where from: one line, or why it can't be used."""
    if model.get("problem"):
        return _("Can't be used: {problem}").format(problem=model["problem"])
    parts = [
        labelsText(model),
        _("from {channels}").format(channels=", ".join(map(str, model.get("channels") or []))),
        diceText(model),
        dateText(model),
        originText(model),
    ]
    return " · ".join(part for part in parts if part)


def labelsText(model: Mapping[str, Any]) -> str:
    """The structures; of many the first ones."""
    names = foregroundNames(model.get("labels") or {})
    text = ", ".join(names[:SHOWN])
    return text if len(names) <= SHOWN else _("{names} and {count} more").format(names=text, count=len(names) - SHOWN)


def diceText(model: Mapping[str, Any]) -> str:
    """Of the validation, or that there is none."""
    if isinstance(model.get("dice"), (int, float)):
        return _("Dice {dice}").format(dice=number(model["dice"]))
    return _("in training") if not model.get("folds") else _("no validation")


def dateText(model: Mapping[str, Any]) -> str:
    """The day of its newest weights."""
    return str(model.get("date") or "")[:10]


def originText(model: Mapping[str, Any]) -> str:
    """Where it comes from."""
    origin = str(model.get("origin") or "")
    if origin == "trained here":
        return _("trained here")
    if origin.startswith("imported from "):
        return _("imported from {file}").format(file=origin.removeprefix("imported from "))
    return origin


def sizeText(model: Mapping[str, Any]) -> str:
    """On the disk."""
    size = float(model.get("size_mb") or 0)
    return (
        _("{size} GB").format(size=f"{size / 1000:.1f}") if size >= 1000 else _("{size} MB").format(size=f"{size:.0f}")
    )


def rowText(model: Mapping[str, Any]) -> str:
    """Two lines for the list of models: title, and what it is."""
    if model.get("problem"):
        second = _("damaged")
    else:
        channels = ", ".join(map(str, model.get("channels") or []))
        second = " · ".join(part for part in (labelsText(model), channels, originText(model)) if part)
    return f"{model.get('title') or model['path']}\n{second}"


def tooltip(model: Mapping[str, Any]) -> str:
    """Everything in the list that has no column."""
    rows = [
        (_("Dataset"), model.get("dataset")),
        (_("Labels"), ", ".join(foregroundNames(model.get("labels") or {}))),
        (_("Channels"), ", ".join(map(str, model.get("channels") or []))),
        (_("Folds"), ", ".join(map(str, model.get("folds") or []))),
        (_("In training"), ", ".join(map(str, model.get("unfinished") or []))),
        (_("Origin"), originText(model)),
        (_("Folder"), model.get("path")),
        (_("Problem"), model.get("problem")),
    ]
    return "\n".join(f"{name}: {value}" for name, value in rows if value)


def planLines(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The plan in words: (what, value).

    Args:
        details: What `info --model` tells.
    """
    plan = details.get("plan") or {}
    network = str(plan.get("network") or "")
    features = plan.get("features") or []
    if features:
        network += " " + _("({stages} stages, {least} to {most} features)").format(
            stages=len(features), least=features[0], most=features[-1]
        )
    rows = [
        (_("Configuration"), str(details.get("configuration") or "")),
        (_("Patch"), _("{size} voxels").format(size=_times(plan.get("patch_size"))) if plan.get("patch_size") else ""),
        (_("Voxel size"), _("{size} mm").format(size=_times(plan.get("spacing"), 3)) if plan.get("spacing") else ""),
        (_("Batch"), str(plan.get("batch_size") or "")),
        (_("Network"), network),
        (_("Normalization"), ", ".join(map(str, plan.get("normalization") or []))),
        (_("Planner"), str(plan.get("planner") or "")),
    ]
    return [(name, value) for name, value in rows if value]


def foldRows(details: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table of folds: (fold, state, epochs, Dice)."""
    states = {"finished": _("finished"), "unfinished": _("unfinished")}
    return [
        (
            str(fold.get("fold")),
            states.get(str(fold.get("state")), str(fold.get("state"))),
            "–" if fold.get("epochs") is None else str(fold["epochs"]),
            number(fold.get("dice")),
        )
        for fold in details.get("fold_table") or []
    ]


def labelRows(fold: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The values of a fold's labels: (label, Dice, HD95, surface Dice)."""
    return [
        (str(row.get("label")), number(row.get("dice")), number(row.get("hd95"), 1), number(row.get("nsd")))
        for row in fold.get("per_label") or []
    ]


def number(value: Any, digits: int = 3) -> str:
    """A value, or a dash where there is none."""
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) and value == value else "–"


def _times(values: "Sequence[float] | None", digits: int = 4) -> str:
    return " × ".join(f"{value:.{digits}g}" for value in values or [])
