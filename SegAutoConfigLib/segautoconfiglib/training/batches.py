"""Batches of patches, made by worker processes. Batch ``k`` depends on the seed and ``k`` alone."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import RawArray
from queue import Empty
from typing import Any

import numpy as np
from batchgenerators.dataloading.data_loader import SlimDataLoaderBase
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgenerators.transforms.abstract_transforms import AbstractTransform
from typing_extensions import Self

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError, reworded
from segautoconfiglib.base.parallel import cause_of_death, end_with_parent, main_script_left_out
from segautoconfiglib.base.plugins import AlsoThere
from segautoconfiglib.preprocessing.stages import PredictedStage, StackedLabels
from segautoconfiglib.preprocessing.store import CaseStore, StoredCase
from segautoconfiglib.training.patch import PatchGeometry
from segautoconfiglib.training.sampling import (
    draw_start,
    draw_voxel,
    draws_foreground,
    foreground_probability,
    start_bounds,
)

#: Finished batches that wait in each worker's queue.
_BATCHES_AHEAD = 2
#: Memory for cases that are kept open, all workers together (bytes).
_OPEN_BYTES = 512 * 2**20
#: A case is read into memory as a whole if at least so many of its size would fit.
_WHOLE_CASES = 64
#: Of the others at most so many stay open in each worker: each holds two of the 256 or more files a process may open.
_OPEN_CASES = 32
#: Seconds between two looks at whether to stop (the library's workers poll).
_POLL_S = 0.1

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class BatchSource:
    """What batches are made of.

    Attributes:
        store: The preprocessed cases.
        case_ids: Those to draw from.
        geometry: Sizes of patches.
        transform: From a place in a case to ``data`` and ``target``.
        batch_size: Samples per batch.
        foreground_share: Of the samples of a batch, centred on foreground.
        oversampling: Which ones, see `Recipe.oversampling`.
        seed: Two sources with different seeds are independent.
        part: Indices of the batch's samples that are made here; None: all.
        previous: Of a cascade: labels that the previous stage predicted for the cases.
    """

    store: CaseStore
    case_ids: tuple[str, ...]
    geometry: PatchGeometry
    transform: AbstractTransform
    batch_size: int
    foreground_share: float
    seed: tuple[int, ...]
    previous: PredictedStage | None = None
    part: range | None = None
    oversampling: str = "last"


def make_batch(source: BatchSource, number: int, open_case: Callable[[int], StoredCase]) -> Batch:
    """Batch ``number`` of a source.

    Args:
        source: What it is made of.
        number: From 0.
        open_case: Opens the case with an index in ``source.case_ids``.

    Returns:
        ``data`` (batch, channel, *size) float32 and ``target`` (batch, channel, *size), see `make_target`.
    """
    samples = []
    for index in source.part or range(source.batch_size):
        rng = np.random.default_rng((*source.seed, number, index))
        case = open_case(int(rng.integers(len(source.case_ids))))
        probability = foreground_probability(source.oversampling, index, source.batch_size, source.foreground_share)
        foreground = draws_foreground(rng, probability)
        voxel = draw_voxel(rng, case.class_locations, foreground=foreground)
        start = draw_start(rng, start_bounds(case.data.shape[1:], source.geometry), source.geometry, voxel)
        samples.append(source.transform(case=case, start=start, rng=rng))
    return {key: np.stack([sample[key] for sample in samples]) for key in ("data", "target")}


class OpenCases:
    """Opens cases and keeps those that were used last: small ones decompressed, large ones to be read in parts.

    Args:
        source: Names the cases.
        limit: Bytes to keep at most (the case used last is always kept).
    """

    def __init__(self, source: BatchSource, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._bytes = 0
        self._kept: dict[int, tuple[StoredCase, int]] = {}  # the one used last comes last

    def __call__(self, index: int) -> StoredCase:
        """The case with an index in ``source.case_ids``."""
        case, size = self._kept.pop(index) if index in self._kept else self._load(index)
        self._kept[index] = case, size
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.pop(next(iter(self._kept)))[1]
        return case

    def _load(self, index: int) -> tuple[StoredCase, int]:
        case = self._opened(self._source.case_ids[index])
        size = sum(rows.nbytes for rows in case.class_locations.values())
        whole = case.data.nbytes + case.labels.nbytes
        if whole * _WHOLE_CASES <= self._limit:
            case = replace(case, data=case.data[:], labels=case.labels[:])
            size += whole
        else:
            size = max(size, self._limit // _OPEN_CASES)
        self._bytes += size
        return case, size

    def _opened(self, case_id: str) -> StoredCase:
        case, previous = self._source.store.open(case_id), self._source.previous
        return case if previous is None else replace(case, labels=StackedLabels(case.labels, previous.open(case_id)))


class PatchLoader(SlimDataLoaderBase):
    """Makes every ``workers``-th batch, from ``first`` on. One copy works in each worker process.

    A failure comes out as a batch with the key "failure": (case, error, traceback), for the main process to raise.
    """

    def __init__(self, source: BatchSource, first: int, workers: int) -> None:
        self._plugins = AlsoThere()  # the first attribute: pickled before what may be a plug-in's
        super().__init__(source, source.batch_size, max(1, workers))
        self._source = source
        self._next = first
        self._open = OpenCases(source, _OPEN_BYTES // max(1, workers))
        self._cases = RawArray("i", [-1] * max(1, workers))

    def set_thread_id(self, thread_id: int) -> None:
        """Called in the worker process before its first batch."""
        super().set_thread_id(thread_id)
        self._next += thread_id
        for number in (signal.SIGINT, signal.SIGTERM):  # they reach the main process too, which decides
            signal.signal(number, signal.SIG_IGN)
        end_with_parent()

    def generate_train_batch(self) -> dict[str, Any]:
        """The next batch of this worker, or its failure."""
        number = self._next
        self._next += self.number_of_threads_in_multithreaded
        try:
            return make_batch(self._source, number, self._note_and_open)
        except Exception as error:  # noqa: BLE001 - the main process raises it
            kept = error if isinstance(error, UserError) else None
            return {"failure": (self.current_case(self.thread_id), kept, repr(error), traceback.format_exc())}

    def current_case(self, worker: int) -> str:
        """The case that a worker has opened last."""
        index = self._cases[worker]
        return self._source.case_ids[index] if index >= 0 else "(none yet)"

    def _note_and_open(self, index: int) -> StoredCase:
        self._cases[self.thread_id] = index
        return self._open(index)


class _Workers(MultiThreadedAugmenter):
    """The library's worker processes, none of which is waited for: any may die at any moment.

    One that is killed while it writes a batch leaves a part of it in its queue, and whoever reads there waits forever.
    """

    _processes: list[Any]
    _queues: list[Any]
    pin_memory_queue: Any
    pin_memory_thread: threading.Thread | None

    def __init__(self, loader: PatchLoader, workers: int, cancel: CancelToken) -> None:
        super().__init__(loader, None, workers, num_cached_per_queue=_BATCHES_AHEAD, wait_time=_POLL_S)
        self._cancel = cancel

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            RuntimeError: a worker, or the thread that collects their batches, has ended.
            Cancelled: on request.
        """
        while True:
            try:
                return self.pin_memory_queue.get(timeout=_POLL_S)
            except Empty:
                self._cancel.raise_if_cancelled()
                if not all(each.is_alive() for each in (self.pin_memory_thread, *self._processes)):
                    raise RuntimeError("No more batches will come.") from None

    def _finish(self, timeout: float = 1.0, force: bool = False) -> None:
        """End the processes and the thread that collects their batches; what is in the queues is left."""
        started = [process for process in self._processes if process.pid is not None]
        for process in started:
            process.kill()
        for process in started:
            process.join()
        if self.pin_memory_thread is not None:
            self.pin_memory_thread.join(timeout)  # not forever: it may be the one that waits
        self._processes, self._queues = [], []
        self.pin_memory_thread, self.pin_memory_queue = None, None
        self.was_initialized = False


