"""Jobs: real processes, started, followed, stopped, killed and found again."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from SegAutoConfigGui.Jobs import Engine as EngineModule
from SegAutoConfigGui.Jobs import Job as JobModule
from SegAutoConfigGui.Jobs import Processes
from SegAutoConfigGui.Jobs.Engine import Engine, Job
from SegAutoConfigGui.Problems import UserProblem

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a shell")

PATIENCE = 60
#: Stands for a training: reports epochs until it is stopped. What it is started with ends with "--job FOLDER".
TRAINING = """
import os, sys, time
from pathlib import Path
from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import silent
from segautoconfiglib.base.job import job_files
folder, cancel, epoch = Path(sys.argv[-1]), CancelToken(), 0
if "--first-epoch" in sys.argv:
    epoch = int(sys.argv[sys.argv.index("--first-epoch") + 1])
print("Größe und Maß", flush=True)
with job_files(folder, [], report=silent, cancel=cancel) as report:
    report("started", stage="command", command="train", pid=os.getpid())
    report("started", stage="train", total=1000)
    while not cancel.cancelled:
        report("metric", stage="train", epoch=epoch, train_loss=1.0)
        epoch += 1
        time.sleep(0.02)
    report("done", stage="command", cancelled=True, exit_code=130)
"""
#: Stands for a Slicer that starts a job and dies.
FIRST_SLICER = """
import os, signal, sys
from SegAutoConfigGui.Jobs.Engine import Engine
job = Engine(sys.argv[1], sys.argv[2]).start(["train"], title="Liver", details={"dataset": "Dataset001_Liver"})
while not job.metrics:
    job.poll()
