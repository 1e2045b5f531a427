from __future__ import annotations

import io
import math
import re
import time

import pytest

from segautoconfiglib.base import terminal
from segautoconfiglib.base.terminal import HumanReporter, metric_text, number_text, print_table, time_text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def visible(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_file_gets_whole_lines_without_control_characters() -> None:
    stream = io.StringIO()
    report = HumanReporter(stream)
    report("log", message="Reading\r \x1b[31mred\x1b[0m \x07done [bold]")
    report("started", stage="preprocess", total=500)
    for done in range(1, 501):
        report("progress", stage="preprocess", done=done, total=500, case=f"case_{done}")
    report("artifact", path="out/progress.png", description="curves")
    report("done", stage="preprocess", cases=500)
    report.close()
    assert stream.getvalue().splitlines() == [
        "Reading red done [bold]",
        "preprocess: started, 500 steps",
        "preprocess: 500/500 (100 %)  0:00",
        "Wrote out/progress.png (curves)",
        "preprocess done: cases 500",
    ]


def test_a_stage_may_end_with_a_sentence() -> None:
    stream = io.StringIO()
    HumanReporter(stream)("done", stage="task", message="total: 3 of 117 structures found.", output="out")
    assert stream.getvalue() == "total: 3 of 117 structures found.\n"


def test_quiet_shows_warnings_and_errors_only() -> None:
    stream = io.StringIO()
    report = HumanReporter(stream, quiet=True)
    report("started", stage="write", total=1)
    report("progress", stage="write", done=1, total=1)
    for kind in ("log", "artifact", "warning", "metric", "done", "error"):
        report(kind, stage="write", message=kind, path="x", name="loss", value=1)
    report.close()
    assert stream.getvalue().splitlines() == ["Warning: warning", "Error: error"]


def test_lines_are_written_when_time_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    stream = io.StringIO()
    report = HumanReporter(stream)
    report("started", stage="train", total=10)
    for done in (1, 2, 3, 4):
        now += 6
        report("progress", stage="train", done=done, total=10, case="c")
    now += 6
    report("progress", stage="train", done=5, total=10, seconds_left=75)
    now += 6
    report("progress", stage="train", done=6, total=10, seconds_left=61)
    assert stream.getvalue().splitlines()[1:] == [
        "train: 2/10 (20 %)  0:48 left  c",
        "train: 4/10 (40 %)  0:36 left  c",
        "train: 6/10 (60 %)  1:01 left",
    ]


def test_a_slow_start_and_work_found_done_do_not_count_as_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    stream = io.StringIO()
    report = HumanReporter(stream)
    report("started", stage="preprocess", total=100)
    for done, seconds in ((91, 40), (92, 10)):  # continues after 90, with a slow start; then ten seconds each
        now += seconds
        report("progress", stage="preprocess", done=done, total=100)
    assert stream.getvalue().splitlines()[-1] == "preprocess: 92/100 (92 %)  1:20 left"


def test_errors_list_problems_and_put_the_hint_on_a_line_of_its_own() -> None:
    stream = io.StringIO()
    report = HumanReporter(stream)
    problem = {"message": "Label 7.", "hint": "Declare it.", "file": "a.nii.gz", "case": "a"}
    report("error", message="The dataset has 1 problem.", hint="Correct it.", exit_code=2, problems=[problem])
    report("warning", message="Odd.", hint="")
    assert stream.getvalue().splitlines() == [
        "Error: The dataset has 1 problem.",
        "  - a: a.nii.gz: Label 7. Declare it.",
        "  Correct it.",
        "Warning: Odd.",
    ]


def test_a_terminal_gets_a_bar_with_time_left_and_keeps_one_line_per_stage(screen: Terminal) -> None:
    report = HumanReporter(screen)
    report("started", stage="preprocess", total=4)
    report("progress", stage="preprocess", done=1, total=4, case="case_[1]", seconds_left=63)
    time.sleep(0.5)  # a terminal is redrawn five times a second
    report("log", message="a [bold] log line")
    report("warning", message="Odd.", hint="Look.")
    report("progress", stage="preprocess", done=4, total=4)
    report("done", stage="preprocess")
    report.close()
    text = visible(screen.getvalue())
    assert "1/4" in text
    assert "1:03 left" in text or "1:02 left" in text
    assert "case_[1]" in text
    assert "a [bold] log line" in text
    assert re.search(r"preprocess  4/4  0:0\d", text)
    assert "\x1b[33mWarning: Odd." in screen.getvalue()
    assert "\x1b[?25h" in screen.getvalue().rpartition("\x1b[?25l")[2]  # the cursor is back


def test_progress_without_a_start_and_stages_without_a_total(screen: Terminal) -> None:
    for stream in (screen, io.StringIO()):
        report = HumanReporter(stream)
        report("progress", stage="predict", done=1, total=2)
        report("started", stage="train")
        report("progress", stage="train", done=5)
        report("done", stage="train", mean_dice=0.5)
        report("progress", stage="predict", done=2, total=2)
        report.close()
        assert "train done: mean dice 0.5000" in visible(stream.getvalue())


def test_stages_without_work_and_ends_that_come_twice(screen: Terminal) -> None:
    for stream in (screen, io.StringIO()):
        report = HumanReporter(stream)
        report("started", stage="preprocess", total=0)
        report("started", stage="train", total=2)
        report("progress", stage="train", done=2, total=2, epoch=0, step=2)
        report("progress", stage="train", done=2, total=2, epoch=1, step=0)
        report("done", stage="train", epochs_done=1, finished=True)
        report.close()
        text = visible(stream.getvalue())
        assert "preprocess" not in text
        assert len(re.findall(r"2/2.*0:00", text)) == 1
        assert "train done: epochs done 1" in text
        assert "finished" not in text


def test_an_epoch_is_one_compact_line() -> None:
    text = metric_text(
        {
            "stage": "train",
            "epoch": 3,
            "epochs": 100,
            "dice": [0.8123, math.nan],
            "train_loss": 0.41234,
            "learning_rate": 0.0098,
            "seconds": 3.21,
            "patches": 500,
        }
    )
    assert text == "epoch 3/100  loss 0.4123  Dice 0.8123 -  lr 0.0098  patches 500  3.2 s"
    assert metric_text({"stage": "x", "name": "speed", "value": 1.5}) == "speed 1.5000"


def test_numbers_and_times() -> None:
    assert [number_text(value) for value in (None, math.nan, math.inf, 3, 1e-5, 1234.5678, {"a": 0.5})] == [
        "-",
        "-",
        "inf",
        "3",
        "1e-05",
        "1235",
        "a 0.5000",
    ]
    assert [time_text(seconds) for seconds in (-1, 0.4, 59.6, 3723)] == ["0:00", "0:00", "1:00", "1:02:03"]


def test_tables_align_and_cut_nothing() -> None:
    stream = io.StringIO()
    name = "a_very_long_case_name_" * 10
    print_table("Dice", ["case", "[liver]", "n"], [[name, 0.81234, 3], ["mean", None, 12]], stream)
    lines = [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]
    assert lines[0] == "Dice"
    assert lines[1].split() == ["case", "[liver]", "n"]
    assert lines[3].split() == [name, "0.812", "3"]
    assert lines[4].split() == ["mean", "-", "12"]
    assert lines[3].index("0.812") + 5 == lines[4].index("-") + 1
    assert "\x1b" not in stream.getvalue()
