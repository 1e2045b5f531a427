"""The panels in the order of their tabs."""

import importlib
import sys

from SegAutoConfigGui.DatasetPanel import DatasetPanel
from SegAutoConfigGui.ModelsPanel import ModelsPanel
from SegAutoConfigGui.SegmentPanel import SegmentPanel
from SegAutoConfigGui.SetupPanel import SetupPanel
from SegAutoConfigGui.TrainPanel import TrainPanel

PANELS = (DatasetPanel, TrainPanel, SegmentPanel, ModelsPanel, SetupPanel)


def makePanels(host):
    """One of each, in the order in which they are used.

    Args:
        host: The module's widget.
    """
    return [panel(host) for panel in PANELS]


def reloadPackage() -> None:
    """Load the package's modules again (developer mode); those that others import come first."""
    names = [name for name in sys.modules if name.startswith("SegAutoConfigGui.")]
    for name in names:  # in the order in which they were first finished: imported ones before their importers
        importlib.reload(sys.modules[name])
