"""Fixtures of the tests of panels: models that were really trained, and the module with some of its panels."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sysconfig
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from made_once import made_once

#: How long to wait for something that a started process should do (seconds); far above what is needed.
PATIENCE = 240
#: Of a case: z, y, x.
SHAPE = (10, 24, 22)
SPACING = (1.0, 1.0, 2.0)
ONE, TWO = "Dataset001_Organ", "Dataset002_TwoChannels"
SEGMENTS = {
    "organ": {"color": [0.9, 0.2, 0.1], "terminology": "Segmentation category~SCT^85756007^Tissue~~~~~"},
    "core": {"color": [0.1, 0.3, 0.9], "terminology": ""},
}


def blockImage(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright block (1) with a brighter core (2) in noise, and its labels."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    z, y, x = random.integers((1, 2, 2), (3, 8, 8))
    labels[z : z + 6, y : y + 12, x : x + 11] = 1
    labels[z + 2 : z + 4, y + 3 : y + 9, x + 3 : x + 8] = 2
    return (120 * labels + random.normal(100, 8, SHAPE)).astype(np.int16), labels


def writeDataset(folder: Path, channels: list[str], cases: int = 4) -> None:
    """A raw dataset."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(cases):
        image, labels = blockImage(number)
        files = {f"imagesTr/c{number}_{channel:04}.nrrd": image for channel in range(len(channels))}
        for name, array in {**files, f"labelsTr/c{number}.nrrd": labels}.items():
            picture = sitk.GetImageFromArray(array)
            picture.SetSpacing(SPACING)
            sitk.WriteImage(picture, str(folder / name))
    content = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, "organ": 1, "core": 2},
        "numTraining": cases,
        "file_ending": ".nrrd",
        "segments": SEGMENTS,
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def runEngine(python: str, repository: Path, workspace: Path, *words: str) -> None:
    """Run a command of the engine to its end."""
    from slicer.util import startupEnvironment

    environment = dict(startupEnvironment(), PYTHONPATH=str(repository / "SegAutoConfigLib"), OMP_NUM_THREADS="1")
    command = [python, "-m", "segautoconfiglib", *words, "--workspace", str(workspace)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stderr[-4000:]


@pytest.fixture(scope="session")
def trainedWorkspace(repository: Path, externalPython: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two datasets and a model of each, trained for a few steps. Not to be changed: copy it."""

    def make(workspace: Path) -> None:
        for name, channels, steps in ((ONE, ["CT"], "40"), (TWO, ["T1", "T2"], "1")):
            writeDataset(workspace / "nnUNet_raw" / name, channels)
            words = ["--epochs", "1", "--iterations", steps, "--device", "cpu", "--workers", "0"]
            runEngine(externalPython, repository, workspace, "train", name, *words)

    return made_once(tmp_path_factory, "trained", make)


@dataclass
class Module:
    """The module, and what the panels Segment, Models and Setup asked of the others."""

    widget: Any
    workspace: Path
    python: str = ""
    asked: list[tuple] = field(default_factory=list)

    def panel(self, name: str) -> Any:
        """Open a tab and return its panel."""
        return self.widget.openPanel(name)

    def settle(self, condition=lambda: True, seconds: float = PATIENCE) -> None:
        """Turn the event loop until short commands have ended and the condition holds."""
        import slicer
        from slicerhost import qtapp as host

        slicer.app.processEvents()
        host.wait(lambda: not self.widget.logic._followers and condition(), seconds)

    @property
    def message(self) -> str:
        """The text above the tabs; empty where none is shown."""
        from messages import messageOf

        return messageOf(self.widget)

    @property
    def details(self) -> str:
        """What the message's details say."""
        return self.widget.ui.messageDetails.plainText

    def photograph(self, folder: Path, name: str) -> None:
        """Pictures at both widths of the panel, in which nothing may be cut off; folders are those of a user."""
        from slicerhost import qtapp as host

        with shownAs(self.widget.parent, self.places):
            for width in (400, 600):
                host.screenshot(folder / f"{name}-{width}.png", "panel", width)
                assert host.panel_overflow(width) == 0

    @property
    def places(self) -> dict[str, str]:
        """What is on this computer for the test -> where a user would have it; the longest paths first."""
        found = {
            str(self.workspace): "/home/anna/SegAutoConfig",
            str(self.workspace.parent): "/home/anna/Downloads",
            sysconfig.get_path("purelib"): "/home/anna/Slicer-5.10.0/lib/Python/lib/python3.12/site-packages",
            self.python: "/home/anna/env/bin/python",
        }
        return {place: found[place] for place in sorted(filter(None, found), key=len, reverse=True)}


@contextlib.contextmanager
def shownAs(root: Any, places: dict[str, str]) -> Iterator[None]:
    """Show other paths in all labels and line edits below a widget, for a picture; then it is as it was."""
    import qt

    def put(widget: Any, text: str) -> None:
        blocked = widget.blockSignals(True)
        widget.setText(text)
        widget.blockSignals(blocked)

    before = {widget: widget.text for kind in (qt.QLabel, qt.QLineEdit) for widget in root.findChildren(kind)}
    for widget, text in before.items():
        shown = text
        for own, other in places.items():
            shown = shown.replace(own, other)
        if shown != text:
            put(widget, shown)
    yield
    for widget, text in before.items():
        if widget.text != text:
            put(widget, text)


@pytest.fixture
def openModule(slicerApp, repository, externalPython, tmp_path, monkeypatch):
    """Opens the module: ``openModule(trainedWorkspace)`` on a copy of a workspace, ``openModule()`` on an empty one."""
    from slicerhost import qtapp as host

    from SegAutoConfigGui.Settings import Settings

    opened: list[Module] = []

    def make(workspace: Path | None = None, python: str = externalPython) -> Module:
        folder = tmp_path / "wörk space"
        if workspace is not None:
            shutil.copytree(workspace, folder)
        settings = Settings()
        settings.workspace, settings.externalPython, settings.device = folder, python, "cpu"
        widget = host.load_module(str(repository / "SegAutoConfig" / "SegAutoConfig.py"))
        module = Module(widget, folder, externalPython)
        opened.append(module)
        other = types.SimpleNamespace(
            addCase=lambda *words, **options: module.asked.append(("addCase", *words, options)),
            continueFrom=lambda *words: module.asked.append(("continueFrom", *words)),
        )
        own = module.widget.openPanel
        own("Segment")
        module.widget.openPanel = lambda name: other if name in ("Dataset", "Train") else own(name)
        module.settle()
        return module

    yield make
    for module in opened:
        module.widget.cleanup()
        module.widget.parent.hide()
        module.widget.parent.deleteLater()
        slicerApp.processEvents()
        staging = module.workspace / "staging"
        assert not staging.exists(), list(staging.rglob("*"))
