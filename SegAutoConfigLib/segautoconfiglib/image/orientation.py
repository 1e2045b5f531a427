"""The anatomical direction of an image's axes, as a code of three letters."""

from __future__ import annotations

import numpy as np

from segautoconfiglib.image.volume import Geometry

#: Letters towards which an axis can point, along ITK's physical axes (x to the left, y to the back, z to the head).
POSITIVE, NEGATIVE = "LPS", "RAI"


def orientation_code(geometry: Geometry) -> str:
    """Where the stored x, y and z axes point: "LPS" for ITK's identity, "RAS" for NIfTI's; "" for 2D.

    An oblique axis counts as the anatomical axis that it is closest to.
    """
    if geometry.dimension != 3:
        return ""
    columns = np.reshape(geometry.direction, (3, 3)).T
    nearest = [int(np.argmax(np.abs(column))) for column in columns]
    return "".join(
        (POSITIVE if column[axis] > 0 else NEGATIVE)[axis] for column, axis in zip(columns, nearest, strict=True)
    )
