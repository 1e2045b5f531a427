"""Medical formats (NIfTI, NRRD, MetaImage, GIPL) through SimpleITK."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.formats import META_ENDINGS, NIFTI_ENDINGS, file_ending, known_ending
from segautoconfiglib.image.integrity import check_meta_header, check_whole
from segautoconfiglib.image.nifti import float_voxels
from segautoconfiglib.image.volume import PSEUDO_SLICE_SPACING, Geometry, Volume

#: ITK's readers that know their files by an ending in lower case; for other spellings they must be named.
IO_CLASSES = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".gipl": "GiplImageIO"}
#: What ITK says when there is no memory for an image.
OUT_OF_MEMORY = ("bad_alloc", "allocate memory")


def read(file: Path, labels: bool = False) -> Volume:
    """Read a file in its own number type; 4D files and vector voxels become channels. Raises: UserError."""
    reader = _open(file)
    voxels = _nifti_floats(file, reader)
    if voxels is not None:
        return Volume(voxels.reshape(-1, *_shape(reader)), _geometry(reader, file))
    try:
        with quiet():
            image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(file, error) from error
    return stored_volume(image, file)


def header(file: Path) -> tuple[np.ndarray, Geometry]:
    """An array of the right shape (channel, z, y, x) and type that takes no memory, and the geometry."""
    return described(_open(file), file)


def described(reader: sitk.ImageFileReader, file: Path) -> tuple[np.ndarray, Geometry]:
    """As `header`, of a reader that has read the information of its file."""
    size = reader.GetSize()
    frames = size[3] if len(size) == 4 else 1
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1], _scalar_type(reader.GetPixelID()))).dtype
    geometry = _geometry(reader, file)
    shape = (frames * reader.GetNumberOfComponents(), *_shape(reader))
    return np.broadcast_to(np.zeros((), dtype), shape), geometry


def volume_from_sitk(image: sitk.Image) -> Volume:
    """A SimpleITK image (2D, 3D, 4D or vector voxels) as a float32 volume (channel, z, y, x). Raises: UserError."""
    volume = stored_volume(image, "the image")
    return Volume(as_float32(volume.array), volume.geometry)


def as_float32(array: np.ndarray) -> np.ndarray:
    """float32; numbers too large for it become infinite (verification reports them)."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def label_dtype(labels: np.ndarray) -> type[np.unsignedinteger]:
    """uint8 or uint16, as stored in files. Raises: UserError: negative values or values above 65535."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise UserError(
            f"Label values from {low} to {high} can't be written.", "Label files hold whole numbers from 0 to 65535."
        )
    return np.uint8 if high < np.iinfo(np.uint8).max else np.uint16


def sitk_from_labels(labels: np.ndarray, geometry: Geometry) -> sitk.Image:
    """Labels (z, y, x) as a SimpleITK image of uint8 (uint16 from value 255 on); 2D where the geometry is 2D."""
    return sitk_from_array(labels.astype(label_dtype(labels)), geometry)


def sitk_from_array(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """One channel (z, y, x) as a SimpleITK image; 2D where the geometry is 2D."""
    flat = geometry.dimension == 2
    assert not flat or array.shape[0] == 1, "a 2D image has one slice"
    image = sitk.GetImageFromArray(array[0] if flat else array)
    image.SetSpacing([float(value) for value in geometry.spacing_mm[::-1][: geometry.dimension]])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def write(image: sitk.Image, path: Path, target: Path) -> None:
    """Write ``image`` to ``path`` (compressed) and check that all of it arrived; errors speak of ``target``."""
    ending = known_ending(path)
    lower = path.with_name(path.name[: -len(ending)] + ending)  # ITK knows some endings in lower case only
    try:
        with quiet():
            sitk.WriteImage(image, str(lower), useCompression=True)
        _open(lower)
        os.replace(lower, path)
    except (RuntimeError, OSError, UserError) as error:
        raise UserError(
            f"Can't write {target}: {_last_line(error)}", "Check the free space and the folder's permissions."
        ) from error


def write_two_files(image: sitk.Image, file: Path) -> None:
    """Write a format of header and voxel file: both are finished elsewhere first, the header appears last."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=file.parent) as folder:
            write(image, Path(folder) / file.name, file)
            for part in sorted(Path(folder).iterdir(), key=lambda path: path.name == file.name):
                os.replace(part, file.parent / part.name)
    except OSError as error:
        raise UserError(
            f"Can't write {file}: {error.strerror or error}.", "Check the folder's permissions and the free space."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No ITK warnings on standard error meanwhile."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _open(file: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of a whole file. Raises: UserError: unreadable, damaged."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    ending = known_ending(file)
    if ending in IO_CLASSES and not file.name.endswith(ending):
        reader.SetImageIO(IO_CLASSES[ending])
    try:
        if ending in META_ENDINGS:
            check_meta_header(file)
        with quiet():
            reader.ReadImageInformation()
        check_whole(file, reader)
    except OSError as error:
        raise UserError(f"Can't read {file}: {error.strerror or error}.", "Check the file's permissions.") from error
    except RuntimeError as error:
        raise unreadable(file, error) from error
    return reader


def unreadable(file: Path, error: RuntimeError) -> UserError:
    """What ITK's complaint about a file means."""
    text = str(error)
    if "orthonormal" in text:
        return UserError(
            f"{file}: the axes of its grid are not at right angles (a sheared or skewed direction matrix).",
            "Resample the image, and its label map with it, onto an orthogonal grid, or correct sform and qform in the "
            "header.",
        )
    if not os.access(file, os.R_OK):
        return UserError(f"Can't read {file}: permission denied.", "Check the file's permissions.")
    if any(words in text for words in OUT_OF_MEMORY):
        return UserError(f"The memory does not suffice to read {file}.", "Close other programs, or use fewer workers.")
    if "Unable to determine ImageIO" in text:
        return UserError(
            f"{file} is not a {file_ending(file)} file, or its beginning is damaged.",
            "Export or download it again, with the ending that fits its format.",
        )
    return UserError(f"{file} can't be read: {_last_line(error)}", "Export or download it again.")


def _last_line(error: Exception) -> str:
    """The last line of ITK's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def stored_volume(image: sitk.Image, source: Path | str) -> Volume:
    """A SimpleITK image as a volume of its own number type. Raises: UserError: complex, or of 5 dimensions."""
    geometry = _geometry(image, source)
    if "complex" in image.GetPixelIDTypeAsString():
        raise UserError(f"{source} holds complex numbers.", "Save its magnitude (and phase) as separate images.")
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
        if image.GetDimension() == 4:
            array = array.reshape(-1, *array.shape[2:])
        elif image.GetDimension() == 2:
            array = array[:, None]
        return Volume(array, geometry)
    return Volume(array[(None,) * (4 - array.ndim)], geometry)


def _nifti_floats(file: Path, reader: sitk.ImageFileReader) -> np.ndarray | None:
    """The voxels of a NIfTI file of float numbers, one after the other; None for files that ITK reads as they are."""
    if known_ending(file) not in NIFTI_ENDINGS:
        return None
    return float_voxels(file, reader.GetNumberOfComponents() * math.prod(reader.GetSize()))


def _shape(grid: sitk.Image | sitk.ImageFileReader) -> tuple[int, int, int]:
    """(z, y, x) voxels of the first two or three axes."""
    x, y, z = (*grid.GetSize(), 1)[:3]
    return z, y, x


def _geometry(grid: sitk.Image | sitk.ImageFileReader, source: Path | str) -> Geometry:
    """The geometry of the first two or three axes; a fourth axis (channels) has none."""
    size, spacing, origin, direction = grid.GetSize(), grid.GetSpacing(), grid.GetOrigin(), grid.GetDirection()
    if not 2 <= len(size) <= 4:
        raise UserError(f"{source} has {len(size)} dimensions.", "Images have 2, 3 or (with channels) 4 dimensions.")
    steps = [abs(float(value)) for value in spacing]
    if len(size) == 2:
        spacing_mm = (PSEUDO_SLICE_SPACING * max(steps), steps[1], steps[0])
        return Geometry(spacing_mm, tuple(origin), tuple(direction), 2)
    matrix = np.reshape(direction, (len(size), len(size)))[:3, :3]
    return Geometry((steps[2], steps[1], steps[0]), tuple(origin[:3]), tuple(map(float, matrix.ravel())), 3)


def _scalar_type(pixel_id: int) -> int:
    """The pixel type of one component, where ``pixel_id`` may be a vector type."""
    name = sitk.GetPixelIDValueAsString(pixel_id).removeprefix("vector of ")
    scalar_types = (
        sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt16, sitk.sitkUInt32, sitk.sitkInt32,
        sitk.sitkUInt64, sitk.sitkInt64, sitk.sitkFloat32, sitk.sitkFloat64,
    )  # fmt: skip
    return next((kind for kind in scalar_types if sitk.GetPixelIDValueAsString(kind) == name), sitk.sitkFloat64)
