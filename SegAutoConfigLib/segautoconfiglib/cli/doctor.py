"""``doctor``: what this computer has, and what would keep the engine from working."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from segautoconfiglib import __version__
from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.packages import ALWAYS, FOR_TRAINING, installed_version, lacking

DISTRIBUTION = "segautoconfiglib"
#: Less free memory (GB) than this makes training on real volumes unlikely to work.
LITTLE_MEMORY_GB = 4
#: Less free disk (GB) than this is soon filled by preprocessed data.
LITTLE_DISK_GB = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show the table; raise what must be mended. Works also where packages are missing."""
    problems: list[Problem] = []
    missing = _missing_packages(context, problems)
    devices = _devices(context, problems)
    rows = [
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        (DISTRIBUTION, __version__),
        *((name, installed_version(name) or "missing") for name in (*ALWAYS, *FOR_TRAINING)),
        *_machine_rows(context),
        *((device["device"], _device_text(device)) for device in devices),
        *_workspace_rows(context, problems),
    ]
    _show(context, rows)
    context.report(
        "done",
        stage="doctor",
        findings=dict(rows),
        devices=devices,
        torch=installed_version("torch"),
        missing=missing,
    )
    if problems:
        raise ProblemsError("Something needs to be mended:", problems)


def _show(context: Context, rows: list[tuple[str, str]]) -> None:
    if context.out is None:
        return
    try:
        from segautoconfiglib.base.terminal import print_table

        print_table("This computer", ("what", "found"), rows, context.out)
    except ImportError:  # the package that draws tables is one of those that may be missing
        context.out.writelines(f"{what:<20} {found}\n" for what, found in rows)


def _missing_packages(context: Context, problems: list[Problem]) -> list[str]:
    """Names of the packages that are missing or too old; those that everything needs are problems."""
    always, for_training = lacking(ALWAYS), lacking(FOR_TRAINING)
    problems += [Problem(reason, f"pip install --upgrade {name}", action="install") for name, reason in always.items()]
    if for_training:
        context.report(
            "warning",
            message=f"{' '.join(for_training.values())} "
            f"Without {', '.join(for_training)} there is no training, prediction and demo; everything else works.",
            hint=f'pip install "{DISTRIBUTION}[train]"',
            action="install",
        )
    return [*always, *for_training]


def _machine_rows(context: Context) -> list[tuple[str, str]]:
    try:
        from segautoconfiglib.base.machine import free_memory, usable_cores
    except ModuleNotFoundError:  # said already
        return []
    free = free_memory() / 2**30
    if free < LITTLE_MEMORY_GB:
        context.report("warning", message=f"Only {free:.1f} GB of memory are free.", hint="Close other programs.")
    return [("cores", str(usable_cores())), ("free memory", f"{free:.1f} GB")]


def _devices(context: Context, problems: list[Problem]) -> list[dict[str, Any]]:
    """What networks can run on, the fastest first; empty without torch."""
    try:
        from segautoconfiglib.networks.device import list_devices
    except ModuleNotFoundError:
        return []
    except (ImportError, OSError) as error:
        hint = "Install it again, in the build for this computer."
        problems.append(Problem(f"torch can't be loaded: {error}.", hint))
        return []
    devices = [vars(device) for device in list_devices()]
    for device in devices:
        if not device["usable"]:
            message = f"{device['device']} ({device['name']}) can't be used: {device['reason']}"
            context.report("warning", message=message, hint="Training and prediction on it will fail.")
    return devices


def _device_text(device: dict[str, Any]) -> str:
    free = "" if device["free_gb"] is None else f", {device['free_gb']:.1f} of {device['memory_gb']:.1f} GB free"
    return f"{device['name']}{free}" + ("" if device["usable"] else f"; can't be used: {device['reason']}")


def _workspace_rows(context: Context, problems: list[Problem]) -> list[tuple[str, str]]:
    try:
        from segautoconfiglib.base.records import check_writable, existing_folder
    except ModuleNotFoundError:  # said already
        return []
    rows = []
    for name in ("raw", "preprocessed", "results"):
        folder: Path = getattr(context.workspace, name)
        try:
            existing = existing_folder(folder)
            check_writable(folder)
        except UserError as error:
            rows.append((f"nnUNet_{name}", f"{folder}, can't be used"))
            problems.append(Problem.of(error))
            continue
        free = shutil.disk_usage(existing).free / 2**30
        state = "" if folder.exists() else ", will be made"
        rows.append((f"nnUNet_{name}", f"{folder}{state}, {free:.1f} GB free"))
        if free < LITTLE_DISK_GB:
            context.report("warning", message=f"Only {free:.1f} GB are free in {existing}.", hint="")
    return rows
