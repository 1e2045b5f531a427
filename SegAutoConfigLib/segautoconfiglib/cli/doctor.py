"""``doctor``: what this computer has, and what would keep the engine from working."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError

PACKAGES = ("numpy", "scipy", "SimpleITK", "blosc2", "pydantic", "rich", "psutil")
TRAINING_PACKAGES = ("torch", "batchgenerators", "matplotlib")
#: Less free memory (GB) than this makes training on real volumes unlikely to work.
LITTLE_MEMORY_GB = 4
#: Less free disk (GB) than this is soon filled by preprocessed data.
LITTLE_DISK_GB = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show the table; raise what must be mended."""
    from segautoconfiglib.base.terminal import print_table

    problems: list[Problem] = []
    rows = [
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        *_package_rows(problems),
        *_machine_rows(context),
        *_workspace_rows(context, problems),
    ]
    if context.out:
        print_table("This computer", ("what", "found"), rows, context.out)
    context.report("done", stage="doctor", findings=dict(rows))
    if problems:
        raise ProblemsError("Something needs to be mended:", problems)


def _package_rows(problems: list[Problem]) -> list[tuple[str, str]]:
    rows = []
    for package in (*PACKAGES, *TRAINING_PACKAGES):
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "missing"))
            extra = "[train]" if package in TRAINING_PACKAGES else ""
            problems.append(Problem(f"{package} is not installed.", f'pip install "segautoconfiglib{extra}"'))
    return rows


def _machine_rows(context: Context) -> list[tuple[str, str]]:
    import psutil

    from segautoconfiglib.base.parallel import usable_cores

    free = psutil.virtual_memory().available / 2**30
    if free < LITTLE_MEMORY_GB:
        context.report("warning", message=f"Only {free:.1f} GB of memory are free.", hint="Close other programs.")
    return [
        ("cores", str(usable_cores())),
        ("free memory", f"{free:.1f} GB"),
        *_device_rows(),
    ]


def _device_rows() -> list[tuple[str, str]]:
    try:
        from segautoconfiglib.networks.device import devices_text
    except ModuleNotFoundError:
        return [("devices", "unknown without torch")]
    return [("devices", devices_text())]


def _workspace_rows(context: Context, problems: list[Problem]) -> list[tuple[str, str]]:
    from segautoconfiglib.base.records import check_writable

    rows = []
    for name in ("raw", "preprocessed", "results"):
        folder: Path = getattr(context.workspace, name)
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free / 2**30
        state = "" if folder.exists() else ", will be made"
        rows.append((f"nnUNet_{name}", f"{folder}{state}, {free:.1f} GB free"))
        try:
            check_writable(folder)
        except UserError as error:
            problems.append(Problem(error.message, error.hint))
        if free < LITTLE_DISK_GB:
            context.report("warning", message=f"Only {free:.1f} GB are free in {existing}.", hint="")
    return rows
