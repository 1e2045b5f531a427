"""Folders for files on their way between the scene and the engine."""

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import UserProblem

STAGING = "staging"
#: What a Slicer that was killed has left is removed after this time (seconds).
STALE_SECONDS = 24 * 3600


def makeStaging(workspace: Path, prefix: str) -> Path:
    """Make a new folder under the workspace; stale ones of the same prefix are removed.

    Raises:
        UserProblem: it can't be made.
    """
    parent = Path(workspace) / STAGING
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{prefix}*"):
            if time.time() - _lastChange(left) > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        message = _("Can't write in {folder}: {error}.").format(folder=parent, error=error.strerror or error)
        hint = _("Choose another workspace in the Setup tab, or free some disk space.")
        raise UserProblem(message, hint) from error


def _lastChange(folder: Path) -> float:
    """When a file was last made in the folder or in one of its own folders (seconds)."""
    return max(place.stat().st_mtime for place in (folder, *folder.iterdir()))


def removeStaging(folder: Path) -> None:
    """Remove a folder of `makeStaging`, and the one above it where nothing else is in there."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()
