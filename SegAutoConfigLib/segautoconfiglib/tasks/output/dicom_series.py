"""The DICOM series that a segmentation belongs to, as DICOM objects made from it need it (with optional packages)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image import dicom

if TYPE_CHECKING:
    from pydicom import Dataset

#: Of patient and study, which DICOM wants to be there but may be empty; anonymised files often lack them.
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName",
    "StudyID", "StudyDate", "StudyTime",
)  # fmt: skip
#: Kinds of images by modality, for files that do not say theirs; and of any other modality (secondary capture).
IMAGE_STORAGE = {
    "CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128",
}  # fmt: skip
OTHER_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
INSTALL = 'Install them with: pip install "segautoconfiglib[dicom]"'


def need_dicom_packages() -> None:
    """Check that the optional packages are there. Raises: UserError: they are not, with what installs them."""
    try:
        import contourpy  # noqa: F401
        import highdicom  # noqa: F401
        import pydicom  # noqa: F401
    except ImportError as error:
        text = f"Writing DICOM needs packages that are not installed ({error.name})."
        raise UserError(text, INSTALL, "install") from error


def source_slices(series: Path, shape: tuple[int, ...]) -> list[Dataset]:
    """The headers of a series' files, in the order of the volume that `image.dicom.read` gives; without voxels.

    Args:
        series: See `image.dicom`.
        shape: (z, y, x) of the labels.

    Raises:
        UserError: no classic series of files with one slice each, or of another size; packages are missing.
    """
    need_dicom_packages()
    import pydicom
    import pydicom.uid

    if not dicom.is_dicom(series):
        raise UserError(
            f"{series} is no DICOM series.", "DICOM segmentations can be written for images that come as DICOM only."
        )
    found = dicom.find_series(series)
    slices: list[Dataset] = [pydicom.dcmread(file, stop_before_pixels=True) for file in found.files]
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in slices):
        raise UserError(
            f"{series} holds all slices in one file (an enhanced multi-frame object).",
            "Write .nii.gz or .seg.nrrd, or convert the series to one file per slice.",
        )
    grid = (len(slices), int(slices[0].Rows), int(slices[0].Columns))
    if grid != tuple(shape):
        raise UserError(f"The labels have {tuple(shape)} voxels (z, y, x), the series {series} {grid}.")
    frame = slices[0].get("FrameOfReferenceUID") or pydicom.uid.generate_uid()
    distance_mm = round(float(np.median(found.distances_mm)), 6) if found.distances_mm else None
    for header in slices:
        _complete(header, frame, distance_mm)
    return slices


def _complete(header: Dataset, frame: str, distance_mm: float | None) -> None:
    """Enter what other objects must refer to, where anonymising took it away, and the true distance of the slices."""
    from pydicom.uid import generate_uid

    header.FrameOfReferenceUID = frame
    if not header.get("SliceThickness"):
        header.SliceThickness = distance_mm or 1.0
    if distance_mm is not None:
        header.SpacingBetweenSlices = distance_mm  # what stands there is often the gap, or wrong
    for key in MAY_BE_EMPTY:
        if key not in header:
            setattr(header, key, "")
    if not header.get("SOPInstanceUID"):
        header.SOPInstanceUID = header.file_meta.get("MediaStorageSOPInstanceUID") or generate_uid()
    if not header.get("SOPClassUID"):
        header.SOPClassUID = IMAGE_STORAGE.get(str(header.get("Modality", "")), OTHER_STORAGE)


def labels_in_use(labels: np.ndarray, names: dict[int, str]) -> dict[int, str]:
    """Those of the names whose label occurs. Raises: UserError: none does."""
    boxes = find_objects(labels, max_label=max(names, default=0))
    found = {label: name for label, name in names.items() if boxes[label - 1] is not None}
    if not found:
        raise UserError("No structure was found, and DICOM knows no empty segmentation.", "Write .nii.gz or .seg.nrrd.")
    return found
