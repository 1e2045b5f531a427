"""From the scene to a staging folder that the engine's ``add-cases`` (or ``predict``) reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Cases import Case, CaseTable
from SegAutoConfigGui.Labels import LabelTable
from SegAutoConfigGui.Problems import Problem, UserProblem


def exportCases(
    cases: CaseTable | Sequence[Case],
    labelTable: LabelTable,
    folder: Path,
    *,
    channelNames: Sequence[str] | None = None,
    fileEnding: str | None = None,
    resampleChannels: bool = False,
) -> Iterator[tuple[int, int, str]]:
    """Write volumes, label maps and cases.json, one case per step.

    A generator: each step yields (steps done, steps, case id), so that the caller can show progress and turn the event
    loop in between; closing it (``generator.close()``) cancels. After a cancel or an error what was written is removed.

    Args:
        cases: The table, or cases that need not be in one.
        labelTable: What becomes of each segment.
        folder: Made if it doesn't exist. The caller removes it when the engine has taken the cases.
        channelNames: Of the cases' volumes; from the table if that is given.
        fileEnding: Of a new dataset's files, such as ".nrrd"; None for an existing dataset.
        resampleChannels: Resample further channels that don't share the first one's grid, instead of refusing.

    Raises:
        UserProblem: at the first step, with all problems of all cases, before anything is written; or later, for what
            only voxels tell (in mode REGIONS: a label without voxels, two labels with the same ones).
    """
    raise NotImplementedError


def exportVolumes(volumes: Sequence[Any], folder: Path, id: str, *, resampleChannels: bool = False) -> list[Path]:
    """Write the channels of a case that will be segmented: ``<id>_0000.nrrd`` and so on.

    Raises:
        UserProblem: they can't be written or don't share a grid.
    """
    raise NotImplementedError
