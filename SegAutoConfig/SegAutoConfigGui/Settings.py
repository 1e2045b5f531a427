"""Choices that belong to the computer and its user, not to a scene (QSettings, group SegAutoConfig)."""

import os
import sys
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

GROUP = "SegAutoConfig"
#: Under the user's home; the same default as the engine's.
DEFAULT_WORKSPACE = "SegAutoConfig"


class Settings:
    """Read and written at once; nothing is cached, so several windows agree."""

    @property
    def workspace(self) -> Path:
        """The folder of datasets, models and jobs."""
        return Path(self._text("workspace") or Path.home() / DEFAULT_WORKSPACE)

    @workspace.setter
    def workspace(self, folder: Path) -> None:
        self._set("workspace", str(folder))

    @property
    def externalPython(self) -> str:
        """Path of a Python outside Slicer that runs the engine; empty: Slicer's own."""
        return self._text("externalPython")

    @externalPython.setter
    def externalPython(self, path: str) -> None:
        self._set("externalPython", path)

    @property
    def pythonExecutable(self) -> str:
        """The Python that runs the engine; Slicer's own is the launcher PythonSlicer."""
        return os.path.expanduser(self.externalPython) or sys.executable

    @property
    def device(self) -> str:
        """The device last chosen ("auto" at first)."""
        return self._text("device") or "auto"

    @device.setter
    def device(self, device: str) -> None:
        self._set("device", device)

    @property
    def taskWeights(self) -> str:
        """A folder of TotalSegmentator's weights that is looked into first; empty for none, also where it is gone."""
        folder = self._text("taskWeights")
        return folder if folder and os.path.isdir(folder) else ""

    @taskWeights.setter
    def taskWeights(self, folder: str) -> None:
        self._set("taskWeights", folder)

    @property
    def lastFolder(self) -> str:
        """Where the user last looked for files."""
        return self._text("lastFolder")

    @lastFolder.setter
    def lastFolder(self, folder: str) -> None:
        self._set("lastFolder", folder)

    def _text(self, key: str) -> str:
        return str(slicer.util.settingsValue(f"{GROUP}/{key}", "") or "")

    def _set(self, key: str, value: str) -> None:
        qt.QSettings().setValue(f"{GROUP}/{key}", value)


def problemOfWorkspace(folder: "str | Path") -> str:
    """Why a folder can't be the workspace; empty where it can. It needs not exist, and is not made.

    Args:
        folder: As the user typed it.
    """
    if not str(folder).strip():
        return _("No folder is given.")
    place = Path(folder).expanduser()
    if not place.is_absolute():
        return _("{folder} is no complete path; it has to begin with {start}.").format(
            folder=folder, start=Path.home().anchor
        )
    existing = next((parent for parent in (place, *place.parents) if os.path.lexists(parent)), None)
    if existing is None:
        return _("{folder} can't be made: {place} does not exist.").format(folder=folder, place=place.anchor)
    reason = _("{place} is a file.") if existing.is_file() else _("{place} is no folder.")
    if existing.is_dir():
        try:
            with tempfile.TemporaryFile(dir=existing):
                return ""
        except OSError as error:
            reason = _("{place} can't be written ({error}).")
            reason = reason.format(place="{place}", error=error.strerror or error)
    reason = reason.format(place=existing)
    return reason if existing == place else _("{folder} can't be made: {reason}").format(folder=folder, reason=reason)