class Batches:
    """An endless row of batches, from number ``first`` on. A context manager: workers end with its block.

    Args:
        source: What batches are made of.
        first: Number of the first batch.
        workers: Processes; 0: batches are made when they are asked for, in this process.
        cancel: Asked while a batch is waited for.
    """

    def __init__(self, source: BatchSource, *, first: int, workers: int, cancel: CancelToken) -> None:
        self._loader = PatchLoader(source, first, workers)
        self._augmenter: Any
        if workers == 0:
            self._augmenter = SingleThreadedAugmenter(self._loader, None)
        else:
            self._augmenter = _Workers(self._loader, workers, cancel)
        self._collecting_error: BaseException | None = None

    def __enter__(self) -> Self:
        if isinstance(self._augmenter, _Workers):
            self._previous_hook = threading.excepthook
            threading.excepthook = self._quiet
            try:
                with main_script_left_out():
                    self._augmenter._start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._augmenter, _Workers):
            self._augmenter._finish()
            threading.excepthook = self._previous_hook

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            UserError: a case can't be read, or a worker died; names the case.
            MemoryError: there is none left to make or receive a batch.
            RuntimeError: a bug showed in a worker; names the case.
            Cancelled: on request, while a worker's batch is waited for.
        """
        try:
            batch = next(self._augmenter)
        except RuntimeError as error:
            raise self._death() from error
        if "failure" in batch:
            raise _failure(*batch["failure"])
        return batch

    def _quiet(self, arguments: Any) -> None:
        """Keep the exception that ended the library's thread; `_death` says more about most of them."""
        if arguments.thread is self._augmenter.pin_memory_thread:
            self._collecting_error = arguments.exc_value
        else:
            self._previous_hook(arguments)

    def _death(self) -> BaseException:
        """What has ended the batches: a worker's death, else what happened to the thread that collects them."""
        for index, process in enumerate(self._augmenter._processes):
            if not process.is_alive():
                return worker_death(self._loader.current_case(index), process.exitcode)
        return self._collecting_error or RuntimeError("The thread that collects batches has ended.")


def worker_death(case: str, code: int | None) -> UserError:
    """What to say about a worker that ended with an exit code while it read a case."""
    return UserError(
        f"A worker process that makes training batches died; its last case was {case}. {cause_of_death(code)}",
        "Use fewer workers (--workers 0 makes batches in the main process), close other programs, or preprocess "
        "the case anew. Continue with --resume.",
        "free-memory-then-resume",
    )


def _failure(case: str, error: UserError | None, text: str, trace: str) -> Exception:
    if error is not None:
        return reworded(error, f"Making a training batch from case {case} failed. {error.message}")
    if text.startswith("MemoryError"):
        return MemoryError(f"The memory did not suffice for a training batch (case {case}).")
    failure = RuntimeError(f"Making a training batch from case {case} failed: {text}")
    failure.__cause__ = RuntimeError(trace)
    return failure


def default_workers(device_type: str, cores: int) -> int:
    """How many worker processes make batches.

    On a CPU making batches takes a few percent of a step: a worker pays only where it gets a core of its own.
    """
    if device_type == "cpu":
        return 0 if cores <= 2 else 1
    return max(1, min(12, cores - 1))
