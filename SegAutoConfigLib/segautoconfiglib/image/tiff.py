"""Tif files, 2D and 3D, through tifffile; the spacing of 3D files lies in a JSON file beside them (nnU-Net's rule)."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path, read_json, write_json
from segautoconfiglib.image.formats import stem
from segautoconfiglib.image.pictures import PICTURE_GEOMETRY, only_slice
from segautoconfiglib.image.volume import Geometry, Volume

#: What tifffile and the operating system raise for damaged files.
READ_ERRORS = (
    tifffile.TiffFileError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
)


def read(file: Path, labels: bool = False) -> Volume:
    """Read a tif as (channel, z, y, x) in its own number type.

    Channels are what the file itself calls samples (colour, alpha) or, in 4D files, channels; any other third axis
    is z, also where it has 3 or 4 entries.

    Raises:
        UserError: unreadable, damaged, or with more axes than an image has.
    """
    try:
        with tifffile.TiffFile(file) as opened:
            series = opened.series[0]
            axes, shape = series.axes, series.shape
            array = _voxels(series, file)
    except READ_ERRORS as error:
        raise UserError(f"{file} can't be read: {error}.", "Export or download it again.") from error
    array = _arrange(array.reshape(shape), axes, file)
    return Volume(array, _geometry(axes, file))


def header(file: Path) -> tuple[np.ndarray, Geometry]:
    """An array of the right shape (channel, z, y, x) and type that takes no memory, and the geometry."""
    try:
        with tifffile.TiffFile(file) as opened:
            series = opened.series[0]
            axes, array = series.axes, np.broadcast_to(np.zeros((), series.dtype), series.shape)
    except READ_ERRORS as error:
        raise UserError(f"{file} can't be read: {error}.", "Export or download it again.") from error
    return _arrange(array, axes, file), _geometry(axes, file)


def write(array: np.ndarray, file: Path, geometry: Geometry, case: str) -> None:
    """Write (z, y, x), compressed and atomically; a 3D geometry gets ``<case>.json`` with the spacing beside it.

    Raises:
        UserError: several slices with a 2D geometry, or the file can't be written.
    """
    flat = geometry.dimension == 2
    array = only_slice(array, file) if flat else array
    with atomic_path(file) as temporary:
        try:
            tifffile.imwrite(
                temporary,
                array,
                compression="zlib",
                photometric="minisblack",
                metadata={"axes": "YX" if flat else "ZYX"},
            )
        except (OSError, ValueError) as error:
            raise UserError(f"Can't write {file}: {error}.", "Check the free space.") from error
    if not flat:
        write_json(file.with_name(f"{case}.json"), {"spacing": list(geometry.spacing_mm)})


def side_car(file: Path) -> Path | None:
    """The JSON file with the spacing of a 3D tif: ``<case>.json`` beside it (without the channel number)."""
    names = (stem(file), without_channel(stem(file)))
    return next((path for name in names if (path := file.with_name(f"{name}.json")).is_file()), None)


def without_channel(name: str) -> str:
    """The case id of an image file's stem: without ``_0000``."""
    return re.sub(r"_\d{4}$", "", name)


def _voxels(series: tifffile.TiffPageSeries, file: Path) -> np.ndarray:
    """The voxels; SimpleITK unpacks what tifffile can't without its optional codecs (LZW, JPEG)."""
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    try:
        array = np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))
    except RuntimeError as error:
        raise ValueError("its compression is not supported; save it with deflate (zip) or none") from error
    if array.size != int(np.prod(series.shape)):
        raise ValueError("its compression is not supported; save it with deflate (zip) or none")
    return array


def _arrange(array: np.ndarray, axes: str, file: Path) -> np.ndarray:
    """Bring an array with tifffile's axis letters to (channel, z, y, x)."""
    channel = axes.find("S") if "S" in axes else axes.find("C") if len(axes) == 4 else -1
    array = array[None] if channel < 0 else np.moveaxis(array, channel, 0)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4:
        raise UserError(
            f"{file} has the axes {axes} with {array.ndim - 1} dimensions.", "Save one 2D or 3D image per file."
        )
    return array


def _geometry(axes: str, file: Path) -> Geometry:
    if len(axes.replace("S", "")) == 2:
        return PICTURE_GEOMETRY
    beside = side_car(file)
    if beside is None:
        return Geometry((1.0, 1.0, 1.0))
    content = read_json(beside)
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if not (
        isinstance(spacing, list) and len(spacing) == 3 and all(isinstance(v, (int, float)) and v > 0 for v in spacing)
    ):
        raise UserError(f"{beside}: no usable spacing (got {spacing!r}).", 'Write {"spacing": [z, y, x]} in mm.')
    return Geometry((float(spacing[0]), float(spacing[1]), float(spacing[2])))
