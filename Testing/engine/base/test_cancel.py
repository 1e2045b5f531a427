from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled


def wait_for_listener() -> None:
    for thread in threading.enumerate():
        if thread.name == "cancel-listener":
            thread.join(timeout=5)


def test_raises_only_after_the_request() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_a_stop_file_is_a_request_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segautoconfiglib.base.cancel.LOOK_EVERY_S", 0.0)
    token, file = CancelToken(), tmp_path / "stop"
    file.touch()  # left over
    with token.watching(file):
        assert not token.cancelled
        assert not file.exists()
        file.touch()
        assert token.cancelled
        assert not file.exists()
        assert token.cancelled
    assert token.cancelled


def test_a_stop_file_counts_only_while_it_is_watched(tmp_path: Path) -> None:
    token, file = CancelToken(), tmp_path / "new" / "stop"
    with token.watching(file):
        assert not token.cancelled
    file.parent.mkdir()
    file.touch()
    assert not token.cancelled
    assert file.exists()


def test_several_stop_files_are_watched_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segautoconfiglib.base.cancel.LOOK_EVERY_S", 0.0)
    for asked in ("outer", "inner"):
        token = CancelToken()
        with token.watching(tmp_path / "outer"), token.watching(tmp_path / "inner"):
            assert not token.cancelled
            (tmp_path / asked).touch()
            assert token.cancelled
        assert list(tmp_path.iterdir()) == []


def test_a_stop_file_from_before_counts_where_asked(tmp_path: Path) -> None:
    token, file = CancelToken(), tmp_path / "stop"
    file.touch()
    with token.watching(file, earlier_counts=True):
        assert token.cancelled


def test_a_stop_file_is_not_looked_for_at_every_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("segautoconfiglib.base.cancel.time.monotonic", lambda: now[0])
    token, file = CancelToken(), tmp_path / "stop"
    with token.watching(file):
        assert not token.cancelled
        file.touch()
        now[0] = 100.4
        assert not token.cancelled
        now[0] = 100.6
        assert token.cancelled


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cancel\n", True), ("x\n cancel \n", True), ("x\ncancel", True), ("", False), ("no\n", False)],
)
def test_only_the_line_cancel_is_a_request(text: str, expected: bool) -> None:
    token = CancelToken()
    reader, writer = os.pipe()
    with open(reader) as stream:
        token.listen(stream)
        os.write(writer, text.encode())
        os.close(writer)
        wait_for_listener()
    assert token.cancelled is expected


def test_a_line_is_a_request_as_soon_as_it_is_whole() -> None:
    token = CancelToken()
    reader, writer = os.pipe()
    with open(reader) as stream, open(writer, "w") as sender:
        token.listen(stream)
        sender.write("can")
        sender.flush()
        assert not token.cancelled
        sender.write("cel\n")
        sender.flush()
        wait_for_listener()
        assert token.cancelled


@pytest.mark.parametrize("closed", [True, False])
def test_a_stream_that_is_closed_or_no_file_is_no_request(tmp_path: Path, closed: bool) -> None:
    stream = (tmp_path / "input").open("w+") if closed else io.StringIO("cancel\n")
    stream.write("cancel\n")
    stream.close() if closed else None
    token = CancelToken()
    token.listen(stream)
    wait_for_listener()
    assert not token.cancelled


FORK = """
import multiprocessing, sys
from segautoconfiglib.base.cancel import CancelToken
CancelToken().listen(sys.stdin)
child = multiprocessing.get_context("fork").Process(target=print, args=("forked",), daemon=True)
child.start()
child.join(20)
sys.exit(child.exitcode != 0)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_a_process_forked_while_an_open_pipe_is_listened_to_can_begin() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "forked\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_the_first_signal_asks_and_the_second_interrupts(capsys: pytest.CaptureFixture[str]) -> None:
    token = CancelToken()
    before = signal.getsignal(signal.SIGTERM)
    restore = token.install_signal_handlers()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert token.cancelled
        assert "Stopping" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        restore()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_that_still_listens_can_end() -> None:
    program = (
        "import sys, time\n"
        "from segautoconfiglib.base.cancel import CancelToken\n"
        "CancelToken().listen(sys.stdin); time.sleep(0.2); sys.exit(7)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    assert process.wait(timeout=60) == 7
    assert process.stdin is not None
    process.stdin.close()
