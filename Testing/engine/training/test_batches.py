"""Batches: the same whatever makes them; failures and deaths of workers are told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.preprocessing.store import CaseStore
from segautoconfiglib.training.augment import training_transforms
from segautoconfiglib.training.batches import Batches, BatchSource, OpenCases, default_workers, make_batch
from segautoconfiglib.training.patch import patch_geometry

pytestmark = pytest.mark.torch  # batchgenerators imports it


class Kill:
    """A transform that ends its process without a word, once it is asked for."""

    def __call__(self, **sample: object) -> dict:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class Fail:
    """A transform with a bug."""

    def __call__(self, **sample: object) -> dict:
        raise ZeroDivisionError("no patch today")


@pytest.fixture
def source(blob_store: CaseStore) -> BatchSource:
    geometry = patch_geometry((8, 12, 12), augment=True, mirror=True)
    spec = LabelSpec.from_json({"background": 0, "ball": 1, "core": 2})
    return BatchSource(
        store=blob_store,
        case_ids=tuple(blob_store.case_ids()),
        geometry=geometry,
        transform=training_transforms("default", geometry, spec, [False]),
        batch_size=3,
        foreground_share=0.33,
        seed=(5, 0),
    )


def take(source: BatchSource, *, first: int, workers: int, count: int) -> list[dict[str, np.ndarray]]:
    with Batches(source, first=first, workers=workers, cancel=CancelToken()) as batches:
        return [next(batches) for _ in range(count)]


def assert_same(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a["data"], b["data"])
        np.testing.assert_array_equal(a["target"], b["target"])


def test_batch_shapes(source: BatchSource):
    (batch,) = take(source, first=0, workers=0, count=1)
    assert batch["data"].shape == (3, 1, 8, 12, 12)
    assert batch["data"].dtype == np.float32
    assert batch["target"].shape == (3, 1, 8, 12, 12)


def test_the_last_sample_shows_foreground(source: BatchSource):
    for batch in take(source, first=0, workers=0, count=10):
        assert batch["target"][2].any()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_do_not_depend_on_the_number_of_workers(source: BatchSource, workers: int):
    assert_same(take(source, first=2, workers=workers, count=5), take(source, first=0, workers=0, count=7)[2:])


def test_batches_differ_among_numbers_and_seeds(source: BatchSource):
    first, second = take(source, first=0, workers=0, count=2)
    (other,) = take(replace(source, seed=(6, 0)), first=0, workers=0, count=1)
    assert (first["data"] != second["data"]).any()
    assert (first["data"] != other["data"]).any()


def test_workers_are_gone_afterwards(source: BatchSource):
    take(source, first=0, workers=2, count=1)
    assert not multiprocessing.active_children()

    def interrupted() -> None:
        with Batches(source, first=0, workers=2, cancel=CancelToken()) as batches:
            next(batches)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_names_the_case_and_the_cause(source: BatchSource, workers: int):
    broken = replace(source, transform=Fail(), case_ids=("blob_3",))
    with pytest.raises(RuntimeError, match=r"^Making .* case blob_3 failed: .*no patch today.*$") as caught:
        take(broken, first=0, workers=workers, count=1)
    assert "in __call__" in str(caught.value.__cause__)
    assert not multiprocessing.active_children()


def test_a_damaged_case_is_a_user_error(source: BatchSource, tmp_path):
    for file in source.store.folder.glob("blob_1*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "blob_1.b2nd").write_bytes(b"nonsense")
    broken = replace(source, store=CaseStore(tmp_path), case_ids=("blob_1",))
    with pytest.raises(UserError, match=r"blob_1"):
        take(broken, first=0, workers=1, count=1)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_death_of_a_worker_names_the_case_and_the_signal(source: BatchSource):
    begin = time.monotonic()
    with pytest.raises(UserError, match=r"blob_2.*killed.*memory"):
        take(replace(source, transform=Kill(), case_ids=("blob_2",)), first=0, workers=2, count=1)
    assert time.monotonic() - begin < 20
    assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_workers_ended_together_with_a_stop_request_are_no_error(source: BatchSource):
    cancel = CancelToken()
    with Batches(source, first=0, workers=1, cancel=cancel) as batches:
        next(batches)
        cancel.cancel()
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(Cancelled):
            all(next(batches) for _ in range(50))


class Large:
    """A transform whose samples are larger than what a pipe holds."""

    def __call__(self, **sample: object) -> dict[str, np.ndarray]:
        return {"data": np.zeros((1, 2**20), np.float32), "target": np.zeros(1, np.int16)}


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_worker_that_dies_while_it_writes_a_batch_stops_nobody(source: BatchSource, goes_on: bool):
    """Half of the batch is in the queue, where the rest would be waited for, by who goes on and by who ends."""
    ended = threading.Event()

    def take_until_it_dies() -> None:
        with Batches(replace(source, transform=Large()), first=0, workers=1, cancel=CancelToken()) as batches:
            augmenter = batches._augmenter
            while not augmenter.pin_memory_queue.full() or augmenter._queues[0].empty():
                time.sleep(0.05)
            time.sleep(0.5)  # the thread between the queues holds a batch by now, and the next one is in the pipe
            for process in multiprocessing.active_children():
                process.kill()
            if goes_on:
                with pytest.raises(UserError, match=r"killed"):
                    all(next(batches) for _ in range(50))
        ended.set()

    threading.Thread(target=take_until_it_dies, daemon=True).start()
    assert ended.wait(timeout=60)
    assert not multiprocessing.active_children()


class Sleep:
    """A transform that takes longer than anybody wants to wait."""

    def __call__(self, **sample: object) -> dict:
        time.sleep(600)
        return {}


def no_memory() -> None:
    raise MemoryError("no place for a batch")


class TooMuch:
    """Can't be received."""

    def __reduce__(self) -> tuple:
        return no_memory, ()


