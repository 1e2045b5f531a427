"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(REPOSITORY / "Testing"))  # made_once

# Tiny arrays: more threads than one cost more than they bring. Set before numpy, SimpleITK and torch are imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
# Processes that tests start find the package of this checkout, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(REPOSITORY / "SegAutoConfigLib"), os.environ.get("PYTHONPATH", "")) if part
)

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("segautoconfig", deadline=None, max_examples=50)
hypothesis.settings.load_profile("segautoconfig")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data: SEGAUTOCONFIG_TEST_DATA, else ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("SEGAUTOCONFIG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist (set SEGAUTOCONFIG_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return REPOSITORY
