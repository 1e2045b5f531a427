"""What this process may use of the computer: cores and memory, also inside containers and batch jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

#: Holds the system's ``proc`` and ``sys``.
ROOT = Path("/")
#: Limit, use, and the entry of ``memory.stat`` with the cached files that can be dropped: of cgroup v2 and v1.
MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
UNLIMITED = ("max", "-1")


def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may use (at least 1): respects taskset and the limits of containers and batch jobs.

    Args:
        root: Holds ``proc`` and ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(_core_limit(group, cores) for group in _control_groups(root, "cpu"))]))


def total_memory() -> int:
    """Bytes of memory that the computer has."""
    return psutil.virtual_memory().total


def free_memory(root: Path = ROOT) -> int:
    """Bytes that this process can still take: what the system has, and what its container or batch job leaves.

    Args:
        root: Holds ``proc`` and ``sys``.
    """
    free = psutil.virtual_memory().available
    return max(0, min([free, *(_bytes_left(group, free) for group in _control_groups(root, "memory"))]))


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own to the topmost: all their limits hold."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")  # v2 has one tree for all
        own = top / path.strip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _core_limit(group: Path, without_limit: int) -> int:
    """Whole cores that a group may use; ``without_limit`` where it has none."""
    words = _text(group / "cpu.max").split()
    words = words or [*_text(group / "cpu.cfs_quota_us").split(), *_text(group / "cpu.cfs_period_us").split()]
    if len(words) != 2 or words[0] in UNLIMITED:
        return without_limit
    return int(words[0]) // int(words[1])


def _bytes_left(group: Path, without_limit: int) -> int:
    """What a group can still take; ``without_limit`` where it has none."""
    for limit, used, cached in MEMORY_FILES:
        most = _text(group / limit).strip()
        if most and most not in UNLIMITED:
            statistics = dict(line.split(maxsplit=1) for line in _text(group / "memory.stat").splitlines())
            return int(most) - int(_text(group / used)) + int(statistics.get(cached, 0))
    return without_limit


def _text(file: Path) -> str:
    """The content of a system file, "" where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
