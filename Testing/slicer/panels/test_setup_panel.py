"""The Setup panel as a user works with it; Pythons, pip and the engine run in real processes."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import qt
import slicer
import slicerhost.qtapp as host

from SegAutoConfigGui.Setup import Installer, SetupTexts


def script(folder: Path, text: str) -> str:
    """A program that is taken for a Python."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def shown(widget, panel):
    return widget.isVisibleTo(panel.root)


# -- texts


def test_the_steps_in_words():
    assert SetupTexts.datasetsText([]).endswith("installed")
    text = SetupTexts.datasetsText(["tifffile", "rich"])
    assert "2 small packages" in text
    assert "15 MB" in text
    assert "tifffile, rich" in text
    both = SetupTexts.trainingText(["torch", "matplotlib"])
    assert "0.2 GB for the CPU, 2.5 GB or more with CUDA" in both
    assert "matplotlib (about 20 MB)" in both
    assert "torch" not in SetupTexts.trainingText(["matplotlib"])
    assert "site-packages" in SetupTexts.intoText()


def test_what_another_python_has_in_words():
    assert SetupTexts.externalText("3.12.1", {"torch": "2.9.0", "missing": []}) == (
        "Python 3.12.1 · torch 2.9.0 · all packages are there"
    )
    assert "no torch · missing: torch, rich" in SetupTexts.externalText("3.12.1", {"missing": ["torch", "rich"]})


def test_free_space_in_words(tmp_path, monkeypatch):
    assert "GB free" in SetupTexts.spaceText(tmp_path)
    assert "will be made" in SetupTexts.spaceText(tmp_path / "a" / "b")
    monkeypatch.setattr(SetupTexts.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1.2e9))
    assert "1.2 GB free · little" in SetupTexts.spaceText(tmp_path)


def test_devices_in_words():
    gpu = {"device": "cuda:0", "name": "RTX", "memory_gb": 24.0, "free_gb": 22.4, "usable": False, "reason": "too new"}
    assert SetupTexts.deviceRow(gpu) == ("cuda:0", "RTX", "22 of 24 GB", "no")
    assert SetupTexts.deviceRow({"device": "mps", "usable": True}) == ("mps", "", "", "yes")


# -- Slicer's own Python


def test_what_is_missing_is_said_before_installing(openModule, screenshotFolder):
    module = openModule(python="")
    panel = module.panel("Setup")
    assert shown(panel.ui.packagesFrame, panel)
    assert not shown(panel.ui.externalPath, panel)
    assert "tifffile" in panel.ui.datasetsStatus.text
    assert "torch is missing" in panel.ui.trainingStatus.text
    assert panel.ui.installDatasetsButton.enabled
    assert panel.ui.installTrainingButton.enabled
    module.photograph(screenshotFolder, "setup-empty")


def test_a_failed_installation(openModule, monkeypatch, tmp_path, screenshotFolder):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    module = openModule(python="")
    panel = module.panel("Setup")
    panel.ui.installDatasetsButton.click()
    assert panel.busy
    assert not panel.ui.installDatasetsButton.enabled
    assert shown(panel.ui.cancelButton, panel)
    module.photograph(screenshotFolder, "setup-working")
    module.settle(lambda: not panel.busy)
    assert "The installation failed" in module.message
    assert "connection" in module.message
    assert "No matching distribution" in module.details
    assert "No matching distribution" in panel.ui.logEdit.plainText
    assert panel.ui.installDatasetsButton.enabled
    module.photograph(screenshotFolder, "setup-error")


def test_an_installation_is_canceled(openModule, monkeypatch, tmp_path):
    program = script(tmp_path, "echo Collecting everything; sleep 60")
    monkeypatch.setattr(sys, "executable", program)
    module = openModule(python="")
    panel = module.panel("Setup")
    panel.ui.installDatasetsButton.click()
    host.wait(lambda: panel.ui.workStatus.text == "Collecting everything", 30)
    panel.ui.cancelButton.click()
    assert not panel.busy
    assert panel.ui.workStatus.text == "Canceled."
    assert panel.ui.installDatasetsButton.enabled


