"""NIfTI label files with names: an extension of the header holds them as the XML of Caret's label table.

TotalSegmentator and Connectome Workbench write and read this form:
``CaretExtension/VolumeInformation/LabelTable/Label Key= Red= Green= Blue= Alpha=`` with the name as text. Others' files
are read with suspicion: an extension with a document type (the door to entities) or beyond a size counts as absent.
"""

from __future__ import annotations

import gzip
import math
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.parsers import expat
from xml.sax.saxutils import escape

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.image import medical
from segautoconfiglib.image.formats import NIFTI_ENDINGS, file_ending
from segautoconfiglib.image.label_table import Colour, LabelTable
from segautoconfiglib.image.nifti import HEADER_BYTES, OFFSET_AT, unpacked
from segautoconfiglib.image.volume import Geometry

#: What comes between the header and its extensions: four bytes, the first of which says whether there are any.
EXTENDER_BYTES = 4
#: Length and code in front of an extension's content; its whole length is a multiple of 16.
PREFIX_BYTES, EXTENSION_STEP = 8, 16
#: The code that TotalSegmentator gives the label table (NIfTI: "unknown"; Caret's own is 30); reading goes by content.
CODE = 0
#: Extensions are read up to so many bytes (a table of 65535 labels has about 6 MB), and up to so many of them.
MOST_BYTES, MOST_EXTENSIONS = 16 * 2**20, 100
#: XML is nested up to so deep; the table itself has four steps.
DEEPEST = 20
#: Codes of the voxel types that labels have.
TYPES = {"uint8": 2, "uint16": 512}
#: Of gzip: the fastest, as label maps are mostly empty.
LEVEL = 1
BLOCK_BYTES = 4 * 2**20


def read_table(file: Path) -> LabelTable:
    """The label table in a file's header; empty where there is none that can be understood."""
    try:
        with unpacked(file) as stream:
            tables = map(parse, _extensions(cast(BinaryIO, stream)))  # one after the other
            return next((table for table in tables if table.names), LabelTable())
    except (EOFError, OSError, zlib.error):
        return LabelTable()


def write(labels: np.ndarray, file: Path, geometry: Geometry, table: LabelTable, like: Path | None = None) -> None:
    """Write labels (z, y, x), 3D; the header is that of ``like`` where its grid is the same. Raises: UserError."""
    voxels = np.ascontiguousarray(labels, dtype=medical.label_dtype(labels))
    header = bytearray(_kept_header(like, geometry, voxels.shape) or _new_header(geometry))
    order = _order(header) or "<"
    extension = _extension(xml(table), order) if table.names else b""
    _describe(header, order, voxels, len(extension))
    first = bytes(header) + bytes([bool(extension), 0, 0, 0]) + extension
    content = voxels.astype(voxels.dtype.newbyteorder(order), copy=False).reshape(-1).view(np.uint8).data
    with atomic_path(file) as temporary:
        try:
            with _packed(temporary, file) as stream:
                stream.write(first)
                for start in range(0, len(content), BLOCK_BYTES):
                    stream.write(content[start : start + BLOCK_BYTES])
        except OSError as error:
            raise UserError(
                f"Can't write {file}: {error.strerror or error}.", "Check the free space and the folder's permissions."
            ) from error


def xml(table: LabelTable) -> bytes:
    """The label table as TotalSegmentator's readers expect it."""
    rows = []
    for label, name in table.names.items():
        red, green, blue = (round(part / 255, 6) for part in table.colours.get(label, (255, 255, 255)))
        colour = f'Red="{red}" Green="{green}" Blue="{blue}" Alpha="1"'
        rows.append(f'<Label Key="{label}" {colour}>{escape(_printable(name))}</Label>')
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<CaretExtension><VolumeInformation Index="0"><LabelTable>\n'
        + "\n".join(rows)
        + "\n</LabelTable><VolumeType>Label</VolumeType></VolumeInformation></CaretExtension>\n"
    )
    return text.encode()


def parse(content: bytes) -> LabelTable:
    """The label table in the content of an extension; empty where it is something else or damaged."""
    collected = _Labels()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = collected.start
    parser.CharacterDataHandler = collected.text
    parser.EndElementHandler = collected.end
    try:
        parser.Parse(content.rstrip(b"\0 \r\n\t"), True)
    except (expat.ExpatError, LookupError, ValueError):  # no XML, refused, or in an encoding that nobody knows
        return LabelTable()
    return LabelTable(collected.names, collected.colours)


