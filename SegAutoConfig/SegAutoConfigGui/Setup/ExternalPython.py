"""A Python outside of Slicer that runs the engine: its version, and how what it lacks is installed."""

import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs import Processes
from SegAutoConfigGui.Problems import Problem
from SegAutoConfigGui.Setup.Requirements import MINIMUM_PYTHON, requirement

#: How long a Python may take to tell its version (seconds).
ANSWER_SECONDS = 60.0
TELL_VERSION = "import sys; print('PYTHON %d %d %d' % sys.version_info[:3])"


class PythonCheck:
    """Asks a Python outside of Slicer for its version, in the background; poll it.

    Args:
        python: The program.
        environment: Its environment variables.

    Attributes:
        running: False once it has answered, or failed to.
        version: Such as "3.12.10".
        problem: Why it can't be used, or None.
    """

    def __init__(self, python: str, environment: Mapping[str, str]) -> None:
        self.python = python
        self.running = True
        self.version = ""
        self.problem: Problem | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="SegAutoConfig-python-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "log.txt"
        self._until = time.monotonic() + ANSWER_SECONDS
        try:
            folder = Path(self._folder.name)
            self._process = Processes.startDetached([python, "-c", TELL_VERSION], folder, self._log, environment)
        except OSError as error:
            self._end(_("The Python {path} can't be started: {error}.").format(path=python, error=error.strerror))

    def poll(self) -> None:
        """See whether it has answered."""
        if not self.running:
            return
        code = self._process.poll()
        if code is None and time.monotonic() < self._until:
            return
        if code is None:
            self.close()
            self._end(_("{path} does not answer; is it a Python?").format(path=self.python))
            return
        text = self._log.read_text(encoding="utf-8", errors="replace")
        match = re.search(r"^PYTHON (\d+) (\d+) (\d+)\s*$", text, re.MULTILINE)
        if match is None:
            self._end(_("{path} is no Python.").format(path=self.python), text)
            return
        self.version = ".".join(match.groups())
        if (int(match[1]), int(match[2])) < MINIMUM_PYTHON:
            minimum = ".".join(map(str, MINIMUM_PYTHON))
            message = _("{path} is Python {version}; {minimum} or newer is needed.")
            self._end(message.format(path=self.python, version=self.version, minimum=minimum))
        else:
            self.running = False
            self._folder.cleanup()

    def close(self) -> None:
        """End the process if it runs."""
        if self.running and self._process.poll() is None:
            Processes.endTree(self._process.pid)
            self._process.wait()

    def _end(self, message: str, details: str = "") -> None:
        self.running = False
        self.problem = Problem(message, _("Choose another Python under Setup."), details)
        self._folder.cleanup()


def pipCommand(python: str, packages: Sequence[str]) -> str:
    """What the user can type to install the packages into an external Python."""
    quoted = " ".join(f'"{requirement(package)}"' for package in packages)
    program = f'"{python}"' if " " in python else python
    return f"{program} -m pip install {quoted}"
