"""Reading and writing image files: medical formats and DICOM (SimpleITK), pictures (Pillow) and tif (tifffile).

Arrays come in stored voxel order, axes (channel, z, y, x); nothing is reoriented. The rules for 2D, 4D and colour
files are nnU-Net's, so that arrays equal those that nnunetv2 reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.image import dicom, medical, pictures, tiff
from segautoconfiglib.image.formats import (
    LOSSY_ENDINGS,
    MEDICAL_ENDINGS,
    PICTURE_ENDINGS,
    READABLE_ENDINGS,
    TIFF_ENDINGS,
    TWO_FILE_ENDINGS,
    file_ending,
    known_ending,
    stem,
)
from segautoconfiglib.image.integrity import voxel_file
from segautoconfiglib.image.medical import as_float32, label_dtype, sitk_from_labels, volume_from_sitk
from segautoconfiglib.image.own_formats import READERS
from segautoconfiglib.image.volume import Geometry, Volume

__all__ = [
    "READABLE_ENDINGS",
    "Header",
    "file_ending",
    "files_of",
    "read_header",
    "read_image",
    "read_labels",
    "read_stored",
    "reader_name",
    "reading_bytes",
    "sitk_from_labels",
    "stem",
    "volume_from_sitk",
    "write_image",
    "write_labels",
]

SHOWN_VALUES = 5
#: What label maps become, the smallest first.
LABEL_TYPES = (np.uint8, np.int16, np.int32)


@dataclass(frozen=True)
class Header:
    """What a file says about itself before its voxels are read.

    Attributes:
        shape: (z, y, x) in voxels.
        channels: Number of channels in this one file.
        geometry: Place in space.
        dtype: Of the array that reading gives, before any conversion.
    """

    shape: tuple[int, int, int]
    channels: int
    geometry: Geometry
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """Size of the array in memory, all channels."""
        return int(np.prod(self.shape)) * self.channels * self.dtype.itemsize


def read_image(files: Sequence[Path]) -> Volume:
    """Read one case.

    Args:
        files: One file per channel in order, or a single file that holds all channels (4D, colour).

    Returns:
        float32 (channel, z, y, x), all channels of all files stacked; the geometry of the first file.

    Raises:
        UserError: a file can't be read, or the files do not share one grid.
    """
    first = _read(files[0])
    if len(files) == 1:
        return Volume(as_float32(first.array), first.geometry)
    array = np.empty((len(files), *first.array.shape), np.float32)  # filled file by file: one copy in memory
    with np.errstate(over="ignore"):
        array[0] = first.array
        first = Volume(array[0], first.geometry)
        for index, file in enumerate(files[1:], start=1):
            volume = _read(file)
            _check_same_grid(files[0], first, file, volume)
            array[index] = volume.array
            del volume  # before the next one comes
    return Volume(array.reshape(-1, *first.shape), first.geometry)


def read_stored(file: Path) -> Volume:
    """Read one file in its own number type, axes (channel, z, y, x). Raises: UserError: can't be read."""
    return _read(file)


