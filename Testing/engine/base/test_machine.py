"""Limits of containers and batch jobs, with control groups made of plain files."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from segautoconfiglib.base import machine
from segautoconfiglib.base.machine import free_memory, usable_cores

MEGABYTE = 2**20


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 cores, of which taskset leaves 8, and plenty of memory."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    memory = psutil.virtual_memory()
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: memory._replace(available=64 * 2**30))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def test_without_control_groups(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 8
    assert free_memory(tmp_path) == 64 * 2**30


def test_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step",
            "sys/fs/cgroup/job/step/cpu.max": "350000 100000",
            "sys/fs/cgroup/job/step/memory.max": str(900 * MEGABYTE),
            "sys/fs/cgroup/job/step/memory.current": str(500 * MEGABYTE),
            "sys/fs/cgroup/job/step/memory.stat": f"anon 5\nactive_file 7\ninactive_file {100 * MEGABYTE}",
        },
    )
    assert usable_cores(tmp_path) == 3
    assert free_memory(tmp_path) == 500 * MEGABYTE  # cached files give way


def test_the_tightest_of_the_groups_above_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step",
            "sys/fs/cgroup/cpu.max": "700000 100000",
            "sys/fs/cgroup/job/cpu.max": "200000 100000",
            "sys/fs/cgroup/job/step/cpu.max": "max 100000",
            "sys/fs/cgroup/job/memory.max": str(300 * MEGABYTE),
            "sys/fs/cgroup/job/memory.current": str(400 * MEGABYTE),
            "sys/fs/cgroup/job/step/memory.max": "max",
            "sys/fs/cgroup/job/step/memory.current": "0",
            "sys/fs/cpu.max": "100000 100000",  # no control group
        },
    )
    assert usable_cores(tmp_path) == 2
    assert free_memory(tmp_path) == 0


def test_less_than_one_core_is_one(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"})
    assert usable_cores(tmp_path) == 1


def test_version_1_in_a_container_that_shows_its_own_group_at_the_top(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(800 * MEGABYTE),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(300 * MEGABYTE),
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {50 * MEGABYTE}",
        },
    )
    assert usable_cores(tmp_path) == 4
    assert free_memory(tmp_path) == 550 * MEGABYTE


def test_version_1_without_limits(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "12:cpu,cpuacct:/\n5:memory:/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
        },
    )
    assert usable_cores(tmp_path) == 8
    assert free_memory(tmp_path) == 64 * 2**30
