"""From the scene to a staging folder that the engine's ``add-cases`` (or ``predict``) reads."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Cases import Case, CaseTable
from SegAutoConfigGui.Scene.Checks import EmptySegments, problemsOfCases, problemsOfChannels
from SegAutoConfigGui.Scene.Files import problemsOfSpace, readArray, writeVolume
from SegAutoConfigGui.Scene.Folders import FilePair, importFolder, loadPair
from SegAutoConfigGui.Scene.Geometry import exportMatrix, resampleToFirst, sameGrid, temporaryNodes
from SegAutoConfigGui.Scene.LabelMaps import labelMap, missingIn, overlaps, regionMap
from SegAutoConfigGui.Scene.Labels import REGIONS, LabelTable
from SegAutoConfigGui.Scene.Regions import RegionCodes

__all__ = ["FilePair", "exportCases", "exportVolumes", "importFolder", "labelMap", "loadPair", "overlaps"]

DESCRIPTION = "cases.json"


def exportCases(
    cases: CaseTable | Sequence[Case],
    labelTable: LabelTable,
    folder: Path,
    *,
    channelNames: Sequence[str] | None = None,
    fileEnding: str | None = None,
    resampleChannels: bool = False,
    emptySegments: EmptySegments | None = None,
) -> Iterator[tuple[int, int, str]]:
    """Write volumes, label maps and cases.json, one case per step.

    A generator: it yields (cases done, cases, id of the next case) before each case and (n, n, "") at the end, so that
    the caller can show progress and turn the event loop in between; closing it (``generator.close()``) cancels. After
    a cancel or an error what was written is removed.

    Args:
        cases: The table, or cases that need not be in one.
        labelTable: What becomes of each segment.
        folder: Made if it doesn't exist. The caller removes it when the engine has taken the cases.
        channelNames: Of the cases' volumes; from the table if that is given.
        fileEnding: Of a new dataset's files, such as ".nrrd"; None for an existing dataset.
        resampleChannels: Resample further channels that don't share the first one's grid, instead of refusing.
        emptySegments: What the table has found before, so that voxels need not be looked at again; the table's own if
            that is given.

    Raises:
        UserProblem: at the first step, with all problems of all cases, before anything is written; or at the end, for
            what only voxels tell (a label without voxels, segments that lie outside of the volume, in mode REGIONS two
            labels that are the same everywhere).
    """
    folder = Path(folder)
    names = list(channelNames or getattr(cases, "channelNames", ["image"]))
    rows = cases.cases() if isinstance(cases, CaseTable) else list(cases)
    known = cases.emptySegments if isinstance(cases, CaseTable) else emptySegments or EmptySegments()
    problems = problemsOfCases(rows, names, labelTable, resampleChannels, known.of)
    if not problems:
        volumes = [volume for case in rows for volume in case.volumes]
        problems = problemsOfSpace(folder, volumes, sum(case.segmentation is not None for case in rows))
    if problems:
        raise UserProblem(problems)
    with _removedOnError(folder) as written:
        export = _Export(labelTable, folder, written)
        for done, case in enumerate(rows):
            yield done, len(rows), case.id
            export.write(case)
        export.finish(names, fileEnding)
    yield len(rows), len(rows), ""


def exportVolumes(volumes: Sequence[Any], folder: Path, id: str, *, resampleChannels: bool = False) -> list[Path]:
    """Write the channels of a case that will be segmented: ``<id>_0000.nrrd`` and so on.

    Args:
        volumes: One node per channel; nodes of a sequence (`framesOf`) too.
        folder: Made if it doesn't exist; what is written is removed after an error.
        id: Start of the file names.
        resampleChannels: Resample further channels to the first one instead of refusing other grids.

    Raises:
        UserProblem: they can't be written or don't share a grid.
    """
    folder = Path(folder)
    problems = problemsOfChannels(volumes, resampleChannels) or problemsOfSpace(folder, volumes, 0)
    if problems:
        raise UserProblem(problems)
    with _removedOnError(folder) as written:
        return _writeChannels(volumes, folder, id, written)


class _removedOnError:
    """Makes a folder; gives a list for the paths written into it, which are removed after an error."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.written = folder, not folder.exists(), []

    def __enter__(self) -> list[Path]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = _("The folder {folder} can't be made.").format(folder=self.folder)
            raise UserProblem(message, _("Check its permissions, or choose another workspace."), str(error)) from error
        return self.written

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            for path in self.written:
                path.unlink(missing_ok=True)
            if self.made:
                shutil.rmtree(self.folder, ignore_errors=True)


