"""Synthetic cases to try the module out with: made by the engine, loaded as volumes and segmentations."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import slicer

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Files import detach

#: Name and color of the labels 1 and 2 of the engine's synthetic cases.
SEGMENTS = (("capsule", (0.86, 0.51, 0.40)), ("core", (0.56, 0.93, 0.56)))
PATIENCE_S = 120.0


def loadDemoCases(
    engine, count: int = 5, segmented: "int | None" = None, pump: "Callable[[], None] | None" = None
) -> list[tuple]:
    """Load synthetic MR-like volumes with two nested structures into the scene.

    Args:
        engine: Of the module's logic.
        count: Number of volumes.
        segmented: So many of them get a segmentation (default: all but the last, which is there to be segmented).
        pump: Called while waiting, for example ``slicer.app.processEvents``.

    Returns:
        (volume node, segmentation node or None) for each.

    Raises:
        UserProblem: the engine could not make them.
    """
    segmented = count - 1 if segmented is None else segmented
    folder = Path(tempfile.mkdtemp(prefix="segautoconfig-demo-"))
    try:
        made = folder / "cases"
        job = engine.start(["demo-data", str(made), "--cases", str(count), "--held-out", "0"], temporary=True)
        job.wait(PATIENCE_S, pump)
        finished, problems = job.state == job.FINISHED, job.problems
        job.discard()
        if not finished:
            raise UserProblem(problems)
        return [_load(made, number, number < segmented) for number in range(count)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(folder: Path, number: int, segmented: bool) -> tuple:
    name = f"demo_{number:03}"
    volume = slicer.util.loadVolume(str(folder / "imagesTr" / f"{name}_0000.nii.gz"), {"name": name})
    if not segmented:
        return volume, None
    labels = slicer.util.loadLabelVolume(str(folder / "labelsTr" / f"{name}.nii.gz"), {"name": name, "show": False})
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segmentation")
    segmentation.CreateDefaultDisplayNodes()
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.mrmlScene.RemoveNode(labels)
    for index, (text, color) in enumerate(SEGMENTS):
        segment = segmentation.GetSegmentation().GetNthSegment(index)
        segment.SetName(text)
        segment.SetColor(*color)
    for node in (volume, segmentation):  # their files are removed
        detach(node)
    return volume, segmentation
