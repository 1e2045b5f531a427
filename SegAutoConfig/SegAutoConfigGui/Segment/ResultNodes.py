"""Segmentation nodes that are results: what they were made of and with, noted in the nodes themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from SegAutoConfigGui.Scene.Sequences import isProxy, proxyOf

#: Attributes of a result: the model's folder and its dataset. Role of its references to the segmented volumes.
MODEL_ATTRIBUTE, DATASET_ATTRIBUTE = "SegAutoConfig.Model", "SegAutoConfig.Dataset"
VOLUME_ROLE = "SegAutoConfigVolume"


def describe(node: Any, model: Mapping[str, Any], volumes: Sequence[Any]) -> None:
    """Note in a node what it was made of, for what is done with it later."""
    node.SetAttribute(MODEL_ATTRIBUTE, str(model["path"]))
    node.SetAttribute(DATASET_ATTRIBUTE, str(model.get("dataset") or ""))
    node.RemoveNodeReferenceIDs(VOLUME_ROLE)
    for volume in volumes:
        node.AddNodeReferenceID(VOLUME_ROLE, volume.GetID())


def resultsOf(model: Mapping[str, Any], volume: Any) -> list[Any]:
    """Earlier results of a model for a volume, the newest last; not those of a sequence that it belongs to."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [
        node
        for node in nodes
        if node.GetAttribute(MODEL_ATTRIBUTE) == str(model["path"])
        and node.GetNodeReference(VOLUME_ROLE) is volume
        and not isProxy(node)
    ]


def shownOf(node: Any) -> Any:
    """The segmentation that shows a result: itself, or of a sequence the one of the current frame."""
    return proxyOf(node) if node.IsA("vtkMRMLSequenceNode") else node


def volumesOf(result: Any) -> list[Any]:
    """The volumes that a result was made from, those that are still there."""
    nodes = [result.GetNthNodeReference(VOLUME_ROLE, n) for n in range(result.GetNumberOfNodeReferences(VOLUME_ROLE))]
    return [node for node in nodes if node is not None]
