"""Installing what the engine needs into Slicer's Python, and the environment in which the engine runs."""

import importlib
import importlib.metadata
import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs import Processes
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Setup.Requirements import ALONE, TORCH, checkPackages, checkPython, requirement

#: Lines of pip's output that are shown with a problem.
LOG_LINES = 30
#: What torch's installation may not replace. Not setuptools: new builds of torch want a newer one.
PROTECTED = ("numpy", "scipy", "simpleitk", "requests", "pillow", "vtk", "pydicom")
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--prefer-binary")
#: What pip's output says -> what to do about it, in this order.
_CAUSES: tuple[tuple[str, Callable[[], tuple[str, str]]], ...] = (
    (
        r"WinError 5\b|WinError 32\b|Access is denied",
        lambda: (
            _("A file is in use and can't be replaced."),
            _("Restart Slicer and install again before opening another module."),
        ),
    ),
    (
        r"No space left|Errno 28|WinError 112",
        lambda: (_("The disk is full."), _("Free some space and install again.")),
    ),
    (
        r"Permission denied|Errno 13",
        lambda: (
            _("The folder of Slicer's Python can't be written."),
            _("Install Slicer into a folder of your own, or choose another Python."),
        ),
    ),
    (
        r"ProxyError|407 Proxy",
        lambda: (
            _("The proxy refused the connection."),
            _("Set the variable HTTPS_PROXY (http://user:password@host:port) and start Slicer again."),
        ),
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        lambda: (
            _("The secure connection to the package server was refused."),
            _("Ask your administrator how pip is used in your network, or choose another Python."),
        ),
    ),
    (
        r"NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|getaddrinfo failed|Network is unreachable",
        lambda: (
            _("The package server can't be reached."),
            _("Check the internet connection and install again; behind a proxy, set HTTPS_PROXY."),
        ),
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        lambda: (
            _("A package that another extension installed has a version that does not fit."),
            _("Choose another Python; the details name the package."),
        ),
    ),
    (
        r"No matching distribution|Could not find a version",
        lambda: (
            _("There is no build of a package for this computer, or the package server can't be reached."),
            _("Check the internet connection, or choose another Python."),
        ),
    ),
)


def checkInstalled(settings, training: bool = False) -> None:
    """Check that the engine can run with the Python of the settings; quick, nothing is imported or started.

    Args:
        settings: The module's Settings.
        training: True: also what training and segmenting need (not known of an external Python).

    Raises:
        UserProblem: with what to do.
    """
    if not settings.externalPython:
        checkPython()
        checkPackages(training)
        return
    python = settings.pythonExecutable
    if not (os.path.isfile(python) and os.access(python, os.X_OK)):
        raise UserProblem(
            _("The chosen Python {path} does not exist or is not a program.").format(path=python),
            _("Choose another one, or Slicer's own, under Setup."),
        )


def engineEnvironment(settings) -> dict[str, str]:
    """Environment variables from which the engine's process gets its own.

    For an external Python they are those from before Slicer changed them: Slicer's own would make it load Slicer's
    libraries.
    """
    return dict(slicer.util.startupEnvironment() if settings.externalPython else os.environ)


def constraints(names: Sequence[str] | None = None) -> list[str]:
    """Lines that keep pip from replacing what is installed now.

    Args:
        names: Only these distributions (lower case); None: all.
    """
    pinned: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if name and version and re.fullmatch(r"[A-Za-z0-9._+!-]+", version):
            pinned.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)  # the first one found is the one imported
    return [f"{name}=={version}" for name, version in sorted(pinned.items()) if names is None or name in names]


def installCommands(python: str, packages: Sequence[str], constraintsFile: Path) -> list[list[str]]:
    """pip's command lines for the packages: one for all that bring what they ask for, one for those that come alone."""
    start = [python, *PIP, "--constraint", str(constraintsFile)]
    together = [requirement(package) for package in packages if package not in ALONE]
    alone = [requirement(package) for package in packages if package in ALONE]
    commands = [[*start, *together]] if together else []
    return [*commands, [*start, "--no-deps", *alone]] if alone else commands


def checkWritable(folder: Path | None = None) -> None:
    """Check that packages can be written where Slicer's Python looks for them.

    pip would take the user's own folder instead, which Slicer does not look into.

    Raises:
        UserProblem: they can't.
    """
    folder = folder or Path(sysconfig.get_path("purelib"))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserProblem(
            _("Packages can't be installed: the folder {folder} can't be written.").format(folder=folder),
            _("Install Slicer into a folder of your own, or choose another Python below."),
            str(error),
        ) from error


