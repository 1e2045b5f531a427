"""Progress as events: one function ``report(kind, **data)`` is handed to every stage.

Programs read them as JSON lines (``--events jsonl``), people see progress bars and short lines on standard error.

Kinds and their data (the names are the contract with the Slicer extension and other programs):

========  ==================================================================================================
started   stage, and total (number of steps) where it is known
progress  stage, done, total; case (name), seconds_left where known; training adds epoch and step
metric    stage, name and value, or a row of values: epoch, train_loss, val_loss, dice (list), mean_dice, ...
log       message (text for people), level ("info" by default)
artifact  path, description (a file that was finished)
warning   message, hint, action
error     message, hint, action, exit_code, problems (list of {message, hint, action, file, case}); missing (names
          of packages) where some are not installed
done      stage, and a summary of the stage's result; message, where people see that in place of the summary
========  ==================================================================================================

A hint may name options of the command line; where it does, action says the same as one of a few words
(`base.errors.Action`) for programs that have others. It is missing or empty where the hint can be shown as it is.

A command's first event is "started" with stage ``command``, its name as ``command``, pid and engine_version. Its
last event, and the only one of its kind, is "error" or "done" with stage ``command``, cancelled (true or false) and
exit_code. A command that could not begin (another run of the same job) reports "error" alone.

In the file of a job (``--job``, base/job.py) there is also, every few seconds, "metric" with stage ``resources``:
memory_gb and cpu_percent (this process and all that it has started; percent of the cores that may be used),
free_memory_gb, free_disk_gb (of the workspace), gpu (name), gpu_memory_gb (held by this process), gpu_free_gb; the last
three are null without a GPU in use.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

EVENT_VERSION = 1
KINDS = ("started", "progress", "metric", "log", "artifact", "warning", "error", "done")


@dataclass(frozen=True)
class Event:
    """One event: its kind and its data (JSON values)."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)


class Reporter(Protocol):
    """What every stage takes as ``report``."""

    def __call__(self, kind: str, **data: Any) -> None:
        """Report one event."""


def silent(kind: str, **data: Any) -> None:
    """A reporter that reports nothing (the default of library calls)."""


class ListReporter:
    """Collects events in ``events`` (tests, notebooks)."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, kind: str, **data: Any) -> None:
        self.events.append(Event(kind, data))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of one kind, in order."""
        return [event.data for event in self.events if event.kind == kind]


class JsonReporter:
    """Writes one JSON object per line: ``{"version": 1, "time": ..., "kind": ..., ...}``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, kind: str, **data: Any) -> None:
        self._stream.write(json_line(kind, data))
        self._stream.flush()


def json_line(kind: str, data: dict[str, Any]) -> str:
    """One event as a line of JSON, with its end."""
    line = {"version": EVENT_VERSION, "time": round(time.time(), 3), "kind": kind, **data}
    return json.dumps(strict_json(line)) + "\n"


def strict_json(value: Any) -> Any:
    """``value`` with everything that JSON does not know replaced: NaN and infinity by None, the rest by text."""
    if isinstance(value, dict):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(item) for item in value]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if hasattr(value, "tolist"):
        return strict_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def parse_line(line: str) -> Event:
    """Read one line of a ``--events jsonl`` stream; a line that is no event becomes a log event. Never raises."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        return Event("log", {"message": line.rstrip("\n"), "level": "info"})
    kind = data.pop("kind")
    return Event(kind, data)
