"""Events as people see them: progress bars and short lines on standard error, tables on standard output.

rich is imported when the first reporter or table needs it, so that ``--help`` stays fast.
"""

from __future__ import annotations

import math
import re
import shlex
import textwrap
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from segautoconfiglib.base.errors import Problem
from segautoconfiglib.base.words import COMMAND, counted

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

#: Shortest time between two progress lines of a stage where there is no terminal (seconds).
LINE_INTERVAL = 10.0

#: Everything that would move the cursor, change colours or ring the bell; tab and newline stay.
CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: Stands for a space in a command, which is not to be divided among lines.
UNBROKEN = "\0"
#: How lines are divided.
WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False, "expand_tabs": False}

#: How a line of metrics names its values, in this order; others follow under their own name.
METRIC_NAMES = {
    "train_loss": "loss",
    "val_loss": "val",
    "dice": "Dice",
    "mean_dice": "mean",
    "ema_dice": "average",
    "learning_rate": "lr",
}


class HumanReporter:
    """Shows events to people. With a terminal: one bar per stage, colours; without: plain lines, not too many.

    Args:
        stream: Where to write, normally ``sys.stderr``.
        given: Options of this run that commands in messages need, too, such as ("--workspace", "data").
        quiet: Show warnings and errors only.
    """

    def __init__(self, stream: TextIO, given: Sequence[str] = (), *, quiet: bool = False) -> None:
        self._stream = stream
        self._given = tuple(given)
        self._quiet = quiet
        self._view: _Bars | _Lines = _Bars(stream) if stream.isatty() else _Lines(stream)

    def __call__(self, kind: str, **data: Any) -> None:
        """Show one event; the beginning and the end of a command are for programs."""
        if kind in ("started", "done") and data.get("stage") == "command":
            return
        if self._quiet and kind not in ("warning", "error"):
            return
        if kind == "started":
            if data.get("total") == 0:
                return
            self._view.start(str(data.get("stage", "")), data.get("total"))
        elif kind == "progress":
            self._view.advance(str(data.get("stage", "")), data)
        elif kind == "done":
            self._view.finish(str(data.get("stage", "")))
            self._write(done_text(data))
        else:
            self._write(*event_lines(kind, data))

    def close(self) -> None:
        """Take the bars away; nothing may be reported afterwards."""
        self._view.close()
        self._stream.flush()

    def _write(self, *lines: tuple[str, str]) -> None:
        for text, style in lines:
            if text:
                self._view.line(_with_commands(CONTROL_CHARACTERS.sub("", text), self._given), style)


