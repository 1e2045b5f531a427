"""2D pictures (png, bmp; jpg only to be read) through Pillow, read as nnU-Net reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.image.formats import LOSSY_ENDINGS, known_ending
from segautoconfiglib.image.volume import PSEUDO_SLICE_SPACING, Geometry, Volume

#: Pictures have no spacing in mm; pixels count as 1 (nnU-Net's rule).
PICTURE_GEOMETRY = Geometry((PSEUDO_SLICE_SPACING, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
#: Channels and number type of Pillow's modes; palettes count as colour in images.
MODES = {
    "1": (1, "bool"), "L": (1, "uint8"), "LA": (2, "uint8"), "P": (3, "uint8"), "RGB": (3, "uint8"),
    "RGBA": (4, "uint8"), "I;16": (1, "uint16"), "I;16B": (1, "uint16"), "I": (1, "int32"), "F": (1, "float32"),
}  # fmt: skip


def read(file: Path, labels: bool = False) -> Volume:
    """Read a picture as (channel, 1, y, x) in its own number type.

    Colour and alpha become channels. In label maps palette entries count by their number, and an alpha channel
    that is opaque everywhere is left out.

    Raises:
        UserError: unreadable or damaged; a label map in colour or as jpg.
    """
    if labels and known_ending(file) in LOSSY_ENDINGS:
        raise UserError(f"{file} can't hold labels: JPEG changes the numbers.", "Save label maps as .png.")
    with _opened(file) as picture:
        if picture.mode == "P" and not labels:
            picture = picture.convert("RGB")
        array = np.asarray(picture)
    array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    if labels and array.shape[0] in (2, 4) and (array[-1] == np.iinfo(array.dtype).max).all():
        array = array[:-1]
    return Volume(array[:, None], PICTURE_GEOMETRY)


def header(file: Path) -> tuple[np.ndarray, Geometry]:
    """An array of the right shape (channel, 1, y, x) and type that takes no memory, and the geometry."""
    with _opened(file) as picture:
        channels, dtype = MODES.get(picture.mode, (len(picture.getbands()), "uint8"))
        width, height = picture.size
    return np.broadcast_to(np.zeros((), dtype), (channels, 1, height, width)), PICTURE_GEOMETRY


def write(array: np.ndarray, file: Path) -> None:
    """Write one slice (1, y, x) of uint8 or (png only) uint16, atomically. Raises: UserError: does not fit."""
    if known_ending(file) in LOSSY_ENDINGS:
        raise UserError(f"Can't write {file}: JPEG changes the values.", "Use .png or .tif.")
    widest = np.uint8 if file.suffix.lower() == ".bmp" else np.uint16
    array = only_slice(array, file)
    if array.dtype.kind not in "ui" or array.min() < 0 or array.max() > np.iinfo(widest).max:
        raise UserError(
            f"Can't write {file}: values from {array.min()} to {array.max()} do not fit.",
            f"This format holds whole numbers from 0 to {np.iinfo(widest).max}. Use .tif or .nii.gz.",
        )
    fits_byte = widest == np.uint8 or array.dtype == np.uint8
    picture = Image.fromarray(array.astype(np.uint8 if fits_byte else np.uint16))
    with atomic_path(file) as temporary:
        try:
            picture.save(temporary, format=file.suffix[1:].upper())
        except OSError as error:
            raise UserError(f"Can't write {file}: {error}.", "Check the free space.") from error


def only_slice(array: np.ndarray, file: Path) -> np.ndarray:
    """The slice (y, x) of (1, y, x), to be written to ``file``. Raises: UserError: there are more."""
    if array.shape[0] != 1:
        raise UserError(
            f"Can't write {file}: the image has {array.shape[0]} slices.", "Use a 3D format, for example .nii.gz."
        )
    return array[0]


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """A picture while it is read; what Pillow raises becomes a UserError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=("PNG", "BMP", "JPEG"))
        with picture:
            yield picture
    except Image.DecompressionBombError as error:
        raise UserError(f"{file} has too many pixels for this format: {error}", "Save it as .tif.") from error
    except UnidentifiedImageError as error:
        raise UserError(
            f"{file} is not a {file.suffix[1:]} file, or its beginning is damaged.", "Export or download it again."
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{file} can't be read: {error}.", "Export or download it again.") from error
