"""The image that a task is run on: a file, a DICOM series in a folder or a zip file, or one in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError, reworded
from segautoconfiglib.image import dicom
from segautoconfiglib.image.files import read_stored
from segautoconfiglib.image.formats import NIFTI_ENDINGS, TWO_FILE_ENDINGS, file_ending, stem
from segautoconfiglib.image.medical import stored_volume
from segautoconfiglib.image.volume import Volume

Image = Path | str | sitk.Image | Volume
#: In zip files and folders of DICOM, but no image.
DICOM_INDEX = "DICOMDIR"
#: Of the files that hold the voxels where the header is a file of its own.
VOXEL_ENDINGS = (".raw", ".zraw", ".raw.gz")


@dataclass(frozen=True)
class Source:
    """An image and what is known about it.

    Attributes:
        volume: (channel, z, y, x) of its own number type.
        path: As the user named it; None where it was in memory.
        header: The NIfTI file whose header results keep.
        series: The DICOM series, as `image.dicom` names it.
        modality: "CT", "MR" and so on where DICOM says so, else empty.
    """

    volume: Volume
    path: Path | None = None
    header: Path | None = None
    series: Path | None = None
    modality: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path or "The image")

    @property
    def files(self) -> list[Path]:
        """All that the image is read from."""
        if self.path is None:
            return []
        slices = dicom.find_series(self.series).files if self.series is not None else ()
        voxels = [self.path.with_name(f"{stem(self.path)}{ending}") for ending in VOXEL_ENDINGS]
        return [self.path, *map(Path, slices), *(voxels if file_ending(self.path) in TWO_FILE_ENDINGS else ())]


@contextmanager
def opened(image: Image) -> Iterator[Source]:
    """The image, with its files as long as the block lasts.

    Raises:
        UserError: it can't be read, is of no type that is taken, or holds nothing to be segmented.
    """
    if isinstance(image, Volume):
        yield _checked(Source(image))
    elif isinstance(image, sitk.Image):
        yield _checked(Source(stored_volume(image, "the image")))
    elif not isinstance(image, str | os.PathLike):
        kind = type(image)
        raise UserError(
            f"The image is of the type {kind.__module__}.{kind.__qualname__}, which is not taken.",
            "Give a path (as text or Path), a SimpleITK image, or a segautoconfiglib.image.volume.Volume; write any "
            "other image, such as one of nibabel, to a file first.",
        )
    else:
        path = Path(image).expanduser().absolute()
        with _unpacked(path) as place:
            yield _checked(_read(path, place))


def _read(path: Path, place: Path) -> Source:
    if place.is_dir():
        place = _series_folder(place)
    if dicom.is_dicom(place):
        return Source(read_stored(place), path, series=place, modality=dicom.modality(place))
    return Source(read_stored(place), path, header=place if file_ending(place) in NIFTI_ENDINGS else None)


def _checked(source: Source) -> Source:
    """Raises: UserError: all voxels are the same."""
    array = source.volume.array
    if array.size == 0 or array.min() == array.max():
        what = f"{source.name} is empty: "
        what += f"all its voxels have the value {array.flat[0]:g}." if array.size else "it has no voxels."
        raise UserError(what, "Give the scan itself, not a mask or a failed export.")
    return source


def _series_folder(folder: Path) -> Path:
    """The folder itself, or the one below that holds DICOM. Raises: UserError: none does, or several do."""
    if dicom.is_dicom(folder):
        return folder
    found = [place for place in sorted(folder.rglob("*")) if place.is_dir() and dicom.is_dicom(place)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{folder} holds no DICOM files.", "Name an image file, or the folder of a DICOM series.")
    shown = ", ".join(str(place.relative_to(folder)) for place in found[:5])
    raise UserError(f"{folder} holds DICOM in {len(found)} folders: {shown}.", "Name one of them.")


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """A zip file's content as a folder for the time of the block; any other path as it is.

    Members get names of our own: those in the file lead nowhere.
    """
    if not (path.is_file() and file_ending(path) is None and zipfile.is_zipfile(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="segautoconfig-dicom-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
                if needed > free:
                    hint = (
                        f"It needs {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free. Set TMPDIR to another disk."
                    )
                    raise UserError(f"{path} can't be unpacked in {folder.parent}.", hint)
                for number, member in enumerate(members):
                    if Path(member.filename).name != DICOM_INDEX:
                        with archive.open(member) as packed, (folder / f"{number:06d}").open("wb") as file:
                            shutil.copyfileobj(packed, file)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # encrypted, unknown method
            raise UserError(f"{path} can't be unpacked: {error}.", "Unpack it, and name the folder.") from error
        try:
            dicom.find_series(_series_folder(folder))
        except UserError as error:
            told = reworded(error, error.message.replace(str(folder), str(path)))
            told.hint = "Unpack it, and name the folder of one series."
            raise told from error
        yield folder
