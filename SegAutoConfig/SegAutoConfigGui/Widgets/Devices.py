"""The devices of this computer in a combo box."""

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Train.TrainCommand import deviceText


def fillDevices(combo: Any, devices: Sequence[Mapping[str, Any]], chosen: str) -> None:
    """Offer "automatic" and the devices; those that can't be used are gray and say why.

    Args:
        combo: A QComboBox; its data are the names for the engine.
        devices: That `doctor` found; empty where it was not asked yet.
        chosen: The name to select.
    """
    combo.clear()
    combo.addItem(_("automatic"), "auto")
    for device in devices:
        combo.addItem(deviceText(device), str(device["device"]))
        if not device.get("usable"):
            combo.model().item(combo.count - 1).setEnabled(False)
            reason = str(device.get("reason") or _("It can't be used."))
            combo.setItemData(combo.count - 1, reason, qt.Qt.ToolTipRole)
    if combo.findData(chosen) < 0:  # chosen before, not looked for yet
        combo.addItem(chosen, chosen)
    combo.currentIndex = combo.findData(chosen)
