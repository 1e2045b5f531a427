"""From the choices of the Train panel to the engine's command line, and what keeps it from being given. No widgets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

#: Offered lengths in minutes; 0 stands for any other.
TIMES = (20, 60, 240, 600, 0)
CONFIGURATIONS = ("", "2d", "3d_fullres", "3d_lowres")
FOLDS = ("0", "1", "2", "3", "4", "all")
#: Planner -> name of the plans that it writes (the engine's planning/presets.py).
PLANNERS = {
    "default": "nnUNetPlans",
    "resenc_m": "nnUNetResEncUNetMPlans",
    "resenc_l": "nnUNetResEncUNetLPlans",
    "resenc_xl": "nnUNetResEncUNetXLPlans",
}
TRAINER = "nnUNetTrainer"
#: A resumed training gets this much time at least (minutes), whatever is left of its own.
LEAST_MINUTES = 2
#: A network that is trained fills its GPU; a prediction beside it needs this much (GB), or one of the two fails.
LEAST_FREE_GPU_GB = 3
CHECKPOINTS = ("checkpoint_latest.pth", "checkpoint_final.pth", "checkpoint_best.pth")


@dataclass(frozen=True)
class TrainChoices:
    """What is chosen in the panel.

    Attributes:
        dataset: Full name of the folder.
        timed: The length is ``minutes``; else ``epochs``.
        configuration: Empty: the engine chooses.
        planner: A key of `PLANNERS`.
        memoryTarget: GPU memory in GB that the network may take; 0: the planner's own.
        startFrom: Folder of a model whose weights and plan are the beginning; empty: random weights, a plan as chosen.
        overwrite: Discard what was trained before in this fold, instead of resuming it.
    """

    dataset: str = ""
    timed: bool = True
    minutes: int = 60
    epochs: int = 100
    configuration: str = ""
    fold: str = "0"
    device: str = "auto"
    planner: str = "default"
    memoryTarget: float = 0.0
    startFrom: str = ""
    overwrite: bool = False


@dataclass(frozen=True)
class EarlierTraining:
    """A fold that was trained before.

    Attributes:
        path: Of the model's folder.
        finished: It was trained to its end, so there is nothing to resume.
        dice: Its mean validation Dice, where known.
    """

    path: str
    finished: bool
    dice: "float | None" = None


def trainCommand(choices: TrainChoices, earlier: "EarlierTraining | None" = None) -> list[str]:
    """The words of the engine's command line.

    Args:
        choices: Of the panel.
        earlier: What the fold holds already: it is resumed or overwritten.
    """
    words = ["train", choices.dataset, "--fold", choices.fold]
    words += ["--budget", budgetText(choices.minutes)] if choices.timed else ["--epochs", str(choices.epochs)]
    planned = (
        ("--configuration", choices.configuration),
        ("--planner", "" if choices.planner == "default" else choices.planner),
        ("--gpu-memory-target", f"{choices.memoryTarget:g}" if choices.memoryTarget else ""),
    )
    for option, value in [("--continue-from", choices.startFrom)] if choices.startFrom else planned:
        words += [option, value] if value else []
    words += ["--device", choices.device]
    if earlier is not None:
        words.append("--overwrite" if choices.overwrite or earlier.finished else "--resume")
    return words


def resumeCommand(command: Sequence[str], modelFolder: str, minutes: float) -> list[str]:
    """The command that goes on where a training ended.

    Args:
        command: That the training was started with.
        modelFolder: Where its checkpoints are; empty where it ended before there was one.
        minutes: What is left of its time, where it was given one.
    """
    words = [word for word in command if word not in ("--resume", "--overwrite")]
    if not hasCheckpoint(modelFolder, optionOf(words, "--fold", "0")):  # it begins anew, with nothing to discard
        return words + (["--overwrite"] if "--overwrite" in command else [])
    parts = Path(modelFolder).name.split("__")
    if len(parts) == 3:  # the plans were perhaps made for the whole time: name them, the rest of it has others
        words = _withOption(_withOption(words, "--plans", parts[1]), "--configuration", parts[2])
    words = _withOption(_withOption(words, "--planner", ""), "--gpu-memory-target", "")  # the plans are made
    words = _withOption(words, "--continue-from", "")  # the checkpoint holds what became of those weights
    if "--budget" in words:
        words = _withOption(words, "--budget", budgetText(max(LEAST_MINUTES, round(minutes))))
    return [*words, "--resume"]


def hasCheckpoint(modelFolder: str, fold: str) -> bool:
    """Whether a fold of a model has something to go on from."""
    return bool(modelFolder) and any((Path(modelFolder) / f"fold_{fold}" / name).is_file() for name in CHECKPOINTS)


def optionOf(words: Sequence[str], option: str, otherwise: str = "") -> str:
    """The value that follows an option in a command line."""
    return words[words.index(option) + 1] if option in words[:-1] else otherwise


def _withOption(words: Sequence[str], option: str, value: str) -> list[str]:
    """The command line with another value of an option; an empty one takes it away."""
    result = list(words)
    if option in result:
        place = result.index(option)
        del result[place : place + 2]
    return [*result, option, value] if value else result


def previewDevice(device: str, job: Any) -> str:
    """The training's own device, or the CPU where the training leaves too little memory on its GPU.

    Args:
        device: That the training was started with.
        job: Of the training; its ``resources`` tell what is free.
    """
    free = job.resources.get("gpu_free_gb")
    return "cpu" if job.running and free is not None and free < LEAST_FREE_GPU_GB else device


def budgetText(minutes: int) -> str:
    """As the engine reads it: "90m" or "4h"."""
    return f"{minutes // 60}h" if minutes >= 120 and minutes % 60 == 0 else f"{minutes}m"


def minutesOf(budget: str) -> float:
    """A budget of a command line in minutes: "90s", "20m", "4h"; 0 for none, and for forms that are not used here."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    return float(match[1]) * {"s": 1 / 60, "m": 1.0, "h": 60.0}[match[2]] if match else 0.0


