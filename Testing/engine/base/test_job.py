from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter, parse_line, silent
from segautoconfiglib.base.job import EventLog, job_files
from segautoconfiglib.base.lock import is_taken


def events_of(file: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(event.kind, event.data) for event in map(parse_line, file.read_text().splitlines())]


def test_events_are_appended_each_at_once(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    for number in range(2):
        log = EventLog(file)
        log("log", message=f"Größe {number}")
        assert [data["message"] for _, data in events_of(file)] == [f"Größe {n}" for n in range(number + 1)]
        log.close()
        log.close()
        log("log", message="too late")
    assert len(events_of(file)) == 2


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"kind": "progr')
    EventLog(file)("done", stage="command")
    assert [kind for kind, _ in events_of(file)] == ["log", "done"]


def test_a_full_disk_costs_lines_but_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, free = os.write, [10]

    def limited(file: int, data: bytes) -> int:
        if not free[0]:
            raise OSError(28, "No space left on device")
        count = min(len(data), free[0])
        free[0] -= count
        return write(file, data[:count])

    log = EventLog(tmp_path / "events.jsonl")
    monkeypatch.setattr(os, "write", limited)
    log("log", message="half of it")
    log("log", message="nothing of it")
    free[0] = 10_000
    log("done", stage="command")
    cut, last = events_of(tmp_path / "events.jsonl")
    assert cut[1]["message"] == '{"version"'
    assert last[0] == "done"


def test_lines_of_several_threads_stay_whole(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [log("log", message=str(n) * 3000) for _ in range(20)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [data["message"] for _, data in events_of(tmp_path / "events.jsonl")]
    assert sorted(texts) == sorted(str(n) * 3000 for n in range(4) for _ in range(20))


def test_a_job_is_locked_described_and_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segautoconfiglib.base.cancel.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("segautoconfiglib.base.job.LOCK_PATIENCE_S", 0.3)
    folder, cancel = tmp_path / "jobs" / "one", CancelToken()
    with job_files(folder, ["train", "4"], report=silent, cancel=cancel) as log:
        assert is_taken(folder / "lock")
        log("started", stage="command")
        waiting = ListReporter()
        with pytest.raises(UserError, match="another process is at it"):
            job_files(folder, [], report=waiting, cancel=CancelToken()).__enter__()
        assert waiting.of("log")
        assert not cancel.cancelled
        (folder / "stop").touch()
        assert cancel.cancelled
        (folder / "stop").touch()  # asked again, at the very end
    assert sorted(path.name for path in folder.iterdir()) == ["events.jsonl", "job.json"]
    description = json.loads((folder / "job.json").read_text())
    assert description["command"] == ["train", "4"]
    assert set(description) == {"title", "command", "created", "started", "details"}


def test_what_the_starter_wrote_counts(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"title": "Mine"}')
    (tmp_path / "stop").touch()
    cancel = CancelToken()
    with job_files(tmp_path, ["verify"], report=silent, cancel=cancel):
        assert cancel.cancelled
    assert (tmp_path / "job.json").read_text() == '{"title": "Mine"}'


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Can't write"):
        job_files(tmp_path / "file" / "job", [], report=silent, cancel=CancelToken()).__enter__()
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(UserError, match=r"Can't write .*events\.jsonl"):
        job_files(tmp_path, [], report=silent, cancel=CancelToken()).__enter__()
