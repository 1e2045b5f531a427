"""What is installed into Slicer's Python, how, and what is said when it fails. pip runs for real, without a network."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
import types
import venv
import zipfile
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
import tomllib

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Setup import Installer, Requirements
from SegAutoConfigGui.Setup.ExternalPython import PythonCheck, pipCommand
from SegAutoConfigGui.Setup.Installer import Installation, constraints, installCommands, installTorch, problemOfLog


class FakeSettings:
    """As much of Settings as is asked for here."""

    def __init__(self, externalPython: str = "") -> None:
        self.externalPython = externalPython
        self.pythonExecutable = externalPython or sys.executable


def makeDistribution(folder: Path, name: str, version: str) -> None:
    """What an installation leaves: a module and its metadata."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").touch()
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def makeWheel(folder: Path, name: str, version: str, *requirements: str) -> None:
    """A wheel with one empty module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements)
    files = {
        f"{module}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digest},{len(files[path])}\n" for path, digest in digests.items())
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)


def waitFor(work, seconds: float = 60.0) -> None:
    """Poll until it has ended."""
    until = time.monotonic() + seconds
    while work.running:
        work.poll()
        assert time.monotonic() < until
        time.sleep(0.02)


# -- what is needed


def test_the_packages_are_those_of_the_engine(repository: Path) -> None:
    project = tomllib.loads((repository / "SegAutoConfigLib" / "pyproject.toml").read_text())["project"]
    ours = {Requirements.requirement(name) for name in (*Requirements.BUNDLED, *Requirements.DATASET_PACKAGES)}
    assert ours == set(project["dependencies"])
    training = {Requirements.requirement(name) for name in (Requirements.TORCH, *Requirements.TRAINING_PACKAGES)}
    assert training == set(project["optional-dependencies"]["train"])
    assert project["requires-python"] == ">=" + ".".join(map(str, Requirements.MINIMUM_PYTHON))


def test_a_slicer_without_packages_is_sent_to_setup() -> None:
    with pytest.raises(UserProblem) as error:
        Installer.checkInstalled(FakeSettings())
    assert "tifffile" in error.value.problem.message
    assert "Setup" in error.value.problem.hint
    assert "torch" not in sys.modules


def test_training_needs_more_than_datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Requirements.DATASET_PACKAGES:
        makeDistribution(tmp_path, name, "9999.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    Installer.checkInstalled(FakeSettings())
    with pytest.raises(UserProblem) as error:
        Installer.checkInstalled(FakeSettings(), training=True)
    assert "torch" in error.value.problem.message
    assert "Training and segmenting" in error.value.problem.hint


def test_an_old_package_is_missing_and_an_empty_folder_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    makeDistribution(tmp_path, "tifffile", "2020.1")
    (tmp_path / "blosc2").mkdir()  # what an uninstallation may leave
    makeDistribution(tmp_path, "rich", "14.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Requirements.missing(["tifffile", "blosc2", "rich"]) == ["tifffile", "blosc2"]


def test_an_old_slicer_is_refused() -> None:
    with pytest.raises(UserProblem) as error:
        Requirements.checkPython((3, 9))
    assert "Python 3.9" in error.value.problem.message
    assert "Slicer 5.10" in error.value.problem.hint
    Requirements.checkPython((3, 10))


def test_an_external_python_is_not_asked_for_packages(tmp_path: Path) -> None:
    Installer.checkInstalled(FakeSettings(sys.executable), training=True)
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserProblem) as error:
            Installer.checkInstalled(FakeSettings(str(path)))
        assert str(path) in error.value.problem.message


def test_an_external_python_gets_the_environment_from_before_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installer.slicer.util, "startupEnvironment", lambda: {"HOME": "/before"})
    assert Installer.engineEnvironment(FakeSettings("/other/python")) == {"HOME": "/before"}
    own = Installer.engineEnvironment(FakeSettings())
    assert own == dict(os.environ)
    assert own is not os.environ


# -- commands


def test_command_lines() -> None:
    start = ["PythonSlicer", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    start += ["--progress-bar", "off", "--prefer-binary", "--constraint", "pins.txt"]
    assert installCommands("PythonSlicer", ["tifffile", "matplotlib", "batchgenerators"], Path("pins.txt")) == [
        [*start, "tifffile>=2023.1", "matplotlib>=3.7"],
        [*start, "--no-deps", "batchgenerators>=0.25.5,<0.26"],
    ]
    assert installCommands("PythonSlicer", ["rich"], Path("pins.txt")) == [[*start, "rich>=13"]]
    assert installCommands("PythonSlicer", [], Path("pins.txt")) == []


def test_every_installed_distribution_is_pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    makeDistribution(tmp_path, "Fake_Torch", "2.9.1+cu128")
    makeDistribution(tmp_path, "broken", "not a version")
    makeDistribution(tmp_path, "numpy-like", "1.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    lines = constraints()
    assert "fake-torch==2.9.1+cu128" in lines
    assert not any(line.startswith("broken") for line in lines)
    for name in ("numpy", "simpleitk", "pip"):
        assert f"{name}=={importlib.metadata.version(name)}" in lines
    assert len({line.split("==")[0] for line in lines}) == len(lines)
    assert constraints(["numpy"]) == [f"numpy=={importlib.metadata.version('numpy')}"]


def test_the_command_for_another_python() -> None:
    assert pipCommand("/envs/a b/python", ["rich"]) == '"/envs/a b/python" -m pip install "rich>=13"'
    assert pipCommand("/envs/python", ["rich"]) == '/envs/python -m pip install "rich>=13"'


# -- installing


def test_packages_are_installed_and_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheels, here = tmp_path / "wheels", tmp_path / "here"
    wheels.mkdir()
    makeWheel(wheels, "kept", "1.0")
    makeWheel(wheels, "kept", "2.0")
    makeWheel(wheels, "tifffile", "2029.1", "kept>=1")
    makeWheel(wheels, "tifffile", "2030.1", "kept>=2")
    makeWheel(wheels, "batchgenerators", "0.25.7", "thereisnosuchpackage")
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    subprocess.run([python, "-m", "pip", "install", "-q", "kept==1.0"], check=True)
    makeDistribution(here, "kept", "1.0")  # as this Python sees it
    monkeypatch.syspath_prepend(str(here))

    work = Installation(["tifffile", "batchgenerators"], python)
    folder = Path(work._folder.name)
    waitFor(work)
    assert work.problem is None, work.problem
    assert "Successfully installed" in work.log
    assert not folder.exists()
    freeze = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    assert set(freeze.split()) == {"kept==1.0", "tifffile==2029.1", "batchgenerators==0.25.7"}


def test_a_failure_is_explained_with_the_end_of_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    work = Installation(["blosc2"])
    waitFor(work)
    assert "failed" in work.problem.message
    assert "connection" in work.problem.hint
    assert "blosc2" in work.problem.details


def test_cancel_ends_pip_and_its_children(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    program.chmod(0o755)
    work = Installation(["rich"], str(program))
    folder, child = Path(work._folder.name), tmp_path / "child"
    until = time.monotonic() + 20
    while not (child.exists() and child.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.02)
    work.cancel()
    assert not work.running
    assert "canceled" in work.problem.message
    assert not folder.exists()
    while os.path.exists(f"/proc/{int(child.read_text())}/cmdline") and time.monotonic() < until:
        if not Path(f"/proc/{int(child.read_text())}/cmdline").read_bytes():  # ended, not yet taken note of
            break
        time.sleep(0.02)
    assert time.monotonic() < until


def test_a_folder_that_cant_be_written_is_told_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserProblem) as error:
        Installer.checkWritable(tmp_path / "file")
    assert "can't be written" in error.value.problem.message
    Installer.checkWritable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("WARNING: NewConnectionError: [Errno -3] Temporary failure in name resolution", "HTTPS_PROXY"),
        ("ProxyError('Cannot connect to proxy.', OSError('407 Proxy Auth'))", "HTTPS_PROXY"),
        ("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "administrator"),
        ("ERROR: Could not install: [WinError 5] Access is denied: 'numpy.pyd'", "Restart Slicer"),
        ("ERROR: Could not install: [Errno 13] Permission denied: '/opt/Slicer'", "folder of your own"),
        ("OSError: [Errno 28] No space left on device", "space"),
        ("ERROR: ResolutionImpossible: for help visit", "another Python"),
        ("ERROR: No matching distribution found for blosc2", "connection"),
        ("Segmentation fault", "details"),
    ],
)
def test_what_pip_says_in_plain_words(log: str, words: str) -> None:
    problem = problemOfLog("first line\n" + log, 1)
    assert words in problem.hint
    assert problem.details.endswith(log)


# -- torch


def fakeExtension(monkeypatch: pytest.MonkeyPatch, install) -> None:
    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": staticmethod(install)})
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def test_torch_is_installed_by_slicers_extension(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = {}

    def install(**options):
        own, ours = os.environ["PIP_CONSTRAINT"].split()  # as pip does
        assert own == "own.txt"
        seen.update(options, pins=Path(url2pathname(urlparse(ours).path)).read_text())
        return types.ModuleType("torch")

    fakeExtension(monkeypatch, install)
    monkeypatch.setenv("PIP_CONSTRAINT", "own.txt")
    folder = tmp_path / "John Smith"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    installTorch()
    assert seen["askConfirmation"] is True
    assert seen["torchVersionRequirement"] == ">=2.6"
    assert f"numpy=={importlib.metadata.version('numpy')}" in seen["pins"].splitlines()
    assert "setuptools" not in seen["pins"]  # torch asks for a newer one
    assert os.environ["PIP_CONSTRAINT"] == "own.txt"


def test_torch_that_was_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    fakeExtension(monkeypatch, lambda **options: None)
    with pytest.raises(UserProblem, match="Cancel"):
        installTorch()

    def fail(**options):
        raise subprocess.CalledProcessError(1, ["ltt"], output="OSError: [Errno 28] No space left on device")

    fakeExtension(monkeypatch, fail)
    with pytest.raises(UserProblem) as error:
        installTorch()
    assert "disk is full" in error.value.problem.message
    assert "PIP_CONSTRAINT" not in os.environ


def test_without_the_extension_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(UserProblem) as error:
        installTorch()
    assert "PyTorch extension" in error.value.problem.message
    assert "Extensions Manager" in error.value.problem.hint


# -- another Python


def test_the_version_of_another_python() -> None:
    check = PythonCheck(sys.executable, os.environ)
    waitFor(check)
    assert (check.version, check.problem) == (".".join(map(str, sys.version_info[:3])), None)


@pytest.mark.parametrize(
    ("script", "words"), [("echo PYTHON 3 8 10", "3.8.10"), ("echo hello", "no Python"), ("exit 3", "no Python")]
)
def test_what_is_no_usable_python(tmp_path: Path, script: str, words: str) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    check = PythonCheck(str(program), os.environ)
    waitFor(check)
    assert words in check.problem.message


def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    check = PythonCheck(str(tmp_path / "absent"), os.environ)
    assert "can't be started" in check.problem.message


def test_a_program_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("SegAutoConfigGui.Setup.ExternalPython.ANSWER_SECONDS", 0.2)
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    check = PythonCheck(str(program), os.environ)
    waitFor(check)
    assert "does not answer" in check.problem.message
    assert check._process.poll() is not None
