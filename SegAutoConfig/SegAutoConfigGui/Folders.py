"""Cases that lie as files in a folder: which image belongs to which segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FilePair:
    """Files of one case: id, image files (one per channel), segmentation file or None."""

    id: str
    images: tuple[Path, ...]
    segmentation: Path | None


def importFolder(folder: Path) -> list[FilePair]:
    """Find the cases of a folder without loading anything.

    Understood are: ``x.nrrd`` with ``x.seg.nrrd``, ``x_seg.nrrd``, ``x-label.nrrd`` ... beside it; one folder per
    case; images in ``imagesTr`` (``x_0000.nrrd``, ``x_0001.nrrd``: channels) with ``labelsTr``.

    Raises:
        UserProblem: no such folder, or no images in it.
    """
    raise NotImplementedError


def loadPair(pair: FilePair, labelNames: dict[int, str] | None = None) -> tuple[list[Any], Any]:
    """Load the files of a case into the scene.

    Args:
        pair: From `importFolder`.
        labelNames: Names for the values of plain label maps (dataset.json beside imagesTr is found by itself).

    Returns:
        Volume nodes and the segmentation node (None without one), with the first volume as reference.

    Raises:
        UserProblem: a file can't be read; nothing of the case stays in the scene then.
    """
    raise NotImplementedError