class _Labels:
    """Collects the labels of a table while its XML is read."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.colours: dict[int, Colour] = {}
        self._path: list[str] = []
        self._attributes: dict[str, str] = {}
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._path) == DEEPEST:
            raise ValueError("this is no label table")
        self._path.append(tag)
        self._attributes, self._text = attributes, []

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, tag: str) -> None:
        if self._path[:1] == ["CaretExtension"] and self._path[-2:] == ["LabelTable", "Label"]:
            self._add(self._attributes, "".join(self._text).strip())
        self._path.pop()

    def _add(self, attributes: dict[str, str], name: str) -> None:
        key = attributes.get("Key", "")
        label = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else 0
        if label == 0 or not name:
            return
        self.names[label] = name
        colour = [_share(attributes.get(part, "")) for part in ("Red", "Green", "Blue")]
        if None not in colour:
            red, green, blue = (round(255 * share) for share in colour if share is not None)
            self.colours[label] = (red, green, blue)


def _refuse(*_: Any) -> None:
    raise ValueError("a document type is not allowed here")


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else None


def _printable(name: str) -> str:
    """Without the characters that XML can't hold."""
    return "".join(letter for letter in name if letter >= " " and not "\ud800" <= letter <= "\udfff").strip()


def _extensions(stream: BinaryIO) -> Iterator[bytes]:
    """The contents of all extensions; ends at the first one that can't be right, or beyond the limits."""
    header = stream.read(HEADER_BYTES)
    order = _order(header)
    if order is None or stream.read(EXTENDER_BYTES)[:1] in (b"", b"\0"):
        return
    (offset,) = struct.unpack_from(f"{order}f", header, OFFSET_AT)
    left = min(int(offset) if math.isfinite(offset) else 0, MOST_BYTES) - HEADER_BYTES - EXTENDER_BYTES
    for _ in range(MOST_EXTENSIONS):
        if left <= PREFIX_BYTES:
            return
        size, _code = struct.unpack(f"{order}2i", stream.read(PREFIX_BYTES).ljust(PREFIX_BYTES, b"\0"))
        if not PREFIX_BYTES < size <= left:
            return
        yield stream.read(size - PREFIX_BYTES)
        left -= size


def _order(header: bytes | bytearray) -> str | None:
    """Of the bytes in numbers, "<" or ">"; None where this is no whole header."""
    orders = (order for order in "<>" if header[:4] == struct.pack(f"{order}i", HEADER_BYTES))
    return next(orders, None) if len(header) == HEADER_BYTES else None


def _extension(content: bytes, order: str) -> bytes:
    """Filled up with spaces, which XML readers pass over."""
    size = math.ceil((PREFIX_BYTES + len(content)) / EXTENSION_STEP) * EXTENSION_STEP
    return struct.pack(f"{order}2i", size, CODE) + content.ljust(size - PREFIX_BYTES)


def _kept_header(like: Path | None, geometry: Geometry, shape: tuple[int, ...]) -> bytes | None:
    """The header of a NIfTI file on the same grid; None for any other file."""
    if like is None or file_ending(like) not in NIFTI_ENDINGS or not like.is_file():
        return None
    array, other = medical.header(like)
    if array.shape[1:] != shape or geometry.differences(other):
        return None
    with unpacked(like) as stream:
        header = stream.read(HEADER_BYTES)
    return header if _order(header) and header[-4:] == b"n+1\0" else None


def _new_header(geometry: Geometry) -> bytes:
    """As ITK writes it for this place in space; the size is another."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "voxel.nii"
        medical.write(medical.sitk_from_array(np.zeros((1, 1, 1), np.uint8), geometry), file, file)
        return file.read_bytes()[:HEADER_BYTES]


def _describe(header: bytearray, order: str, voxels: np.ndarray, extension_bytes: int) -> None:
    """Enter what is true of the labels; place in space, units and description stay."""
    sizes = [3, *voxels.shape[::-1], 1, 1, 1, 1]
    entries: list[tuple[int, str, list[Any]]] = [
        (40, "8h", sizes),
        (56, "3fh", [0.0, 0.0, 0.0, 0]),  # intent
        (70, "2h", [TYPES[voxels.dtype.name], 8 * voxels.itemsize]),
        (OFFSET_AT, "3f", [HEADER_BYTES + EXTENDER_BYTES + extension_bytes, 1.0, 0.0]),  # slope and intercept
        (124, "2f", [0.0, 0.0]),  # shown range
        (328, "16s", [b""]),  # name of the intent
        (344, "4s", [b"n+1\0"]),
    ]
    for place, form, values in entries:
        struct.pack_into(order + form, header, place, *values)


@contextmanager
def _packed(temporary: Path, file: Path) -> Iterator[Any]:
    """The stream to write to; packed where the name says so, without time or name, so that equal files are equal."""
    with temporary.open("wb") as stream:
        if not file.name.lower().endswith(".gz"):
            yield stream
            return
        with gzip.GzipFile("", "wb", LEVEL, stream, mtime=0) as packed:
            yield packed
