"""Reading events while they are written, and a job's state from them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from SegAutoConfigGui.Jobs import EventFile as EventFileModule
from SegAutoConfigGui.Jobs.EventFile import EventFile, appendEvent
from SegAutoConfigGui.Jobs.Job import Job


def line(kind: str, **data) -> bytes:
    return json.dumps({"version": 1, "time": 1000.0, "kind": kind, **data}, ensure_ascii=False).encode() + b"\n"


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(data)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_only_whole_lines_are_read_and_each_once(file: Path) -> None:
    reader = EventFile(file)
    assert reader.read() == []
    data = line("log", message="Größe") * 2
    cut = data.index("ö".encode()) + 1  # in the middle of a character
    append(file, data[:cut])
    assert reader.read() == []
    append(file, data[cut:-5])
    assert [event.data["message"] for event in reader.read()] == ["Größe"]
    append(file, data[-5:])
    assert [event.data["message"] for event in reader.read()] == ["Größe"]
    assert reader.read() == []
    assert not reader.behind


def test_what_is_no_event_becomes_text(file: Path) -> None:
    append(file, b"\0\0\0\n\n" + line("log", message="a") + b'{"kind": "progr\n' + b"\xff\xfe\r\n" + line("done"))
    events = EventFile(file).read()
    assert [event.kind for event in events] == ["log", "log", "log", "done"]
    assert events[1].data["message"] == '{"kind": "progr'


def test_of_progress_in_a_row_only_the_ends_are_read(file: Path) -> None:
    def progress(done: int) -> bytes:
        return line("progress", stage="train", done=done, total=100)

    append(file, b"".join(map(progress, range(50))) + line("metric", epoch=0) + progress(50) + progress(51))
    events = EventFile(file).read()
    assert [(event.kind, event.data.get("done")) for event in events] == [
        ("progress", 0),
        ("progress", 49),
        ("metric", None),
        ("progress", 50),
        ("progress", 51),
    ]


def test_a_long_file_is_read_in_parts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventFileModule, "BLOCK", 100)
    monkeypatch.setattr(EventFileModule, "TAIL", 100)
    reader = EventFile(file)
    append(file, b"".join(line("log", message=str(n)) for n in range(20)) + line("log", message="x" * 1000))
    events, parts = reader.read(0.0), 1
    while reader.behind:
        events += reader.read(0.0)
        parts += 1
    assert [event.data["message"] for event in events] == [*map(str, range(20)), "x" * 1000]
    assert parts > 5
    assert reader.last().data["message"] == "x" * 1000


def test_a_file_that_was_made_anew_is_read_from_its_beginning(file: Path) -> None:
    reader = EventFile(file)
    append(file, line("log", message="old") * 2)
    reader.read()
    file.write_bytes(line("log", message="new"))
    assert [event.data["message"] for event in reader.read()] == ["new"]


def test_the_last_event(file: Path) -> None:
    reader = EventFile(file)
    assert reader.last() is None
    append(file, line("started", stage="command"))
    assert reader.last().kind == "started"
    append(file, b'{"kind": "do')
    assert reader.last().kind == "started"


def test_a_line_is_put_after_one_that_was_cut_off(file: Path) -> None:
    appendEvent(file, b"1")
    append(file, b"half")
    appendEvent(file, b"2")
    appendEvent(file, b"3")
    assert file.read_bytes() == b"1\nhalf\n2\n3\n"


# -- what a job makes of them


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of which only the folder is known."""
    return Job(tmp_path, {"title": "Liver", "command": ["train"], "created": "2026-01-01", "started": 500.0})


def test_results_warnings_log_and_resources(job: Job, file: Path) -> None:
    append(
        file,
        line("started", stage="command", pid=0)
        + line("metric", stage="resources", memory_gb=2.5)
        + line("started", stage="preprocess", total=20)
        + line("warning", message="Odd.", hint="Look.", problems=[{"message": "m", "case": "c1"}])
        + line("log", message="one\ntwo")
        + line("log", message="hidden", level="debug")
        + line("artifact", path="/a", description="curves")
        + line("done", stage="preprocess", cases=20, message="20 cases.")
        + line("done", stage="command", cancelled=False, exit_code=0),
    )
    assert job.state == Job.FINISHED
    assert len(job.poll()) == 9
    assert (job.state, job.running, job.stage) == (Job.FINISHED, False, "preprocess")
    assert job.resources["memory_gb"] == 2.5
    assert job.results["preprocess"]["cases"] == 20
    assert [(warning.message, warning.case) for warning in job.warnings] == [("m", "c1")]
    assert job.log == ["Warning: c1: m", "one", "two", "Wrote /a (curves)", "20 cases."]