class _Bars:
    """The view for a terminal: lines scroll, the bars of the stages under way stay below them."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(file=stream, emoji=False)
        columns: list[ProgressColumn] = [
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _time_left_column(),
            TextColumn("{task.fields[what]}", style="dim", markup=False),
        ]
        self._progress: Progress = Progress(*columns, console=self._console, transient=True, refresh_per_second=5)
        self._tasks: dict[str, TaskID] = {}
        self._clocks: dict[str, _Clock] = {}

    def start(self, stage: str, total: int | None) -> None:
        self.finish(stage)
        self._progress.start()
        self._clocks[stage] = clock = _Clock()
        self._tasks[stage] = self._progress.add_task(stage, total=total, clock=clock, what="")

    def advance(self, stage: str, data: dict[str, Any]) -> None:
        done, total = data.get("done", 0), data.get("total")
        if stage not in self._tasks:
            if total and done >= total:  # its end was shown already
                return
            self.start(stage, total)
        self._clocks[stage].update(data)
        self._progress.update(self._tasks[stage], completed=done, total=total, what=_what(data))
        if total and done >= total:
            self.finish(stage)

    def finish(self, stage: str) -> None:
        if stage not in self._tasks:
            return
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[stage])]
        self._progress.remove_task(self._tasks.pop(stage))
        seconds = self._clocks.pop(stage).elapsed
        if task.completed:
            self.line(f"{stage}  {task.completed:g}/{task.total or task.completed:g}  {time_text(seconds)}", "green")
        if not self._tasks:
            self._progress.stop()

    def line(self, text: str, style: str) -> None:
        wrapped = _wrapped(text, self._console.width)
        self._console.print(wrapped, style=style or None, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


def _time_left_column() -> ProgressColumn:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """Counts down between two events."""

        def render(self, task: Task) -> Text:
            clock: _Clock = task.fields["clock"]
            return Text(clock.left())

    return TimeLeft()


class _Lines:
    """The view for files and pipes: whole lines only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._clocks: dict[str, _Clock] = {}

    def start(self, stage: str, total: int | None) -> None:
        self._clocks[stage] = _Clock()
        self.line(f"{stage}: started" + (f", {counted(total, 'step')}" if total else ""), "")

    def advance(self, stage: str, data: dict[str, Any]) -> None:
        done, total = data.get("done", 0), data.get("total")
        finished = bool(total) and done >= total
        if finished and stage not in self._clocks:  # its end was shown already
            return
        clock = self._clocks.setdefault(stage, _Clock())
        clock.update(data)
        if not clock.due(finished):
            return
        share = f"/{total} ({100 * done / total:.0f} %)" if total else ""
        tail = time_text(clock.elapsed) if finished else clock.left()
        parts = [f"{stage}: {done}{share}", tail, "" if finished else _what(data)]
        self.line("  ".join(part for part in parts if part), "")
        if finished:
            self.finish(stage)

    def finish(self, stage: str) -> None:
        self._clocks.pop(stage, None)

    def line(self, text: str, style: str) -> None:
        self._stream.write(text.replace(UNBROKEN, " ") + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


class _Clock:
    """Time of one stage."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last_line = self._start
        self._first: tuple[float, float] | None = None
        self._end: float | None = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def due(self, finished: bool) -> bool:
        """Whether a progress line may be written now."""
        now = time.monotonic()
        if not finished and now - self._last_line < LINE_INTERVAL:
            return False
        self._last_line = now
        return True

    def update(self, data: dict[str, Any]) -> None:
        """Estimate the end: as the stage says, else from the speed since its first sign of progress.

        What came before that sign, the start of processes or what a continued run found done, says nothing about speed.
        """
        now, seconds = time.monotonic(), data.get("seconds_left")
        done, total = data.get("done", 0), data.get("total")
        self._first = self._first or (now, done)
        start, done_before = self._first
        if seconds is None and total and done > done_before:
            seconds = (now - start) / (done - done_before) * (total - done)
        self._end = None if seconds is None else now + seconds

    def left(self) -> str:
        """The time left, in words; empty while unknown."""
        return "" if self._end is None else f"{time_text(self._end - time.monotonic())} left"


def _with_commands(text: str, given: Sequence[str]) -> str:
    """The commands of a text as they can be copied; without quotes around them where they end a line."""

    def whole(match: re.Match[str]) -> str:
        command = f"{match[1]} {shlex.join(given)}".rstrip().replace(" ", UNBROKEN)
        return command if text[match.end() :].partition("\n")[0] == "" else f"`{command}`"

    return COMMAND.sub(whole, text)


def _wrapped(text: str, width: int) -> str:
    """Lines not wider than a terminal, divided at spaces and continued below their beginning; commands stay whole."""
    lines = []
    for line in text.split("\n"):
        body = line.lstrip(" ")
        before = " " * (len(line) - len(body))
        margin = (before + "  " * body.startswith("- ")) or "  "
        lines += textwrap.wrap(body, width, initial_indent=before, subsequent_indent=margin, **WHOLE_WORDS) or [""]
    return "\n".join(lines).replace(UNBROKEN, " ")


def _what(data: dict[str, Any]) -> str:
    return CONTROL_CHARACTERS.sub("", str(data.get("case") or ""))


def event_lines(kind: str, data: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines (text, rich style) of a log, metric, artifact, warning or error event."""
    message, hint = str(data.get("message", "")), str(data.get("hint") or "")
    if kind == "metric":
        return [(metric_text(data), "cyan")]
    if kind == "artifact":
        description = data.get("description")
        return [(f"Wrote {data.get('path', '')}" + (f" ({description})" if description else ""), "")]
    if kind in ("warning", "error"):
        style = "bold red" if kind == "error" else "yellow"
        problems = [(f"  - {_problem_text(problem)}", "") for problem in data.get("problems") or []]
        return [(f"{kind.capitalize()}: {message}", style), *problems, (textwrap.indent(hint, "  "), "bold")]
    return [(message, "dim" if data.get("level") == "debug" else "")]


def _problem_text(problem: dict[str, Any]) -> str:
    message, hint, file, case = (str(problem.get(key) or "") for key in ("message", "hint", "file", "case"))
    return str(Problem(message, hint, file, case))


def metric_text(data: dict[str, Any]) -> str:
    """One compact line of a metric event: "epoch 3/100  loss 0.412  Dice 0.81 0.79  lr 0.0098  3.2 s"."""
    values = {key: value for key, value in data.items() if key not in ("stage", "seconds", "epochs", "total")}
    if "name" in values and "value" in values:
        values = {str(values.pop("name")): values.pop("value"), **values}
    parts = []
    if "epoch" in values:
        epochs = data.get("epochs", data.get("total"))
        parts.append(f"epoch {values.pop('epoch')}" + (f"/{epochs}" if epochs else ""))
    order = [*METRIC_NAMES, *(key for key in values if key not in METRIC_NAMES)]
    parts += [f"{METRIC_NAMES.get(key, key)} {number_text(values[key])}" for key in order if key in values]
    if isinstance(data.get("seconds"), (int, float)):
        parts.append(f"{data['seconds']:.1f} s")
    return "  ".join(parts)


def done_text(data: dict[str, Any]) -> tuple[str, str]:
    """One line for the end of a stage with the scalar results that came with it; empty where none came."""
    if "message" in data:
        return str(data["message"]), "green"
    results = [
        f"{key.replace('_', ' ')} {number_text(value)}"
        for key, value in data.items()
        if key != "stage" and isinstance(value, (int, float, str)) and not isinstance(value, bool)
    ]
    return (f"{data.get('stage', '')} done: {', '.join(results)}" if results else "", "green")


def number_text(value: Any) -> str:
    """A value for people: four decimals or digits, several of them side by side, "-" for what is missing."""
    if isinstance(value, (list, tuple)):
        return " ".join(number_text(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key} {number_text(item)}" for key, item in value.items())
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-" if value is None or math.isnan(value) else str(value)
    if isinstance(value, float):
        return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.4g}"
    return str(value)


def time_text(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    stream: TextIO,
    *,
    marked: Collection[int] = (),
) -> None:
    """Write a table: text to the left, numbers to the right with three decimals, "-" for what is missing.

    Args:
        title: Above the table; may be empty.
        columns: Headings; where all are blank, their line is left out.
        rows: One sequence of cells per row, each as long as ``columns``.
        stream: Normally ``sys.stdout``; colours are used only on a terminal, and nothing is cut off elsewhere.
        marked: Rows that stand out where there are colours.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headed = any(str(column).strip() for column in columns)
    frame = box.SIMPLE_HEAD if headed else None
    table = Table(title=title or None, title_justify="left", title_style="bold", box=frame, pad_edge=False)
    table.show_header = headed
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(Text(str(column)), justify="right" if numeric else "left")
    for index, row in enumerate(rows):
        table.add_row(*(Text(_cell(value)) for value in row), style="yellow" if index in marked else None)
    console = Console(file=stream) if stream.isatty() else Console(file=stream, width=10_000, color_system=None)
    console.print(table, crop=False)


def _cell(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3f}"
    return number_text(value)