def foregroundNames(labels: Mapping[str, Any]) -> list[str]:
    """The names of the structures in the order of the engine's Dice values.

    Args:
        labels: Name to label value, or to the values of a region, as in dataset.json.
    """
    values = {name: list(value) if isinstance(value, (list, tuple)) else [value] for name, value in labels.items()}
    names = [name for name in values if name != "ignore" and set(values[name]) != {0}]
    if any(len(value) > 1 for value in values.values()):
        return names  # regions: in the file's order
    return sorted(names, key=lambda name: values[name][0])


def reasonNotToTrain(
    choices: TrainChoices,
    dataset: "Mapping[str, Any] | None",
    devices: "Mapping[str, Mapping[str, Any]] | None" = None,
    busy: bool = False,
) -> str:
    """Why the Train button can't be used, as a sentence; empty where it can.

    Args:
        choices: Of the panel.
        dataset: The entry of the chosen one, None where there is none.
        devices: What `doctor` found, by name; None or empty where it is not known yet.
        busy: This very fold is being trained right now.
    """
    if dataset is None:
        return _("There is no dataset yet. Collect cases under Dataset first.")
    if dataset.get("problem"):
        return _("The dataset can't be used: {problem}").format(problem=dataset["problem"])
    cases = int(dataset.get("cases") or 0)
    if cases == 0:
        return _("The dataset has no training cases. Add some under Dataset.")
    if cases == 1 and choices.fold != "all":
        return _('One case can\'t be split into training and validation: add cases, or choose fold "all" (Advanced).')
    device = (devices or {}).get(choices.device)
    if device is not None and not device.get("usable"):
        return _("{device} can't be used: {reason}").format(
            device=choices.device, reason=device.get("reason") or _("unknown reason")
        )
    if busy:
        return _("This fold is being trained right now.")
    return ""


