"""The panels in the order of their tabs."""

import sys

from SegAutoConfigGui.Dataset.DatasetPanel import DatasetPanel
from SegAutoConfigGui.Models.ModelsPanel import ModelsPanel
from SegAutoConfigGui.Segment.SegmentPanel import SegmentPanel
from SegAutoConfigGui.Setup.SetupPanel import SetupPanel
from SegAutoConfigGui.Train.TrainPanel import TrainPanel

PANELS = (DatasetPanel, TrainPanel, SegmentPanel, ModelsPanel, SetupPanel)


def makePanels(host):
    """One of each, in the order in which they are used.

    Args:
        host: The module's widget.
    """
    return [panel(host) for panel in PANELS]


def reloadPackage() -> None:
    """Forget the package's modules (developer mode): what imports them next reads their files again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "SegAutoConfigGui"]:
        del sys.modules[name]
