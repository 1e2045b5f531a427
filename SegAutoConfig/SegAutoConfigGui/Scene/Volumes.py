"""The volumes in the scene that are images: what can be a case of a dataset or be segmented."""

from typing import Any

import slicer

#: Label maps, vector volumes and the like are classes derived from it.
VOLUME_CLASS = "vtkMRMLScalarVolumeNode"
#: Attribute of the probabilities and uncertainties that were made here: they are no images.
MAP_ATTRIBUTE = "SegAutoConfig.Map"


def isImage(node: Any) -> bool:
    """True for a volume that the user sees, but for label maps and the module's probabilities and uncertainties."""
    made = node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetAttribute(MAP_ATTRIBUTE)
    return bool(node.IsA(VOLUME_CLASS) and not made and not node.GetHideFromEditors())


def sceneVolumes() -> list[Any]:
    """The images in the scene, in its order, without color and vector volumes."""
    nodes = slicer.util.getNodesByClass(VOLUME_CLASS)
    return [node for node in nodes if node.GetClassName() == VOLUME_CLASS and isImage(node)]
