"""The launcher PythonSlicer, and the environment that Slicer runs in."""

from __future__ import annotations

import os
import sys

_SCRIPT = '#!/bin/sh\nunset PYTHONHOME\n"{python}" "$@"\nexit $?\n'


def install(app) -> None:
    """Put PythonSlicer on PATH and in sys.executable's place, and set PYTHONHOME, as in Slicer.

    Like the real one it is a launcher: Python runs as its child, input, output and exit code go through, and killing
    the launcher leaves the child alive. PYTHONHOME points into Slicer there; a foreign Python that inherits it does
    not start. `slicer.util.startupEnvironment()` is the environment without it.
    """
    folder = os.path.join(app.temporaryPath, "bin")
    os.makedirs(folder, exist_ok=True)
    executable = os.path.join(folder, "PythonSlicer")
    with open(executable, "w", encoding="utf-8") as file:
        file.write(_SCRIPT.format(python=sys.executable))
    os.chmod(executable, 0o755)
    before = sys.executable, os.environ["PATH"]
    sys.executable = executable
    os.environ["PATH"] = folder + os.pathsep + os.environ["PATH"]
    os.environ["PYTHONHOME"] = os.path.join(app.temporaryPath, "lib", "Python")
    app._at_stop.append(lambda: _restore(*before))


def _restore(executable: str, path: str) -> None:
    sys.executable, os.environ["PATH"] = executable, path
    os.environ.pop("PYTHONHOME", None)
