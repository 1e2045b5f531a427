"""A training goes on when Slicer is killed, and the next Slicer finds, shows and stops it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_dataset import makeTinyDataset

from segautoconfiglib.base.lock import is_taken

PATIENCE = 90

#: A host with the Train panel, opened on a workspace.
OPEN = """
import json, sys, types
import slicer
import slicerhost.qtapp as host
host.start()
from SegAutoConfigGui.Train import TrainPanel as panelModule
from SegAutoConfigGui.Settings import Settings
words = panelModule.trainCommand
panelModule.trainCommand = lambda *choices: [*words(*choices), "--iterations", "2"]
from pathlib import Path
settings = Settings()
settings.workspace, settings.externalPython = Path({workspace!r}), {python!r}
widget = host.load_module({module!r})
widget.openPanel("Train")
panel, ui = widget.panels["Train"], widget.panels["Train"].ui

def say(**values):
    print("SAID " + json.dumps(values), flush=True)
"""

#: Trains, and stays open.
FIRST = """
panel.form.choose(timed=False, epochs=200)
host.wait(lambda: ui.trainButton.enabled and panel.form.devices, 60)
ui.trainButton.click()
training = panel.view.training
host.wait(lambda: len(training.job.metrics) >= 2 or not training.job.running, 90)
say(epochs=len(training.job.metrics), running=training.job.running, training=training.progress.pid,
    folder=str(training.job.folder), problems=[str(problem) for problem in training.job.problems])
host.wait(lambda: False, 600)
"""

#: Opened later: shows what it finds, and stops it.
SECOND = """
training = panel.view.training
host.wait(lambda: training.progress.begun and training.job.metrics, 60)
found = len(training.job.metrics)
ui.curvesButton.click()
chart = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")[0]
table = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
rows = [table.GetValue(row, 0).ToInt() for row in range(table.GetNumberOfRows())]
text = ui.stageLabel.text
host.wait(lambda: len(training.job.metrics) > found, 60)
host.screenshot({picture!r}, width=400)
ui.stopButton.click()
host.wait(lambda: not training.job.running, 60)
host.wait(lambda: not widget.logic._followers, 60)
say(trainings=len(panel.trainings.items), rows=rows, text=text, state=training.job.state,
    resume=ui.resumeButton.isVisibleTo(panel.root))
host.check_no_slot_errors()
widget.cleanup()
"""


@pytest.fixture
def openSlicer(repository, externalPython, tmp_path):
    """Starts a host process that runs a script; they are ended after the test."""
    started: list[subprocess.Popen] = []

    def start(script: str) -> subprocess.Popen:
        folders = [str(repository / name) for name in ("SegAutoConfigLib", "SegAutoConfig", "Testing/SlicerHost")]
        module = str(repository / "SegAutoConfig" / "SegAutoConfig.py")
        head = OPEN.format(workspace=str(tmp_path / "workspace"), python=externalPython, module=module)
        code = f"import sys; sys.path[:0] = {folders!r}\n{head}\n{script}"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        kill(process)
        process.stdout.close()


def kill(process: subprocess.Popen) -> None:
    """End the launcher and the Python behind it, which are one group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answer(process: subprocess.Popen) -> dict:
    """What the script says."""
    for line in process.stdout:
        if line.startswith("SAID "):
            return json.loads(line.removeprefix("SAID "))
    raise AssertionError("the host ended without saying anything")


def epochs(folder: Path) -> int:
    return (folder / "events.jsonl").read_text().count('"epoch": ')


def test_killed_slicer(openSlicer, tmp_path, screenshotFolder):
    makeTinyDataset(tmp_path / "workspace")
    first = openSlicer(FIRST)
    said = answer(first)
    assert said["running"], said["problems"]
    folder = Path(said["folder"])
    try:
        kill(first)
        assert first.stdout.read() == ""  # its end: the host is gone
        before, until = epochs(folder), time.monotonic() + PATIENCE
        while epochs(folder) < before + 2 and time.monotonic() < until:
            time.sleep(0.2)
        assert is_taken(folder / "lock")

        second = openSlicer(SECOND.format(picture=str(screenshotFolder / "train-found-again-window.png")))
        found = answer(second)
        assert second.wait(PATIENCE) == 0
    finally:
        left = is_taken(folder / "lock")
        if left:
            os.killpg(said["training"], signal.SIGKILL)
    assert found["trainings"] == 1
    assert found["text"].startswith("Training · ")
    assert len(found["rows"]) > said["epochs"]
    assert found["rows"] == list(range(1, len(found["rows"]) + 1))
    assert found["state"] == "STOPPED"
    assert not left
    assert found["resume"]
