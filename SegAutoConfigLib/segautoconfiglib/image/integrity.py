"""Faults of medical image files that ITK passes over: missing bytes, voxels that are no numbers.

ITK reads a truncated NIfTI or GIPL file without an error (the missing voxels are arbitrary), and its MetaImage
reader writes to standard error by itself. So the length is checked before ITK gets to read.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.formats import META_ENDINGS, NIFTI_ENDINGS, known_ending

GZIP_MAGIC = b"\x1f\x8b"
GIPL_HEADER_BYTES = 256
META_HEADER_LIMIT = 64 * 1024
#: The line of a .mhd or .nhdr header that names the file with the voxels.
VOXEL_FILE = re.compile(rb"^(?:ElementDataFile[ \t]*=|data ?file:)[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
META_KEYS = ("NDims", "DimSize", "ElementType", "ElementDataFile")


def check_whole(file: Path, reader: sitk.ImageFileReader) -> None:
    """Check that a file holds as many bytes as its header promises.

    Args:
        file: The file.
        reader: A SimpleITK ImageFileReader that has read the file's header.

    Raises:
        UserError: the file, or the raw file that belongs to it, is missing or too short.
    """
    ending = known_ending(file)
    if ending in NIFTI_ENDINGS:
        _check_length(file, _nifti_bytes(reader))
    elif ending in (".gipl", ".gipl.gz"):
        _check_length(file, GIPL_HEADER_BYTES + _voxels(reader) * _component_bytes(reader))
    elif ending in META_ENDINGS:
        _check_meta(file, _voxels(reader) * _component_bytes(reader))


def check_meta_header(file: Path) -> None:
    """Check that a MetaImage header is whole, before ITK reads it. Raises: UserError: it is not."""
    missing = [key for key in META_KEYS if key.lower() not in _meta_header(file)[0]]
    if missing:
        raise truncated(file, f"its header lacks {', '.join(missing)}")


def truncated(file: Path, detail: str = "") -> UserError:
    """The error for a file that ends too early."""
    return UserError(
        f"{file} is damaged: it ends too early{f' ({detail})' if detail else ''}.",
        "Copy, download or export it again; an interrupted transfer or a full disk cuts files off.",
    )


def _voxels(reader: sitk.ImageFileReader) -> int:
    count: int = reader.GetNumberOfComponents()
    for size in reader.GetSize():
        count *= size
    return count


def _component_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of one number, from ITK's name of the voxel type ("vector of 16-bit signed integer")."""
    name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", name)
    return int(bits[1]) // 8 * (2 if name.startswith("complex") else 1) if bits else 1


def _nifti_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of the (uncompressed) file by its header; the voxel type on disk may differ from what ITK hands out."""
    keys = reader.GetMetaDataKeys()
    if "bitpix" not in keys or "vox_offset" not in keys:  # another format under NIfTI's ending
        return 0
    voxels = 1
    for axis in range(1, int(reader.GetMetaData("dim[0]")) + 1):
        voxels *= max(1, int(reader.GetMetaData(f"dim[{axis}]")))
    return int(float(reader.GetMetaData("vox_offset"))) + voxels * int(reader.GetMetaData("bitpix")) // 8


def _check_length(file: Path, expected: int) -> None:
    with file.open("rb") as stream:
        if stream.read(2) != GZIP_MAGIC:
            actual = file.stat().st_size
            if actual < expected:
                raise truncated(file, f"{actual} of {expected} bytes")
            return
        stream.seek(-4, 2)
        (length,) = struct.unpack("<I", stream.read(4))  # of a whole gzip file: its uncompressed length modulo 2**32
    if length != expected % 2**32:
        _check_by_unpacking(file, expected)


def _check_by_unpacking(file: Path, expected: int) -> None:
    """The slow way, for files of several gzip members or with bytes after the voxels, and for truncated ones."""
    actual = 0
    try:
        with gzip.open(file) as stream:
            while actual < expected and (block := stream.read(2**20)):
                actual += len(block)
    except (EOFError, OSError, zlib.error) as error:
        raise truncated(file, str(error)) from error
    if actual < expected:
        raise truncated(file, f"{actual} of {expected} bytes after unpacking")


def _check_meta(file: Path, voxel_bytes: int) -> None:
    entries, header_bytes = _meta_header(file)
    data = entries.get("elementdatafile", "LOCAL")
    if data.upper().startswith("LIST") or "%" in data:
        return
    raw = file if data.upper() == "LOCAL" else file.parent / data
    if not raw.is_file():
        raise UserError(f"{file}: its data file {raw.name} is missing.", f"Put {raw.name} into {raw.parent} again.")
    skipped = header_bytes if raw == file else max(0, int(entries.get("headersize", "0")))
    compressed = entries.get("compresseddata", "False").lower() == "true"
    expected = int(entries.get("compresseddatasize", "0")) if compressed else voxel_bytes
    actual = raw.stat().st_size - skipped
    if actual < expected:
        raise truncated(raw, f"{max(0, actual)} of {expected} bytes of data")


def _meta_header(file: Path) -> tuple[dict[str, str], int]:
    """The ``Key = Value`` lines up to ElementDataFile (keys in lower case), and their length in bytes."""
    entries: dict[str, str] = {}
    length = 0
    with file.open("rb") as stream:
        while length < META_HEADER_LIMIT and (line := stream.readline(META_HEADER_LIMIT)):
            length += len(line)
            key, _, value = line.decode("latin-1").partition("=")
            entries[key.strip().lower()] = value.strip()
            if key.strip().lower() == "elementdatafile":
                break
    return entries, length


def voxel_file(header: Path) -> Path | None:
    """The file with the voxels that a .mhd or .nhdr header names; None where it names none, a list, or a missing one.

    Raises:
        UserError: the header can't be read.
    """
    try:
        with header.open("rb") as stream:
            match = VOXEL_FILE.search(stream.read(META_HEADER_LIMIT))
    except OSError as error:
        raise UserError(
            f"Can't read {header}: {error.strerror or error}.", "Check the path and permissions."
        ) from error
    named = header.parent / os.fsdecode(match[1]) if match and match[1] else None
    return named if named is not None and named.is_file() else None


def count_non_finite(array: np.ndarray) -> tuple[int, int]:
    """How many values are NaN, and how many infinite."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity
        if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
            return 0, 0
    return int(np.isnan(array).sum()), int(np.isinf(array).sum())
