"""Sequences of volumes (time series): their frames, and segmentations of all frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def framesOf(sequenceNode: Any) -> list[tuple[str, Any]]:
    """The frames of a sequence of volumes: (index value, volume node). The nodes belong to the sequence, not to the
    scene, and can be given to `exportVolumes`.

    Raises:
        UserProblem: the sequence is empty or holds something else than volumes.
    """
    raise NotImplementedError


def predictionsToSequence(
    labelFiles: Sequence[Path], sequenceNode: Any, model: Mapping[str, Any], name: str | None = None
) -> Any:
    """A sequence of segmentations, one per frame of `sequenceNode`, shown in step with it.

    Args:
        labelFiles: One per frame, in the order of `framesOf`.
        sequenceNode: The segmented sequence of volumes.
        model: As in `loadPrediction`.
        name: Of the new sequence node.

    Returns:
        vtkMRMLSequenceNode; it is synchronized in the browser of `sequenceNode` (one is made where there is none).
    """
    raise NotImplementedError
