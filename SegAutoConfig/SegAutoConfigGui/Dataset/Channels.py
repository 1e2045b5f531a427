"""The channels of the Dataset panel's cases: their names, and a selector for each."""

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Scene.Cases import UNKNOWN_CHANNEL, Case
from SegAutoConfigGui.Scene.Volumes import VOLUME_CLASS


class Channels:
    """How many volumes a case has, what they are called, and which ones the selected case has.

    Args:
        panel: The DatasetPanel.

    Attributes:
        selectors: Label and selector of each channel.
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = ui = panel.ui
        self.selectors: list[tuple[Any, Any]] = []
        ui.addChannelButton.connect("clicked()", self._add)
        ui.removeChannelButton.connect("clicked()", self._remove)
        ui.channelList.connect("itemChanged(QListWidgetItem*)", self._onRenamed)

    def show(self) -> None:
        """Show the names."""
        ui, table = self.ui, self.panel.table
        names = table.channelNames if table is not None else []
        fixed = self.panel.target.dataset is not None
        blocked = ui.channelList.blockSignals(True)
        while ui.channelList.count > len(names):
            ui.channelList.takeItem(ui.channelList.count - 1)
        while ui.channelList.count < len(names):
            ui.channelList.addItem("")
        for row, name in enumerate(names):
            item = ui.channelList.item(row)
            item.setText(name)
            flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
            item.setFlags(flags if fixed else flags | qt.Qt.ItemIsEditable)
        ui.channelList.blockSignals(blocked)
        ui.addChannelButton.enabled = table is not None and not fixed
        ui.removeChannelButton.enabled = len(names) > 1 and not fixed
        reason = _("The dataset's channels are fixed") if fixed else ""
        ui.addChannelButton.toolTip = reason or _("One more channel: each case gets a further volume")
        few = _("There is always one channel")
        ui.removeChannelButton.toolTip = reason or (
            few if len(names) < 2 else _("Remove the selected channel from all cases")
        )

    def _onRenamed(self, item: Any) -> None:
        self._setNames([self.ui.channelList.item(row).text() for row in range(self.ui.channelList.count)])

    def _add(self) -> None:
        names = self.panel.table.channelNames
        self._setNames(channelNamesFor(len(names) + 1, names))
        self.ui.channelList.editItem(self.ui.channelList.item(len(names)))

    def _remove(self) -> None:
        row = max(0, self.ui.channelList.currentRow)
        table = self.panel.table
        names = table.channelNames
        row = min(row, len(names) - 1)
        for case in table.cases():  # the slots behind it move up
            table.change(case.uid, volumes=[*case.volumes[:row], *case.volumes[row + 1 :], None])
        self._setNames([name for place, name in enumerate(names) if place != row])

    def _setNames(self, names: list[str]) -> None:
        """Names are made different and not empty."""
        clean: list[str] = []
        for place, name in enumerate(names):
            name = name.strip() or _("channel {number}").format(number=place + 1)
            while name.casefold() in (other.casefold() for other in clean):
                name += "'"
            clean.append(name)
        self.panel.table.channelNames = clean
        self.panel.refresh()

    def showVolumes(self, case: Case) -> None:
        """Show the volumes of a case in the selectors."""
        self._makeSelectors(self.panel.table.channelNames)
        for (_label, selector), volume in zip(self.selectors, case.volumes, strict=True):
            setNode(selector, volume)

    def _makeSelectors(self, names: Sequence[str]) -> None:
        """One selector for each channel, above that of the segmentation."""
        form = self.ui.caseFrame.layout()
        while len(self.selectors) > len(names):
            for widget in self.selectors.pop():
                form.removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        while len(self.selectors) < len(names):
            channel = len(self.selectors)
            selector = _volumeSelector()
            label = qt.QLabel()
            label.setBuddy(selector)
            form.insertRow(channel, label, selector)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._volumeChooser(channel))
            self.selectors.append((label, selector))
        for name, (label, selector) in zip(names, self.selectors, strict=True):
            label.text = _("Volume:") if len(names) == 1 else f"{name}:"
            selector.toolTip = _("The volume of the selected case: {channel}").format(channel=name)

    def _volumeChooser(self, channel: int) -> Callable[[Any], None]:
        def choose(node: Any) -> None:
            case = self.panel.caseSection.selected
            if case is not None and case.volumes[channel] is not node:
                self.panel.table.setVolume(case.uid, channel, node)
                self.panel.refresh()
                self.panel.caseSection.showCase(case.uid)

        return choose


def channelNamesFor(count: int, names: Sequence[str]) -> list[str]:
    """Names of so many channels: those there are, and numbered ones after them and for a single unnamed one."""
    if count > 1 and list(names) == [UNKNOWN_CHANNEL]:
        names = []
    return [*names[:count], *(_("channel {number}").format(number=n + 1) for n in range(len(names), count))]


def setNode(selector: Any, node: Any) -> None:
    """Show a node in a selector without reporting it as chosen."""
    blocked = selector.blockSignals(True)
    selector.setCurrentNode(node)
    selector.blockSignals(blocked)


def _volumeSelector() -> Any:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [VOLUME_CLASS]
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"]
    selector.noneEnabled = True
    selector.addEnabled = False
    selector.removeEnabled = False
    selector.setMRMLScene(slicer.mrmlScene)
    return selector
