"""What dataset.json of a new dataset says of its images: names of the channels, ending of the files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter
from segautoconfiglib.dataset.dataset import NO_ALPHA, alpha_words
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.image import dicom
from segautoconfiglib.image.files import read_header, read_stored
from segautoconfiglib.image.formats import (
    LOSSY_ENDINGS,
    PICTURE_ENDINGS,
    READABLE_ENDINGS,
    TIFF_ENDINGS,
    file_ending,
    stem,
)

#: Endings of files that nnunetv2 reads, too.
COMMON_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".png", ".bmp", ".tif", ".tiff")
VOLUME_ENDING, PICTURE_ENDING = ".nii.gz", ".png"
#: Values below this one (Hounsfield units) mean CT: air is at -1000, no other modality goes there.
LOWEST_OTHER = -500
COLOURS = {2: ("grey", "alpha"), 3: ("R", "G", "B"), 4: ("R", "G", "B", "alpha")}


def channel_names(
    images: Sequence[Path], given: Sequence[str], description: DatasetDescription | None, report: Reporter
) -> dict[str, str] | None:
    """The key ``channel_names``; None: the dataset has its own.

    Args:
        images: Of one case: a file per channel, or one with all of them.
        given: What the user calls them; empty: they are guessed, and that is reported.
        description: Of the dataset, where there is one.
        report: Gets a "log" where names were guessed.

    Raises:
        UserError: an image can't be read, or the number of names differs from that of channels.
    """
    if description is not None and not given:
        return None
    count = read_header(images[0]).channels if len(images) == 1 else len(images)
    if given and len(given) != count:
        alpha = alpha_words(images, count)
        raise UserError(
            f"{len(given)} names of channels ({', '.join(given)}) for {count} in the images{alpha}.",
            f"{NO_ALPHA + ' Or name' if alpha else 'Name'} each channel, in the order of the files: --channels T1 T2",
        )
    names = list(given) or _guessed_channels(images, count)
    if not given:
        hint = "CT is normalised by fixed limits, every other name image by image"
        report("log", message=f"Channels: {', '.join(names)} (guessed; {hint}). Name them with --channels.")
    return {str(index): name for index, name in enumerate(names)}


def _guessed_channels(images: Sequence[Path], count: int) -> list[str]:
    flat = read_header(images[0]).geometry.dimension == 2
    if len(images) == 1 and count > 1:
        return list(COLOURS.get(count, ()) if flat else ()) or [f"channel{index}" for index in range(count)]
    kinds = [_kind(file, flat) for file in images]
    if count == 1 or "CT" in kinds:
        return kinds
    names = [stem(file) for file in images]
    shared = os.path.commonprefix(names)  # noqa: RUF071 - of characters
    start = 1 + max(map(shared.rfind, "_-. "))
    distinct = [name[start:] for name in names]
    return [f"{kind}{i}" for i, kind in enumerate(kinds)] if all(map(str.isdecimal, distinct)) else distinct


def _kind(file: Path, flat: bool) -> str:
    if dicom.is_dicom(file):
        return "CT" if dicom.modality(file) == "CT" else dicom.modality(file).replace("MR", "MRI") or "image"
    if flat:
        return "grey"
    return "CT" if read_stored(file).array.min() < LOWEST_OTHER else "MRI"


def dataset_ending(images: Iterable[Path], asked: str | None) -> str:
    """The ending of a new dataset's files: as asked, that of the images, or a usual one where these differ.

    Raises:
        UserError: no files of the asked kind can be written; an image can't be read.
    """
    if asked is not None:
        ending = asked if asked.startswith(".") else f".{asked}"
        if ending.lower() not in READABLE_ENDINGS:
            raise UserError(f"Files ending in {asked!r} can't be written.", f"Known: {', '.join(COMMON_ENDINGS)}.")
        return ending.lower()
    images = list(images)
    endings = {file_ending(file) for file in images}
    if len(endings) == 1 and (only := endings.pop()) in COMMON_ENDINGS:
        return str(only)
    flat = (*PICTURE_ENDINGS, *LOSSY_ENDINGS, *TIFF_ENDINGS)
    if endings <= set(flat) and all(_fits_picture(file) for file in images):
        return PICTURE_ENDING
    return VOLUME_ENDING


def _fits_picture(file: Path) -> bool:
    header = read_header(file)
    return header.geometry.dimension == 2 and header.dtype.kind in "ub" and header.dtype.itemsize <= 2
