"""Folders that take long to make, made by one of the processes that run tests (pytest-xdist) for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from segautoconfiglib.base.lock import alone


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that nobody may change.

    Args:
        factory: Of pytest.
        name: Of the folder; the same for everybody who wants it.
        make: Gets a folder to fill.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with alone(base / f"{name}.lock", f"Making {name}"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