def _writeChannels(volumes: Sequence[Any], folder: Path, id: str, written: list[Path]) -> list[Path]:
    first, paths = volumes[0], []
    matrix = exportMatrix(first)
    for channel, volume in enumerate(volumes):
        with temporaryNodes():
            same = volume is first or sameGrid(first, volume)
            node = volume if same else resampleToFirst(volume, first)
            paths.append(folder / f"{id}_{channel:04d}.nrrd")
            written.append(paths[-1])
            writeVolume(paths[-1], slicer.util.arrayFromVolume(node), matrix)
    return paths


class _Export:
    """Cases that are being written, and what is known of their labels so far."""

    def __init__(self, labelTable: LabelTable, folder: Path, written: list[Path]) -> None:
        self.table, self.folder, self.written = labelTable, folder, written
        self.codes = RegionCodes(labelTable) if labelTable.mode == REGIONS else None
        self.entries: list[dict[str, Any]] = []
        self.maps: list[tuple[Path, np.ndarray]] = []  # file, matrix
        self.values: set[int] = set()
        self.problems: list[Problem] = []

    def write(self, case: Case) -> None:
        """Write the files of one case."""
        if any(node.GetScene() is None for node in (*case.volumes, *filter(None, [case.segmentation]))):
            message = _("A volume or segmentation was removed from the scene while it was exported.")
            raise UserProblem(Problem(message, _("Nothing was changed; check the case and try again."), case=case.id))
        images = _writeChannels(case.volumes, self.folder, case.id, self.written)
        entry = {"id": case.id, "images": [path.name for path in images], "labels": None}
        if case.segmentation is not None:
            entry["labels"] = self._writeLabels(case)
        self.entries.append(entry | {"test": case.test, "replace": case.replace})

    def _writeLabels(self, case: Case) -> str:
        path, volume = self.folder / f"{case.id}_labels.nrrd", case.volumes[0]
        if self.codes is not None:
            array = regionMap(case.segmentation, volume, self.table, self.codes, visibleOnly=case.visibleOnly)
            labelled = self.codes.finishCase(array)
        else:
            array = labelMap(case.segmentation, volume, self.table, visibleOnly=case.visibleOnly)
            trained = set(range(1, len(self.table.trained()) + 1))
            values = trained - missingIn(array, trained)
            self.values, labelled = self.values | values, bool(values)
        if not labelled and not case.test:
            message = _("No labeled voxel of {segmentation} lies within volume {volume}.")
            text = message.format(segmentation=case.segmentation.GetName(), volume=volume.GetName())
            hint = _("Check that they lie on each other, and that the annotated area and ignored voxels leave some.")
            self.problems.append(Problem(text, hint, case=case.id))
        self.written.append(path)
        writeVolume(path, array, exportMatrix(volume))
        if self.codes is not None:
            self.maps.append((path, exportMatrix(volume)))
        return path.name

    def finish(self, channelNames: Sequence[str], fileEnding: str | None) -> None:
        """Give region maps their final numbers, and write the description."""
        self.problems += self.codes.problems() if self.codes is not None else self._hiddenLabels()
        if self.problems:
            raise UserProblem(self.problems)
        if self.codes is not None:
            self._renumber(self.codes.finalValues())
        labels, order, segments = self.table.asDatasetLabels(self.codes)
        data: dict[str, Any] = {
            "channel_names": {str(channel): name for channel, name in enumerate(channelNames)},
            "labels": labels,
            "regions_class_order": order,
            "segments": segments,
            "cases": self.entries,
        }
        if fileEnding is not None:
            data["file_ending"] = fileEnding
        self.written.append(self.folder / DESCRIPTION)
        self.written[-1].write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")

    def _hiddenLabels(self) -> list[Problem]:
        if not self.maps and not any(entry["labels"] for entry in self.entries):
            return []
        message = _("“{name}” has no voxels in any case: its segments are empty or lie under later rows of the table.")
        hint = _("Move it further down in the table of labels, or leave it out.")
        return [
            Problem(message.format(name=label.name), hint)
            for label in self.table.trained()
            if not label.fixed and self.table.value(label) not in self.values
        ]

    def _renumber(self, values: np.ndarray) -> None:
        if values.max(initial=0) < 256:
            values = values.astype(np.uint8)
        for path, matrix in self.maps:
            codes = readArray(path)
            array = np.zeros(codes.shape, values.dtype)
            for plane, numbers in zip(array, codes, strict=True):
                np.take(values, numbers, out=plane)
            del codes
            writeVolume(path, array, matrix)
