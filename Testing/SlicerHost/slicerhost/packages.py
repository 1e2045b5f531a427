"""Stand-in for slicer.packaging (Slicer 5.12): checks what is installed; installs nothing unless a test allows it."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys

from packaging.requirements import Requirement

from .strict import HostError

PUBLIC = ("load_requirements", "pip_check", "pip_ensure", "pip_install", "pip_uninstall")
#: What was asked for, in order: ("install" or "uninstall", requirements, options).
pip_calls: list[tuple] = []
#: A function of the requirements that stands in for pip; None: asking for an installation raises HostError.
pip_stand_in = None


def _requirements(given) -> list[Requirement]:
    many = [given] if isinstance(given, (str, Requirement)) else given
    return [entry if isinstance(entry, Requirement) else Requirement(entry) for entry in many]


def _fulfilled(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_check(requirements) -> bool:
    return all(_fulfilled(requirement) for requirement in _requirements(requirements))


def pip_install(requirements, constraints=None, blocking=True, completedCallback=None, **options):
    pip_calls.append(("install", requirements, options))
    _run(requirements)
    if completedCallback is not None:
        completedCallback(0)


def pip_uninstall(requirements, **options):
    pip_calls.append(("uninstall", requirements, options))
    _run(requirements)


def _run(requirements) -> None:
    if pip_stand_in is None:
        raise HostError(f"pip ({requirements!r}) is refused: set slicerhost.packages.pip_stand_in")
    pip_stand_in(shlex.split(requirements) if isinstance(requirements, str) else list(requirements))


def load_requirements(path) -> list[Requirement]:
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_ensure(requirements, requester=None, skip_in_testing=True, **options):
    missing = [str(entry) for entry in _requirements(requirements) if not _fulfilled(entry)]
    if missing and not (skip_in_testing and sys.modules["slicer"].app.testingEnabled()):
        pip_install(missing, **options)
