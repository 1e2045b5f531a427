"""Why a job has failed, as problems for the user."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from SegAutoConfigGui.Jobs.Processes import KILLED, endInWords
from SegAutoConfigGui.Jobs.Translation import _
from SegAutoConfigGui.Problems import Problem, problemsOfEvent

MISSING_MODULE = re.compile(r"^ModuleNotFoundError: No module named '([\w]+)", re.MULTILINE)


def problemsOfLast(data: Mapping[str, Any], log: str, doctor: Mapping[str, Any]) -> list[Problem]:
    """The problems of the "error" event that ends a run, with the log where it is a bug.

    Args:
        data: Of the event.
        log: The end of the log file.
        doctor: What `doctor` has found before, if it is that command: it names all packages, not just the first.
    """
    missing = doctor.get("missing") or data.get("missing")
    packages = [str(name) for name in missing] if isinstance(missing, list) else []
    found = problemsOfEvent(data, log if data.get("exit_code") == 1 else "")
    if not packages:
        return found
    others = [problem for problem in found if not problem.message.startswith(tuple(f"{name} " for name in packages))]
    return [_missingPackages(packages, log), *(others if doctor else [])]


def problemOfEnd(command: Sequence[str], process: "subprocess.Popen[bytes] | None", begun: bool, log: str) -> Problem:
    """The problem of a run that has ended without a last word.

    Args:
        command: Words of the command.
        process: That this Slicer has started; None: another one.
        begun: Whether there was an event of the run.
        log: The end of the log file.
    """
    missing = MISSING_MODULE.findall(log)
    if missing:
        return _missingPackages(missing, log)
    code = process.returncode if process is not None else None
    if process is not None and not begun and (code or 0) >= 0 and code not in KILLED:  # it never was the engine
        message = _("{file} did not run the engine: it ended unexpectedly with exit code {code}.")
        message = message.format(file=process.args[0], code=code)
        return Problem(message, _("Choose another Python in the Setup tab."), log)
    return Problem(endInWords(code), _adviceAfter(command, code), log)


def _adviceAfter(command: Sequence[str], exitCode: "int | None") -> str:
    """What to do after an end without a last word."""
    if command[:1] == ["train"]:
        killed = _("Close other programs and resume it.")
        return killed if exitCode in KILLED else _("What was saved is kept; resume it.")
    killed = _("Close other programs and try again.")
    return killed if exitCode in KILLED else _("What was saved is kept; try again.")


def _missingPackages(names: Sequence[str], details: str) -> Problem:
    if "segautoconfiglib" in names:
        return Problem(_("The engine's files were not found."), _("Install the extension again."), details)
    packages = ", ".join(dict.fromkeys(names))
    message = _("The engine needs packages that are not installed: {packages}.").format(packages=packages)
    return Problem(message, _("Install them in the Setup tab."), details)
