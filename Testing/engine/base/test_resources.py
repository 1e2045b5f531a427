from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.resources import watched_resources

ALLOCATE = "import sys; x = bytearray(300 * 2**20); print(); sys.stdin.read()"


class Counting(ListReporter):
    """Sets ``enough`` after so many events."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.enough = threading.Event()
        self._count = count

    def __call__(self, kind: str, **data: Any) -> None:
        super().__call__(kind, **data)
        if len(self.events) >= self._count:
            self.enough.set()


def test_memory_of_started_processes_counts_and_nothing_comes_after_the_end(tmp_path: Path) -> None:
    report = Counting(2)
    with subprocess.Popen([sys.executable, "-c", ALLOCATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with watched_resources(report, tmp_path / "not" / "there", every_s=0.01):
            assert report.enough.wait(60)
        child.communicate()
    count = len(report.events)
    values = report.of("metric")[-1]
    assert values["stage"] == "resources"
    assert values["memory_gb"] > 0.3
    assert values["cpu_percent"] >= 0
    assert values["free_memory_gb"] > 0
    assert values["free_disk_gb"] > 0
    if "torch" not in sys.modules:
        assert (values["gpu"], values["gpu_memory_gb"], values["gpu_free_gb"]) == (None, None, None)
    assert len(report.events) == count


def test_the_gpu_that_holds_most_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        is_initialized = staticmethod(lambda: True)
        device_count = staticmethod(lambda: 2)
        memory_reserved = staticmethod(lambda index: [0, 3 * 2**30][index])
        mem_get_info = staticmethod(lambda index: [(1, 2), (5 * 2**30, 8 * 2**30)][index])
        get_device_name = staticmethod(lambda index: f"GPU {index}")

    class Torch:
        cuda = Cuda

    monkeypatch.setitem(sys.modules, "torch", Torch)
    report = Counting(1)
    with watched_resources(report, tmp_path):
        assert report.enough.wait(60)
    values = report.of("metric")[0]
    assert (values["gpu"], values["gpu_memory_gb"], values["gpu_free_gb"]) == ("GPU 1", 3.0, 5.0)


def test_what_fails_there_concerns_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()

    def broken(kind: str, **data: Any) -> None:
        called.set()
        raise RuntimeError("the report failed")

    with watched_resources(broken, tmp_path, every_s=0.01):
        assert called.wait(60)
    monkeypatch.setitem(sys.modules, "psutil", None)
    report = ListReporter()
    with watched_resources(report, tmp_path, every_s=0.01):
        for thread in threading.enumerate():
            if thread.name == "resources":
                thread.join(60)
    assert report.events == []
