"""Fixtures of the tests that run inside the stand-in for Slicer (Testing/SlicerHost).

`slicerApp` starts it once per run. When only tests of `logic/` run it starts without Qt, which is faster and shows
that the logic needs none; as soon as a test of `host/` or `panels/` is among them, it starts with Qt and views.
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
for _folder in ("SegAutoConfigLib", "SegAutoConfig", "Testing/SlicerHost"):
    sys.path.insert(0, str(REPOSITORY / _folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("slicer_without_qt", "folders whose tests need no Qt", type="args", default=["logic"])


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
def slicerApp(request: pytest.FixtureRequest):
    """`slicer.app` of the host; with an event loop, widgets and views where a test outside of `logic/` is run."""
    withoutQt = set(request.config.getini("slicer_without_qt"))
    if all(item.path.relative_to(Path(__file__).parent).parts[0] in withoutQt for item in request.session.items):
        import slicerhost

        return slicerhost.start()
    import slicerhost.qtapp

    return slicerhost.qtapp.start()


@pytest.fixture(autouse=True)
def cleanScene(slicerApp):
    """Before each test an empty scene; after it, no exception may have occurred in a slot or an observer."""
    import slicer

    slicer.mrmlScene.Clear(0)
    host = sys.modules.get("slicerhost.qtapp")
    if host is not None:
        host.slot_errors.clear()
        host.qtshim.modal_answers.clear()
    yield slicer.mrmlScene
    if host is not None:
        slicerApp.processEvents()
        errors, host.slot_errors[:] = list(host.slot_errors), []
        assert not errors, "exceptions in slots or observers:\n" + "\n".join(errors)
        left, host.qtshim.modal_answers[:] = list(host.qtshim.modal_answers), []
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
