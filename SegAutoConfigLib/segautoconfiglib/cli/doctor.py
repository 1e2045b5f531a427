"""``doctor``: what this computer has, and what would keep the engine from working."""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from segautoconfiglib import __version__
from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError

DISTRIBUTION = "segautoconfiglib"
#: The extra that training and prediction need; the rest works without.
TRAINING_EXTRA = "train"
#: A package's name, and the extra that asks for it.
REQUIREMENT = re.compile(r"""([\w.-]+)[^;]*(?:;.*extra == ['"](\w+)['"])?""")
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
        *_package_rows(context, problems),
        *_machine_rows(context, problems),
        *_workspace_rows(context, problems),
    ]
    if context.out:
        print_table("This computer", ("what", "found"), rows, context.out)
    context.report("done", stage="doctor", findings=dict(rows))
    if problems:
        raise ProblemsError("Something needs to be mended:", problems)


def _package_rows(context: Context, problems: list[Problem]) -> list[tuple[str, str]]:
    """The packages that are needed, by the metadata of this one's installation."""
    try:
        always, for_training = _required(), _required(TRAINING_EXTRA)
    except PackageNotFoundError:
        return [(DISTRIBUTION, f"{__version__}, run from a folder; not known which packages it needs")]
    found = {package: _version(package) for package in (DISTRIBUTION, *always, *for_training)}
    for package in always:
        if found[package] is None:
            problems.append(Problem(f"{package} is not installed.", f"pip install {package}"))
    missing = [package for package in for_training if found[package] is None]
    if missing:
        context.report(
            "warning",
            message=f"Without {', '.join(missing)} there is no training, prediction and demo; everything else works.",
            hint=f'pip install "{DISTRIBUTION}[{TRAINING_EXTRA}]"',
        )
    return [(package, text or "missing") for package, text in found.items()]


def _required(extra: str = "") -> list[str]:
    """Names of the packages that are always needed, or only for an extra."""
    found = [REQUIREMENT.match(line) for line in requires(DISTRIBUTION) or []]
    return [match[1] for match in found if match and (match[2] or "") == extra]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine_rows(context: Context, problems: list[Problem]) -> list[tuple[str, str]]:
    from segautoconfiglib.base.machine import free_memory, usable_cores

    free = free_memory() / 2**30
    if free < LITTLE_MEMORY_GB:
        context.report("warning", message=f"Only {free:.1f} GB of memory are free.", hint="Close other programs.")
    return [
        ("cores", str(usable_cores())),
        ("free memory", f"{free:.1f} GB"),
        *_device_rows(problems),
    ]


def _device_rows(problems: list[Problem]) -> list[tuple[str, str]]:
    try:
        from segautoconfiglib.networks.device import devices_text
    except ModuleNotFoundError:
        return [("devices", "unknown without torch")]
    except (ImportError, OSError) as error:
        hint = "Install it again, in the build for this computer."
        problems.append(Problem(f"torch can't be loaded: {error}.", hint))
        return [("devices", "unknown, torch can't be loaded")]
    return [("devices", devices_text())]


def _workspace_rows(context: Context, problems: list[Problem]) -> list[tuple[str, str]]:
    from segautoconfiglib.base.records import check_writable, existing_folder

    rows = []
    for name in ("raw", "preprocessed", "results"):
        folder: Path = getattr(context.workspace, name)
        try:
            existing = existing_folder(folder)
            check_writable(folder)
        except UserError as error:
            rows.append((f"nnUNet_{name}", f"{folder}, can't be used"))
            problems.append(Problem(error.message, error.hint))
            continue
        free = shutil.disk_usage(existing).free / 2**30
        state = "" if folder.exists() else ", will be made"
        rows.append((f"nnUNet_{name}", f"{folder}{state}, {free:.1f} GB free"))
        if free < LITTLE_DISK_GB:
            context.report("warning", message=f"Only {free:.1f} GB are free in {existing}.", hint="")
    return rows
