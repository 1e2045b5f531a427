"""Masks made of the results of TotalSegmentator's tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.base.words import counted
from segautoconfiglib.image.label_names import write_label_names
from segautoconfiglib.tasks.output.combine import combine_masks
from segautoconfiglib.tasks.output.label_files import check_ending

STAGE = "combine"


def combine_task_masks(
    context: Context, source: Path, output: Path, wanted: str | Sequence[str], *, named: bool = False
) -> Path:
    """Write the union of structures as one mask (0, 1).

    Args:
        context: Is told what was written.
        source: A folder of masks, or a label file that carries names.
        output: Its ending chooses the format.
        wanted: A name of ``tasks.output.combine.GROUPS``, or names of structures.
        named: Write the mask's name into the file, where the format has a place for it.

    Raises:
        UserError: a structure is missing, masks differ in their grid, or the file can't be written or is one of those
            that are read.
    """
    output = output.expanduser().absolute()
    check_ending(output)
    check_writable(output.parent, "-o")
    mask = combine_masks(source, wanted, output)
    name = wanted if isinstance(wanted, str) else "_".join(wanted)
    like = source if source.is_file() else None
    write_label_names(mask.array[0], output, mask.geometry, {1: name} if named else {}, like=like)
    voxels = int(np.count_nonzero(mask.array))
    if not voxels:
        context.report("warning", message=f"{name}: the mask is empty.", hint=f"Nothing of it was found in {source}.")
    context.report("artifact", path=str(output), description="")
    context.report("done", stage=STAGE, message=f"{name}: {counted(voxels, 'voxel')}.", output=str(output))
    return output
