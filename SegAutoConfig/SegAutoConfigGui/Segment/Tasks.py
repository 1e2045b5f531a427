"""TotalSegmentator's tasks as models to segment with: choices, what is missing, the engine's words. No widgets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Models.ModelTexts import labelsText
from SegAutoConfigGui.Problems import Problem, UserProblem

#: Stands for all tasks in the list of models, and is the beginning of a task's "path".
TOTALSEGMENTATOR = "TotalSegmentator"
DEFAULT = "default"
#: Where the weights are published, and under which license those that need no key.
HOME = "github.com/wasserth/TotalSegmentator"
LICENSE = "Apache License 2.0"

Row = Mapping[str, Any]


def weightsWords(folder: str) -> list[str]:
    """The words that name a folder in which weights are looked for first. folder: Empty for none."""
    return ["--weights", folder] if folder else []


def taskModel(row: Row, mode: str = DEFAULT, structures: "Sequence[str] | None" = None) -> dict[str, Any]:
    """A task as a model that volumes are segmented with.

    Args:
        row: The engine's of the task.
        mode: One of its modes; any other: the default.
        structures: That are wanted; None, or where a choice saves nothing: all.

    Returns:
        What a row of the engine's `info` has; and task, mode, structures (None: all), missing (models that are not
        here) and note.
    """
    modes = {entry["mode"]: entry for entry in row["modes"]}
    entry = modes.get(mode) or modes[DEFAULT]
    known = None
    if structures is not None and row["subset"]:
        known = [name for name in row["labels"] if name in set(structures)]
    missing = [*entry["missing"], *(row["subset_missing"] if known else ())]
    labels = {name: value for name, value in row["labels"].items() if known is None or not value or name in known}
    return {
        "path": f"{TOTALSEGMENTATOR}/{row['name']}",
        "task": row["name"],
        "title": row["name"],
        "dataset": "",
        "channels": [row["modality"]],
        "labels": labels,
        "segments": row["segments"],
        "mode": entry["mode"],
        "structures": known,
        "missing": list({one["dataset_id"]: one for one in missing}.values()),
        "problem": entry["problem"],
        "note": noteText(row),
    }


def findTask(rows: Sequence[Row], name: str, mode: str, structures: "Sequence[str] | None") -> Row:
    """The engine's row of a task.

    Args:
        rows: All of them.
        name: Of the task.
        mode: That it must have.
        structures: That it must have; None: it need not be able to look for some only.

    Raises:
        UserProblem: there is none of this name, or it has no such mode or structures.
    """
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        raise UserProblem(_("There is no task {name}.").format(name=name), ", ".join(str(row["name"]) for row in rows))
    modes = [str(entry["mode"]) for entry in row["modes"]]
    if mode not in modes:
        message = _("The task {name} has no mode {mode}.").format(name=name, mode=mode)
        raise UserProblem(message, _("It has: {names}.").format(names=", ".join(modes)))
    unknown = [one for one in structures or () if one not in row["labels"] or not row["labels"][one]]
    if unknown or (structures is not None and not row["subset"]):
        message = _("The task {name} can't look for {structures} alone.")
        raise UserProblem(message.format(name=name, structures=", ".join(unknown or structures or ())))
    return row


def isReady(row: Row) -> bool:
    """Whether a task can be run at one of its resolutions at least."""
    return any(entry["ready"] for entry in row["modes"])


def bestMode(row: Row) -> str:
    """The finest resolution that can be run; without any the default."""
    return next((entry["mode"] for entry in row["modes"] if entry["ready"]), DEFAULT)


def sortedTasks(rows: Sequence[Row]) -> list[Row]:
    """Those that can be run first, those that need a license key last; else in the engine's order."""
    return sorted(rows, key=lambda row: 0 if isReady(row) else 2 if row["licence"] else 1)


# -- texts


def taskText(row: Row) -> str:
    """An entry of the list of tasks."""
    if isReady(row):
        return str(row["name"])
    absent = _("license key needed") if row["licence"] else _("weights missing")
    return f"{row['name']} ({absent})"


def taskTooltip(row: Row) -> str:
    """What a task finds."""
    names = [name for name, value in row["labels"].items() if value]
    return _("{modality}: {names}").format(modality=row["modality"], names=", ".join(names))


def modeText(entry: Row) -> str:
    """An entry of the list of resolutions."""
    spacing = entry["spacing_mm"]
    size = _("{size} mm").format(size=f"{spacing[0]:g}") if spacing else _("as the volume")
    names = {"fast": _("fast"), "fastest": _("fastest")}
    parts = [names.get(entry["mode"], ""), "" if entry["ready"] else _("weights missing")]
    parts = [part for part in parts if part]
    return f"{size} ({', '.join(parts)})" if parts else size


def noteText(row: Row) -> str:
    """What must be known about a task."""
    cropped = _("Expects volumes that show little more than its structures.") if row["cropped_images"] else ""
    return " ".join(part for part in (str(row["note"] or ""), cropped) if part)


