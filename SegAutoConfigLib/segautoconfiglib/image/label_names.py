"""Label files that say what their labels are called, and in which colour they are shown.

NIfTI files carry names in an extension of the header (`nifti_labels`), .nrrd files as segments of 3D Slicer
(`seg_nrrd`); other formats have no place for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segautoconfiglib.image import nifti_labels, seg_nrrd
from segautoconfiglib.image.files import write_labels
from segautoconfiglib.image.formats import NIFTI_ENDINGS, file_ending
from segautoconfiglib.image.label_table import Colour, LabelTable, colour_of
from segautoconfiglib.image.volume import Geometry


def read_label_table(file: Path) -> LabelTable:
    """Names and colours that a file carries; empty where it has none, or none that can be understood."""
    ending = file_ending(file)
    if ending in NIFTI_ENDINGS:
        return nifti_labels.read_table(Path(file))
    return seg_nrrd.read_table(Path(file)) if ending in seg_nrrd.ENDINGS else LabelTable()


def read_label_names(file: Path) -> dict[int, str]:
    """The names alone, by label value."""
    return read_label_table(file).names


def write_label_names(
    labels: np.ndarray,
    file: Path,
    geometry: Geometry,
    names: Mapping[int, str],
    colours: Mapping[int, Colour] | None = None,
    *,
    like: Path | None = None,
) -> None:
    """Write a label map with the names of its labels, compressed and atomically.

    Args:
        labels: (z, y, x), whole numbers from 0 to 65535, or bool.
        file: Its ending chooses the format; where that holds no names, the labels are written alone.
        geometry: Of the labels.
        names: By label value. Without any, no table is written.
        colours: Red, green, blue (0 to 255) by label value; others get one of ``label_table.COLOURS``.
        like: The NIfTI file of the image: when the labels have its grid and become a NIfTI file, its header is kept as
            far as it does not speak of the voxels' values.

    Raises:
        UserError: unknown or unfit format, values out of range, or the file can't be written.
    """
    table = LabelTable(dict(names), {label: colour_of(label, colours) for label in names})
    ending = file_ending(file)
    if ending in NIFTI_ENDINGS and geometry.dimension == 3:
        nifti_labels.write(labels, file, geometry, table, like)
    elif ending in seg_nrrd.ENDINGS and table.names:
        seg_nrrd.write(labels, file, geometry, table)
    else:
        write_labels(labels, file, geometry)