def test_the_time_left_is_estimated_where_a_stage_does_not_tell(job: Job, file: Path) -> None:
    append(file, line("started", stage="preprocess", total=11))
    job.poll()
    assert job.progress == {"stage": "preprocess", "done": 0, "total": 11}
    append(file, line("progress", stage="preprocess", done=1, total=11))
    job.poll()
    assert "seconds_left" not in job.progress
    append(file, line("progress", stage="preprocess", done=3, total=11, time=1010.0))
    job.poll()
    assert job.progress["seconds_left"] == pytest.approx(40)
    append(file, line("progress", stage="train", done=1, total=2, seconds_left=7, time=1011.0))
    job.poll()
    assert (job.stage, job.progress["seconds_left"]) == ("train", 7)


def test_curves_are_kept_over_runs_and_repeated_epochs_replaced(job: Job, file: Path) -> None:
    def run(epochs, loss: float) -> bytes:
        rows = b"".join(line("metric", stage="train", epoch=epoch, train_loss=loss) for epoch in epochs)
        return line("started", stage="command") + line("warning", message="w") + rows

    append(file, run(range(5), 1.0) + line("error", message="Full.", hint="Free some.", exit_code=2))
    job.poll()
    assert (job.state, job.problem.message, job.problem.hint) == (Job.FAILED, "Full.", "Free some.")
    append(file, run(range(3, 6), 2.0))
    job.poll()
    assert [row["train_loss"] for row in job.metrics] == [1, 1, 1, 2, 2, 2]
    assert (len(job.warnings), job.stage) == (1, "")
    append(file, run(range(1), 3.0))
    job.poll()
    assert [row["epoch"] for row in job.metrics] == [0]


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (line("done", stage="command", cancelled=False, exit_code=0), Job.FINISHED),
        (line("done", stage="command", cancelled=True, exit_code=130), Job.STOPPED),
        (line("error", message="m", exit_code=2), Job.FAILED),
        (line("done", stage="train"), Job.LOST),
        (b'{"version": 1, "time": 1000, "kind": "done", "stage": "comm', Job.LOST),
    ],
)
def test_states_of_jobs_that_have_ended(job: Job, file: Path, last: bytes, state: str) -> None:
    append(file, line("started", stage="command") + last)
    assert job.state == state  # by the end of the file
    job.poll()
    assert job.state == state
    assert (job.problem is not None) == (state in (Job.FAILED, Job.LOST))


def test_a_job_that_has_not_begun_is_given_some_time(tmp_path: Path, file: Path) -> None:
    young = Job(tmp_path, {"started": time.time()})
    assert young.poll() == []
    assert young.state == Job.STARTING
    append(file, line("done", stage="command", cancelled=True))  # of the run before
    young.poll()
    assert young.state == Job.STARTING
    old = Job(tmp_path, {"started": time.time() - 1000})
    old.poll()
    assert old.state == Job.LOST


def test_a_bug_shows_the_log(job: Job, file: Path, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"Zeile\r\n" + b"Traceback \xff\n")
    append(file, line("started", stage="command") + line("error", message="This is a bug", exit_code=1))
    job.poll()
    assert job.problem.details == "Zeile\nTraceback \ufffd\n"
    append(file, line("started", stage="command") + line("error", message="m", exit_code=2, missing=["torch"]))
    job.poll()
    assert job.problem.message == "The engine needs packages that are not installed: torch."


def test_data_of_any_kind_do_no_harm(job: Job, file: Path) -> None:
    odd = [None, 5, "text", [1], {"a": 1}, True]
    for kind in ("started", "progress", "metric", "log", "artifact", "warning", "error", "done"):
        for value in odd:
            append(file, line(kind, stage=value, done=value, total=value, epoch=value, message=value, problems=value))
            append(file, line(kind, time=value, missing=value, hint=value, path=value, seconds_left=value))
    job.poll()
    assert job.state in (Job.FAILED, Job.LOST)
