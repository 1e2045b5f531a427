"""The widgets in which volumes are chosen: one for each channel, several, or a sequence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Scene.Volumes import VOLUME_CLASS, sceneVolumes
from SegAutoConfigGui.Segment.SegmentChoices import MODES, SEQUENCE, SEVERAL, VOLUME, matchChannels

#: Row of the form before which the channels' rows come.
FIRST_ROW = 8
#: Role of the parameter node's references to the chosen volumes, followed by the channel's number.
ROLE = "SegAutoConfigChannel"


def activeVolume() -> Any:
    """The volume that the user looks at: Slicer's active one, else a slice view's background, else the newest."""
    volumes = sceneVolumes()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    ids = [selection.GetActiveVolumeID() if selection is not None else None]
    ids += [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    shown = [volume for name in ids for volume in volumes if name and volume.GetID() == name]
    return shown[0] if shown else volumes[-1] if volumes else None


def volumeText(volume: Any) -> str:
    """Name and modality of a volume."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0
    modality = hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""
    return f"{volume.GetName()} {modality or ''}".strip()


class SegmentInputs:
    """Keeps the input's widgets in step with the model and the scene.

    Args:
        ui: The Segment panel's widgets.
        onChange: Called when the user chooses something else.
    """

    def __init__(self, ui: Any, onChange: Callable[[], None]) -> None:
        self.ui = ui
        self._onChange = onChange
        self._channels: list[str] = []
        self._rows: list[tuple[Any, Any]] = []  # label and selector of each channel
        self._parameterNode: Any = None
        self._lastActive: Any = None
        self._quiet = False
        self._pending = False  # the scene's choices are to be shown as soon as its nodes are there
        ui.inputCombo.connect("currentIndexChanged(int)", self._changed)
        ui.sequenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        ui.volumesList.connect("itemChanged(QListWidgetItem*)", self._changed)
        ui.allButton.connect("clicked()", self.checkAll)
        ui.noneButton.connect("clicked()", self.checkNone)
        self._showMode()

    @property
    def mode(self) -> str:
        """VOLUME, SEVERAL or SEQUENCE."""
        return MODES[max(0, self.ui.inputCombo.currentIndex)]

    @mode.setter
    def mode(self, mode: str) -> None:
        self.ui.inputCombo.currentIndex = MODES.index(mode) if mode in MODES else 0

    @property
    def sequence(self) -> Any:
        """The chosen sequence; None in the other modes."""
        return self.ui.sequenceSelector.currentNode() if self.mode == SEQUENCE else None

    @property
    def choice(self) -> tuple[str, ...]:
        """The mode and the IDs of what is chosen: equal while the user chooses nothing else."""
        nodes = [self.sequence] if self.mode == SEQUENCE else [node for case in self.cases for node in case]
        return (self.mode, *(node.GetID() if node is not None else "" for node in nodes))

    @property
    def cases(self) -> list[list[Any]]:
        """The chosen volumes: of each case one for each channel, None where none is chosen."""
        if self.mode == SEVERAL:
            return [[volume] for volume in self._checked()]
        return [[selector.currentNode() for _label, selector in self._rows]] if self.mode == VOLUME else []

    def setModel(self, model: "Mapping[str, Any] | None") -> None:
        """Show a selector for each channel of the model."""
        channels = [str(channel) for channel in (model or {}).get("channels") or [_("Volume")]]
        single = len(channels) == 1
        reason = _("Only for models of one channel; this one has {count}.")
        for place in range(1, len(MODES)):
            item = self.ui.inputCombo.model().item(place)
            item.setEnabled(single)
            item.setToolTip("" if single else reason.format(count=len(channels)))
        if channels != self._channels:
            self._channels = channels
            self._makeRows()
            self._restore()
            self.preselect()
        self._showMode()

    def setParameterNode(self, node: Any) -> None:
        """Take the chosen volumes of another scene; None: there is none."""
        self._parameterNode, self._pending = node, True

    def choose(self, volumes: Sequence[Any]) -> None:
        """Choose volumes for the channels, as the user would."""
        self.mode = VOLUME
        for (_label, selector), volume in zip(self._rows, volumes, strict=False):
            selector.setCurrentNode(volume)

    def refresh(self) -> None:
        """The scene has other volumes: bring the list up to date and preselect where nothing is chosen."""
        if self._pending:
            self._pending = False
            self._restore()
        self._fillList()
        self.preselect()

    def preselect(self) -> None:
        """Choose volumes for the channels where none is chosen, or where the user looks at another one now."""
        volumes, active = sceneVolumes(), activeVolume()
        moved = active is not None and active is not self._lastActive
        self._lastActive = active
        chosen = [selector.currentNode() for _label, selector in self._rows]
        if not volumes or (all(chosen) and not (moved and len(chosen) == 1)):
            return
        names = [volumeText(volume) for volume in volumes]
        places = matchChannels(self._channels, names, volumes.index(active) if active in volumes else None)
        self._quiet = True
        for (_label, selector), before, place in zip(self._rows, chosen, places, strict=True):
            volume = volumes[place] if place is not None else None
            if volume is not None and (len(chosen) == 1 or (before is None and volume not in chosen)):
                selector.setCurrentNode(volume)
        self._quiet = False
        self._changed()

    def checkAll(self) -> None:
        """Check all volumes of the list."""
        self._check(qt.Qt.Checked)

    def checkNone(self) -> None:
        """Check none."""
        self._check(qt.Qt.Unchecked)

    # -- widgets

    def _makeRows(self) -> None:
        form = self.ui.inputFrame.layout()
        for _label, selector in self._rows:
            form.removeRow(selector)
        self._rows = []
        for number, channel in enumerate(self._channels):
            selector = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = [VOLUME_CLASS]
            selector.showChildNodeTypes = False
            selector.noneEnabled = True
            selector.addEnabled = selector.removeEnabled = False
            selector.toolTip = _("The volume for channel {channel} of the model").format(channel=channel)
            selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
            selector.setMRMLScene(slicer.mrmlScene)
            selector.setCurrentNode(None)
            label = qt.QLabel(f"{channel}:")
            label.setBuddy(selector)
            form.insertRow(FIRST_ROW + number, label, selector)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
            self._rows.append((label, selector))

    def _showMode(self) -> None:
        mode = self.mode
        for label, selector in self._rows:
            label.setVisible(mode == VOLUME)
            selector.setVisible(mode == VOLUME)
        self.ui.sequenceLabel.setVisible(mode == SEQUENCE)
        self.ui.sequenceSelector.setVisible(mode == SEQUENCE)
        self.ui.volumesFrame.setVisible(mode == SEVERAL)

    def _fillList(self) -> None:
        widget, checked = self.ui.volumesList, {volume.GetID() for volume in self._checked()}
        shown = [widget.item(row).data(qt.Qt.UserRole) for row in range(widget.count)]
        volumes = sceneVolumes()
        if shown == [volume.GetID() for volume in volumes]:
            return
        widget.blockSignals(True)
        widget.clear()
        for volume in volumes:
            item = qt.QListWidgetItem(volume.GetName())
            item.setData(qt.Qt.UserRole, volume.GetID())
            item.setCheckState(qt.Qt.Checked if volume.GetID() in checked else qt.Qt.Unchecked)
            widget.addItem(item)
        widget.blockSignals(False)
        if self.mode == SEVERAL:
            self._changed()

    def _checked(self) -> list[Any]:
        widget = self.ui.volumesList
        items = [widget.item(row) for row in range(widget.count)]
        nodes = [
            slicer.mrmlScene.GetNodeByID(item.data(qt.Qt.UserRole))
            for item in items
            if item.checkState() == qt.Qt.Checked
        ]
        return [node for node in nodes if node is not None]

    def _check(self, state: Any) -> None:
        widget = self.ui.volumesList
        widget.blockSignals(True)
        for row in range(widget.count):
            widget.item(row).setCheckState(state)
        widget.blockSignals(False)
        self._changed()

    def _changed(self, *_args: Any) -> None:
        if self._quiet:
            return
        self._showMode()
        self._store()
        self._onChange()

    def _store(self) -> None:
        if self._parameterNode is None or self._pending:
            return
        for number, (_label, selector) in enumerate(self._rows):
            node = selector.currentNode()
            self._parameterNode.SetNodeReferenceID(f"{ROLE}{number}", node.GetID() if node is not None else None)

    def _restore(self) -> None:
        if self._parameterNode is None:
            return
        self._quiet = True
        for number, (_label, selector) in enumerate(self._rows):
            selector.setCurrentNode(self._parameterNode.GetNodeReference(f"{ROLE}{number}"))
        self._quiet = False
        if any(selector.currentNode() is not None for _label, selector in self._rows):
            self._lastActive = activeVolume()  # what was chosen then stays chosen
