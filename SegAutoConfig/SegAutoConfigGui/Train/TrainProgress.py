"""What a training's events tell: stage, time, numbers, model; as values and as text. No widgets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Models.ModelTexts import labelRows, number
from segautoconfiglib.base.events import Event

FINAL, LATEST = "checkpoint_final.pth", "checkpoint_latest.pth"


class TrainProgress:
    """Built up from the events of a training, all its runs in one.

    Attributes:
        stage: Key of the stage it is in, one of STAGES.
        modelFolder: Where its checkpoints go; empty until that is known.
        begun: When the latest run began (seconds since 1970), 0 before.
        pid: Of the latest run's process.
    """

    def __init__(self) -> None:
        self.stage = ""
        self.modelFolder = ""
        self.begun = 0.0
        self.pid: int | None = None
        self._before = 0.0  # seconds of the runs before the latest
        self._last = 0.0

    def take(self, events: Sequence[Event]) -> None:
        """Take in new events."""
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        data, stage = event.data, str(event.data.get("stage") or "")
        if event.kind == "started" and stage == "command":
            self._before, self.stage = self.secondsUsed, ""
            self.begun, self.pid = float(data.get("time") or 0.0), data.get("pid")
            self._last = self.begun
        self._last = max(self._last, float(data.get("time") or 0.0))
        self.stage = _stageAfter(self.stage, event.kind, stage, data)
        self.modelFolder = _modelFolder(data) or self.modelFolder

    @property
    def secondsUsed(self) -> float:
        """Of all runs, up to the latest event."""
        return self._before + max(0.0, self._last - self.begun)

    def secondsNow(self, running: bool, now: float) -> float:
        """The time that it takes or took.

        Args:
            running: It goes on.
            now: Seconds since 1970.
        """
        if running and self.begun:
            return self._before + max(0.0, now - self.begun)
        return self.secondsUsed

    def hasCheckpoint(self, fold: str) -> bool:
        """Whether there are weights to preview with."""
        return bool(self.modelFolder) and (Path(self.modelFolder) / f"fold_{fold}" / LATEST).is_file()


def _stageAfter(before: str, kind: str, stage: str, data: Mapping[str, Any]) -> str:
    """The stage that an event leads to."""
    if kind in ("started", "progress"):
        if stage in ("predict", "evaluate"):
            return "validate"
        return stage if stage in STAGES else before
    if kind == "artifact" and data.get("description") == "fingerprint":
        return "plan"
    if kind == "log" and not before:
        return "plan"
    if kind == "done" and stage == "train":
        return "validate"
    return before


def _modelFolder(data: Mapping[str, Any]) -> str:
    if data.get("model_folder"):
        return str(data["model_folder"])
    if data.get("fold_folder"):
        return str(Path(str(data["fold_folder"])).parent)
    return ""


STAGES = ("", "verify", "fingerprint", "plan", "speed", "preprocess", "train", "validate")


def stageText(stage: str) -> str:
    """A stage in words."""
    return {
        "verify": _("Checking"),
        "fingerprint": _("Measuring the images"),
        "plan": _("Planning"),
        "speed": _("Measuring this computer's speed"),
        "preprocess": _("Preprocessing"),
        "train": _("Training"),
        "validate": _("Validating"),
    }.get(stage, _("Starting"))


def stateText(state: str) -> str:
    """A job's state in words."""
    return {
        "STARTING": _("starting"),
        "RUNNING": _("running"),
        "FINISHED": _("finished"),
        "STOPPED": _("stopped"),
        "FAILED": _("failed"),
        "LOST": _("ended unexpectedly"),
    }.get(state, state)


def trainingText(title: str, job: Any, today: str, exact: bool = False) -> str:
    """A training in the list: "running · Dataset001_Liver, fold 0 · 11:20"; what matters most is not cut off.

    Args:
        title: Of the training.
        job: Likewise.
        today: The date, such as "2026-11-21"; of another day's training the date is given.
        exact: With seconds.
    """
    day, _separator, clock = job.created[: 19 if exact else 16].partition("T")
    when = clock if day == today else f"{day} {clock}"
    return " · ".join(part for part in (stateText(job.state), title, when.strip()) if part)


