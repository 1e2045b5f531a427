"""Volumes as uncompressed NRRD files, and back; RAS here, LPS in files."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Scene.Geometry import TOLERANCE_VOXELS, exportMatrix

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
#: Beside the files themselves this must stay free.
SPARE_BYTES = 200e6


def writeVolume(path: Path, array: np.ndarray, ijkToRas: np.ndarray) -> None:
    """Write voxels (k, j, i) on the grid of a matrix.

    Raises:
        UserProblem: it could not be written.
    """
    import SimpleITK as sitk  # not when the module is opened

    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(ijkToRas[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((_RAS_TO_LPS @ ijkToRas[:3, 3]).tolist())
    image.SetDirection((_RAS_TO_LPS @ ijkToRas[:3, :3] / spacing).ravel().tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=False)
        complete, reason = path.stat().st_size >= array.nbytes, _("the file is incomplete")
    except (RuntimeError, OSError) as error:
        complete, reason = False, str(error)
    if not complete:
        message = _("{path} can't be written.").format(path=path)
        raise UserProblem(message, _("Check the free space and the permissions of the workspace."), reason)


def readArray(path: Path) -> np.ndarray:
    """The voxels (k, j, i) of a file."""
    import SimpleITK as sitk  # not when the module is opened

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def readVolume(path: Path, volumeNode: Any) -> np.ndarray:
    """The voxels (k, j, i) of a file that has the grid of a volume's own file.

    Raises:
        UserProblem: it can't be read, or has another grid.
    """
    import SimpleITK as sitk  # not when the module is opened

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserProblem(_("{path} can't be read.").format(path=path), "", str(error)) from error
    wanted, size = exportMatrix(volumeNode), volumeNode.GetImageData().GetDimensions()
    fits = image.GetSize() == tuple(size) and image.GetNumberOfComponentsPerPixel() == 1
    if fits:
        axes = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        shift = np.linalg.solve(wanted[:3, :3], _RAS_TO_LPS @ np.column_stack([axes, image.GetOrigin()]))
        shift[:, 3] -= np.linalg.solve(wanted[:3, :3], wanted[:3, 3])
        apart = np.abs(shift[:, :3] - np.eye(3)) @ np.array(size) + np.abs(shift[:, 3])
        fits = bool(apart.max() <= TOLERANCE_VOXELS)
    if not fits:
        message = _("{file} has another grid than volume {volume}.")
        text = message.format(file=Path(path).name, volume=volumeNode.GetName())
        hint = _("It was made from another volume, or the volume was changed since. Segment it again.")
        raise UserProblem(text, hint, str(path))
    return sitk.GetArrayFromImage(image)


def detach(node: Any) -> None:
    """Let a node forget the file that it was read from, so that saving the scene does not overwrite that."""
    storage = node.GetStorageNode()
    node.SetAndObserveStorageNodeID(None)
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)


def loadDetached(file: Path, name: str) -> Any:
    """Load a volume of a dataset, which forgets its file and is not shown. Raises: UserProblem: it can't be read."""
    try:
        node = slicer.util.loadVolume(str(file), {"name": name, "singleFile": True, "show": False})
    except RuntimeError as error:
        message, hint = _("{file} can't be read.").format(file=file), _("Check the dataset, or choose another case.")
        raise UserProblem(message, hint, str(error)) from error
    detach(node)
    return node


def problemsOfSpace(folder: Path, volumes: Sequence[Any], maps: int) -> list[Problem]:
    """The problem of a disk on which these volumes, and so many label maps, find no room; else nothing.

    Args:
        folder: Need not exist.
        volumes: Nodes that will be written.
        maps: Number of label maps of the size of the largest volume.
    """
    images = [volume.GetImageData() for volume in volumes]
    needed = sum(image.GetActualMemorySize() * 1024 for image in images)
    needed += maps * max((2 * image.GetNumberOfPoints() for image in images), default=0)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed + SPARE_BYTES <= free:
        return []
    message = _("There is not enough space for the files: {needed} GB are needed, {free} GB are free in {folder}.")
    text = message.format(needed=f"{(needed + SPARE_BYTES) / 1e9:.1f}", free=f"{free / 1e9:.1f}", folder=existing)
    return [Problem(text, _("Free some space, or choose a workspace on another disk under Setup."))]
