"""Measuring how fast training is: the fastest epoch, with or without reading data."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from typing_extensions import Self

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import read_json, write_json
from segautoconfiglib.training.batches import Batch
from segautoconfiglib.training.hooks import Hook
from segautoconfiglib.training.state import TrainingState

RESULT_FILE = "benchmark_result.json"


class SameBatch:
    """One batch over and over, in place of `Batches`: what training takes if reading took no time.

    Args:
        batch: It.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __next__(self) -> Batch:
        return self._batch


class BenchmarkHook(Hook):
    """Writes the fastest epoch to RESULT_FILE, beside those of other machines and versions (nnU-Net's format).

    Args:
        folder: The fold's.
        device: That is measured.
        processes: That train together.
    """

    def __init__(self, folder: Path, device: torch.device, processes: int) -> None:
        self._file = folder / RESULT_FILE
        self._device = device
        self._processes = processes

    def finished(self, state: TrainingState) -> None:
        """Add the result to the file."""
        begins, ends = state.history["epoch_start_timestamps"], state.history["epoch_end_timestamps"]
        on_gpu = self._device.type == "cuda"
        name = torch.cuda.get_device_name(self._device) if on_gpu else str(self._device)
        result = {
            "torch_version": torch.__version__,
            "cudnn_version": torch.backends.cudnn.version() if on_gpu else None,
            "gpu_name": name,
            "fastest_epoch": min(end - begin for begin, end in zip(begins, ends, strict=True)),
            "num_gpus": self._processes,
            "hostname": platform.node(),
        }
        key = "__".join(
            (
                result["hostname"],
                str(result["cudnn_version"]),
                result["torch_version"].replace(" ", ""),
                name.replace(" ", ""),
                f"num_gpus_{self._processes}",
            )
        )
        write_json(self._file, {**self._earlier(), key: result})

    def _earlier(self) -> dict[str, object]:
        try:
            found = read_json(self._file)
        except UserError:
            return {}
        return found if isinstance(found, dict) else {}
