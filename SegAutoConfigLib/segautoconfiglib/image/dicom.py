"""DICOM series as volumes: a folder of slices (or one file), sorted by their position.

A series is named by its folder. Where several lie in one folder, ``folder/NAME`` names one, by its description, number
or UID; no such file needs to exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from segautoconfiglib.base.errors import Problem, UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.image import dicom_seg, medical
from segautoconfiglib.image.formats import file_ending
from segautoconfiglib.image.volume import Geometry, Volume

MAGIC, MAGIC_AT = b"DICM", 128
MODALITY, DESCRIPTION, NUMBER, POSITION, ORIENTATION = "0008|0060", "0008|103e", "0020|0011", "0020|0032", "0020|0037"
#: Kinds of DICOM objects that are made of images.
RESULTS = ("SEG", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG")
#: Slices whose distances differ by more than this share are reported.
UNEQUAL = 0.01
#: Slices stacked more obliquely (degrees) are reported: half a millimetre in a scan of 30 cm. Gantries tilt by at least
#: half a degree, and the rounding of positions in files looks like less.
TILTED = 0.1
#: Files of a folder that are opened to see whether it holds DICOM.
LOOKED_AT = 5


@dataclass(frozen=True)
class Series:
    """The slices of one image.

    Attributes:
        name: Its description, number or UID, for people.
        files: Sorted by position.
        distances_mm: From each slice to the next, along their normal.
        tilt: Angle (degrees) by which slices, seen from the first, lie off the normal through it at most.
    """

    name: str
    files: tuple[str, ...]
    distances_mm: tuple[float, ...]
    tilt: float = 0.0


def is_dicom(path: Path) -> bool:
    """Whether a path stands for DICOM: a folder with such files, a series in one, or a file of any other ending."""
    if file_ending(path) is not None:
        return False
    if path.is_file():
        return _has_magic(path)
    return _holds_dicom(path) or (not path.exists() and _holds_dicom(path.parent))


def read(path: Path, labels: bool = False) -> Volume:
    """Read a series, (1, z, y, x) of its own number type; colour becomes channels, a DICOM SEG a label map.

    Raises:
        UserError: there is no image, or several; or see `dicom_seg.label_map`.
    """
    series = find_series(path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(series.files)
    try:
        with medical.quiet():
            image = reader.Execute() if len(series.files) > 1 else sitk.ReadImage(series.files[0])
    except RuntimeError as error:
        if dicom_seg.is_segmentation(Path(series.files[0])):
            raise UserError(f"{path} is a DICOM SEG that ITK can't read.", dicom_seg.CONVERT) from error
        raise medical.unreadable(path, error) from error
    volume = medical.stored_volume(image, path)
    only = Path(series.files[0])
    return dicom_seg.label_map(only, volume) if dicom_seg.is_segmentation(only) else volume


def header(path: Path) -> tuple[np.ndarray, Geometry]:
    """An array of the right shape (channel, z, y, x) and type that takes no memory, and the geometry."""
    series = find_series(path)
    reader = _information(series.files[0])
    array, geometry = medical.described(reader, path)
    if len(series.files) > 1:
        array = np.broadcast_to(array[:, :1], (array.shape[0], len(series.files), *array.shape[2:]))
        distance = sum(series.distances_mm) / len(series.distances_mm)
        geometry = Geometry((distance, *geometry.spacing_mm[1:]), geometry.origin, geometry.direction, 3)
    return array, geometry


def findings(path: Path) -> list[Problem]:
    """What is probably wrong with a series that can be read: missing slices, unequal distances, a tilted gantry."""
    series = find_series(path)
    return [Problem(text, hint, str(path)) for text, hint in (*_distances(series), *_tilt(series))]


def _distances(series: Series) -> list[tuple[str, str]]:
    """What is wrong with them, and what to do."""
    if not series.distances_mm:
        return []
    usual = float(np.median(series.distances_mm))
    gaps = [distance for distance in series.distances_mm if abs(distance - usual) > UNEQUAL * usual]
    if not gaps:
        return []
    missing = sum(round(distance / usual) - 1 for distance in gaps)
    whole = all(abs(distance / usual - round(distance / usual)) <= UNEQUAL * len(gaps) for distance in gaps)
    if whole and missing > 0:
        text = f"{counted(missing, 'slice')} missing, it seems (slices are {usual:g} mm apart, once {max(gaps):g} mm)."
    else:
        text = f"the slices are {min(series.distances_mm):g} to {max(series.distances_mm):g} mm apart."
    return [(text, "The image is taken as equally spaced: export the series again, or leave it out.")]


def _tilt(series: Series) -> list[tuple[str, str]]:
    """ITK takes the slices as stacked at right angles, at the distances of their corners."""
    if series.tilt <= TILTED:
        return []
    hint = (
        "The image is taken as stacked at right angles, which shears it: correct the tilt first (dcm2niix does), or "
        "leave it out."
    )
    return [(f"the slices are stacked obliquely, by {series.tilt:.2g} degrees (a tilted gantry, it seems).", hint)]


def modality(path: Path) -> str:
    """ "CT", "MR" and so on; empty where the files do not say. Raises: UserError: they can't be read."""
    return _kind(_information(find_series(path).files[0]))


