"""The extension as CMake installs it: only what the lists name, loaded from there in a process of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import slicer

LOAD = """
import sys
sys.path.insert(0, {host!r})
from slicerhost import qtapp as host
host.start()
sys.path.insert(0, {installed!r})
widget = host.load_module({installed!r} + "/SegAutoConfig.py")
import SegAutoConfigGui, segautoconfiglib, segautoconfiglib.base.events
host.check_no_slot_errors()
for module in (SegAutoConfigGui, segautoconfiglib):
    print("FROM", module.__file__)
print("OPEN", widget.parent.isEntered)
"""


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder qt-scripted-modules of the installed extension."""
    if shutil.which("cmake") is None:
        pytest.fail("cmake is needed to check what gets installed into Slicer")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("installed")
    slicer_dir = repository / "Testing" / "SlicerHost" / "cmake"
    options = [f"-DSlicer_DIR={slicer_dir}", f"-DPython3_EXECUTABLE={sys.executable}"]
    for command in (
        ["cmake", "-S", repository, "-B", build, *options],
        ["cmake", "--build", build],
        ["cmake", "--install", build, "--prefix", prefix],
    ):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    return next(prefix.glob("lib/Slicer-*/qt-scripted-modules"))


def test_the_module_opens_from_the_installed_folder(installed: Path, repository: Path, tmp_path: Path) -> None:
    code = LOAD.format(host=str(repository / "Testing" / "SlicerHost"), installed=str(installed))
    environment = {**slicer.util.startupEnvironment(), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    origins = [line.split(" ", 1)[1] for line in run.stdout.splitlines() if line.startswith("FROM ")]
    assert len(origins) == 2
    assert all(origin.startswith(str(installed)) for origin in origins)
    assert "OPEN True" in run.stdout


def test_installed_files_are_those_of_the_source(installed: Path, repository: Path) -> None:
    for folder, package in (("SegAutoConfigLib", "segautoconfiglib"), ("SegAutoConfig", "SegAutoConfigGui")):
        there, wanted = installed / package, repository / folder / package
        assert {path.relative_to(there) for path in there.rglob("*.py")} == {
            path.relative_to(wanted) for path in wanted.rglob("*.py")
        }
    assert (installed / "Resources" / "UI" / "SegAutoConfig.ui").is_file()
    assert [file.name for file in installed.glob("*.py")] == ["SegAutoConfig.py"]
    assert (installed / "segautoconfiglib" / "py.typed").is_file()


def test_the_modules_own_tests_run_as_slicer_runs_them(repository: Path, tmp_path: Path) -> None:
    script = repository / "SegAutoConfig" / "SegAutoConfig.py"
    environment = {**slicer.util.startupEnvironment(), "HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(repository / "Testing" / "SlicerHost")
    command = [sys.executable, "-m", "slicerhost.run_tests", str(script)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
