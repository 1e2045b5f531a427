"""Fixtures of the tests of what works without widgets."""

from __future__ import annotations

import sys
import types

import pytest
import slicer
from slicerhost import scripted

# The modules under test translate their texts; without Qt the host has no translation yet.
if "slicer.i18n" not in sys.modules:
    slicer.i18n = sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
    slicer.i18n.tr, slicer.i18n.translate = scripted.tr, scripted.translate


@pytest.fixture(autouse=True)
def _unchangedScene(cleanScene):
    """Placeholder."""
    return cleanScene