class Installation:
    """Packages being installed in the background; poll it to go on.

    Args:
        packages: What to install.
        python: The Python that runs pip; None: Slicer's own.

    Attributes:
        running: False once it has ended.
        problem: Why it failed, or None.
    """

    def __init__(self, packages: Sequence[str], python: str | None = None) -> None:
        checkWritable()
        self.packages = list(packages)
        self.running = True
        self.problem: Problem | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="SegAutoConfig-install-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "log.txt"
        constraintsFile = Path(self._folder.name) / "constraints.txt"
        constraintsFile.write_text("\n".join(constraints()) + "\n", encoding="utf-8")
        self._commands = installCommands(python or sys.executable, packages, constraintsFile)
        self._process = None
        self._text = ""
        self._startNext()

    @property
    def log(self) -> str:
        """All that pip wrote so far."""
        if self._folder is not None and self._log.exists():
            self._text = self._log.read_text(encoding="utf-8", errors="replace")
        return self._text

    @property
    def lastLine(self) -> str:
        """What pip is doing."""
        lines = [line.strip() for line in self.log.splitlines() if line.strip() and "WARNING" not in line]
        return lines[-1] if lines else ""

    def poll(self) -> None:
        """See whether the process has ended, and go on."""
        if not self.running or self._process is None:
            return
        code = self._process.poll()
        if code is None:
            return
        if code != 0:
            self._end(problemOfLog(self.log, code))
        elif self._commands:
            self._startNext()
        else:
            importlib.invalidate_caches()
            self._end(None)

    def cancel(self) -> None:
        """End pip with all its processes; what was installed already stays."""
        if self.running and self._process is not None:
            Processes.endTree(self._process.pid)
            self._process.wait()
            self._end(Problem(_("The installation was canceled.")))

    def _startNext(self) -> None:
        command = self._commands.pop(0)
        environment = dict(os.environ, PYTHONUTF8="1", PYTHONUNBUFFERED="1")
        try:
            self._process = Processes.startDetached(command, Path(self._folder.name), self._log, environment)
        except OSError as error:
            self._end(Problem(_("pip can't be started: {error}").format(error=error)))

    def _end(self, problem: Problem | None) -> None:
        self.running, self.problem = False, problem
        self._text = self.log
        self._folder.cleanup()
        self._folder = None


def problemOfLog(log: str, exitCode: int = 1) -> Problem:
    """What went wrong, from pip's output."""
    details = "\n".join(log.rstrip().splitlines()[-LOG_LINES:])
    for pattern, text in _CAUSES:
        if re.search(pattern, log):
            message, hint = text()
            return Problem(_("The installation failed.") + " " + message, hint, details)
    return Problem(
        _("The installation failed (exit code {code}).").format(code=exitCode),
        _("The details show what pip wrote; restarting Slicer and installing again often helps."),
        details,
    )


def installTorch() -> None:
    """Install torch through Slicer's PyTorch extension, which chooses the build for this computer's graphics card.

    It asks for a confirmation of its own, and Slicer's window does not answer until it has ended.

    Raises:
        UserProblem: the extension is missing, or the installation failed.
    """
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError as error:
        raise UserProblem(
            _("The PyTorch extension of Slicer is not installed."),
            _(
                "Open the Extensions Manager, install PyTorch, restart Slicer and press Install again. "
                "Or choose another Python below."
            ),
        ) from error
    checkWritable()
    with tempfile.TemporaryDirectory(prefix="SegAutoConfig-install-") as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("\n".join(constraints(PROTECTED)) + "\n", encoding="utf-8")
        before = os.environ.get("PIP_CONSTRAINT")
        # pip runs in a process of the extension's own, which inherits it; it splits the value at spaces
        os.environ["PIP_CONSTRAINT"] = " ".join(filter(None, (before, file.as_uri())))
        try:
            torch = PyTorchUtilsLogic().installTorch(
                askConfirmation=True, torchVersionRequirement=requirement(TORCH).removeprefix(TORCH)
            )
        except Exception as error:
            problem = problemOfLog(f"{getattr(error, 'output', None) or ''}\n{error}")
            raise UserProblem(problem) from error
        finally:
            if before is None:
                del os.environ["PIP_CONSTRAINT"]
            else:
                os.environ["PIP_CONSTRAINT"] = before
    importlib.invalidate_caches()
    if torch is None:
        raise UserProblem(_("torch was not installed: the question was answered with Cancel."))