def find_series(path: Path) -> Series:
    """The one series that a path names. Raises: UserError: there is none, or there are several."""
    if path.is_file():
        return Series(path.name, (str(path),), ())
    folder, wanted = (path, None) if path.is_dir() else (path.parent, path.name)
    with medical.quiet():
        found = {uid: list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))
                 for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))}  # fmt: skip
    names = {uid: _names(files[0], uid) for uid, files in found.items()}
    fitting = [uid for uid in found if wanted is None or wanted.casefold() in map(str.casefold, names[uid])]
    if wanted is None and len(fitting) > 1:  # results of an image may lie beside it
        fitting = [uid for uid in fitting if _kind(_information(found[uid][0])) not in RESULTS] or fitting
    if len(fitting) != 1:
        shown = ", ".join(f"{names[uid][0]} ({counted(len(files), 'file')})" for uid, files in found.items())
        many = f"holds {len(found)} DICOM series" if wanted is None else f"has {len(fitting)} series {wanted!r}"
        hint = f"Name one: {folder / 'NAME'}, by description, number or UID. There: {shown or 'none'}."
        raise UserError(f"{folder} {many}.", hint)
    return _sorted(names[fitting[0]][0], found[fitting[0]], folder)


def _sorted(name: str, files: list[str], folder: Path) -> Series:
    """Slices by their place along the normal of the first. Raises: UserError: several at one place."""
    if len(files) == 1:
        return Series(name, (files[0],), ())
    readers = [_information(file) for file in files]
    lacking = [file for file, reader in zip(files, readers, strict=True) if not reader.HasMetaDataKey(POSITION)]
    if lacking:
        raise UserError(f"{lacking[0]} has no position (Image Position Patient).", "Export the series again.")
    positions = np.array([_numbers(reader, POSITION) for reader in readers])
    rows, columns = np.reshape(_numbers(readers[0], ORIENTATION), (2, 3))
    normal = np.cross(rows, columns)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    distances = np.diff(along[order])
    if (distances <= 1e-4 * max(distances.max(), 1e-4)).any():
        first = int(np.argmin(distances))
        twice = [Path(files[index]).name for index in order[first : first + 2]]
        raise UserError(
            f"{folder}: series {name!r} has several slices at one position ({', '.join(twice)}).",
            "It is a sequence in time, or was exported twice: keep the files of one image.",
        )
    sideways = np.linalg.norm(np.cross(positions - positions[order[0]], normal), axis=1)
    tilt = float(np.degrees(np.arctan2(sideways.max(), distances.sum())))
    return Series(name, tuple(files[index] for index in order), tuple(map(float, distances)), tilt)


def _names(file: str, uid: str) -> list[str]:
    """What a series may be called, the best first. Names of files can't hold slashes."""
    reader = _information(file)
    values = [reader.GetMetaData(key).strip() for key in (DESCRIPTION, NUMBER) if reader.HasMetaDataKey(key)]
    return [*(value.replace("/", "_") for value in values if value), uid]


def _kind(reader: sitk.ImageFileReader) -> str:
    return reader.GetMetaData(MODALITY).strip() if reader.HasMetaDataKey(MODALITY) else ""


def _numbers(reader: sitk.ImageFileReader, key: str) -> list[float]:
    return [float(text) for text in reader.GetMetaData(key).split("\\")]


def _information(file: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        with medical.quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise medical.unreadable(Path(file), error) from error
    return reader


def _has_magic(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            stream.seek(MAGIC_AT)
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _holds_dicom(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    plain = (file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.is_file())
    return any(_has_magic(file) for _, file in zip(range(LOOKED_AT), plain, strict=False))
