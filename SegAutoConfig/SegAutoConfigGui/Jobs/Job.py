"""One command of the engine that runs or has run, as its folder tells."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from SegAutoConfigGui.Jobs.EventFile import EventFile, appendEvent
from SegAutoConfigGui.Jobs.LogText import linesOf, tailOfText
from SegAutoConfigGui.Jobs.Processes import PROCESSES, checkHere, endTree, holdsLock, isAlive
from SegAutoConfigGui.Jobs.Reasons import problemOfEnd, problemsOfLast
from SegAutoConfigGui.Jobs.Translation import _
from SegAutoConfigGui.Problems import Problem, UserProblem, problemsOfEvent
from segautoconfiglib.base.events import Event
from segautoconfiglib.base.job import EVENT_FILE, STOP_FILE

LOG_FILE = "log.txt"
#: How long a process may take to report its first event where only its files are known (seconds).
START_SECONDS = 60.0
#: How long a process may take to end after its last event; some libraries hang there (seconds).
END_SECONDS = 10.0
#: How long a killed process may take to be gone (seconds).
KILL_SECONDS = 3.0
#: Kept of a job's text: lines of messages, characters of the log file, characters of it that are shown with a problem.
LOG_LINES, LOG_CHARACTERS, TAIL_CHARACTERS = 1000, 200_000, 4000


class Job:
    """One command that runs or has run; call :meth:`poll` now and then, the attributes tell what is known since.

    Attributes:
        folder: Its files.
        title: For people.
        command: Words of the command.
        created: When it was first started, ISO text.
        details: What the starter wanted to keep.
        stage: What it is doing ("preprocess").
        progress: Data of the latest progress event, or of the stage's start: stage, done, total, seconds_left where
            known.
        metrics: One row per epoch, also of the runs that this one continues.
        resources: The latest use of memory, processor, GPU and disk.
        warnings: What the run warns of.
        log: The latest messages, as lines.
        results: Data of the "done" event by stage.
        problems: Why it failed; empty unless FAILED or LOST.
        behind: True while more has been written than was read (``poll`` with a time limit).
        stopping: True once a stop was asked for.
        temporary: Its folder is of no more use once it has ended.
    """

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    LOST = "LOST"  # the process is gone without a last word

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.title = str(description.get("title") or "")
        self.command = [str(word) for word in description.get("command") or []]
        self.created = str(description.get("created") or "")
        self.details: dict[str, Any] = dict(description.get("details") or {})
        self.temporary = False
        self.metrics: list[dict[str, Any]] = []
        self._started = float(description.get("started") or 0)
        self._events = EventFile(folder / EVENT_FILE)
        self._state: str | None = None
        self._begin({})

    def _begin(self, data: Mapping[str, Any]) -> None:
        """A run begins: forget the one before, apart from its curves."""
        self.stage = ""
        self.progress: dict[str, Any] = {}
        self.resources: dict[str, Any] = {}
        self.warnings: list[Problem] = []
        self.log: list[str] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.problems: list[Problem] = []
        self.stopping = False
        self._pid = data.get("pid")
        self._latest = 0.0  # time of the latest event
        self._last: Event | None = None  # the one that ends the run
        self._lastSeen: float | None = None
        self._first: tuple[float, float] | None = None  # time and steps of the stage's first progress

    @property
    def state(self) -> str:
        """STARTING, RUNNING, FINISHED, STOPPED, FAILED or LOST, as of the last poll."""
        if self._state is None:  # never polled: the end of its file tells
            alive, last = isAlive(self.folder), self._events.last()
            self._state = self._stateOf(alive, last, _timeOf(last) if last else 0.0)
        return self._state

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self.state in (self.STARTING, self.RUNNING)

    @property
    def behind(self) -> bool:
        return self._events.behind

    @property
    def problem(self) -> "Problem | None":
        """Why it failed, the first reason; None where it did not."""
        return self.problems[0] if self.problems else None

    def poll(self, seconds: "float | None" = None) -> list[Event]:
        """Read what is new; never waits.

        Args:
            seconds: Read at most about this long (see ``behind``).

        Returns:
            The new events; of progress events in a row only the first and the last.
        """
        alive = isAlive(self.folder)  # asked first: what a process has written before its end is then there to be read
        events = self._events.read(seconds)
        for event in events:
            self._take(event)
        if not self.behind:
            self._state = self._stateOf(alive, self._last, self._latest)
            self._note(alive)
        return events

    def wait(self, timeout: float, pump: "Callable[[], Any] | None" = None) -> bool:
        """Poll until it has ended, for scripts.

        Args:
            timeout: In seconds.
            pump: Called again and again meanwhile, such as ``slicer.app.processEvents``.

        Returns:
            Whether it has ended.
        """
        until = time.monotonic() + timeout
        while True:
            self.poll()
            if not self.running or time.monotonic() >= until:
                return not self.running
            if pump is not None:
                pump()
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask for a clean end: the current step is finished and saved.

        Raises:
            UserProblem: the request can't be written.
        """
        if not self.running:
            return
        try:
            (self.folder / STOP_FILE).touch()
        except OSError as error:
            raise UserProblem(
                _("Can't write in {folder}: {error}.").format(folder=self.folder, error=error.strerror or error),
                _("Free some space."),
            ) from error
        self.stopping = True

    def kill(self) -> None:
        """End it at once, with everything that it has started; what is not saved is lost.

        Raises:
            UserProblem: it runs on another computer that shares the workspace.
        """
        self.poll()
        process = PROCESSES.get(self.folder)
        if process is not None and process.poll() is None:
            endTree(process.pid)
        elif isAlive(self.folder) and isinstance(self._pid, int):
            checkHere(self.folder, self.title)
            endTree(self._pid)
        until = time.monotonic() + KILL_SECONDS
        while isAlive(self.folder) and time.monotonic() < until:
            time.sleep(0.02)
        self.poll()
        if self._last is None and not isAlive(self.folder):
            data = {"kind": "done", "stage": "command", "cancelled": True, "killed": True, "exit_code": 130}
            line = json.dumps({"version": 1, "time": round(time.time(), 3), **data})
            try:
                appendEvent(self.folder / EVENT_FILE, line.encode())
            except OSError:
                return
            self.poll()

    def discard(self) -> None:
        """Remove its folder. What was read stays in the attributes.

        Raises:
            UserProblem: it still runs, or files that are to be kept otherwise can't be removed.
        """
        if self.running:
            message = _("{job} is still running.").format(job=self.title or self.folder.name)
            raise UserProblem(message, _("Stop it first."))
        PROCESSES.pop(self.folder, None)
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if self.temporary:  # Windows: a virus scanner reads the log; it is tried again when the job is forgotten
                return
            message = _("Can't remove {folder}: {error}.")
            message = message.format(folder=self.folder, error=error.strerror or error)
            raise UserProblem(message, _("Try again later.")) from error

    def logText(self) -> str:
        """The end of what it has written for people."""
        return tailOfText(self.folder / LOG_FILE, LOG_CHARACTERS)

    # -- events

    def _take(self, event: Event) -> None:
        data, stage = event.data, str(event.data.get("stage") or "")
        if event.kind == "started" and stage == "command":
            self._begin(data)
        self._latest = max(self._latest, _timeOf(event))
        if stage == "command":
            self._last = event if event.kind == "done" else None
        elif event.kind == "started":
            self.stage, self._first = stage, None
            self.progress = {"stage": stage, "done": 0, "total": data.get("total")}
        elif event.kind == "progress":
            self._takeProgress(stage, data)
        elif event.kind == "metric":
            self._takeMetric(stage, data)
        elif event.kind == "warning":
            self.warnings += problemsOfEvent(data)
        elif event.kind == "error":
            self._last = event
        elif event.kind == "done":
            self.results[stage] = data
        self.log += linesOf(event)
        del self.log[:-LOG_LINES]

    def _takeProgress(self, stage: str, data: dict[str, Any]) -> None:
        """The latest progress, with an estimate of the time left where the stage gives none."""
        if stage != self.stage:
            self.stage, self._first = stage, None
        done, total = data.get("done"), data.get("total")
        if isinstance(done, (int, float)) and isinstance(total, (int, float)):
            firstTime, firstDone = self._first = self._first or (_timeOf(Event("", data)), done)
            if data.get("seconds_left") is None and done > firstDone:
                passed = _timeOf(Event("", data)) - firstTime
                data = {**data, "seconds_left": max(0.0, passed / (done - firstDone) * (total - done))}
        self.progress = data

    def _takeMetric(self, stage: str, data: dict[str, Any]) -> None:
        epoch = data.get("epoch")
        if stage == "resources":
            self.resources = data
        elif isinstance(epoch, int):  # a run that continues may begin before the last epoch of the one before
            while self.metrics and self.metrics[-1]["epoch"] >= epoch:
                self.metrics.pop()
            self.metrics.append(data)

    # -- state

    def _stateOf(self, alive: bool, last: "Event | None", latest: float) -> str:
        """The state, by whether the process is there, the event that ends the run, and the time of the latest one."""
        if latest < self._started:  # nothing yet of the run that was started last
            own = self.folder in PROCESSES
            young = not own and time.time() - self._started < START_SECONDS
            return self.STARTING if alive or young else self.FAILED if own else self.LOST
        if alive and not (last is not None and self._hangs(last)):
            return self.RUNNING
        if last is None or last.kind not in ("done", "error") or last.data.get("stage", "command") != "command":
            return self.LOST
        if last.kind == "error":
            return self.FAILED
        return self.STOPPED if last.data.get("cancelled") else self.FINISHED

    def _hangs(self, last: Event) -> bool:
        """Whether a process that has said its last word does not end; it is ended then."""
        process = PROCESSES.get(self.folder)
        if last is not self._last or process is None or holdsLock(self.folder) is not False:
            return False
        self._lastSeen = self._lastSeen or time.monotonic()
        if time.monotonic() - self._lastSeen < END_SECONDS:
            return False
        endTree(process.pid)
        return True

    def _note(self, alive: bool) -> None:
        """Say why, where the state is a bad one."""
        if alive or self.problems or self._state not in (self.FAILED, self.LOST):
            return
        log, begun = tailOfText(self.folder / LOG_FILE, TAIL_CHARACTERS), self._latest >= self._started
        if self._last is not None and begun:
            self.problems = problemsOfLast(self._last.data, log, self.results.get("doctor") or {})
        else:
            self.problems = [problemOfEnd(self.command, PROCESSES.get(self.folder), begun, log)]


def _timeOf(event: Event) -> float:
    value = event.data.get("time")
    return float(value) if isinstance(value, (int, float)) else 0.0