def infoText(model: Row) -> str:
    """What a task finds, and in which images."""
    if model["problem"]:
        return _("Can't be used: {problem}").format(problem=model["problem"])
    count = len(model["labels"]) - 1
    number = _("{count} structures").format(count=count) if count > 1 else _("1 structure")
    images = _("for {modality} images").format(modality=model["channels"][0])
    text = " · ".join([number, images, labelsText(model)])
    return f"{text}\n{model['note']}" if model["note"] else text


def missingText(model: Row) -> str:
    """Which weights are missing, and how they get here; empty where none is."""
    numbers = ", ".join(str(one["dataset_id"]) for one in model["missing"])
    if not numbers:
        return ""
    if model["problem"]:
        text = _("Weights of {task} are missing, or can't be used: datasets {numbers} of TotalSegmentator. {problem}")
        return text.format(task=model["title"], numbers=numbers, problem=model["problem"])
    if canDownload(model):
        text = _("The weights of {task} are not on this computer: datasets {numbers} of {home} ({license}).")
        text = text.format(task=model["title"], numbers=numbers, home=HOME, license=LICENSE)
        return f"{text} {_('Download them, or import a zip file or use a folder that has them.')}"
    text = _("The weights of {task} are not on this computer: datasets {numbers} of TotalSegmentator.")
    text = text.format(task=model["title"], numbers=numbers)
    advice = _(
        "Some need a license key: TotalSegmentator's authors give it, and the weights with it. Import those, or use a "
        "folder that has them."
    )
    return f"{text} {advice}"


def canDownload(model: Row) -> bool:
    """Whether all that is missing is published without a key."""
    return bool(model["missing"]) and all(one["address"] for one in model["missing"])


def downloadCommand(model: Row) -> list[str]:
    """The words that fetch what is missing."""
    return ["totalseg_download_weights", "-t", *(str(one["dataset_id"]) for one in model["missing"])]


def terminalLine(model: Row) -> str:
    """The same for a terminal."""
    return " ".join(["python -m segautoconfiglib", *downloadCommand(model)])


def downloadQuestion(model: Row, folder: Path) -> str:
    """What is asked before anything is fetched.

    Args:
        model: The task.
        folder: Gets the weights.
    """
    lines = [
        _("Download the weights of {task}?").format(task=model["title"]),
        "",
        *(str(one["address"]) for one in model["missing"]),
        "",
        _("Into: {folder}").format(folder=folder),
        "",
        _(
            "TotalSegmentator's authors publish these weights under the {license} ({home}). Cite Wasserthal et al., "
            "Radiology: Artificial Intelligence 5 (2023), doi 10.1148/ryai.230024. They are no medical device."
        ).format(license=LICENSE, home=HOME),
    ]
    return "\n".join(lines)


# -- running


def problemsOfTask(model: Row) -> list[Problem]:
    """What keeps a task from being run."""
    if model["problem"]:  # the engine counts what it refuses among what is missing, too
        message = _("The task {title} can't be used: {problem}")
        hint = _("Choose another one, or download or import its weights again.")
        return [Problem(message.format(title=model["title"], problem=model["problem"]), hint)]
    if model["missing"]:
        message = _("The weights of {task} are missing.").format(task=model["title"])
        return [Problem(message, _("Download or import them."))]
    if model["structures"] == []:
        return [Problem(_("No structure is chosen."), _('Check some in the list, or choose "all".'))]
    return []


def taskCommand(model: Row, image: Path, output: Path, device: str, weights: str = "") -> list[str]:
    """The words that run a task on a volume.

    Args:
        model: The task.
        image: The volume's file.
        output: Gets the label map.
        device: As `doctor` names it, or "auto".
        weights: A folder that is looked into first.
    """
    words = ["TotalSegmentator", "-i", str(image), "-o", str(output), "--ml", "-ta", model["task"], "--device", device]
    words += [] if model["mode"] == DEFAULT else [f"--{model['mode']}"]
    return words + weightsWords(weights) + (["--roi_subset", *model["structures"]] if model["structures"] else [])


def stageText(stage: str) -> str:
    """What a task's stage does, in words; empty before the first one."""
    if stage.startswith("rough crop"):
        return _("Looking for the region")
    part = re.fullmatch(r"part (\d+) of (\d+)(?:: (.+))?", stage)
    if part and part[3]:
        return _("Part {number} of {total}: {structures}").format(number=part[1], total=part[2], structures=part[3])
    if part:
        return _("Part {number} of {total}").format(number=part[1], total=part[2])
    return _("Segmenting") if stage else ""


def stageShare(stage: str, ratio: float) -> float:
    """What is done of a task, 0..1.

    Args:
        stage: Of the engine.
        ratio: What is done of the stage.
    """
    if not stage or stage.startswith("rough crop"):
        return 0.0
    if stage == "write":
        return 1.0
    part = re.fullmatch(r"part (\d+) of (\d+)(?:: .+)?", stage)
    return (int(part[1]) - 1 + ratio) / int(part[2]) if part else ratio
