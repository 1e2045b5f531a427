"""NIfTI files of float numbers. ITK reads NaN and infinity in them as 0; here they stay what they are."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segautoconfiglib.image.integrity import GZIP_MAGIC, truncated

#: The header (NIfTI-1; ITK reads no other): its length, and where it keeps the meaning and the type of the voxels, and
#: their offset in the file with slope and intercept.
HEADER_BYTES = 348
MEANING_AT = 68
TYPE_AT = 70
OFFSET_AT = 108
FLOATS = {16: "f4", 64: "f8"}  # codes of types
DISPLACEMENTS = 1006  # vectors that ITK turns into its own axes
BLOCK_BYTES = 16 * 2**20


class _Voxels(NamedTuple):
    """How voxels are stored: type with byte order, offset (bytes), and value = slope * stored + intercept."""

    dtype: np.dtype
    offset: int
    slope: float
    intercept: float


def float_voxels(file: Path, count: int) -> np.ndarray | None:
    """Read the voxels of a file, scaled as ITK does.

    Args:
        file: A NIfTI file, packed or not.
        count: How many numbers it holds.

    Returns:
        float32 or float64 (count,) in the file's order; None where the file holds other numbers.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with unpacked(file) as stream:
            stored = _stored(stream.read(HEADER_BYTES))
            if stored is None:
                return None
            stream.seek(stored.offset)
            voxels = np.empty(count, stored.dtype)
            content = voxels.view(np.uint8).data
            done = 0
            while done < len(content) and (read := stream.readinto(content[done : done + BLOCK_BYTES])):
                done += read
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(file, str(error)) from error
    if done < len(content):
        raise truncated(file, f"{done} of {len(content)} bytes of voxels")
    if not stored.dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(stored.dtype.newbyteorder())
    if (stored.slope, stored.intercept) != (1, 0):
        _scale(voxels, stored.slope, stored.intercept)
    return voxels


def unpacked(file: Path) -> gzip.GzipFile | BufferedReader:
    """The content of a file, packed or not."""
    with file.open("rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
    return gzip.open(file) if packed else file.open("rb")


def _stored(header: bytes) -> _Voxels | None:
    for order in "<>":
        if len(header) < HEADER_BYTES or struct.unpack_from(f"{order}i", header) != (HEADER_BYTES,):
            continue
        (meaning,) = struct.unpack_from(f"{order}h", header, MEANING_AT)
        (code,) = struct.unpack_from(f"{order}h", header, TYPE_AT)
        offset, *scaling = struct.unpack_from(f"{order}3f", header, OFFSET_AT)
        slope, intercept = (number if math.isfinite(number) else 0.0 for number in scaling)
        start = max(int(offset), HEADER_BYTES) if abs(offset) < 2**31 else HEADER_BYTES  # no int, NaN: as ITK does
        if code in FLOATS and meaning != DISPLACEMENTS:
            return _Voxels(np.dtype(f"{order}{FLOATS[code]}"), start, slope or 1.0, intercept)
    return None


def _scale(voxels: np.ndarray, slope: float, intercept: float) -> None:
    """In double precision, block by block."""
    for start in range(0, len(voxels), BLOCK_BYTES // 8):
        part = voxels[start : start + BLOCK_BYTES // 8]
        part[...] = part.astype(np.float64) * slope + intercept
