"""Volume and intensity of every structure: statistics.json, with TotalSegmentator's keys and numbers.

Its rules: intensities are those of the image as 16-bit integers; a structure that comes within three voxels of a face
of the image is taken as cut off, and all its numbers are 0; the volume of a voxel is computed in single precision, as
NIfTI stores spacing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import find_objects

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import write_json
from segautoconfiglib.base.words import counted, first_of

Aggregation = Literal["mean", "median"]
#: Structures nearer to a face of the image count as cut off (voxels).
BORDER = 3
#: Structures that a warning names, at most.
MOST_NAMED = 5
#: Decimals of intensities and of centroids.
INTENSITY_DECIMALS, CENTROID_DECIMALS = 5, 2
NO_EXTRAS: dict[str, Any] = {
    "n_voxels": 0, "intensity_std": 0.0, "intensity_min": 0.0, "intensity_max": 0.0, "centroid_vox": None,
    "bbox_vox": None,
}  # fmt: skip


def statistics(
    labels: np.ndarray,
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    names: Mapping[int, str],
    *,
    aggregation: Aggregation = "mean",
    include_incomplete: bool = False,
    extra: bool = False,
) -> dict[str, dict[str, Any]]:
    """Measure every structure.

    Args:
        labels: (z, y, x).
        image: (z, y, x), the image on the same grid.
        spacing_mm: (z, y, x).
        names: Of the structures to measure, by label.
        aggregation: How the intensities of a structure become one number.
        include_incomplete: Measure also what comes within ``BORDER`` voxels of the image's faces.
        extra: Also number of voxels, spread of the intensities, centroid and bounding box (voxels; x, y, z; inclusive).

    Returns:
        By name: "volume" (mm3), "intensity", and what ``extra`` adds. All are 0 for a structure that is not there or,
        without ``include_incomplete``, incomplete.

    Raises:
        UserError: the image is on another grid than the labels.
    """
    if labels.shape != image.shape:
        raise UserError(f"The labels have {labels.shape} voxels (z, y, x), their image {image.shape}.")
    with np.errstate(invalid="ignore"):  # NaN and what is beyond 16 bits: as the processor has it, there as here
        values = image.astype(np.int16)
    z, y, x = (np.float32(edge) for edge in spacing_mm)
    voxel_mm3 = float(x * y * z)
    left_out = set() if include_incomplete else labels_at_border(labels)
    boxes = find_objects(labels, max_label=max(names, default=0))
    result = {}
    for label, name in names.items():
        box = boxes[label - 1]
        if box is None or label in left_out:
            result[name] = {"volume": 0.0, "intensity": 0.0, **(NO_EXTRAS if extra else {})}
            continue
        mask = labels[box] == label
        inside = values[box][mask]
        result[name] = {
            "volume": inside.size * voxel_mm3,
            "intensity": _rounded(np.median(inside) if aggregation == "median" else inside.mean(dtype=np.float64)),
            **(_extras(mask, box, inside) if extra else {}),
        }
    return result


def write_statistics(file: Path, numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what :func:`statistics` found. Raises: UserError: it can't be written."""
    write_json(file, numbers)


def border_warning(labels: np.ndarray, names: Mapping[int, str], *, cropped: bool = False) -> str:
    """What a user should know of structures whose numbers are 0 for being cut off; empty without such.

    Args:
        labels: (z, y, x).
        names: Of the structures that were measured, by label.
        cropped: The labels are of a part of the image, whose faces count as the image's.
    """
    cut = labels_at_border(labels)
    found = [name for label, name in names.items() if label in cut]
    if not found:
        return ""
    reach = "reaches" if len(found) == 1 else "reach"
    border = "the border of the image or of the rough crop" if cropped else "the image's border"
    return f"{counted(len(found), 'structure')} {reach} {border}: 0 in the statistics ({first_of(found, MOST_NAMED)})."


def labels_at_border(labels: np.ndarray, margin: int = BORDER) -> set[int]:
    """The labels, without 0, that have a voxel within ``margin`` voxels of a face of the image."""
    found: set[int] = set()
    for axis in range(labels.ndim):
        for part in (slice(None, margin), slice(-margin, None)):
            found.update(np.unique(labels[(slice(None),) * axis + (part,)]).tolist())
    return found - {0}


def _extras(mask: np.ndarray, box: tuple[slice, ...], inside: np.ndarray) -> dict[str, Any]:
    """Of one structure; ``inside`` are its intensities. Axes in the result are x, y, z."""
    places = [places + part.start for places, part in zip(np.nonzero(mask), box, strict=True)][::-1]
    return {
        "n_voxels": int(inside.size),
        "intensity_std": _rounded(np.std(inside, dtype=np.float64)),
        "intensity_min": float(inside.min()),
        "intensity_max": float(inside.max()),
        "centroid_vox": [round(float(along.mean()), CENTROID_DECIMALS) for along in places],
        "bbox_vox": [[int(along.min()), int(along.max())] for along in places],
    }


def _rounded(number: np.floating[Any]) -> float:
    return float(np.round(number, INTENSITY_DECIMALS))
