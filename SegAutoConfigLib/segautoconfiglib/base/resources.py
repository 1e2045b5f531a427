"""What a run uses of the computer, as "metric" events of the stage ``resources``."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from segautoconfiglib.base.events import Reporter

#: Between two events (seconds).
EVERY_S = 5.0
#: How long the end of a run waits for a measurement that is under way (seconds).
LAST_S = 1.0


@contextmanager
def watched_resources(report: Reporter, folder: Path, every_s: float = EVERY_S) -> Iterator[None]:
    """Report the use of memory, processor, GPU and disk while the block runs, at once and every ``every_s`` seconds.

    A thread does it; whatever fails there concerns nothing else. Without psutil nothing is reported.

    Args:
        report: Called from that thread, not after the block.
        folder: On the disk whose free space is reported; it need not exist.
        every_s: In seconds.
    """
    ended = threading.Event()

    def follow() -> None:
        try:
            meter = _Meter(folder)
        except Exception:  # noqa: BLE001 - no psutil, or a system that tells nothing
            return
        while not ended.is_set():
            with suppress(Exception):  # this time
                values = meter.values()
                if not ended.is_set():
                    report("metric", stage="resources", **values)
            ended.wait(every_s)

    thread = threading.Thread(target=follow, name="resources", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST_S)


class _Meter:
    """Measures this process with all that it has started."""

    def __init__(self, folder: Path) -> None:
        import psutil

        from segautoconfiglib.base.machine import free_memory, usable_cores

        self._gone = psutil.Error
        self._free_memory = free_memory
        self._cores = usable_cores()
        self._folder = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        self._processes = {0: psutil.Process()}
        self._processes[0].cpu_percent()  # what it has used until now

    def values(self) -> dict[str, Any]:
        """Memory in GB (2**30 bytes), the processor's use in percent of the cores that may be used."""
        memory, percent = 0, 0.0
        own = self._processes[0]
        children = {child.pid: self._processes.get(child.pid, child) for child in own.children(recursive=True)}
        self._processes = {0: own, **children}  # the same objects: each measures from one call to the next
        for process in self._processes.values():
            with suppress(self._gone):  # it has just ended
                memory += process.memory_info().rss
                percent += process.cpu_percent()
        return {
            "memory_gb": _gb(memory),
            "cpu_percent": round(percent / self._cores, 1),
            "free_memory_gb": _gb(self._free_memory()),
            "free_disk_gb": _gb(shutil.disk_usage(self._folder).free),
            **_gpu(),
        }


def _gpu() -> dict[str, Any]:
    """The GPU that this process holds most memory of; None everywhere without one. Never starts CUDA itself."""
    none = {"gpu": None, "gpu_memory_gb": None, "gpu_free_gb": None}
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        if cuda is None or not cuda.is_initialized():
            return none
        device = max(range(cuda.device_count()), key=cuda.memory_reserved)
        free, _ = cuda.mem_get_info(device)
        used = cuda.memory_reserved(device)
        return {"gpu": cuda.get_device_name(device), "gpu_memory_gb": _gb(used), "gpu_free_gb": _gb(free)}
    except Exception:  # noqa: BLE001 - half imported, or the driver is in trouble: the run itself will say so
        return none


def _gb(size: float) -> float:
    return round(size / 2**30, 3)
