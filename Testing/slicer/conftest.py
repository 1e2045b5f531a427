"""Fixtures of the tests that run inside the stand-in for Slicer (Testing/SlicerHost).

It starts once, before the test files are read, so that these can import `slicer.i18n`, `qt` and `ctk`. When only
`logic/` is asked for it starts without Qt, which is faster and shows that the logic needs none; else with Qt, widgets
and views.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
for _folder in ("SegAutoConfigLib", "SegAutoConfig", "Testing/SlicerHost", "Testing", "Testing/slicer/panels"):
    sys.path.insert(0, str(REPOSITORY / _folder))


HERE = Path(__file__).resolve().parent


def pytest_configure(config: pytest.Config) -> None:
    """Start the host; not in a process that only hands the tests to others (pytest-xdist)."""
    if config.getoption("numprocesses", None):
        return
    asked = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    if all(path == HERE / "logic" or HERE / "logic" in path.parents for path in asked):
        import slicerhost

        slicerhost.start()
    else:
        import slicerhost.qtapp

        slicerhost.qtapp.start()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def sharedData() -> Path:
    """The folder of real test data: SEGAUTOCONFIG_TEST_DATA, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("SEGAUTOCONFIG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist (set SEGAUTOCONFIG_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def externalPython() -> str:
    """The Python that has the engine's packages: SEGAUTOCONFIG_PYTHON (from make), else the checkout's .venv."""
    python = os.environ.get("SEGAUTOCONFIG_PYTHON") or str(REPOSITORY / ".venv" / "bin" / "python")
    if not os.access(python, os.X_OK):
        pytest.fail(f"{python} does not exist: run `make venv`, or set SEGAUTOCONFIG_PYTHON")
    return python


@pytest.fixture(scope="session")
def screenshotFolder() -> Path:
    """`slicer-output/` at the top of the checkout (not under version control)."""
    folder = REPOSITORY / "slicer-output"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def slicerApp():
    """`slicer.app` of the host."""
    import slicer

    return slicer.app


@pytest.fixture(autouse=True)
def cleanScene(slicerApp):
    """An empty scene before each test; after it no exception may have occurred in a slot or an observer.

    All answers that a test gave for dialogs (`slicerhost.modal_answers`) must have been taken.
    """
    import slicer
    import slicerhost

    errors = getattr(sys.modules.get("slicerhost.qtapp"), "slot_errors", [])
    slicer.mrmlScene.Clear(0)
    slicerApp.processEvents()
    errors.clear()
    slicerhost.modal_answers.clear()
    yield slicer.mrmlScene
    slicerApp.processEvents()
    found, errors[:] = list(errors), []
    assert not found, "exceptions in slots or observers:\n" + "\n".join(found)
    left, slicerhost.modal_answers[:] = list(slicerhost.modal_answers), []
    assert not left, f"answers to dialogs that were not opened: {left}"


@pytest.fixture
def makeVolume(slicerApp):
    """See `slicerhost.demo.makeVolume`."""
    from slicerhost.demo import makeVolume

    return makeVolume


@pytest.fixture
def makeSegmentation(slicerApp):
    """See `slicerhost.demo.makeSegmentation`."""
    from slicerhost.demo import makeSegmentation

    return makeSegmentation