def trainingTexts(titles: Sequence[str], jobs: Sequence[Any], today: str) -> list[str]:
    """All trainings of the list; those that began in the same minute are told apart by the second, or numbered."""
    texts = [trainingText(title, job, today) for title, job in zip(titles, jobs, strict=True)]
    exact = [
        trainingText(title, job, today, exact=texts.count(text) > 1)
        for title, job, text in zip(titles, jobs, texts, strict=True)
    ]
    return [
        f"{text} ({exact[place:].count(text)})" if exact.count(text) > 1 else text for place, text in enumerate(exact)
    ]


def durationText(seconds: float) -> str:
    """A time as people say it: "45 s", "3 min 20 s", "1 h 05 min"."""
    seconds = int(max(0.0, seconds))
    if seconds < 60:
        return _("{seconds} s").format(seconds=seconds)
    if seconds < 3600:
        return _("{minutes} min {seconds:02} s").format(minutes=seconds // 60, seconds=seconds % 60)
    return _("{hours} h {minutes:02} min").format(hours=seconds // 3600, minutes=seconds % 3600 // 60)


def leftText(seconds: "float | None") -> str:
    """The time left, rounded as it deserves; empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return _("less than a minute left")
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("about {minutes} min left").format(minutes=minutes)
    return _("about {hours} h {minutes:02} min left").format(hours=minutes // 60, minutes=minutes % 60)


def metricText(row: "Mapping[str, Any] | None", names: Sequence[str]) -> str:
    """The last epoch's losses and Dice.

    Args:
        row: Of the job's metrics.
        names: Of the structures, in the order of the Dice values.
    """
    if not row:
        return ""
    losses = _("Epoch {epoch}: loss {train}, validation {validation}; Dice {dice}").format(
        epoch=int(row.get("epoch") or 0) + 1,
        train=number(row.get("train_loss")),
        validation=number(row.get("val_loss")),
        dice=number(row.get("mean_dice")),
    )
    values = row.get("dice") or []
    if len(values) < 2:
        return losses
    named = zip(structures(names, len(values)), values, strict=True)
    each = ", ".join(f"{name} {number(value)}" for name, value in named)
    return f"{losses} ({each})"


def structures(names: Sequence[str], count: int) -> list[str]:
    """As many names as there are values; numbered where they do not fit."""
    return list(names) if len(names) == count else [_("label {number}").format(number=n + 1) for n in range(count)]


def resourcesText(resources: Mapping[str, Any]) -> str:
    """Memory, GPU and disk in one line."""
    if not resources:
        return ""
    parts = []
    if resources.get("memory_gb") is not None:
        parts.append(
            _("memory {used} GB ({free} free)").format(
                used=_gigabytes(resources["memory_gb"]), free=_gigabytes(resources.get("free_memory_gb"))
            )
        )
    if resources.get("gpu"):
        parts.append(
            _("{gpu} {used} GB ({free} free)").format(
                gpu=resources["gpu"],
                used=_gigabytes(resources.get("gpu_memory_gb")),
                free=_gigabytes(resources.get("gpu_free_gb")),
            )
        )
    if resources.get("free_disk_gb") is not None:
        parts.append(_("disk {free} GB free").format(free=_gigabytes(resources["free_disk_gb"])))
    return " · ".join(parts)


def foldOf(model: Mapping[str, Any], fold: str) -> Mapping[str, Any]:
    """A fold's entry in what `info --model` tells; empty where there is none."""
    return next((entry for entry in model.get("fold_table") or [] if str(entry.get("fold")) == fold), {})


def reportRows(fold: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table of a fold's report: its labels, then its cases; (name, Dice, HD95, surface Dice)."""
    cases = [(str(case.get("case")), number(case.get("dice")), "", "") for case in fold.get("cases") or []]
    return [*labelRows(fold), *cases]


def _gigabytes(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
