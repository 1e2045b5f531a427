from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.parallel import cause_of_death, choose_workers, map_cases, usable_cores


@pytest.fixture(scope="module")
def tasks() -> Iterator[ModuleType]:
    """parallel_tasks.py as an importable module (worker processes get this process's sys.path)."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.find_spec("parallel_tasks")
        assert spec is not None
        yield importlib.import_module("parallel_tasks")
    finally:
        sys.path.remove(folder)


def run(function: Any, cases: list[tuple[str, tuple[Any, ...]]], workers: int = 2, **options: Any) -> list[Any]:
    return map_cases(function, cases, workers=workers, stage="squaring", **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_and_every_case_is_reported(tasks: ModuleType, workers: int) -> None:
    report = ListReporter()
    results = run(tasks.square, [(f"c{i}", (i,)) for i in range(5)], workers, report=report)
    assert [value for value, _ in results] == [0, 1, 4, 9, 16]
    processes = {process for _, process in results}
    assert (os.getpid() in processes) is (workers == 1)
    assert report.of("started") == [{"stage": "squaring", "total": 5}]
    progress = report.of("progress")
    assert [event["done"] for event in progress] == [1, 2, 3, 4, 5]
    assert sorted(event["case"] for event in progress) == ["c0", "c1", "c2", "c3", "c4"]


def test_nothing_to_do_is_no_fault(tasks: ModuleType) -> None:
    report = ListReporter()
    assert run(tasks.square, [], report=report) == []
    assert report.events == []


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_worker_names_its_case_and_the_likely_cause(tasks: ModuleType) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="squaring of case c2") as caught:
        run(tasks.die, [(f"c{i}", (f"c{i}", "c2")) for i in range(4)])
    assert "memory" in caught.value.message
    assert "--workers 1" in caught.value.hint
    assert time.monotonic() - started < 30


def test_a_worker_that_dies_before_it_is_asked_anything(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    start = SpawnProcess.start

    def start_and_die(process: SpawnProcess) -> None:
        start(process)
        process.kill()
        process.join()

    monkeypatch.setattr(SpawnProcess, "start", start_and_die)
    with pytest.raises(UserError, match=r"died during squaring of case c0.*killed"):
        run(tasks.square, [(f"c{i}", (i,)) for i in range(4)])


def test_causes_of_death() -> None:
    assert cause_of_death(3) == "It ended with exit code 3."
    assert cause_of_death(-signal.SIGSEGV).startswith("It crashed with signal SIGSEGV;")
    assert cause_of_death(-40).startswith("It crashed with signal 40;")  # a real-time signal, which has no name


SCRIPT = """
from segautoconfiglib.base.parallel import map_cases
print("begins", flush=True)
print(map_cases(len, [("a", ("12",)), ("b", ("345",))], workers=2, stage="measuring"))
"""


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("begins\n[2, 3]\n", 0), done.stderr


def test_a_worker_that_leaves_is_noticed(tasks: ModuleType) -> None:
    with pytest.raises(UserError, match=r"case b.*exit code 3"):
        run(tasks.leave, [(case, (case,)) for case in "abc"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_user_error_arrives_as_it_was_raised(tasks: ModuleType, workers: int) -> None:
    with pytest.raises(UserError, match="b is truncated") as caught:
        run(tasks.refuse, [(case, (case,)) for case in "abc"], workers)
    assert caught.value.hint == "Copy it again."


def test_a_bug_names_the_case_and_shows_where(tasks: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"^squaring of case \w failed: .*OddError.*$") as caught:
        run(tasks.break_down, [(case, (case, "odd")) for case in "ab"])
    assert "parallel_tasks.py" in str(caught.value.__cause__)


def test_a_result_that_cant_travel_is_a_bug_with_a_text(tasks: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="squaring of case"):
        run(tasks.break_down, [(case, (case, "lambda")) for case in "ab"])


@pytest.mark.parametrize("workers", [1, 2])
def test_too_little_memory_is_a_user_error_with_the_case(tasks: ModuleType, workers: int) -> None:
    with pytest.raises(UserError, match=r"squaring of case \w.*7 GiB"):
        run(tasks.break_down, [(case, (case, "memory")) for case in "ab"], workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_request_ends_the_work(tasks: ModuleType, workers: int) -> None:
    cancel = CancelToken()
    done = []

    def stop_after_two(kind: str, **data: Any) -> None:
        if kind == "progress":
            done.append(data["case"])
            if len(done) == 2:
                cancel.cancel()

    with pytest.raises(Cancelled):
        run(tasks.square, [(f"c{i}", (i,)) for i in range(50)], workers, report=stop_after_two, cancel=cancel)
    assert 2 <= len(done) <= 3  # what was under way is finished


def test_workers_share_the_cores(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    expected = str(max(1, usable_cores() // 2))
    assert run(tasks.threads, [("a", ("a",)), ("b", ("b",))]) == [expected, expected]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")  # the user's own choice stays
    assert run(tasks.threads, [("a", ("a",)), ("b", ("b",))]) == ["5", "5"]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without asking")
def test_an_error_leaves_no_unfinished_files_of_other_workers(tasks: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bad is bad"):
        run(tasks.write_slowly, [(case, (str(tmp_path), case)) for case in ("slow", "bad")])
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from parallel_tasks import hold
from segautoconfiglib.base.parallel import map_cases
map_cases(hold, [(case, (sys.argv[2], case)) for case in "ab"], workers=2, stage="holding")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command) as parent:
        until = time.monotonic() + 60
        while not all((tmp_path / case).exists() and (tmp_path / case).read_text() for case in "ab"):
            assert time.monotonic() < until
            time.sleep(0.05)
        parent.kill()
    workers = [int((tmp_path / case).read_text()) for case in "ab"]
    while any(map(alive, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_memory_limits_the_workers() -> None:
    assert choose_workers(10**15, requested=8) == 1
    assert choose_workers(1, requested=1) == 1
    assert 1 <= choose_workers(1) <= usable_cores()
