"""DICOM RT Structure Sets: the outlines of the structures on every slice of a DICOM series, for radiotherapy planning.

An outline runs midway between the voxels inside and those outside, so that filling it gives the same voxels again. A
hole is joined to the outline around it by a cut (the "keyhole" of PS3.3 C.8.8.6.3), as a contour has one line only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import find_objects

from segautoconfiglib import __version__
from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.image.label_table import Colour, colour_of
from segautoconfiglib.tasks.output.dicom_seg import MAKER, SERIES_NUMBER
from segautoconfiglib.tasks.output.dicom_series import MAY_BE_EMPTY, labels_in_use, source_slices
from segautoconfiglib.tasks.output.label_files import tracked

if TYPE_CHECKING:
    from pydicom import Dataset

STAGE = "write DICOM RT structures"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"  # explicit types hold no value above 64 kB, and contours may be longer
CONTOUR_DATA = 0x30060050
#: Decimals of coordinates (mm): a thousandth.
DECIMALS = 3
#: Of a patient, study and frame of reference: taken over from the series.
TAKEN_OVER = (
    *MAY_BE_EMPTY, "StudyInstanceUID", "StudyDescription", "SpecificCharacterSet", "PositionReferenceIndicator",
)  # fmt: skip


def write_dicom_rtstruct(
    labels: np.ndarray,
    series: Path,
    file: Path,
    names: Mapping[int, str],
    colours: Mapping[int, Colour] | None = None,
    *,
    algorithm: str = MAKER,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Write the outlines of all structures that were found.

    Args:
        labels: (z, y, x) on the grid of the series as `image.dicom.read` gives it.
        series: The DICOM series that was segmented; see `image.dicom`.
        file: Where to.
        names: Of the structures, by label.
        colours: By label.
        algorithm: What made the labels, for people.
        report: Told of progress.
        cancel: Asked between slices.

    Returns:
        The file.

    Raises:
        UserError: packages are missing, the series does not fit, nothing was found, or the file can't be written.
        Cancelled: on request.
    """
    cancel = cancel or CancelToken()
    slices = source_slices(series, labels.shape)
    found = labels_in_use(labels, dict(names))
    dataset = _general(slices, algorithm)
    frame = dataset.FrameOfReferenceUID
    boxes = find_objects(labels)
    for number, label in enumerate(tracked(found, STAGE, report, cancel), start=1):
        name = found[label]
        dataset.StructureSetROISequence.append(
            _dataset(
                ROINumber=number, ReferencedFrameOfReferenceUID=frame, ROIName=name[:64],
                ROIGenerationAlgorithm="AUTOMATIC", ROIGenerationDescription=algorithm[:64],
            )
        )  # fmt: skip
        dataset.RTROIObservationsSequence.append(
            _dataset(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")
        )
        contours = list(_contours(labels, label, boxes[label - 1], slices, cancel))
        dataset.ROIContourSequence.append(
            _dataset(
                ROIDisplayColor=list(colour_of(label, colours)), ReferencedROINumber=number, ContourSequence=contours
            )
        )
    with atomic_path(file) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return file


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed lines around a mask's parts, holes joined to them by a cut.

    Args:
        mask: (y, x) bool.

    Returns:
        Per part (points, 2): column and row, the first point once. Filled (even-odd or non-zero), they give the mask.
    """
    from contourpy import FillType, contour_generator

    padded = np.pad(mask, 1).astype(np.float64)
    generator: Any = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    points, offsets = generator.filled(0.5, 2.0)
    result = []
    for part, ends in zip(points, offsets, strict=True):
        rings = [part[start : stop - 1] - 1 for start, stop in pairwise(ends)]
        result.append(_keyhole(rings))
    return result


def _keyhole(rings: list[np.ndarray]) -> np.ndarray:
    """One line of an outer ring and its holes.

    A cut runs from the leftmost point of each hole along its row to the next point, which belongs to the outer ring or
    to a hole that reaches further to the left: so all are joined, and no cut crosses a line.

    Args:
        rings: Lines (points, 2), column and row, without their first point at the end; the outer one first.
    """
    if len(rings) == 1:
        return rings[0]
    points = np.concatenate(rings)
    ends = np.cumsum([len(ring) for ring in rings]).tolist()
    after = np.arange(1, len(points) + 1).tolist()  # which point of the line follows each
    for first, end in pairwise([0, *ends]):
        after[end - 1] = first
    along_rows = np.lexsort(points.T)
    left = np.empty(len(points), int)
    left[along_rows] = np.roll(along_rows, 1)
    place = list(range(len(points)))  # of the points of the line, which passes the ends of a cut twice
    for first, end in pairwise(ends):
        hole = first + int(np.argmin(points[first:end, 0]))
        beside = int(left[hole])
        there, back = len(after), len(after) + 1
        place += [hole, beside]
        after += [after[hole], after[beside]]
        after[beside], after[hole] = there, back
    line = [0]
    while after[line[-1]] != 0:
        line.append(after[line[-1]])
    return points[np.array(place)[line]]


def _contours(
    labels: np.ndarray, label: int, box: tuple[slice, ...], slices: list[Dataset], cancel: CancelToken
) -> Iterator[Dataset]:
    from pydicom import DataElement

    corner = np.array([box[2].start, box[1].start])
    for index in range(box[0].start, box[0].stop):
        cancel.raise_if_cancelled()
        lines = outlines(labels[index][box[1:]] == label)
        if not lines:
            continue
        header = slices[index]
        drawn_on = [_reference(header)]
        ends = np.cumsum([len(line) for line in lines])[:-1]
        for points in np.split(_in_patient(np.concatenate(lines) + corner, header), ends):
            text = "\\".join([f"%.{DECIMALS}f"] * points.size) % tuple(points.ravel().tolist())
            contour = _dataset(
                ContourImageSequence=drawn_on,
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
            )
            # As one text: pydicom would turn each of the many numbers into an object.
            contour.add(DataElement(CONTOUR_DATA, "DS", text, already_converted=True))
            yield contour


def _in_patient(points: np.ndarray, header: Dataset) -> np.ndarray:
    """Columns and rows (points, 2) as positions in the patient (points, 3), mm (PS3.3 C.7.6.2.1.1)."""
    along_row, along_column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
    row_step, column_step = (float(step) for step in header.PixelSpacing)
    origin = np.array(header.ImagePositionPatient, float)
    positions: np.ndarray = origin + points[:, :1] * column_step * along_row + points[:, 1:] * row_step * along_column
    return positions


def _general(slices: list[Dataset], algorithm: str) -> Dataset:
    """Everything but the structures."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, generate_uid

    first, now = slices[0], datetime.now()
    uid = generate_uid()
    frame = first.FrameOfReferenceUID
    dataset = _dataset(**{key: first.get(key) for key in TAKEN_OVER if key in first})
    given = _dataset(
        SOPClassUID=RT_STRUCTURE_SET,
        SOPInstanceUID=uid,
        Modality="RTSTRUCT",
        SeriesInstanceUID=generate_uid(),
        SeriesNumber=SERIES_NUMBER,
        SeriesDescription=f"Segmentation: {algorithm}"[:64],
        InstanceNumber=1,
        InstanceCreationDate=f"{now:%Y%m%d}",
        InstanceCreationTime=f"{now:%H%M%S}",
        OperatorsName="",
        Manufacturer=MAKER,
        ManufacturerModelName=MAKER,
        SoftwareVersions=__version__,
        FrameOfReferenceUID=frame,
        StructureSetLabel="SEGMENTATION",
        StructureSetDate=f"{now:%Y%m%d}",
        StructureSetTime=f"{now:%H%M%S}",
        ApprovalStatus="UNAPPROVED",
        ReferencedFrameOfReferenceSequence=[_frame(frame, slices)],
        StructureSetROISequence=[],
        ROIContourSequence=[],
        RTROIObservationsSequence=[],
    )
    dataset.update(given)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(RT_STRUCTURE_SET)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = UID(IMPLICIT_LITTLE_ENDIAN)
    return dataset


def _frame(frame: str, slices: list[Dataset]) -> Dataset:
    """Which images the structures were drawn on."""
    series = _dataset(
        SeriesInstanceUID=slices[0].SeriesInstanceUID, ContourImageSequence=[_reference(header) for header in slices]
    )
    study = _dataset(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # detached study management, as the standard wants it here
        ReferencedSOPInstanceUID=slices[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _dataset(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def _reference(header: Dataset) -> Dataset:
    return _dataset(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)


def _dataset(**entries: Any) -> Dataset:
    from pydicom import Dataset

    dataset = Dataset()
    for key, value in entries.items():
        setattr(dataset, key, value)
    return dataset
