"""Folders for what lies in between: those of killed processes are removed, those of living ones stay."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segautoconfiglib.base import lock
from segautoconfiglib.base.errors import Cancelled
from segautoconfiglib.base.lock import scratch_folder

PREFIX = ".making-"
HOLD = """
import sys, time
from pathlib import Path
from segautoconfiglib.base.lock import scratch_folder
with scratch_folder(Path(sys.argv[1]), ".making-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that is at work, and its folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_a_folder_is_there_for_a_while(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, PREFIX) as one:
        with scratch_folder(tmp_path, PREFIX) as two:
            assert one.is_dir()
            assert two != one
        (one / "file").write_text("x")
    assert not list(tmp_path.iterdir())


def test_removed_when_cancelled(tmp_path: Path) -> None:
    def stopped() -> None:
        with scratch_folder(tmp_path / "new", PREFIX) as folder:
            (folder / "model_1").mkdir()
            raise Cancelled

    with pytest.raises(Cancelled):
        stopped()
    assert list(tmp_path.glob("new/*")) == []


def test_a_killed_process_leaves_a_folder_until_the_next_run(
    tmp_path: Path, owner: tuple[subprocess.Popen[str], Path]
) -> None:
    process, left = owner
    others = [tmp_path / name for name in (".making-of-a-film", ".unfinished-0123abcd")]
    for other in others:
        other.mkdir()
    with scratch_folder(tmp_path, PREFIX):
        assert (left / "file").is_file()  # its owner lives
    process.kill()
    process.wait()
    assert (left / "file").is_file()
    with scratch_folder(tmp_path, PREFIX) as mine:
        assert sorted(tmp_path.iterdir()) == sorted([mine, *others])


def test_without_locks_nobody_can_tell_so_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / f"{PREFIX}0123abcd"
    left.mkdir()
    (left / "in-use").write_text("process 1 on nowhere")
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_locked", lambda stream: None)
        with scratch_folder(tmp_path, PREFIX):
            assert left.is_dir()
    with scratch_folder(tmp_path, PREFIX):
        assert not left.exists()
