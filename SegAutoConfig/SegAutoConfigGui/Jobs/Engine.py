"""Commands of the engine in processes of their own, which go on when Slicer ends and are followed by files.

A job is a folder: ``job.json`` (what was started), ``events.jsonl`` (what the engine reports), ``log.txt`` (its
output), ``lock`` (held while it runs) and ``stop`` (made to ask for a clean end). Nothing here needs Slicer or Qt.
"""

import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from SegAutoConfigGui.Jobs.Job import LOG_FILE, Job
from SegAutoConfigGui.Jobs.Processes import PROCESSES, endTree, engineEnvironment, startDetached
from SegAutoConfigGui.Jobs.Translation import _
from SegAutoConfigGui.Problems import UserProblem
from segautoconfiglib.base.job import JOB_FILE, STOP_FILE

__all__ = ["Engine", "Job"]

JOBS = "jobs"
#: Less free disk than this (MB) is not enough to begin anything.
LEAST_FREE_MB = 200


class Engine:
    """Starts commands of the engine and finds those that were started before.

    Args:
        python: The Python that runs them: Slicer's launcher ``PythonSlicer``, or one outside.
        workspace: Where datasets, models and jobs lie.
        environment: Environment variables for them; None: this process's. For a Python outside of Slicer these should
            be ``slicer.util.startupEnvironment()``, without what Slicer has set for its own Python.
    """

    def __init__(
        self, python: "str | Path", workspace: "str | Path", environment: "Mapping[str, str] | None" = None
    ) -> None:
        self.python = os.path.abspath(python) if os.path.dirname(python) else str(python)
        self.workspace = Path(workspace).expanduser().absolute()
        self._environment = environment

    def start(
        self,
        command: Sequence[str],
        *,
        title: str = "",
        details: "Mapping[str, Any] | None" = None,
        temporary: bool = False,
        job: "Job | None" = None,
    ) -> "Job":
        """Start a command; returns at once.

        Args:
            command: Its name and arguments, without ``--workspace`` and ``--job``.
            title: For people, such as the dataset's name.
            details: JSON values to keep with the job, for whoever started it.
            temporary: Its folder is removed when nobody holds the job any more; then it is stopped, too, if it runs.
            job: One that has ended and that this command continues, in the same folder: its curves are kept.

        Raises:
            UserProblem: too little disk space, a folder that can't be written, a Python that can't be started, or the
                given job still runs.
        """
        folder = self._madeFolder(command[0], temporary) if job is None else _endedFolder(job)
        description = {
            "title": title or (job.title if job else ""),
            "command": [str(word) for word in command],
            "created": job.created if job else datetime.now().astimezone().isoformat(timespec="seconds"),
            "started": int(time.time() * 1000) / 1000,
            "details": dict(details if details is not None else job.details if job else {}),
        }
        place = ["--workspace", str(self.workspace), "--job", str(folder)]
        words = [self.python, "-m", "segautoconfiglib", *description["command"], *place]
        try:
            _checkSpace(folder)
            (folder / STOP_FILE).unlink(missing_ok=True)
            _writeJson(folder / JOB_FILE, description)
            PROCESSES[folder] = startDetached(words, folder, folder / LOG_FILE, engineEnvironment(self._environment))
        except (OSError, UserProblem) as error:
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, UserProblem):
                raise
            raise UserProblem(*self._startProblem(error)) from error
        started = Job(folder, description)
        started.temporary = temporary
        if temporary:
            weakref.finalize(started, _endTemporary, folder)
        return started

    def jobs(self) -> "list[Job]":
        """All jobs of the workspace, newest first; folders that are none are left out."""
        try:
            folders = [folder for folder in (self.workspace / JOBS).iterdir() if folder.is_dir()]
        except OSError:
            return []
        jobs = [Job(folder, description) for folder in folders if (description := _readDescription(folder))]
        return sorted(jobs, key=lambda job: (job.created, job.folder.name), reverse=True)

    def _madeFolder(self, command: str, temporary: bool) -> Path:
        try:
            if temporary:
                return Path(tempfile.mkdtemp(prefix=f"SegAutoConfig-{command}-"))
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{command}"
            number = 1
            while True:
                folder = self.workspace / JOBS / (name if number == 1 else f"{name}-{number}")
                try:
                    folder.mkdir(parents=True)
                except FileExistsError:
                    if not folder.exists():  # a file is in the place of one of its parents
                        raise
                    number += 1
                else:
                    return folder
        except OSError as error:
            place = tempfile.gettempdir() if temporary else str(self.workspace)
            message = _("Can't write in {folder}: {error}.").format(folder=place, error=error.strerror or error)
            hint = _("Choose another workspace in the Setup tab, or change the folder's permissions.")
            raise UserProblem(message, hint) from error

    def _startProblem(self, error: OSError) -> tuple[str, str]:
        if error.filename and Path(os.fsdecode(error.filename)).name in (JOB_FILE, LOG_FILE, STOP_FILE):
            message = _("Can't write {file}: {error}.").format(file=error.filename, error=error.strerror)
            return message, _("Check the free space and the permissions.")
        return (
            _("The Python at {file} can't be started: {error}.").format(
                file=self.python, error=error.strerror or error
            ),
            _("Choose another one in the Setup tab."),
        )


def _endedFolder(job: Job) -> Path:
    job.poll()
    if job.running:
        message = _("{job} is still running.").format(job=job.title or job.folder.name)
        raise UserProblem(message, _("Wait for its end, or stop it."))
    return job.folder


def _checkSpace(folder: Path) -> None:
    free = shutil.disk_usage(folder).free / 2**20
    if free < LEAST_FREE_MB:
        raise UserProblem(
            _("Only {free} MB are free on the disk of {folder}.").format(free=round(free), folder=folder.parent),
            _("Free some space, or choose a workspace on another disk in the Setup tab."),
        )


def _readDescription(folder: Path) -> "dict[str, Any] | None":
    """The content of job.json where it is sound."""
    try:
        content = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        Job(folder, content)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return content


def _writeJson(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f".partial-{file.name}")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(partial, file)


def _endTemporary(folder: Path) -> None:
    """Nobody can get the result of a temporary job any more: end it, remove its folder. Runs in the window's thread."""
    process = PROCESSES.pop(folder, None)
    if process is not None and process.poll() is None:
        endTree(process.pid)
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
