"""Following a job from the event loop."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

PATIENCE = 30


def line(kind: str, **data) -> str:
    return json.dumps({"version": 1, "time": 1000.0, "kind": kind, **data}) + "\n"


START = line("started", stage="command", pid=0)
END = line("done", stage="command", cancelled=False, exit_code=0)


def turn(condition) -> None:
    """Let the event loop run until a condition holds."""
    import slicer

    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        slicer.app.processEvents()


@pytest.fixture
def lock(tmp_path: Path):
    """Held as by a running engine until it is closed."""
    from segautoconfiglib.base.lock import alone

    running = alone(tmp_path / "lock", "test")
    running.__enter__()
    yield running
    running.__exit__(None, None, None)


@pytest.fixture
def job(slicerApp, tmp_path: Path):
    from SegAutoConfigGui.Jobs.Engine import Job

    (tmp_path / "events.jsonl").write_text(START)
    return Job(tmp_path, {"command": ["train"]})


def write(job, text: str) -> None:
    with (job.folder / "events.jsonl").open("a") as stream:
        stream.write(text)


def test_events_come_as_they_are_written_and_then_the_end(job, lock) -> None:
    from SegAutoConfigGui.Jobs.Follower import JobFollower

    seen, ends = [], []
    follower = JobFollower(job, seen.extend, ends.append, interval=5)
    follower.start()
    follower.start()
    assert seen == []
    turn(lambda: len(seen) == 1)
    write(job, line("log", message="a"))
    turn(lambda: len(seen) == 2)
    assert follower.active
    assert ends == []
    write(job, END)
    lock.__exit__(None, None, None)
    turn(lambda: bool(ends))
    assert ends == [job]
    assert [event.kind for event in seen] == ["started", "log", "done"]
    assert job.state == job.FINISHED
    assert not follower.active


def test_an_ended_job_is_shown_and_let_go(job) -> None:
    from SegAutoConfigGui.Jobs.Follower import JobFollower

    write(job, END)
    ends = []
    JobFollower(job, onEnd=ends.append).start()
    turn(lambda: bool(ends))
    assert ends == [job]


def test_mistakes_in_callbacks_do_not_end_the_following(job, lock, caplog: pytest.LogCaptureFixture) -> None:
    from SegAutoConfigGui.Jobs.Follower import JobFollower

    seen, ends = [], []

    def onEvents(events) -> None:
        seen.extend(events)
        raise ValueError("a mistake")

    def onEnd(job) -> None:
        ends.append(job)
        raise ValueError("another")

    JobFollower(job, onEvents, onEnd, interval=5).start()
    turn(lambda: len(seen) == 1)
    write(job, line("log", message="a"))
    turn(lambda: len(seen) == 2)
    write(job, END)
    lock.__exit__(None, None, None)
    turn(lambda: bool(ends))
    assert "a mistake" in caplog.text
    assert "another" in caplog.text


def test_nothing_is_called_after_stop(job, lock) -> None:
    import slicer

    from SegAutoConfigGui.Jobs.Follower import JobFollower

    seen, ends = [], []
    outside = JobFollower(job, seen.append, ends.append, interval=1)
    outside.start()
    outside.stop()
    outside.stop()
    inside = JobFollower(job, lambda events: (seen.append(events), inside.stop()), ends.append, interval=1)
    inside.start()
    turn(lambda: bool(seen))
    write(job, END)
    lock.__exit__(None, None, None)
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        slicer.app.processEvents()
    assert len(seen) == 1
    assert ends == []


def test_a_burst_is_taken_in_parts(job, monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAutoConfigGui.Jobs import EventFile
    from SegAutoConfigGui.Jobs import Follower as FollowerModule

    monkeypatch.setattr(EventFile, "BLOCK", 1000)
    monkeypatch.setattr(FollowerModule, "TURN_SECONDS", 0.0)
    write(job, "".join(line("log", message=str(number)) for number in range(200)) + END)
    parts, ends = [], []
    FollowerModule.JobFollower(job, parts.append, ends.append).start()
    turn(lambda: bool(ends))
    assert len(parts) > 5
    texts = [event.data["message"] for events in parts for event in events if event.kind == "log"]
    assert texts == list(map(str, range(200)))


def endOf(error: BaseException | None):
    """What the end of work is told that raises this."""
    from SegAutoConfigGui.Widgets.Stepper import Stepper

    def work():
        yield 1
        if error is not None:
            raise error

    steps, ends = [], []
    stepper = Stepper(work(), steps.append, ends.append)
    turn(lambda: not stepper.running)
    assert steps == [1]
    return ends[0]


def test_expected_ends_of_long_work_are_told_as_they_are(slicerApp):
    from SegAutoConfigGui.Problems import Cancelled, UserProblem

    assert endOf(None) is None
    for error in (UserProblem("Too dark.", "Switch on the light."), Cancelled()):
        assert endOf(error) is error


def test_mistakes_in_long_work_become_problems_with_details(slicerApp):
    problem = endOf(ZeroDivisionError("a mistake")).problem
    assert "ZeroDivisionError" in problem.message
    assert "a mistake" in problem.details