class GiveTooMuch:
    """A transform whose samples the main process can't receive."""

    def __call__(self, **sample: object) -> dict[str, np.ndarray]:
        return {"data": np.array([TooMuch()]), "target": np.zeros(1, np.int16)}


@pytest.mark.parametrize(("transform", "outcome"), [(Sleep(), Cancelled), (GiveTooMuch(), MemoryError)])
def test_nobody_waits_for_a_batch_that_is_not_wanted_or_never_comes(
    source: BatchSource, transform: object, outcome: type[Exception]
):
    cancel, caught = CancelToken(), []

    def take_one() -> None:
        try:
            with Batches(replace(source, transform=transform), first=0, workers=1, cancel=cancel) as batches:
                next(batches)
        except Exception as error:  # noqa: BLE001 - looked at below
            caught.append(type(error))

    taking = threading.Thread(target=take_one, daemon=True)
    taking.start()
    if outcome is Cancelled:
        time.sleep(1)
        cancel.cancel()
    taking.join(timeout=60)
    assert caught == [outcome]
    assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_all_processes_does_not_end_workers(source: BatchSource, number: signal.Signals):
    """Ctrl-C and a job scheduler reach all of them; the main one decides."""
    with Batches(source, first=0, workers=1, cancel=CancelToken()) as batches:
        next(batches)
        for process in multiprocessing.active_children():
            os.kill(process.pid, number)
        for _ in range(8):
            next(batches)


def test_open_cases_hold_small_cases_and_forget_the_oldest(source: BatchSource):
    size = 10 * 18 * 20 * 6
    whole = OpenCases(source, 64 * size)
    assert isinstance(whole(0).data, np.ndarray)
    assert whole(0) is whole(0)
    in_parts = OpenCases(source, 30 * size)
    assert not isinstance(in_parts(0).data, np.ndarray)
    nothing = OpenCases(source, 0)
    first = nothing(0)
    assert nothing(0) is first
    nothing(1)
    assert nothing(0) is not first


MANY = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from segautoconfiglib.preprocessing.store import CaseStore
from segautoconfiglib.training.batches import OpenCases

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
source = SimpleNamespace(store=CaseStore(Path(sys.argv[1])), case_ids=("blob_0",) * 200, previous=None)
opened = OpenCases(source, int(sys.argv[2]))
print(sum(opened(index).labels[0, 3, 4, 5] >= 0 for index in range(200)))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs limits of processes")
def test_cases_that_stay_in_their_files_do_not_use_up_the_open_files(source: BatchSource):
    almost_in_memory = 64 * 10 * 18 * 20 * 6 - 1
    command = [sys.executable, "-c", MANY, str(source.store.folder), str(almost_in_memory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "200\n", done.stderr


def test_make_batch_is_a_function_of_the_number(source: BatchSource):
    opened = OpenCases(source, 0)
    again = OpenCases(source, 10**9)
    assert_same([make_batch(source, 4, opened)], [make_batch(source, 4, again)])


def test_default_workers():
    assert [default_workers("cpu", cores) for cores in (1, 2, 4, 64)] == [0, 0, 1, 1]
    assert [default_workers("cuda", cores) for cores in (1, 2, 8, 64)] == [1, 1, 7, 12]
