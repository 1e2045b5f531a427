"""Masks that follow from a task's structures: of the task "body" the whole body and the skin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, label

from segautoconfiglib.tasks.catalogue import BODY_CLASSES

#: The body grows by so many voxels outwards; the skin is what is less deep inside of that than this.
OUTWARDS, DEPTH = 1, 3
#: Intensities of skin (HU, both excluded): wide, as it would have holes otherwise.
SKIN_HU = (-200, 250)
#: Parts of the skin of at most so many voxels are left out.
SPECK = 5
#: What `derived_masks` makes.
DERIVED = ("body", "skin")


def derived_masks(labels: np.ndarray, image: np.ndarray, names: Mapping[int, str]) -> dict[str, np.ndarray]:
    """What TotalSegmentator adds to the masks of the task "body".

    Args:
        labels: (z, y, x).
        image: (z, y, x), Hounsfield units.
        names: By label; without a part of the body there is nothing to add.

    Returns:
        "body" and "skin", (z, y, x) bool.
    """
    parts = [value for value, name in names.items() if name in BODY_CLASSES]
    if not parts:
        return {}
    body = np.isin(labels, parts)
    return dict(zip(DERIVED, (body, skin(body, image)), strict=True))


def skin(body: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The skin of a body, (z, y, x) bool."""
    grown = binary_dilation(body, iterations=OUTWARDS)
    shell = grown & ~binary_erosion(grown, iterations=DEPTH)
    shell &= (image > SKIN_HU[0]) & (image < SKIN_HU[1])
    numbered, count = label(shell)
    large = np.bincount(numbered[shell], minlength=count + 1) > SPECK
    return large[numbered]
