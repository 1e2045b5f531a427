"""DICOM SEG files: their segments as a label map.

SimpleITK reads the frames of such a file one after the other; to which segment and which place a frame belongs stands
in nested sequences, which it does not show. Those few entries are looked for in the file's bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.volume import Geometry, Volume

#: Segmentation Storage; it stands in the first bytes of a file.
SEG_CLASS, CLASS_WITHIN = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.4(?![.\d])"), 1024
SEGMENT_NUMBER, SEGMENT_LABEL, REFERENCED = (0x0062, 0x0004, b"US"), (0x0062, 0x0005, b"LO"), (0x0062, 0x000B, b"US")
POSITION, ORIENTATION, PIXELS = (0x0020, 0x0032, b"DS"), (0x0020, 0x0037, b"DS"), (0x0028, 0x0030, b"DS")
BETWEEN_SLICES = (0x0018, 0x0088, b"DS")
FRAMES, VOXELS = struct.pack("<HH", 0x5200, 0x9230), struct.pack("<HH", 0x7FE0, 0x0010)
#: Distances of frames may be off whole numbers of slices by this share of one.
UNEQUAL = 0.05
#: Frames that are no further apart lie in one slice.
SAME_MM = 0.01
CONVERT = "Load it in 3D Slicer and export the segmentation as a label map (.nrrd), or convert it with dcmqi's tools."


@dataclass(frozen=True)
class _Content:
    """What a file says.

    Attributes:
        segments: Number to name.
        numbers: Of the segment that each frame shows.
        positions: Of each frame (x, y, z in mm).
        orientations: Directions of rows and columns, x y z each, as often as they are given.
        spacings: Of rows and columns (mm), as often as they are given.
        steps: Between slices (mm), likewise.
    """

    segments: dict[int, str] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    positions: tuple[tuple[float, ...], ...] = ()
    orientations: tuple[tuple[float, ...], ...] = ()
    spacings: tuple[tuple[float, ...], ...] = ()
    steps: tuple[tuple[float, ...], ...] = ()


def is_segmentation(file: Path) -> bool:
    """Whether a file is a DICOM SEG. Raises: UserError: it can't be opened."""
    if not file.is_file():
        return False
    return SEG_CLASS.search(_bytes(file, CLASS_WITHIN)) is not None


def segment_names(file: Path) -> dict[int, str]:
    """The value of each segment in the label map (1 where there is one only) and its name; empty for other files."""
    if not is_segmentation(file):
        return {}
    segments = _content(file).segments
    return {1: next(iter(segments.values()))} if len(segments) == 1 else segments


def label_map(file: Path, frames: Volume) -> Volume:
    """The segments as one label map, slices by their place.

    Args:
        file: A DICOM SEG.
        frames: (1, frame, y, x) as SimpleITK reads it. Its geometry is right only where frames are sorted.

    Returns:
        (1, z, y, x) uint16 with the values of `segment_names`.

    Raises:
        UserError: a frame's segment or place can't be told; segments overlap or are no masks.
    """
    content, array = _content(file), frames.array[0]
    placed = len(content.positions) == len(array) and content.orientations and content.spacings
    if not content.segments or not placed:
        raise UserError(f"{file} is a DICOM SEG whose segments can't be told.", CONVERT)
    single = len(content.segments) == 1
    numbers = (1,) * len(array) if single else content.numbers
    if len(numbers) != len(array):
        raise UserError(f"{file} is a DICOM SEG whose frames don't say which segment they show.", CONVERT)
    if array.max() > 0 and not np.isin(array, (0, array.max())).all():
        raise UserError(f"{file} is a DICOM SEG of fractions, no label map.", CONVERT)
    places, geometry = _places(file, content, frames.geometry.spacing_mm[0])
    labels = np.zeros((max(places) + 1, *array.shape[1:]), np.uint16)
    for place, number, frame in zip(places, numbers, array, strict=True):
        inside = frame > 0
        if (there := np.setdiff1d(labels[place][inside], (0, number))).size:
            names = segment_names(file)
            pair = f"{names.get(int(there[0]), there[0])} and {names.get(number, number)}"
            raise UserError(f"{file} is a DICOM SEG with overlapping segments: {pair}.", CONVERT)
        labels[place][inside] = number
    return Volume(labels[None], geometry)


def _places(file: Path, content: _Content, only_step_mm: float) -> tuple[list[int], Geometry]:
    """The slice of each frame, and the geometry of all slices. Raises: UserError: unequal distances."""
    positions = np.array(content.positions)
    rows, columns = np.reshape(content.orientations[0], (2, 3))
    directions = np.stack([rows, columns, np.cross(rows, columns)])
    along = positions @ directions[2]
    gaps = np.diff(np.sort(along))
    gaps = gaps[gaps > SAME_MM]
    steps = [step for (step,) in content.steps[:1] if step > SAME_MM]
    steps.append(float(gaps.min()) if gaps.size else only_step_mm)
    slices_of = {step: (along - along.min()) / step for step in steps}
    fitting = [step for step, slices in slices_of.items() if np.abs(slices - np.rint(slices)).max() <= UNEQUAL]
    if not fitting:
        raise UserError(f"{file} is a DICOM SEG whose frames are at unequal distances.", CONVERT)
    step = fitting[0]
    y_mm, x_mm = content.spacings[0]
    origin = tuple(positions[int(np.argmin(along))].tolist())
    return np.rint(slices_of[step]).astype(int).tolist(), Geometry(
        (step, y_mm, x_mm), origin, tuple(directions.T.ravel().tolist())
    )


def _content(file: Path) -> _Content:
    content = _bytes(file)
    start = content.find(FRAMES)
    if start < 0:  # packed as a whole, or damaged
        return _Content()
    end = content.find(VOXELS, start)
    head, frames = content[:start], content[start : end if end >= 0 else None]
    both = head + frames
    numbers = [struct.unpack("<H", value)[0] for value in _found(head, SEGMENT_NUMBER)]
    names = [value.decode("utf-8", "replace").strip(" \0") for value in _found(head, SEGMENT_LABEL)]
    return _Content(
        dict(zip(numbers, names, strict=False)),
        tuple(struct.unpack("<H", value)[0] for value in _found(frames, REFERENCED)),
        _vectors(frames, POSITION),
        _vectors(both, ORIENTATION),
        _vectors(both, PIXELS),
        _vectors(both, BETWEEN_SLICES),
    )


def _vectors(content: bytes, entry: tuple[int, int, bytes]) -> tuple[tuple[float, ...], ...]:
    """The numbers of an entry wherever it stands; none where some are no numbers."""
    try:
        return tuple(tuple(map(float, value.decode().strip(" \0").split("\\"))) for value in _found(content, entry))
    except ValueError:
        return ()


def _found(content: bytes, entry: tuple[int, int, bytes]) -> list[bytes]:
    """The values of an entry wherever it stands, with its type (and a short length) or without (a long one)."""
    group, element, kind = entry
    tag = re.escape(struct.pack("<HH", group, element))
    pattern = re.compile(tag + b"(?:" + kind + b"(..)|(..\0\0))", re.DOTALL)
    return [
        content[match.end() : match.end() + int.from_bytes(match[1] or match[2], "little")]
        for match in pattern.finditer(content)
    ]


def _bytes(file: Path, most: int = -1) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(most)
    except OSError as error:
        raise UserError(f"Can't read {file}: {error.strerror or error}.", "Check the file's permissions.") from error