def test_after_an_installation_the_other_panels_look_again(openModule, monkeypatch, tmp_path):
    found = []
    program = script(tmp_path, "echo Successfully installed")
    monkeypatch.setattr(sys, "executable", program)
    module = openModule(python="")
    panel = module.panel("Setup")
    monkeypatch.setattr(module.widget, "notify", found.append)
    panel.ui.installDatasetsButton.click()
    module.settle(lambda: not panel.busy)
    assert found == ["engine"]
    assert "Restart Slicer" in module.message  # this pip has installed nothing
    monkeypatch.setattr("SegAutoConfigGui.Setup.SetupPanel.missing", lambda packages: [])
    panel._installed(["tifffile"])
    assert "No restart is needed" in module.message


def test_training_needs_slicers_pytorch_extension(openModule, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    module = openModule(python="")
    panel = module.panel("Setup")
    panel.ui.installTrainingButton.click()
    assert "PyTorch extension" in module.message
    assert "Extensions Manager" in module.message
    assert not panel.busy


def test_a_slicer_that_is_too_old(openModule, monkeypatch):
    real = Installer.checkPython
    monkeypatch.setattr(Installer, "checkPython", lambda: real((3, 9)))
    module = openModule(python="")
    panel = module.panel("Setup")
    assert "Slicer 5.10" in panel.ui.pythonStatus.text
    assert not panel.ui.installDatasetsButton.enabled


# -- another Python


def test_another_python_is_checked(openModule, externalPython, screenshotFolder):
    module = openModule()
    panel = module.panel("Setup")
    assert panel.ui.pythonCombo.currentIndex == 1
    assert not shown(panel.ui.packagesFrame, panel)
    panel.ui.checkPythonButton.click()
    assert panel.busy
    assert not panel.ui.checkButton.enabled
    module.settle(lambda: not panel.busy)
    assert module.message == ""
    assert "torch" in panel.ui.pythonStatus.text
    assert "all packages are there" in panel.ui.pythonStatus.text
    devices = [panel.ui.deviceTable.item(row, 0).text() for row in range(panel.ui.deviceTable.rowCount)]
    assert devices[-1] == "cpu"
    assert not shown(panel.ui.commandFrame, panel)
    module.photograph(screenshotFolder, "setup-finished")
    section = panel.ui.computerSection
    assert section.height <= section.layout().totalHeightForWidth(section.width)  # no gaps between its parts


def test_a_python_without_packages_gets_the_command(openModule, screenshotFolder):
    module = openModule(python=slicer.app._real_python if hasattr(slicer.app, "_real_python") else sys.executable)
    panel = module.panel("Setup")
    panel.ui.checkPythonButton.click()
    module.settle(lambda: not panel.busy)
    assert "missing" in panel.ui.pythonStatus.text
    assert "no torch" in panel.ui.pythonStatus.text
    command = panel.ui.commandEdit.text
    assert "-m pip install" in command
    assert '"torch>=2.6"' in command
    assert '"blosc2>=3.0"' in command
    panel.ui.copyButton.click()
    assert qt.QApplication.clipboard().text() == command
    module.photograph(screenshotFolder, "setup-packages")


def test_what_is_no_usable_python(openModule, tmp_path):
    module = openModule()
    panel = module.panel("Setup")
    panel.ui.externalPath.currentPath = script(tmp_path, "echo PYTHON 3 8 10")
    panel.ui.checkPythonButton.click()
    module.settle(lambda: not panel.busy)
    assert "Python 3.8.10; 3.10 or newer is needed" in module.message
    script(tmp_path, "exit 1")
    panel.ui.checkPythonButton.click()
    module.settle(lambda: not panel.busy)
    assert "is no Python" in module.message
    panel.ui.externalPath.currentPath = str(tmp_path / "absent")
    panel.ui.checkPythonButton.click()
    assert "does not exist" in module.message
    panel.ui.pythonCombo.currentIndex = 0
    assert module.widget.logic.settings.externalPython == ""
    assert shown(panel.ui.packagesFrame, panel)


# -- workspace


def test_the_workspace_is_taken_when_typing_has_ended(openModule, tmp_path, monkeypatch):
    module = openModule()
    panel = module.panel("Setup")
    settings, told = module.widget.logic.settings, []
    monkeypatch.setattr(module.widget, "notify", told.append)
    before = settings.workspace
    for text in ("/", str(tmp_path)[:5], "relative", str(tmp_path / "new")):
        panel.ui.workspacePath.currentPath = text
    assert settings.workspace == before
    host.wait(lambda: settings.workspace == tmp_path / "new", 10)
    assert told == ["engine"]
    assert "will be made" in panel.ui.spaceLabel.text
    assert not panel.ui.openFolderButton.enabled
    panel.ui.workspacePath.currentPath = "relative"
    panel._takePaths()
    assert settings.workspace == tmp_path / "new"


def test_a_workspace_that_cant_be_used_is_refused_with_the_reason(openModule, tmp_path, screenshotFolder):
    module = openModule()
    panel = module.panel("Setup")
    settings, label = module.widget.logic.settings, panel.ui.spaceLabel
    before = settings.workspace
    file = tmp_path / "notes.txt"
    file.write_text("")
    for typed, reason in (
        (str(file), "notes.txt is a file."),
        (str(file / "below"), "can't be made"),
        ("/proc/nope/ws", "can't be made: /proc can't be written"),
        ("relative", "no complete path"),
        ("", "No folder is given."),
    ):
        panel.ui.workspacePath.currentPath = typed
        panel._takePaths()
        assert settings.workspace == before
        assert reason in label.text
        assert f"Still used: {before}" in label.text
        assert "color" in label.styleSheet
    panel.ui.workspacePath.currentPath = str(file)
    panel._takePaths()
    module.photograph(screenshotFolder, "setup-workspace-error")
    panel.ui.workspacePath.currentPath = str(before)
    panel._takePaths()
    assert "GB free" in label.text
    assert not label.styleSheet


def test_every_tab_names_a_workspace_that_became_unusable(openModule, tmp_path):
    module = openModule()
    file = tmp_path / "file"
    file.write_text("")
    module.widget.logic.settings.workspace = file
    module.widget.notify("engine")
    for name in ("Segment", "Models"):
        panel = module.panel(name)
        module.settle()
        assert f"The workspace can't be used: {file} is a file." in panel.ui.statusLabel.text
        assert "Choose another workspace in the Setup tab." in panel.ui.statusLabel.text
        assert shown(panel.ui.setupButton, panel)
        panel.ui.setupButton.click()
        assert module.widget.currentPanel.name == "Setup"
    assert "is a file" in panel.ui.statusLabel.text


def test_what_was_found_of_another_program_is_not_said_of_this_one(openModule, tmp_path):
    module = openModule(python="/nonexistent/python")
    panel = module.panel("Setup")
    assert "does not exist" in panel.ui.pythonStatus.text
    panel.ui.externalPath.currentPath = script(tmp_path, "sleep 60")
    assert panel.ui.pythonStatus.text == 'Press "Check" to see what it has.'
    panel.ui.checkPythonButton.click()
    assert panel.busy
    panel.ui.externalPath.currentPath = "/bin/ls"
    panel._takePaths()
    assert not panel.busy
    assert panel.ui.pythonStatus.text == 'Press "Check" to see what it has.'
    assert panel.ui.checkPythonButton.toolTip != panel.ui.checkButton.toolTip


def test_short_commands_end_with_the_module(openModule):
    module = openModule()
    logic = module.widget.logic
    answers = []
    job = logic.request(["info"], answers.append)
    assert job.folder.is_dir()
    logic.close()
    assert not job.folder.exists()
    assert not job.running
    slicer.app.processEvents()
    assert answers == []