def reading_bytes(headers: Sequence[Header]) -> int:
    """Memory that :func:`read_image` takes at most: the result, and the largest file twice (ITK's array and ours).

    Args:
        headers: Of all files of the case.
    """
    result = sum(4 * header.bytes // header.dtype.itemsize for header in headers)
    return result + 2 * max(header.bytes for header in headers)


def read_labels(file: Path) -> Volume:
    """Read a label map.

    Returns:
        (1, z, y, x) of the smallest fitting of uint8, int16, int32.

    Raises:
        UserError: the file can't be read, holds several channels, or values that are no whole numbers.
    """
    volume = _read(file, labels=True)
    if volume.array.shape[0] != 1:
        raise UserError(
            f"{file} is no label map: it has {volume.array.shape[0]} channels (a colour picture or a 4D file).",
            "A label map has one whole number per voxel. Save it with one channel.",
        )
    return Volume(_whole_numbers(volume.array, file), volume.geometry)


def read_header(file: Path) -> Header:
    """Shape, channels, geometry and type of a file, without reading its voxels. Raises: UserError: can't be read."""
    array, geometry = _reader(file).header(_existing(file))
    channels, z, y, x = array.shape
    return Header((z, y, x), channels, geometry, array.dtype)


def files_of(file: Path) -> list[Path]:
    """The file, and the one beside it that belongs to it: the voxels of .mhd and .nhdr, the spacing of a tif."""
    ending = file_ending(file)
    beside = None
    if ending in TWO_FILE_ENDINGS:
        beside = voxel_file(file)
    elif ending in TIFF_ENDINGS:
        beside = tiff.side_car(file)
    return [file] if beside is None else [file, beside]


def write_labels(labels: np.ndarray, file: Path, geometry: Geometry) -> None:
    """Write a label map, compressed and atomically.

    Args:
        labels: (z, y, x), whole numbers from 0 to 65535; stored as uint8 where all are below 255, else as uint16
            (nnU-Net's rule).
        file: Its ending chooses the format.
        geometry: Written as far as the format can hold it.

    Raises:
        UserError: unknown or unfit format, values out of range, or the file can't be written.
    """
    _write(labels.astype(label_dtype(labels)), file, geometry, stem(file))


def write_image(array: np.ndarray, file: Path, geometry: Geometry) -> None:
    """Write one channel (z, y, x) of any type, compressed and atomically; the ending chooses the format.

    Raises:
        UserError: unknown format, array that does not fit it, or the file can't be written.
    """
    _write(array, file, geometry, tiff.without_channel(stem(file)))


def reader_name(file_ending: str, example: Path) -> str:
    """The name of nnU-Net's reader class for these files, as its plans store it.

    Args:
        file_ending: Of the dataset.
        example: One image file of the dataset; tells 2D from 3D tif files.
    """
    ending = known_ending(f"x{file_ending}")
    if ending in READERS:
        return str(READERS.get(ending).reader_name)
    if ending == ".nii":
        return "NibabelIO"
    if ending in MEDICAL_ENDINGS:
        return "SimpleITKIO"
    if ending in PICTURE_ENDINGS or read_header(example).geometry.dimension == 2:
        return "NaturalImage2DIO"
    return "Tiff3DIO"


def _write(array: np.ndarray, file: Path, geometry: Geometry, case: str) -> None:
    ending = known_ending(file)
    array = array.astype(np.uint8) if array.dtype == bool else array
    if ending in READERS:
        READERS.get(ending).write(array, file, geometry)
    elif ending in MEDICAL_ENDINGS:
        image = medical.sitk_from_array(array, geometry)
        if ending in TWO_FILE_ENDINGS:
            medical.write_two_files(image, file)
            return
        with atomic_path(file) as temporary:
            medical.write(image, temporary, file)
    elif ending in PICTURE_ENDINGS + LOSSY_ENDINGS:
        pictures.write(array, file)
    else:
        tiff.write(array, file, geometry, case)


def _reader(file: Path) -> Any:
    """The module (or the plug-in's `OwnFormat`) for this format; each has read() and header()."""
    if dicom.is_dicom(Path(file)):
        return dicom
    ending = known_ending(file)
    if ending in READERS:
        return READERS.get(ending)
    if ending in MEDICAL_ENDINGS:
        return medical
    return pictures if ending in PICTURE_ENDINGS + LOSSY_ENDINGS else tiff


def _read(file: Path, labels: bool = False) -> Volume:
    volume: Volume = _reader(file).read(_existing(file), labels=labels)
    if volume.array.size == 0:
        raise UserError(f"{file} holds no voxels.", "Export it again.")
    return volume


def _existing(file: Path) -> Path:
    file = Path(file)
    if not file.is_file() and not dicom.is_dicom(file):
        raise UserError(f"{file} does not exist.", "Check the path and the file name.")
    return file


def _check_same_grid(first_file: Path, first: Volume, file: Path, volume: Volume) -> None:
    differences = first.geometry.differences(volume.geometry)
    if first.array.shape != volume.array.shape:
        differences.insert(0, f"shape {first.array.shape} against {volume.array.shape} (channel, z, y, x)")
    if differences:
        raise UserError(
            f"{first_file} and {Path(file).name} are channels of one case but differ: {'; '.join(differences)}.",
            "Resample the channels onto one grid (for example in 3D Slicer: Resample Scalar/Vector/DWI Volume).",
        )


def _whole_numbers(array: np.ndarray, file: Path) -> np.ndarray:
    low, high = array.min(), array.max()
    dtype = next((kind for kind in LABEL_TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max), None)
    whole = np.rint(array) if dtype is None else array.astype(dtype)
    if array.dtype.kind == "f":
        wrong = array[array != whole]  # NaN differs from itself
        if wrong.size:
            values = ", ".join(f"{value:.6g}" for value in np.unique(wrong)[:SHOWN_VALUES])
            raise UserError(
                f"{file} holds {wrong.size} label values that are no whole numbers: {values} ...",
                "Labels must not be interpolated: resample label maps with nearest neighbour, or round them.",
            )
    if dtype is None:
        raise UserError(f"{file} holds label values from {low} to {high}.", "Number the labels 0, 1, 2, ...")
    return whole
