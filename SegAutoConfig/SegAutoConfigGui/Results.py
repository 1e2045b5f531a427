"""From files that the engine's ``predict`` wrote to nodes in the scene."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem


def loadPrediction(
    labelFile: Path,
    volumeNode: Any,
    model: Mapping[str, Any],
    name: str | None = None,
    replace: Any = None,
    *,
    keepEmpty: bool = False,
) -> Any:
    """A segmentation node from a predicted label map, in the volume's geometry and under its transform.

    Args:
        labelFile: What the engine wrote for this volume.
        volumeNode: The (first) volume that was segmented.
        model: ``labels`` and ``segments`` of the model (the engine's ``info``). A region becomes the union of its
            values; background and ignore become nothing.
        name: Of the node; made unique. None: after the volume.
        replace: An earlier result, the segments of which are replaced; None keeps all earlier results.
        keepEmpty: Also make segments for labels that have no voxels.

    Raises:
        UserProblem: the file can't be read or has another grid than the volume; the scene is as before then.
    """
    raise NotImplementedError


def loadProbabilities(files: Sequence[Path], volumeNode: Any, model: Mapping[str, Any]) -> list[Any]:
    """Volume nodes (0..1) from ``<case>_probability_<label value>.nrrd`` files, named after the labels."""
    raise NotImplementedError


def loadUncertainty(file: Path, volumeNode: Any) -> Any:
    """A volume node (0 certain .. 1 undecided) from ``<case>_uncertainty.nrrd``."""
    raise NotImplementedError
