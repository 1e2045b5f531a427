"""Locks among processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.lock import alone, is_taken, left_folders, own_folder

HOLD = """
import sys, time
from pathlib import Path
from segautoconfiglib.base.lock import alone
with alone(Path(sys.argv[1]), "Testing"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / ".lock"


@pytest.fixture
def owner(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_after_the_other(file: Path) -> None:
    report = ListReporter()
    for _ in range(2):
        with alone(file, "Testing", report=report):
            assert f"process {os.getpid()} on " in file.read_text()
        assert not file.exists()
    assert report.events == []


COUNT = """
import sys
from pathlib import Path
from segautoconfiglib.base.lock import alone
number = Path(sys.argv[2])
for _ in range(200):
    with alone(Path(sys.argv[1]), "Counting"):
        number.write_text(str(int(number.read_text()) + 1))
"""


def test_folders_made_for_the_lock_do_not_stay_empty(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    with alone(tmp_path / "before" / "new" / "newer" / ".lock", "Testing"):
        pass
    assert os.listdir(tmp_path / "before") == []
    with alone(tmp_path / "new" / "newer" / ".lock", "Testing"):
        (tmp_path / "new" / "result").touch()
    assert os.listdir(tmp_path / "new") == ["result"]


def test_no_step_of_many_processes_is_lost(file: Path, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", COUNT, str(file), str(tmp_path / "number")]
    counting = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in counting] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "600"


def test_waiting_names_the_owner_once_and_can_be_stopped(file: Path, owner: subprocess.Popen[str]) -> None:
    report = ListReporter()

    class StopLater(CancelToken):
        asked = 0

        @property
        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 3

    with pytest.raises(Cancelled), alone(file, "Testing", report=report, cancel=StopLater()):
        pytest.fail("both at the same time")
    (log,) = report.of("log")
    assert log["message"].startswith(f"Testing: waiting for another process that is at it (process {owner.pid} on ")


def test_a_killed_owner_lets_go(file: Path, owner: subprocess.Popen[str]) -> None:
    def kill(kind: str, **data: Any) -> None:
        owner.kill()

    with alone(file, "Testing", report=kill):
        assert owner.wait(60) != 0
        assert f"process {os.getpid()} on " in file.read_text()


def test_who_does_not_wait_for_ever_is_told_who_is_at_work(file: Path, owner: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(UserError, match=rf"Testing: another process is at it \(process {owner.pid} on ") as caught,
        alone(file, "Testing", patience_s=0.3),
    ):
        pytest.fail("both at the same time")
    assert "Wait for its end" in caught.value.hint


def test_a_little_patience_outlasts_an_owner_that_ends(file: Path, owner: subprocess.Popen[str]) -> None:
    owner.kill()
    with alone(file, "Testing", patience_s=30):
        pass


def test_whether_somebody_is_at_work(file: Path, owner: subprocess.Popen[str]) -> None:
    assert is_taken(file)
    owner.kill()
    owner.wait(60)
    assert not is_taken(file)
    assert not file.exists()
    assert not is_taken(file)
    assert not file.exists()
    with alone(file, "Testing", patience_s=0):
        assert is_taken(file)


def test_folders_are_given_when_their_owner_is_gone(tmp_path: Path) -> None:
    with own_folder(tmp_path / "new", ".a-") as folder:
        (folder / "file").touch()
        assert list(left_folders(tmp_path / "new", ".a-")) == []
    assert list(folder.iterdir()) == [folder / "file"]
    assert list(left_folders(tmp_path / "new", ".b-")) == []
    for left in left_folders(tmp_path / "new", ".a-"):
        assert left == folder
        assert list(left_folders(tmp_path / "new", ".a-")) == []  # one looks at it
    assert list(folder.iterdir()) == [folder / "file"]
    for left in left_folders(tmp_path / "new", ".a-"):
        (left / "file").unlink()
    assert list((tmp_path / "new").iterdir()) == []


def test_an_empty_folder_goes_with_its_owner(tmp_path: Path) -> None:
    with own_folder(tmp_path, ".a-") as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_an_error_lets_go(file: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(file, "Testing"):
        raise ZeroDivisionError
    with alone(file, "Testing", report=lambda kind, **data: pytest.fail("waited")):
        pass


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="Can't write"), alone(tmp_path / "x" / ".lock", "Testing"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks are other ones there")
def test_a_folder_that_another_process_removes_is_made_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the moment in which mkdir has found it and looks what it is."""
    real, refused = Path.mkdir, [FileExistsError(17, "File exists")]

    def mkdir(path: Path, *arguments: Any, **options: Any) -> None:
        if refused:
            raise refused.pop()
        real(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with alone(file, "at work"):
        assert file.is_file()
    assert not refused


def test_a_network_drive_refuses_a_lock_as_a_permission(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with alone(file, "Testing"):
        monkeypatch.setattr("fcntl.flock", refuse)
        assert is_taken(file) is True
        with pytest.raises(UserError, match="another process is at it"), alone(file, "Testing", patience_s=0):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks are other ones there")
def test_without_locks_nobody_can_tell_and_the_file_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert is_taken(file) is False
    with alone(file, "Testing"):
        assert is_taken(file) is None
        assert f"process {os.getpid()} on " in file.read_text()
    assert is_taken(file) is False
    assert not file.exists()