print(job.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def script(file: Path, text: str) -> str:
    """Make an executable that stands for Slicer's Python."""
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def pollUntil(job: Job, condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        job.poll()
        assert time.monotonic() < until
        time.sleep(0.01)


def isThere(pid: int) -> bool:
    """Whether a process runs (one that has ended and was not taken note of does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "Bücher und Maße"


@pytest.fixture
def engine(externalPython: str, workspace: Path) -> Engine:
    """The real engine."""
    return Engine(externalPython, workspace)


@pytest.fixture
def training(tmp_path: Path) -> str:
    """A Python whose engine trains until it is stopped."""
    (tmp_path / "training.py").write_text(TRAINING)
    return script(tmp_path / "python", f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/training.py" "$@"\n')


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    """The same, but started as a child as by Slicer's launcher, with a worker process of its own beside it."""
    (tmp_path / "training.py").write_text(TRAINING)
    start = f'"{sys.executable}" "{tmp_path}/training.py" "$@"'
    text = f"#!/bin/sh\nsleep 600 &\nworker=$!\n{start}\ncode=$?\nkill $worker\nexit $code\n"
    return script(tmp_path / "PythonSlicer", text)


@pytest.fixture(autouse=True)
def noProcessLeft():
    yield
    for process in list(Processes.PROCESSES.values()):
        if process.poll() is None:
            Processes.endTree(process.pid)
            process.wait()
    Processes.PROCESSES.clear()


# -- the real engine


def test_a_command_of_the_engine(engine: Engine, workspace: Path) -> None:
    before = dict(os.environ)
    job = engine.start(["demo-data", str(workspace / "nnUNet_raw" / "Dataset050_A"), "--cases", "1"], title="Demo")
    assert job.running
    assert not job.metrics
    assert job.wait(PATIENCE, pump=lambda: None)
    assert job.state == Job.FINISHED, job.logText()
    assert job.results["demo-data"]["cases"] == 1
    assert job.problem is None
    assert job.resources["free_disk_gb"] > 0
    assert "Dataset050_A" in job.logText()
    assert job.folder.parent == workspace / "jobs"
    assert job.folder.name.endswith("-demo-data")
    assert dict(os.environ) == before
    (found,) = engine.jobs()
    assert (found.title, found.state, found.command[0]) == ("Demo", Job.FINISHED, "demo-data")


def test_what_the_engine_objects_to_is_shown(engine: Engine) -> None:
    job = engine.start(["verify", "7"], temporary=True)
    assert job.wait(PATIENCE)
    assert job.state == Job.FAILED
    assert "7" in job.problem.message
    assert job.problem.hint
    assert "Traceback" not in job.problem.details
    assert str(job.problem) in "\n".join(job.log)


def test_findings_are_problems_of_their_cases(engine: Engine, workspace: Path) -> None:
    folder = workspace / "nnUNet_raw" / "Dataset050_A"
    made = engine.start(["demo-data", str(folder), "--cases", "2"])
    assert made.wait(PATIENCE)
    for file in (folder / "labelsTr").iterdir():
        file.unlink()
    job = engine.start(["verify", "50"])
    assert job.wait(PATIENCE)
    assert [problem.case for problem in job.problems] == ["demo_000", "demo_001"]
    assert all(problem.message for problem in job.problems)


def test_a_python_without_the_packages(workspace: Path) -> None:
    job = Engine(sys.executable, workspace).start(["verify", "7"])
    assert job.wait(PATIENCE)
    assert job.state == Job.FAILED
    assert job.problem.message.startswith("The engine needs packages that are not installed: ")
    assert "Setup" in job.problem.hint


# -- what keeps a job from starting


def test_a_python_that_is_not_there(workspace: Path) -> None:
    with pytest.raises(UserProblem, match="/no/such/python can't be started") as problem:
        Engine("/no/such/python", workspace).start(["info"])
    assert "Setup" in problem.value.problem.hint
    assert list((workspace / "jobs").iterdir()) == []


def test_too_little_disk_space(engine: Engine, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineModule, "LEAST_FREE_MB", 10**12)
    with pytest.raises(UserProblem, match="MB are free on the disk"):
        engine.start(["info"])
    assert list((workspace / "jobs").iterdir()) == []


def test_a_workspace_that_cannot_be_written(externalPython: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserProblem, match=r"Can't write in .*file"):
        Engine(externalPython, tmp_path / "file").start(["info"])


# -- environment and end of the process


def test_the_environment_of_the_process(tmp_path: Path, workspace: Path) -> None:
    python = script(tmp_path / "python", f'#!/bin/sh\nenv > "{tmp_path}/env"\npwd >> "{tmp_path}/env"\n')
    job = Engine(python, workspace, {"PATH": os.environ["PATH"], "PYTHONPATH": "/mine"}).start(["info"])
    assert job.wait(PATIENCE)
    lines = (tmp_path / "env").read_text().splitlines()
    engineFolder = str(Path(sys.modules["segautoconfiglib"].__file__).resolve().parents[1])
    assert f"PYTHONPATH={engineFolder}{os.pathsep}/mine" in lines
    assert {"PYTHONUTF8=1", "PYTHONUNBUFFERED=1"} <= set(lines)
    assert not [line for line in lines if line.startswith("PYTHONHOME=")]
    assert lines[-1] == str(job.folder)


@pytest.mark.parametrize(
    ("text", "says", "details"),
    [
        ("echo strange; exit 3", "python did not run the engine: it ended unexpectedly with exit code 3", "strange"),
        ("kill -9 $$", "was killed, probably because the memory ran out", ""),
        ("exit 137", "was killed, probably because the memory ran out", ""),
        ("kill -SEGV $$", "crashed (SIGSEGV)", ""),
        (
            "echo \"ModuleNotFoundError: No module named 'pydantic.x'\"; exit 1",
            "needs packages that are not installed: pydantic.",
            "ModuleNotFoundError",
        ),
        (
            'echo "/usr/bin/python: No module named segautoconfiglib"; exit 1',
            "exit code 1",
            "No module named segautoconfiglib",
        ),
    ],
)
def test_a_process_that_ends_without_a_word(
    tmp_path: Path, workspace: Path, text: str, says: str, details: str
) -> None:
    job = Engine(script(tmp_path / "python", f"#!/bin/sh\n{text}\n"), workspace).start(["info"])
    assert job.wait(PATIENCE)
    assert job.state == Job.FAILED
    assert says in job.problem.message
    assert job.problem.hint
    assert "resume" not in job.problem.hint
    assert details in job.problem.details


def test_a_temporary_folder_that_stays_is_no_failure(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to remove a file that a virus scanner reads."""

    def refuse(*words, **options):
        raise PermissionError(13, "in use")

    temporary, kept = engine.start(["info"], temporary=True), engine.start(["info"])
    assert temporary.wait(PATIENCE)
    assert kept.wait(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(JobModule.shutil, "rmtree", refuse)
        temporary.discard()
        with pytest.raises(UserProblem, match="in use"):
            kept.discard()


def test_all_packages_that_a_python_lacks_are_named_at_once(tmp_path: Path, workspace: Path) -> None:
    """`doctor` finds each of them; what else it finds is said, too."""
    events = [
        {"kind": "started", "stage": "command", "pid": 1},
        {"kind": "done", "stage": "doctor", "missing": ["numpy", "torch"], "devices": []},
        {
            "kind": "error",
            "message": "Something needs to be mended:",
            "exit_code": 2,
            "problems": [
                {"message": "numpy is not installed.", "hint": "pip install --upgrade numpy"},
                {"message": "The disk is full.", "hint": "Choose another folder (--workspace).", "action": "room"},
            ],
        },
    ]
    lines = "".join(json.dumps({"version": 1, "time": time.time() + 60, **event}) + "\n" for event in events)
    (tmp_path / "events").write_text(lines)
    python = script(tmp_path / "python", f'#!/bin/sh\ncp "{tmp_path}/events" events.jsonl\nexit 2\n')
    job = Engine(python, workspace).start(["doctor"])
    assert job.wait(PATIENCE)
    assert [(problem.message, problem.hint) for problem in job.problems] == [
        (
            "The engine needs packages that are not installed: numpy, torch.",
            "Install them in the Setup tab.",
        ),
        ("The disk is full.", "Free some space, or choose another workspace in the Setup tab."),
    ]


# -- stopping, killing, going on


def test_stopping_and_going_on_in_the_same_folder(training: str, workspace: Path) -> None:
    engine = Engine(training, workspace)
    job = engine.start(["train", "--first-epoch", "0"], title="Liver", details={"dataset": "A"})
    pollUntil(job, lambda: len(job.metrics) > 3)
    assert (job.state, job.stage, job.stopping) == (Job.RUNNING, "train", False)
    with pytest.raises(UserProblem, match="Liver is still running"):
        job.discard()
    with pytest.raises(UserProblem, match="Liver is still running"):
        engine.start(["train"], job=job)
    job.stop()
    assert job.stopping
    assert job.wait(PATIENCE)
    assert job.state == Job.STOPPED
    assert job.problem is None
    assert "Größe und Maß" in job.logText()
    job.stop()  # too late to matter
    assert not (job.folder / "stop").exists()

    last = job.metrics[-1]["epoch"]
    again = engine.start(["train", "--first-epoch", str(last - 1)], job=job)
    assert again.folder == job.folder
    assert (again.title, again.details, again.created) == ("Liver", {"dataset": "A"}, job.created)
    assert again.state == Job.STARTING
    pollUntil(again, lambda: again.state == Job.RUNNING and again.metrics[-1]["epoch"] > last + 1)
    assert [row["epoch"] for row in again.metrics] == list(range(again.metrics[-1]["epoch"] + 1))
    assert again.stage == "train"
    again.kill()
    assert again.state == Job.STOPPED
    assert [one.state for one in engine.jobs()] == [Job.STOPPED]
    again.discard()
    again.discard()
    assert engine.jobs() == []
    assert again.metrics


def test_a_stop_before_the_engine_has_begun(training: str, workspace: Path) -> None:
    job = Engine(training, workspace).start(["train"])
    job.stop()
    assert job.wait(PATIENCE)
    assert job.state == Job.STOPPED


def test_killing_ends_the_launcher_and_all_that_it_started(launcher: str, workspace: Path) -> None:
    job = Engine(launcher, workspace).start(["train"])
    pollUntil(job, lambda: len(job.metrics) > 1)
    group = Processes.PROCESSES[job.folder].pid
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and groupOf(int(name)) == group]
    assert len(pids) == 3
    job.kill()
    assert job.state == Job.STOPPED
    assert not [pid for pid in pids if isThere(pid)]


def groupOf(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def test_a_training_that_is_killed_by_others_is_lost(launcher: str, workspace: Path) -> None:
    job = Engine(launcher, workspace).start(["train"])
    pollUntil(job, lambda: len(job.metrics) > 1)
    os.kill(json.loads((job.folder / "events.jsonl").read_text().splitlines()[0])["pid"], signal.SIGKILL)
    assert job.wait(PATIENCE)
    assert job.state == Job.LOST
    assert "memory ran out" in job.problem.message
    assert job.problem.hint == "Close other programs and resume it."
    assert "resume" in job.problem.hint
    assert job.metrics


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_job_outlives_slicer_and_is_found_again(launcher: str, workspace: Path, end: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FIRST_SLICER, launcher, str(workspace)]
    first = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=PATIENCE)
    assert first.returncode == -signal.SIGKILL
    engine = Engine(launcher, workspace)
    (job,) = engine.jobs()
    assert str(job.folder) == first.stdout.strip()
    assert (job.title, job.details, job.state) == ("Liver", {"dataset": "Dataset001_Liver"}, Job.RUNNING)
    seen = len(job.metrics)
    pollUntil(job, lambda: len(job.metrics) > seen + 3)
    pid = json.loads((job.folder / "events.jsonl").read_text().splitlines()[0])["pid"]
    if end == "stop":
        job.stop()
        assert job.wait(PATIENCE)
    else:
        job.kill()
    assert job.state == Job.STOPPED
    pollUntil(job, lambda: not isThere(pid))


def test_a_job_of_another_computer_is_not_killed(training: str, workspace: Path) -> None:
    job = Engine(training, workspace).start(["train"])
    pollUntil(job, lambda: bool(job.metrics))
    process = Processes.PROCESSES.pop(job.folder)
    (job.folder / "lock").write_text("process 1 on elsewhere")
    with pytest.raises(UserProblem, match=r"another computer .*elsewhere"):
        job.kill()
    assert process.poll() is None
    job.stop()
    assert process.wait(PATIENCE) == 0


def test_a_job_whose_process_died_while_nobody_looked(training: str, workspace: Path) -> None:
    engine = Engine(training, workspace)
    job = engine.start(["train"])
    pollUntil(job, lambda: len(job.metrics) > 1)
    process = Processes.PROCESSES.pop(job.folder)  # as after a restart of Slicer
    Processes.endTree(process.pid)
    process.wait()
    (found,) = engine.jobs()
    assert found.state == Job.LOST
    found.poll()
    assert "it was killed, or the computer was switched off" in found.problem.message
    found.kill()  # nothing to do, nobody is hurt
    assert found.state == Job.STOPPED


@pytest.mark.skipif(sys.platform == "win32", reason="locks are other ones there")
def test_on_a_drive_without_locks_a_training_is_found_again_by_its_news(
    training: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    engine = Engine(training, workspace)
    job = engine.start(["train"])
    pollUntil(job, lambda: len(job.metrics) > 1)
    process = Processes.PROCESSES.pop(job.folder)  # as after a restart of Slicer
    monkeypatch.setattr("fcntl.flock", refuse)
    (found,) = engine.jobs()
    assert found.state == Job.RUNNING
    found.poll()
    assert (found.state, (job.folder / "lock").exists()) == (Job.RUNNING, True)
    with pytest.raises(UserProblem, match="still running"):
        engine.start(["train"], job=found)
    with pytest.raises(UserProblem, match="It can't be told where"):  # the number may be another process's by now
        found.kill()
    assert process.poll() is None
    Processes.endTree(process.pid)
    process.wait()
    found.poll()
    assert found.state == Job.RUNNING  # nobody can know yet
    before = time.time() - Processes.SILENT_SECONDS - 1
    os.utime(job.folder / "events.jsonl", (before, before))
    found.poll()
    assert found.state == Job.LOST
    assert found.problem.hint == "What was saved is kept; resume it."


def test_a_drive_that_does_not_answer_for_a_while(
    training: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EHOSTDOWN, "Host is down")

    engine = Engine(training, workspace)
    job = engine.start(["train"])
    pollUntil(job, lambda: len(job.metrics) > 1)
    process = Processes.PROCESSES.pop(job.folder)  # as after a restart of Slicer
    (found,) = engine.jobs()
    with monkeypatch.context() as away:
        away.setattr(Path, "stat", fail)
        found.poll()
        assert found.running
    found.poll()
    assert (found.state, len(found.metrics) > 1) == (Job.RUNNING, True)
    found.stop()
    assert process.wait(PATIENCE) == 0


def test_on_a_drive_without_locks_an_own_process_is_known_to_be_gone(
    training: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Engine(training, workspace).start(["train"])
    pollUntil(job, lambda: len(job.metrics) > 1)
    monkeypatch.setattr(Processes, "is_taken", lambda file: None)
    job.kill()
    assert job.state == Job.STOPPED


def test_a_process_that_does_not_end_after_its_last_word(
    tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobModule, "END_SECONDS", 0.2)
    event = '{\\"time\\": 9999999999, \\"kind\\": \\"done\\", \\"stage\\": \\"command\\", \\"exit_code\\": 0}'
    python = script(tmp_path / "python", f'#!/bin/sh\nsleep 0.2\necho "{event}" > events.jsonl\nsleep 600\n')
    job = Engine(python, workspace).start(["predict"])
    assert job.wait(PATIENCE)
    assert job.state == Job.FINISHED


# -- folders


def test_folders_of_the_same_second_and_damaged_ones(training: str, workspace: Path) -> None:
    engine = Engine(training, workspace)
    jobs = [engine.start(["train"], title=str(number)) for number in range(3)]
    assert len({job.folder for job in jobs}) == 3
    for job in jobs:
        job.kill()
    broken = workspace / "jobs" / "20990101-000000-train"
    broken.mkdir()
    assert len(engine.jobs()) == 3
    for content in ("", "[]", "{", '{"details": 5}', '{"started": "x"}', '{"command": 3}', "\0\0"):
        (broken / "job.json").write_text(content)
        assert len(engine.jobs()) == 3, content
    (workspace / "jobs" / "file").touch()
    assert {job.title for job in engine.jobs()} == {"0", "1", "2"}
    assert Engine(training, workspace / "nothing").jobs() == []


def test_newest_first(training: str, workspace: Path) -> None:
    for number in (2, 3, 1):
        folder = workspace / "jobs" / f"job{number}"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"created": f"2026-01-0{number}T10:00:00+01:00"}))
    assert [job.folder.name for job in Engine(training, workspace).jobs()] == ["job3", "job2", "job1"]


def test_a_temporary_job_is_removed_with_its_process(training: str, workspace: Path) -> None:
    job = Engine(training, workspace).start(["info"], temporary=True)
    folder, process = job.folder, Processes.PROCESSES[job.folder]
    assert workspace not in folder.parents
    pollUntil(job, (folder / "events.jsonl").exists)
    del job
    gc.collect()
    assert not folder.exists()
    assert process.poll() is not None
