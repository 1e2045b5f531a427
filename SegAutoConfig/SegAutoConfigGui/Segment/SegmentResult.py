"""The results of the scene, and what is done with them: look, edit, add to the dataset, train on."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Segment.ResultNodes import DATASET_ATTRIBUTE, MODEL_ATTRIBUTE, volumesOf
from SegAutoConfigGui.Segment.Tasks import TOTALSEGMENTATOR
from SegAutoConfigGui.Widgets.Tables import enable


class SegmentResult:
    """The section "Result" of the Segment panel.

    Args:
        host: The module's widget.
        ui: The Segment panel's widgets.
    """

    def __init__(self, host: Any, ui: Any) -> None:
        self.host, self.ui = host, ui
        ui.resultSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.show)
        ui.editButton.connect("clicked()", self.edit)
        ui.addButton.connect("clicked()", self.addToDataset)
        ui.continueButton.connect("clicked()", self.continueTraining)
        self._filter()
        self.show()

    @property
    def node(self) -> Any:
        """The chosen result, or None."""
        return self.ui.resultSelector.currentNode()

    def choose(self, node: Any) -> None:
        """Choose a result."""
        self._filter()
        self.ui.resultSelector.setCurrentNode(node)
        self.show()

    def _filter(self) -> None:
        """Offer results only. A node is filtered when it comes into the scene, before it is marked as a result."""
        self.ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", MODEL_ATTRIBUTE)

    def show(self, *_args: Any) -> None:
        """Bring the buttons up to date."""
        node, ui = self.node, self.ui
        none = _("There is no result yet.") if node is None else ""
        gone = none or ("" if volumesOf(node) else _("The volume of this result is not in the scene any more."))
        made = "" if node is None else str(node.GetAttribute(MODEL_ATTRIBUTE))
        task = _("The models of TotalSegmentator are not trained on.") if made.startswith(TOTALSEGMENTATOR) else ""
        enable(ui.show3DButton, none, _("Show or hide the surfaces of the result"))
        enable(ui.editButton, none, _("Open Segment Editor with the result and its volume"))
        enable(ui.addButton, gone, _("Put the volumes and the (corrected) result into the model's dataset, as a case"))
        text = _("Train on, beginning with the weights of the model that made the result")
        enable(ui.continueButton, none or task, text)
        ui.show3DButton.setSegmentationNode(node)

    def edit(self) -> None:
        """Open Segment Editor on the result."""
        node, volumes = self.node, volumesOf(self.node)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        if volumes:
            editor.setSourceVolumeNode(volumes[0])

    def addToDataset(self) -> None:
        """Make the result a case of its model's dataset."""
        node = self.node
        self.host.openPanel("Dataset").addCase(volumesOf(node), node, dataset=self._dataset(node) or None)

    def continueTraining(self) -> None:
        """Train on with the result's model."""
        node = self.node
        self.host.openPanel("Train").continueFrom(node.GetAttribute(MODEL_ATTRIBUTE), self._dataset(node))

    def _dataset(self, node: Any) -> str:
        """The dataset of the model that made a result, where the workspace has it."""
        dataset = node.GetAttribute(DATASET_ATTRIBUTE) or ""
        return dataset if any(row["dataset"] == dataset for row in self.host.logic.datasets) else ""
