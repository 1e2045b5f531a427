"""The label files of a task: one with all structures, or one per structure; which files a wish for formats means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Literal

import numpy as np
from scipy.ndimage import find_objects

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.machine import free_memory, usable_cores
from segautoconfiglib.image.formats import MEDICAL_ENDINGS, TWO_FILE_ENDINGS, file_ending
from segautoconfiglib.image.label_names import write_label_names
from segautoconfiglib.image.seg_nrrd import SEGMENTATION_ENDING
from segautoconfiglib.image.volume import Geometry

STAGE = "write"
OutputType = Literal["nifti", "dicom_seg", "dicom_rtstruct"]
OUTPUT_TYPES: tuple[OutputType, ...] = ("nifti", "dicom_seg", "dicom_rtstruct")
ENDING = ".nii.gz"
#: Of the formats in which labels are written, into one file.
LABEL_ENDINGS = tuple(ending for ending in MEDICAL_ENDINGS if ending not in TWO_FILE_ENDINGS)
DICOM_ENDING = ".dcm"
#: How the name of a file ends, of whatever format, but not that of a folder (out.v2, series.1.2).
ANY_ENDING = re.compile(r"(?<=.)\.[a-z]{2,5}$")
#: What DICOM objects are called beside a NIfTI file; as TotalSegmentator does.
DICOM_SUFFIXES = {"dicom_seg": "_seg.dcm", "dicom_rtstruct": "_rtstruct.dcm"}
#: Masks are written side by side, at most so many.
MOST_WRITERS = 6


def output_files(
    output: Path, types: tuple[OutputType, ...] = ("nifti",), *, task: str = "total", multilabel: bool = False
) -> dict[OutputType, Path]:
    """Where each format goes; a folder stands for one file per structure.

    Args:
        output: What the user named: a file, or a folder (an existing one may have any name, others no ending).
        types: The formats.
        task: In the name of the file, where a folder was named.
        multilabel: One NIfTI file with all structures instead of one per structure.

    Returns:
        By format. As TotalSegmentator has it, several formats share a name, and the NIfTI file then has all structures.

    Raises:
        UserError: an unknown format, an ending of another one, or one file was named where there will be one per
            structure.
    """
    unknown = [kind for kind in types if kind not in OUTPUT_TYPES]
    if unknown or not types:
        raise UserError(f"Unknown output type {', '.join(unknown) or 'none'}.", f"Known: {', '.join(OUTPUT_TYPES)}.")
    ending = "" if output.is_dir() else _ending(output)
    if types == ("nifti",) and not multilabel:
        if ending:
            raise UserError(
                f"{output} is the name of a file, but every structure gets a file of its own.",
                "Name a folder (one of such a name must exist), or ask for one file with all structures (--ml).",
            )
        return {"nifti": output}
    if ending:
        others = ", name a folder (one of such a name must exist), or choose another format (-ot)"
        check_ending(output, types, others)
        base, folder = output.name[: -len(ending)], output.parent
    else:
        base, folder = f"{task}_segmentation", output
    if ending and len(types) == 1:
        return {types[0]: output}
    labels = ending if ending not in ("", DICOM_ENDING) else ENDING
    return {kind: folder / f"{base}{DICOM_SUFFIXES.get(kind, labels)}" for kind in types}


def check_ending(file: Path, types: tuple[OutputType, ...] = ("nifti",), others: str = "") -> None:
    """Check the name of a file.

    Args:
        file: Its ending chooses a format.
        types: Of the results.
        others: What can be done instead of changing the ending, for the error.

    Raises:
        UserError: it is that of a format which none of the results has.
    """
    fitting = (*(LABEL_ENDINGS if "nifti" in types else ()), *((DICOM_ENDING,) if set(types) != {"nifti"} else ()))
    if not file.name.lower().endswith(fitting):
        wanted = ", ".join("labels" if kind == "nifti" else kind for kind in types)
        raise UserError(
            f"{file} is not a name for {wanted}: it must end with {' or '.join(fitting)}.",
            f"Change the ending{others}.",
        )


def write_masks(
    labels: np.ndarray,
    folder: Path,
    geometry: Geometry,
    names: Mapping[int, str],
    *,
    ending: str = ENDING,
    like: Path | None = None,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Write one mask (0, 1) per structure, also of those that were not found, named after it.

    Args:
        labels: (z, y, x).
        folder: Where to; made where it is missing.
        geometry: Of the labels.
        names: Of the structures to write, by label.
        ending: Chooses the format.
        like: The image's file; see `image.label_names.write_label_names`.
        workers: Files that are written side by side; None: as cores and memory allow.
        report: Told of progress.
        cancel: Asked between files.

    Returns:
        The files, in the order of ``names``.

    Raises:
        UserError: unknown format, or a file can't be written.
    """
    check_ending(Path(f"NAME{ending}"))
    boxes = find_objects(labels, max_label=max(names, default=0))
    files = [folder / f"{name}{ending}" for name in names.values()]
    report("started", stage=STAGE, total=len(files))
    failed = Event()

    def write(label: int, file: Path) -> None:
        if failed.is_set():  # the error is on its way
            return
        try:
            if cancel is not None:
                cancel.raise_if_cancelled()
            write_label_names(one_mask(labels, label, boxes[label - 1]), file, geometry, {}, like=like)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(_writers(labels.size, workers)) as pool:
        for done, (file, _) in enumerate(zip(files, pool.map(write, names, files), strict=True), start=1):
            report("progress", stage=STAGE, done=done, total=len(files), case=file.name)
    return files


def tracked(names: Mapping[int, str], stage: str, report: Reporter, cancel: CancelToken | None) -> Iterator[int]:
    """Labels one by one: asks before each whether to stop, and tells of each that is done. Raises: Cancelled."""
    report("started", stage=stage, total=len(names))
    for done, (label, name) in enumerate(names.items(), start=1):
        if cancel is not None:
            cancel.raise_if_cancelled()
        yield label
        report("progress", stage=stage, done=done, total=len(names), case=name)


def one_mask(labels: np.ndarray, label: int, box: tuple[slice, ...] | None) -> np.ndarray:
    """Where ``labels`` has one value, (z, y, x) uint8; ``box`` is where to look, None nowhere."""
    mask = np.zeros(labels.shape, np.uint8)
    if box is not None:
        mask[box] = labels[box] == label
    return mask


def _writers(voxels: int, wanted: int | None) -> int:
    by_memory = int(free_memory() * 0.5) // (4 * voxels + 1)
    return max(1, min(wanted if wanted is not None else min(usable_cores(), MOST_WRITERS), by_memory))


def _ending(file: Path) -> str:
    """Of a file's name, in lower case; empty for what may be the name of a new folder."""
    name = file.name.lower()
    special = next((end for end in (SEGMENTATION_ENDING, DICOM_ENDING) if name.endswith(end)), file_ending(file))
    other = ANY_ENDING.search(name)
    return special or (other[0] if other else "")
