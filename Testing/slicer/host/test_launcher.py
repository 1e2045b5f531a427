"""Starting Python from Slicer: the launcher, its child and the environment."""

import os
import signal
import subprocess
import sys

import pytest
import slicer
from slicerhost import qtapp as host


def running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_output_and_exit_code_go_through():
    code = "import sys; print(sys.stdin.read().upper()); sys.exit(7)"
    run = subprocess.run([sys.executable, "-c", code], input="in", capture_output=True, text=True, check=False)
    assert os.path.basename(sys.executable) == "PythonSlicer"
    assert (run.stdout.strip(), run.returncode) == ("IN", 7)


def test_killing_the_launcher_leaves_python_running():
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.kill()
        process.wait(10)
        try:
            assert child != process.pid
            assert running(child)
        finally:
            os.kill(child, signal.SIGKILL)
    host.wait(lambda: not running(child), 10)


def test_a_foreign_python_needs_the_startup_environment(externalPython):
    command = [externalPython, "-c", "print('started')"]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    environment = slicer.util.startupEnvironment()
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "started"


def test_slicers_python_has_what_a_fresh_slicer_has():
    import importlib.util

    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("pydantic") is None
    assert not slicer.packaging.pip_check("torch>=2")
    with pytest.raises(host.HostError, match="torch"):
        slicer.packaging.pip_ensure(["torch>=2"], skip_in_testing=False)
