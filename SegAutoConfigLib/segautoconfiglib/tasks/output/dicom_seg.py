"""DICOM Segmentation objects: the labels of an image that came as a DICOM series, one segment per structure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib import __version__
from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.image.label_table import Colour, colour_of
from segautoconfiglib.tasks.codes import SCHEME, Code, Codes, codes_of
from segautoconfiglib.tasks.output.dicom_series import labels_in_use, source_slices

MAKER = "SegAutoConfig"
STAGE = "write DICOM SEG"
SERIES_NUMBER = 100
#: White of the sRGB colour space (CIE, D65), relative to which readers take a segment's colour.
WHITE = np.array([0.95047, 1.0, 1.08883])
#: From linear sRGB to CIE XYZ (IEC 61966-2-1).
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def write_dicom_seg(
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
    """Write a binary DICOM SEG with SNOMED codes and colours; structures that were not found have no segment.

    Args:
        labels: (z, y, x) on the grid of the series as `image.dicom.read` gives it.
        series: The DICOM series that was segmented; see `image.dicom`.
        file: Where to.
        names: Of the structures, by label.
        colours: By label.
        algorithm: What made the labels, for people.
        report: Told of the beginning and the end.
        cancel: Asked before the object is made (which is one step), and before it is written.

    Returns:
        The file.

    Raises:
        UserError: packages are missing, the series does not fit, nothing was found, or the file can't be written.
        Cancelled: on request.
    """
    cancel = cancel or CancelToken()
    slices = source_slices(series, labels.shape)
    import highdicom

    found = labels_in_use(labels, dict(names))
    report("started", stage=STAGE, total=1)
    cancel.raise_if_cancelled()
    numbers = np.zeros(int(labels.max()) + 1, np.uint8 if len(found) < 256 else np.uint16)
    numbers[list(found)] = range(1, len(found) + 1)
    segments = [
        _segment(number, name, colour_of(label, colours), algorithm)
        for number, (label, name) in enumerate(found.items(), start=1)
    ]
    segmentation = highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=numbers[labels],
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=__version__,
        device_serial_number="1",
        series_description=f"Segmentation: {algorithm}"[:64],
        content_label="SEGMENTATION",
    )
    cancel.raise_if_cancelled()
    with atomic_path(file) as temporary:
        segmentation.save_as(temporary)
    report("progress", stage=STAGE, done=1, total=1, case=file.name)
    return file


def cielab(colour: Colour) -> list[int]:
    """A colour (red, green, blue; 0 to 255) as DICOM stores it: CIE L*a*b* in 16-bit numbers (PS3.3 C.10.7.1.1)."""
    share = np.asarray(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    relative = TO_XYZ @ linear / WHITE
    x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    stored = np.array([lightness * 65535 / 100, (a + 128) * 65535 / 255, (b + 128) * 65535 / 255])
    return [int(number) for number in np.clip(np.rint(stored), 0, 65535)]


def _segment(number: int, name: str, colour: Colour, algorithm: str) -> Any:
    """The description of one segment (highdicom)."""
    import highdicom
    from pydicom.sr.codedict import codes as standard

    codes = codes_of(name)
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=_concept(codes.category),
        segmented_property_type=_concept(codes.type),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm[:64], version=__version__, family=standard.DCM.ArtificialIntelligence
        ),
        tracking_id=name[:64],
        tracking_uid=highdicom.UID(),
        anatomic_regions=[_concept(codes.region)] if codes.region else None,
    )
    description.RecommendedDisplayCIELabValue = cielab(colour)
    _modify(description, codes)
    return description


def _modify(description: Any, codes: Codes) -> None:
    """Add the sides (left, right), which stand inside the codes that they modify."""
    if codes.modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(codes.modifier)]
    if codes.region_modifier:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_concept(codes.region_modifier)]


def _concept(code: Code) -> Any:
    import highdicom

    return highdicom.sr.CodedConcept(value=code.value, scheme_designator=SCHEME, meaning=code.meaning)
