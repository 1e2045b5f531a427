"""Sequences of volumes (time series): their frames, and segmentations of all frames."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Geometry import removedOnError, temporaryNodes
from SegAutoConfigGui.Scene.Results import addSegments, readLabels


def framesOf(sequenceNode: Any) -> list[tuple[str, Any]]:
    """The frames of a sequence of volumes: (index value, volume node).

    The nodes belong to the sequence, not to the scene, and can be given to `exportVolumes`.

    Raises:
        UserProblem: the sequence is empty or holds something else than volumes.
    """
    count = sequenceNode.GetNumberOfDataNodes()
    frames = [(sequenceNode.GetNthIndexValue(i), sequenceNode.GetNthDataNode(i)) for i in range(count)]
    if not frames or not all(node.IsA("vtkMRMLScalarVolumeNode") for _value, node in frames):
        message = _("{name} is not a sequence of volumes, or it is empty.").format(name=sequenceNode.GetName())
        raise UserProblem(message, _("Choose a sequence of volumes."))
    return frames


def predictionsToSequence(
    labelFiles: "Sequence[Path | None]", sequenceNode: Any, model: Mapping[str, Any], name: str | None = None
) -> Iterator[Any]:
    """A sequence of segmentations, one per frame of `sequenceNode`, shown in step with it.

    A generator that loads one frame per step, so that the event loop can turn in between. The scene gets nothing before
    the last step; the generator may be closed earlier.

    Args:
        labelFiles: One per frame, in the order of `framesOf`; None: its segmentation is empty.
        sequenceNode: The segmented sequence of volumes.
        model: As in `loadPrediction`.
        name: Of the new sequence node.

    Yields:
        None after each frame; at the end the vtkMRMLSequenceNode, which is synchronized in the browser of
        `sequenceNode` (one is made where there is none).

    Raises:
        UserProblem: a file can't be read or doesn't fit its frame, or there are more or fewer frames than files; the
            scene is as before then.
    """
    scene, frames = slicer.mrmlScene, framesOf(sequenceNode)
    if len(frames) != len(labelFiles):
        message = _("{name} has other frames now than when it was segmented.").format(name=sequenceNode.GetName())
        raise UserProblem(message, _("Segment it again."))
    title = scene.GenerateUniqueName(name or _("{name} segmentation").format(name=sequenceNode.GetName()))
    result = slicer.vtkMRMLSequenceNode()
    result.SetName(title)
    result.SetIndexType(sequenceNode.GetIndexType())
    result.SetIndexName(sequenceNode.GetIndexName())
    result.SetIndexUnit(sequenceNode.GetIndexUnit())
    for file, (value, volume) in zip(labelFiles, frames, strict=True):
        with temporaryNodes():
            node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", title)
            labels = readLabels(file, volume) if file is not None else np.zeros((1, 1, 1), np.uint8)
            addSegments(node, labels, volume, model, keepEmpty=True)
            result.SetDataNodeAtValue(node, value)
        yield None
    with removedOnError():
        scene.AddNode(result)
        _synchronize(result, sequenceNode)
    yield result


def _synchronize(result: Any, sequenceNode: Any) -> None:
    """Show the result in step with the sequence, under the transform of its volume."""
    browser = browserOf(sequenceNode)
    if browser is None:
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", sequenceNode.GetName())
        browser.AddSynchronizedSequenceNode(sequenceNode)
    browser.AddSynchronizedSequenceNode(result)
    logic = slicer.modules.sequences.logic()
    logic.UpdateProxyNodesFromSequences(browser)
    volume, segmentation = browser.GetProxyNode(sequenceNode), browser.GetProxyNode(result)
    if segmentation is not None and volume is not None:
        segmentation.SetName(result.GetName())
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())


def proxyOf(sequenceNode: Any) -> Any:
    """The node of the scene that shows the current frame of a sequence; None if there is none."""
    browser = browserOf(sequenceNode)
    return browser.GetProxyNode(sequenceNode) if browser is not None else None


def isProxy(node: Any) -> bool:
    """True for a node that shows the current frame of a sequence."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    return any(browser.IsProxyNodeID(node.GetID()) for browser in browsers)


def browserOf(sequenceNode: Any) -> Any:
    """The first sequence browser that shows a sequence; None if there is none."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    return next((node for node in browsers if node.IsSynchronizedSequenceNode(sequenceNode, True)), None)
