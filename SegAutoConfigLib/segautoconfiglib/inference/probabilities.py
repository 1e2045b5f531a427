"""Probabilities of all classes at full size: in memory where they are small, else through a file."""

from __future__ import annotations

import mmap
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.image.files import write_image
from segautoconfiglib.image.formats import PICTURE_ENDINGS
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.inference.model import Model
from segautoconfiglib.preprocessing.geometry import SpatialRecord


@contextmanager
def probabilities_array(model: Model, record: SpatialRecord, folder: Path, wanted: bool) -> Iterator[np.ndarray | None]:
    """An array (class, z, y, x) float32 on the grid of the file, to be filled; None if it is not wanted.

    It may be used inside the context only.

    Raises:
        UserError: too large for the memory, and for the disk of ``folder`` as well.
    """
    if not wanted:
        yield None
        return
    shape = (model.label_spec.output_channels, *record.file_shape)
    size_bytes = 4 * int(np.prod(shape))
    if size_bytes <= INFERENCE.probabilities_in_memory:
        yield np.empty(shape, np.float32)
        return
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 2 * size_bytes:  # the array and the file made from it
        raise UserError(
            f"The probabilities take {size_bytes / 2**30:.1f} GB and as much again as a file; "
            f"{folder} has {free / 2**30:.1f} GB free.",
            "Free some space, or predict without probabilities.",
        )
    with (
        tempfile.TemporaryDirectory(prefix=".partial-", dir=folder, ignore_cleanup_errors=True) as temporary,
        (Path(temporary) / "probabilities").open("wb+") as file,
    ):
        file.truncate(size_bytes)
        with mmap.mmap(file.fileno(), size_bytes) as mapped:  # closed here: Windows removes no file that is mapped
            yield np.ndarray(shape, np.float32, mapped)


def write_probabilities(probabilities: np.ndarray, record: SpatialRecord, stem: Path) -> None:
    """Write ``<stem>.npz`` (key "probabilities") and ``<stem>.pkl`` (geometry) as nnU-Net reads them for ensembles.

    Raises:
        UserError: a file can't be written.
    """
    try:
        with atomic_path(stem.with_name(f"{stem.name}.npz")) as file:
            np.savez_compressed(file, probabilities=probabilities)
        with atomic_path(stem.with_name(f"{stem.name}.pkl")) as file:
            file.write_bytes(pickle.dumps(record.to_properties()))
    except OSError as error:
        raise UserError(f"Can't write {stem}.npz: {error}.", "Check the free space on the disk.") from error


def map_files(spec: LabelSpec, stem: Path, ending: str) -> dict[int, Path]:
    """The probability images of a case: output channel to file, for every structure but the background.

    Args:
        spec: Meaning of the channels.
        stem: Folder and name of the case.
        ending: Of its segmentation; pictures, which hold no fractions, become .nrrd.
    """
    values = spec.regions_class_order if spec.has_regions else spec.all_labels
    return {
        channel: map_file(stem, f"probability_{value}", ending)
        for channel, value in enumerate(values)
        if spec.has_regions or value != 0
    }


def map_file(stem: Path, name: str, ending: str) -> Path:
    """The file of a map of fractions of a case."""
    return stem.with_name(f"{stem.name}_{name}{'.nrrd' if ending in PICTURE_ENDINGS else ending}")


def write_maps(probabilities: np.ndarray, files: Mapping[int, Path], geometry: Geometry) -> None:
    """Write channels of an array (class, z, y, x) float32 as images, one after the other. Raises: UserError."""
    for channel, file in files.items():
        write_image(probabilities[channel], file, geometry)
