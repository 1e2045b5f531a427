"""What the Setup panel says. No widgets."""

import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Setup.Requirements import (
    DATASET_MB,
    DATASET_PACKAGES,
    TORCH,
    TORCH_CUDA_GB,
    TORCH_GB,
    TRAINING_MB,
    TRAINING_PACKAGES,
)

#: Less free disk than this (GB) is soon filled by the preprocessed data of a training.
LITTLE_GB = 5.0
#: Rows of `doctor` that are shown as text; the devices have a table.
SHOWN_FINDINGS = ("Python", "torch", "cores", "free memory")


def datasetsText(absent: Sequence[str]) -> str:
    """The first step: what is installed, how much, and whether it is there."""
    title = f"<b>{_('Datasets')}</b>"
    if not absent:
        return f"{title}: " + _("installed")
    text = _("{count} small packages are missing, about {size} MB with what they need: {names}.")
    return f"{title}: " + text.format(count=len(absent), size=DATASET_MB, names=", ".join(absent))


def trainingText(absent: Sequence[str]) -> str:
    """The second step."""
    title = f"<b>{_('Training and segmenting')}</b>"
    if not absent:
        return f"{title}: " + _("installed")
    parts = []
    if TORCH in absent:
        text = _("torch is missing ({cpu} GB for the CPU, {cuda} GB or more with CUDA; Slicer waits meanwhile)")
        parts.append(text.format(cpu=TORCH_GB, cuda=TORCH_CUDA_GB))
    others = [name for name in absent if name != TORCH]
    if others:
        parts.append(_("{names} (about {size} MB)").format(names=", ".join(others), size=TRAINING_MB))
    return f"{title}: " + ", ".join(parts) + "."


def intoText() -> str:
    """Where packages are installed."""
    text = _("Installed into Slicer's Python, {folder}. What Slicer computes with (numpy, VTK ...) stays as it is.")
    return text.format(folder=sysconfig.get_path("purelib"))


def externalText(version: str, doctor: Mapping[str, Any]) -> str:
    """What another Python has.

    Args:
        version: Of the Python.
        doctor: Data of the engine's `doctor`.
    """
    absent = list(doctor.get("missing") or [])
    torch = doctor.get("torch")
    parts = [_("Python {version}").format(version=version), f"torch {torch}" if torch else _("no torch")]
    parts.append(_("missing: {names}").format(names=", ".join(absent)) if absent else _("all packages are there"))
    return " · ".join(parts)


def allPackages() -> tuple[str, ...]:
    """Everything that another Python needs, besides what is in Slicer."""
    return (*DATASET_PACKAGES, TORCH, *TRAINING_PACKAGES)


def spaceText(folder: Path) -> str:
    """Free space of the disk on which a folder is or would be."""
    place = Path(folder).expanduser()
    exists = place.is_dir()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free / 1e9
    except OSError:
        return ""
    text = _("{free} GB free").format(free=f"{free:.1f}")
    if not exists:
        text += " · " + _("the folder will be made")
    if free < LITTLE_GB:
        text += " · " + _("little: a training on real volumes needs several GB")
    return text


def deviceRow(device: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A row of the table of devices."""
    memory = ""
    if device.get("memory_gb"):
        memory = _("{total:.0f} GB").format(total=device["memory_gb"])
        if device.get("free_gb") is not None:
            memory = _("{free:.0f} of {total:.0f} GB").format(free=device["free_gb"], total=device["memory_gb"])
    usable = _("yes") if device.get("usable") else _("no")
    return str(device.get("device")), str(device.get("name") or ""), memory, usable


def findingsText(doctor: Mapping[str, Any]) -> str:
    """What else `doctor` found, in one line."""
    findings = doctor.get("findings") or {}
    return " · ".join(f"{name} {findings[name]}" for name in SHOWN_FINDINGS if findings.get(name))
