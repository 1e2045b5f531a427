"""Which file endings are read, and how a name splits into stem and ending."""

from __future__ import annotations

from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.own_formats import READERS

#: Formats read through SimpleITK.
MEDICAL_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl.gz", ".gipl")
NIFTI_ENDINGS = (".nii.gz", ".nii")
META_ENDINGS = (".mha", ".mhd")
#: Formats whose voxels lie in a second file beside the header.
TWO_FILE_ENDINGS = (".nhdr", ".mhd")
#: 2D formats read through Pillow.
PICTURE_ENDINGS = (".png", ".bmp")
#: The same, but only to make datasets of: values that were written are not those that are read.
LOSSY_ENDINGS = (".jpg", ".jpeg")
#: Formats read through tifffile.
TIFF_ENDINGS = (".tif", ".tiff")
READABLE_ENDINGS: tuple[str, ...] = MEDICAL_ENDINGS + PICTURE_ENDINGS + TIFF_ENDINGS


def readable_endings() -> tuple[str, ...]:
    """Of all formats, plug-ins' among them."""
    return (*READERS, *READABLE_ENDINGS)


def file_ending(file: Path | str) -> str | None:
    """The ending of a file name in lower case (".nii.gz"), or None where the format is not one that is read."""
    name = Path(file).name.lower()
    return next((ending for ending in (*readable_endings(), *LOSSY_ENDINGS) if name.endswith(ending)), None)


def known_ending(file: Path | str) -> str:
    """As :func:`file_ending`. Raises: UserError: the format is not one that is read."""
    ending = file_ending(file)
    if ending is None:
        raise UserError(
            f"{file}: files of this kind can't be read.",
            f"Convert it to one of {', '.join(readable_endings())} (3D Slicer can do it, for DICOM series too), "
            "or name a plug-in that reads it.",
        )
    return ending


def stem(file: Path | str) -> str:
    """The file name without its ending (".nii.gz" is one ending)."""
    name = Path(file).name
    ending = file_ending(name)
    return name[: -len(ending)] if ending else Path(name).stem
