"""What is segmented with which model and how: choices, what keeps them from working, the command line. No widgets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Scene.Checks import problemsOfChannels
from SegAutoConfigGui.Segment.Tasks import problemsOfTask

#: What can be segmented, in the order of the combo box.
MODES = VOLUME, SEVERAL, SEQUENCE = "volume", "several", "sequence"


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment.

    Attributes:
        folds: Such as ("0",); empty: all that were trained.
        faster: Do not average over mirrored images.
        device: As `doctor` names it, or "auto".
        weights: Of a task: a folder that is looked into first.
        resample: Bring further channels to the grid of the first one.
        show3D: Make surfaces of the result.
        probabilities: Also make a volume for each label.
        uncertainty: Also make a volume of uncertainty.
        replace: Replace the earlier result of this model for the same volume.
    """

    folds: tuple[str, ...] = ()
    faster: bool = False
    device: str = "auto"
    weights: str = ""
    resample: bool = False
    show3D: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    replace: bool = False


def matchChannels(channels: Sequence[str], names: Sequence[str], active: "int | None" = None) -> "list[int | None]":
    """Which volume is probably meant for which channel.

    Args:
        channels: Names of the model's channels.
        names: Of the volumes, with their modality.
        active: Number of the volume that is shown.

    Returns:
        The number of a volume for each channel, each at most once; None where nothing fits.
    """
    if len(channels) == 1:
        return [active if active is not None else 0 if names else None]
    near = names[active] if active is not None else ""
    fits = [
        (_likeness(channel, name), _sameBeginning(name.lower(), near.lower()), -number, -place)
        for place, channel in enumerate(channels)
        for number, name in enumerate(names)
    ]
    result: list[int | None] = [None] * len(channels)
    for likeness, _near, number, place in sorted(fits, reverse=True):
        if likeness and result[-place] is None and -number not in result:
            result[-place] = -number
    open_, unused = [n for n, found in enumerate(result) if found is None], set(range(len(names))) - set(result)
    if len(open_) == 1 and len(unused) == 1 and len(names) == len(channels):
        result[open_[0]] = unused.pop()
    return result


def _sameBeginning(a: str, b: str) -> int:
    """How many characters two names have in common from their beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _likeness(channel: str, name: str) -> int:
    """How well a channel fits a volume's name.

    3: it is a word of the name; 2: a word begins with it; 1: it is somewhere in it; 0: not at all.
    """
    wanted, words = _words(channel), _words(name)
    if not wanted:
        return 0
    joined = " ".join(wanted)
    text = " ".join(words)
    if f" {joined} " in f" {text} ":
        return 3
    if f" {joined}" in f" {text}":
        return 2
    return 1 if "".join(wanted) in "".join(words) else 0


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def problemsOfModel(model: "Mapping[str, Any] | None") -> list[Problem]:
    """What keeps a model from being used."""
    if model is None:
        hint = _("Train one under Train, import one under Models, or choose TotalSegmentator.")
        return [Problem(_("There is no trained model."), hint)]
    if "task" in model:
        return problemsOfTask(model)
    if model.get("problem"):
        return [
            Problem(
                _("The model {title} can't be used: {problem}").format(title=model["title"], problem=model["problem"]),
                _("Choose another one, or import it again."),
            )
        ]
    if not (model.get("folds") or model.get("unfinished")):
        message = _("The model {title} has no trained fold.").format(title=model["title"])
        return [Problem(message, _("Train it first."))]
    return []


def problemsOfMode(model: "Mapping[str, Any] | None", mode: str) -> list[Problem]:
    """What keeps a model from being used on several volumes or on a sequence."""
    channels = list(map(str, (model or {}).get("channels") or []))
    if mode == VOLUME or len(channels) < 2:
        return []
    message = _("Several volumes and sequences need a model of one channel; {title} has {count} ({channels}).")
    message = message.format(title=model["title"], count=len(channels), channels=", ".join(channels))
    return [Problem(message, _('Choose "One volume", or another model.'))]


def problemsOfInput(
    model: "Mapping[str, Any] | None", cases: "Sequence[Sequence[Any]]", resample: bool = False
) -> list[Problem]:
    """Everything that keeps these volumes from being segmented with this model.

    Args:
        model: The engine's row of it, or None.
        cases: Volume nodes of each case, one for each channel of the model; None where none is chosen.
        resample: Different grids are no problem.
    """
    problems = problemsOfModel(model)
    if problems:
        return problems
    if not cases:
        return [Problem(_("No volume is chosen."), _("Load a volume, or check one in the list."))]
    for volumes in cases:
        problems += _problemsOfCase(model["channels"], volumes, resample)
    return list(dict.fromkeys(problems))


def _problemsOfCase(channels: Sequence[str], volumes: Sequence[Any], resample: bool) -> list[Problem]:
    chosen = [volume for volume in volumes if volume is not None]
    if len(chosen) < len(channels):
        absent = [name for n, name in enumerate(channels) if n >= len(volumes) or volumes[n] is None]
        if len(channels) == 1:
            return [Problem(_("No volume is chosen."), _("Load a volume and choose it."))]
        return [
            Problem(
                _("The model needs {count} volumes ({channels}); none is chosen for {absent}.").format(
                    count=len(channels), channels=", ".join(channels), absent=", ".join(absent)
                ),
                _("Choose one for each channel."),
            )
        ]
    for number, volume in enumerate(chosen):
        if volume in chosen[:number]:
            return [
                Problem(
                    _("{name} is chosen for two channels ({first}, {second}).").format(
                        name=volume.GetName(), first=channels[chosen.index(volume)], second=channels[number]
                    ),
                    _("Choose another volume for one of them."),
                )
            ]
    return problemsOfChannels(chosen, resample, _('Check "Resample channels" under Advanced.'))


def predictCommand(model: Mapping[str, Any], images: Path, output: Path, options: SegmentOptions) -> list[str]:
    """The words of the engine's command line."""
    words = ["predict", "--model", str(model["path"]), "-i", str(images), "-o", str(output), "--file-ending", ".nrrd"]
    words += ["--device", options.device]
    if not model.get("folds"):  # in training, or stopped
        words += ["-chk", "checkpoint_latest.pth"]
    folds = options.folds or tuple(map(str, model.get("folds") or model.get("unfinished") or ()))
    if set(folds) > {"all"}:  # "all" is a training of its own, not one of the five
        folds = tuple(fold for fold in folds if fold != "all")
    words += ["--folds", *folds]
    words += ["--no-mirroring"] if options.faster else []
    words += ["--probability-images"] if options.probabilities else []
    return words + (["--uncertainty-image"] if options.uncertainty else [])
