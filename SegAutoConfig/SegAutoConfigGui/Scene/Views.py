"""What is shown in the slice views."""

from typing import Any

import slicer


def showAlone(volume: Any, segmentation: Any, *, keepOwn: bool = False) -> None:
    """Show a volume with a segmentation, and no segmentation of another volume: it would lie over it.

    Args:
        volume: Becomes the background; None leaves that as it is.
        segmentation: Is shown; None: there is none.
        keepOwn: Other segmentations of the same volume stay as they are; else they are hidden, too.
    """
    if volume is not None and volume.IsA("vtkMRMLScalarVolumeNode"):
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode()
        own = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
        if display is None or (keepOwn and own and node is not segmentation):
            continue
        display.SetVisibility(node is segmentation)