def datasetLine(dataset: Mapping[str, Any]) -> str:
    """What a dataset holds: "24 cases (2 for testing) · CT · liver, tumor"."""
    cases, test = int(dataset.get("cases") or 0), int(dataset.get("test_cases") or 0)
    counted = _("1 case") if cases == 1 else _("{number} cases").format(number=cases)
    if test:
        counted += " " + _("({number} for testing)").format(number=test)
    parts = [
        counted,
        ", ".join(map(str, dataset.get("channels") or [])),
        ", ".join(foregroundNames(dataset.get("labels") or {})),
    ]
    return " · ".join(part for part in parts if part)


def earlierTraining(
    models: Sequence[Mapping[str, Any]], choices: TrainChoices, devices: Mapping[str, Mapping[str, Any]]
) -> "EarlierTraining | None":
    """What the chosen fold holds from before, in the model that these choices lead to.

    Args:
        models: Of the workspace, as `info` lists them.
        choices: Of the panel.
        devices: What `doctor` found, by name.
    """
    kind = deviceKind(choices.device, devices)
    if choices.startFrom:  # trained with a plan of its own, a new one each time
        return None
    fold = int(choices.fold) if choices.fold.isdigit() else choices.fold
    found = None
    for model in models:
        if model.get("dataset") != choices.dataset or model.get("trainer") != TRAINER:
            continue
        if model.get("configuration") not in ([choices.configuration] if choices.configuration else CONFIGURATIONS):
            continue
        if model.get("plans") != _plansName(choices, kind):
            continue
        if fold in (model.get("unfinished") or []):
            return EarlierTraining(str(model["path"]), finished=False)
        if fold in (model.get("folds") or []):
            found = EarlierTraining(str(model["path"]), finished=True, dice=model.get("dice"))
    return found


def deviceKind(device: str, devices: Mapping[str, Mapping[str, Any]]) -> str:
    """ "cuda", "mps" or "cpu": of the chosen device, or of the one that the engine takes where it may choose."""
    if device != "auto":
        return device.split(":")[0]
    kinds = {name.split(":")[0] for name, entry in devices.items() if entry.get("usable")}
    return next((kind for kind in ("cuda", "mps") if kind in kinds), "cpu")


def _plansName(choices: TrainChoices, kind: str) -> str:
    """Of the plans that are trained with: a time has small ones, except on CUDA devices."""
    standard = PLANNERS[choices.planner]
    return f"{standard}_{_timeInName(choices.minutes)}_{kind}" if choices.timed and kind != "cuda" else standard


def _timeInName(minutes: int) -> str:
    """As the engine writes a time into the name of plans (training/small_plans.py)."""
    if minutes < 3:
        return f"{minutes * 60}s"
    return budgetText(minutes)


def deviceText(device: Mapping[str, Any]) -> str:
    """A device in the list: "cuda:0 · RTX 4090 · 24 GB (22 GB free)"."""
    parts = [str(device.get("device"))]
    if device.get("name") and device["name"] != device["device"]:
        parts.append(str(device["name"]))
    if device.get("memory_gb"):
        memory = _("{total:.0f} GB").format(total=device["memory_gb"])
        if device.get("free_gb") is not None:
            memory += " " + _("({free:.0f} GB free)").format(free=device["free_gb"])
        parts.append(memory)
    return " · ".join(parts)


def cpuNote(devices: Mapping[str, Mapping[str, Any]], choices: TrainChoices) -> str:
    """A note where a training will run on the CPU though the user may expect a GPU; empty otherwise."""
    if not devices or choices.device not in ("auto", "cpu"):
        return ""
    others = [device for name, device in devices.items() if name != "cpu"]
    if any(device.get("usable") for device in others):
        return ""
    why = (
        _("The GPU can't be used ({reason}): the training will run on the CPU.").format(
            reason=others[0].get("reason") or _("unknown reason")
        )
        if others
        else _("No GPU was found: the training will run on the CPU.")
    )
    if choices.timed:
        return f"{why} {_('The network is made small enough for that.')}"
    return f"{why} {_('Epochs take very long there; better choose a time.')}"
