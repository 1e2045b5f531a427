"""Processes that outlive Slicer: starting them, telling whether they live, ending them, telling why one ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import segautoconfiglib
from SegAutoConfigGui.Jobs.Translation import _
from SegAutoConfigGui.Problems import UserProblem
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.job import EVENT_FILE, LOCK_FILE
from segautoconfiglib.base.lock import is_taken

#: Windows: the process gets a console of its own that is never shown, and which the processes that it starts in turn
#: share. With DETACHED_PROCESS it would have none, and each of those (workers, the Python behind the PythonSlicer
#: launcher) would open a window. Both let it outlive Slicer; a group of its own keeps Slicer's Ctrl-C away.
WINDOWS_FLAGS = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
#: Exit codes of a killed process: as its parent sees it, as a shell or a launcher between them passes it on.
KILLED = (-9, 137)

#: Processes that this Slicer has started and that may still run, by job folder: they are its children, whichever Job
#: object looks at them, and it has to take note of their end.
PROCESSES: "dict[Path, subprocess.Popen[bytes]]" = {}

#: How old the latest event of a process may be that can't be asked otherwise: the engine writes one every five seconds.
SILENT_SECONDS = 30.0


def engineEnvironment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for a process that runs the engine.

    Args:
        environment: What to start from; None: this process's own. It is not changed.
    """
    result = dict(os.environ if environment is None else environment)
    folders = [str(Path(segautoconfiglib.__file__).resolve().parents[1]), result.get("PYTHONPATH", "")]
    result["PYTHONPATH"] = os.pathsep.join(folder for folder in folders if folder)
    result["PYTHONUTF8"] = "1"
    result["PYTHONUNBUFFERED"] = "1"
    return result


def startDetached(
    words: Sequence[str], folder: Path, logFile: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a process that goes on when Slicer ends, without a window.

    Args:
        words: Program and arguments.
        folder: Its working directory.
        logFile: Its output and errors are appended there.
        environment: All of its environment variables.

    Raises:
        OSError: the log can't be written or the program can't be started.
    """
    detached: dict = {"creationflags": WINDOWS_FLAGS} if sys.platform == "win32" else {"start_new_session": True}
    with logFile.open("ab") as log:
        return subprocess.Popen(
            list(words),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=True,
            **detached,
        )


def isAlive(folder: Path) -> bool:
    """Whether the process of a job is there: it is this Slicer's, or holds the lock of the job's folder.

    Where locks tell nothing (a file system without, or another user's file) its events do.
    """
    process = PROCESSES.get(folder)
    if process is not None and process.poll() is None:
        return True
    taken = holdsLock(folder)
    if taken is not None or process is not None:
        return bool(taken)
    try:
        written = (folder / EVENT_FILE).stat().st_mtime
    except FileNotFoundError:
        return False
    except OSError:  # the drive does not answer at the moment
        return True
    return time.time() - written < SILENT_SECONDS


def holdsLock(folder: Path) -> "bool | None":
    """Whether a process holds the lock of a job's folder; None where nobody can tell."""
    try:
        return is_taken(folder / LOCK_FILE)
    except (UserError, OSError):
        return None


def checkHere(folder: Path, title: str) -> None:
    """Raises: UserProblem: the process of a job may run on another computer that shares the workspace."""
    try:
        owner = (folder / LOCK_FILE).read_text(encoding="utf-8")
    except OSError:
        if sys.platform == "win32":  # lets nobody read it, and nobody lock it from elsewhere
            return
        owner = ""
    if not owner or holdsLock(folder) is None:  # a number alone may be another process's by now
        message = _("It can't be told where {job} runs: the drive of {folder} does not say who holds a file.")
        message = message.format(job=title or folder.name, folder=folder)
        raise UserProblem(message, _("Stop it, or end its process on the computer that it runs on."))
    if not owner.endswith(f" on {socket.gethostname()}"):
        message = _("{job} runs on another computer ({owner}).").format(job=title or folder.name, owner=owner)
        raise UserProblem(message, _("Stop it there."))


def endTree(pid: int) -> None:
    """End a process and everything that it started, at once.

    On POSIX its group is ended: the launcher of Slicer's Python, the Python that it starts and that one's workers are
    one group, whichever of them ``pid`` is.
    """
    if sys.platform == "win32":
        command = ["taskkill", "/T", "/F", "/PID", str(pid)]
        subprocess.run(command, check=False, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    try:
        group = os.getpgid(pid)
        if group == os.getpgrp():  # started from here without a group of its own: not Slicer itself
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def endInWords(exitCode: int | None) -> str:
    """What an exit code tells about the end of a process, as a sentence."""
    if exitCode is None:
        return _("The engine's process is gone: it was killed, or the computer was switched off.")
    if exitCode in KILLED:
        return _("The engine's process was killed, probably because the memory ran out.")
    if exitCode < 0:
        names = {number.value: number.name for number in signal.Signals}
        return _("The engine's process crashed ({signal}).").format(signal=names.get(-exitCode, -exitCode))
    return _("The engine's process ended unexpectedly with exit code {code}.").format(code=exitCode)
