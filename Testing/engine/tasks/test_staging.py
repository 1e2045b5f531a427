"""Files that appear together or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segautoconfiglib.base import records
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.tasks.staging import check_places, keep_inputs, staged

#: Places a, b and c, and is killed before one of its steps: five exchanges, the clean-up.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from segautoconfiglib.tasks.staging import staged
folder, left, replace = Path(sys.argv[1]), int(sys.argv[2]), os.replace
def step(*paths, **_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = shutil.rmtree = step
with staged() as staging:
    for name in "abc":
        staging.file(folder / name).write_text("new")
"""


def write_staged(*targets: Path, fails: bool = False) -> None:
    """Files with the text "new"; a failure after the last one."""
    with staged() as staging:
        for target in targets:
            staging.file(target).write_text("new")
        assert not targets[0].exists() or targets[0].read_text() == "old"
        assert set(staging.targets) == set(targets)
        if fails:
            raise RuntimeError


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_staged_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_staged(tmp_path / "new" / "folder" / "a", tmp_path / "other" / "b", fails=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="it is a folder"):
        write_staged(tmp_path / "a", tmp_path / "b")
    with pytest.raises(RuntimeError):
        write_staged(tmp_path / "a", tmp_path / "c", fails=True)
    assert texts(tmp_path) == {"a": "old"}
    (tmp_path / "b").rmdir()
    write_staged(tmp_path / "a", tmp_path / "b", tmp_path / "new" / "c")
    assert texts(tmp_path) == {"a": "new", "b": "new", "new/c": "new"}
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "c", "new"}


@pytest.mark.parametrize("kind", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", range(1, 6))
def test_what_is_half_done_is_undone(
    kind: BaseException, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files are exchanged in five steps, as two of them were there before; each step may fail."""
    for name in ("a", "c"):
        (tmp_path / name).write_text("old")
    replace, steps = os.replace, []

    def failing(source: Path, target: Path) -> None:
        steps.append(target)
        if len(steps) == after:
            raise kind
        replace(source, target)

    monkeypatch.setattr(records.os, "replace", failing)
    with pytest.raises(UserError if isinstance(kind, OSError) else KeyboardInterrupt) as caught:
        write_staged(tmp_path / "a", tmp_path / "c", tmp_path / "new" / "b")
    assert texts(tmp_path) == {"a": "old", "c": "old"}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}
    if isinstance(kind, OSError):
        assert "No space left" in str(caught.value)


def test_what_can_not_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == tmp_path / "a":
            raise OSError(30, "Read-only")
        replace(source, target)

    monkeypatch.setattr(records.os, "replace", failing)
    with pytest.raises(UserError) as caught:
        write_staged(tmp_path / "a")
    (kept,) = tmp_path.rglob("old/a")
    assert kept.read_text() == "old"
    assert str(kept) in str(caught.value.hint)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
@pytest.mark.parametrize(
    ("before_step", "replaced", "back", "kept"),
    [
        (1, "", "", ""),
        (2, "", "a", ""),
        (3, "a", "", "a"),
        (4, "ab", "", "a"),
        (5, "ab", "c", "a"),
        (6, "abc", "", "a, c"),
    ],
)
def test_after_a_kill_the_next_run_loses_no_old_file(
    tmp_path: Path, before_step: int, replaced: str, back: str, kept: str
) -> None:
    folder, report = tmp_path / "out", ListReporter()
    folder.mkdir()
    for name in "ac":
        (folder / name).write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(before_step)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (hidden,) = folder.glob(".*")

    with staged(report) as staging:
        staging.file(folder / "d").write_text("later")

    expected = {"a": "old", "c": "old", "d": "later", **dict.fromkeys(replaced, "new")}
    expected |= {f"{hidden.name}/old/{name}": "old" for name in kept.replace(", ", "")}
    assert texts(folder) == expected
    assert hidden.exists() == bool(kept)
    start = f"A run was ended while it replaced files in {folder}:"
    told = [f"{start} {back} had been moved away; back now."] if back else []
    told += [f"{start} what stood there before as {kept} is in {hidden / 'old'}."] if kept else []
    assert [event["message"] for event in report.of("warning")] == told


def test_old_files_that_were_kept_are_told_until_they_are_removed(tmp_path: Path) -> None:
    hidden = tmp_path / ".placing-0123abcd"
    (hidden / "old").mkdir(parents=True)
    for place in (tmp_path, hidden / "old"):
        (place / "a").write_text("x")
    for removed in (False, False, True):
        if removed:
            shutil.rmtree(hidden)
        report = ListReporter()
        with staged(report) as staging:
            staging.file(tmp_path / "b").write_text("x")
        assert [str(hidden) in event["hint"] for event in report.of("warning")] == ([] if removed else [True])
        assert hidden.exists() != removed


def test_runs_at_the_same_time_leave_each_other_alone(tmp_path: Path) -> None:
    report = ListReporter()
    with staged(report) as one:
        one.file(tmp_path / "a").write_text("one")
        with staged(report) as two:
            two.file(tmp_path / "b").write_text("two")
    assert texts(tmp_path) == {"a": "one", "b": "two"}
    assert list(tmp_path.glob(".*")) == report.events == []


def test_one_place_for_two_files_is_refused(tmp_path: Path) -> None:
    check_places([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UserError, match="two results"):
        check_places([tmp_path / "a", tmp_path / "a"])


def test_inputs_are_known_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "hard")
    keep_inputs([tmp_path / "b"], [tmp_path / "a", tmp_path / "absent"])
    keep_inputs([tmp_path / "absent"], [tmp_path / "absent"])
    for name in ("a", "link", "hard", "../" + tmp_path.name + "/a"):
        with pytest.raises(UserError, match="part of the input"):
            keep_inputs([tmp_path / name], [tmp_path / "a"])
