"""Cases of an existing dataset as nodes, to be looked at and corrected."""

from collections.abc import Mapping
from typing import Any

import slicer

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Files import loadDetached
from SegAutoConfigGui.Scene.Folders import FilePair
from SegAutoConfigGui.Scene.Results import loadPrediction

IGNORE_NAME = "ignore"
#: Under this name the ignore label is loaded: results leave the label of its own name out.
IGNORE_AS_SEGMENT = "ignored voxels"


def loadDatasetCase(pair: FilePair, dataset: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """Load a case with the names, colors and terminology of the dataset's labels.

    Args:
        pair: Its files.
        dataset: A row of the engine's ``info``.

    Returns:
        Volume nodes and the segmentation node (None where it has no labels). They don't point to the dataset's files,
        so that saving the scene does not overwrite those.

    Raises:
        UserProblem: a file can't be read; nothing of the case stays in the scene then.
    """
    nodes: list[Any] = []
    try:
        for place, file in enumerate(pair.images):
            name = pair.id if len(pair.images) == 1 else f"{pair.id} {dataset['channels'][place]}"
            nodes.append(loadDetached(file, name))
        segmentation = None
        if pair.segmentation is not None:
            segmentation = loadPrediction(pair.segmentation, nodes[0], _withIgnore(dataset), name=pair.id)
            _renameIgnore(segmentation)
    except UserProblem:
        for node in nodes:
            slicer.mrmlScene.RemoveNode(node)
        raise
    return nodes, segmentation


def _withIgnore(dataset: Mapping[str, Any]) -> dict[str, Any]:
    labels = {IGNORE_AS_SEGMENT if name == IGNORE_NAME else name: value for name, value in dataset["labels"].items()}
    return {**dataset, "labels": labels}


def _renameIgnore(segmentation: Any) -> None:
    segments = segmentation.GetSegmentation()
    for index in range(segments.GetNumberOfSegments()):
        if segments.GetNthSegment(index).GetName() == IGNORE_AS_SEGMENT:
            segments.GetNthSegment(index).SetName(IGNORE_NAME)
