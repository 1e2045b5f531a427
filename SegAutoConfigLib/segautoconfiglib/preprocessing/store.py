"""Preprocessed cases on disk, in the files of nnunetv2 2.6 and later: either program reads what the other wrote.

Per case ``<case>.b2nd`` (image), ``<case>_seg.b2nd`` (labels) and ``<case>.pkl`` (properties). The properties are
moved into place last: a case without them is not there.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import read_json, write_json
from segautoconfiglib.dataset.labels import PREPROCESSED_LABELS, Label
from segautoconfiglib.defaults import STORE
from segautoconfiglib.preprocessing.case import PreprocessedCase
from segautoconfiglib.preprocessing.geometry import SpatialRecord, Triple
from segautoconfiglib.preprocessing.layout import block_and_chunk
from segautoconfiglib.preprocessing.safe_pickle import load_pickle

#: A folder of our own among the cases: nnunetv2 accepts no other files there. Holds unfinished cases, and what
#: cases were made with and from.
OWN_FOLDER = ".segautoconfig"
#: What older versions of nnU-Net wrote instead of the two arrays.
OLD_SUFFIXES = (".npz", ".npy")


@dataclass(frozen=True)
class StoredCase:
    """A case that is read as it is used.

    Attributes:
        data: (channels, z, y, x) float32; a slice of it is a numpy array, only the chunks it touches are read.
        labels: (1, z, y, x) int16, likewise.
        properties: As in the file.
        transpose: Of the plans, for cases written by nnunetv2.
    """

    data: Any
    labels: Any
    properties: dict[str, Any]
    transpose: Triple | None = None

    @cached_property
    def record(self) -> SpatialRecord:
        """How the case came about. Raises: UserError: written by nnunetv2 and ``transpose`` is not known."""
        _, z, y, x = self.data.shape
        return SpatialRecord.from_properties(self.properties, (z, y, x), self.transpose)

    @cached_property
    def class_locations(self) -> dict[Label, np.ndarray]:
        """Per label or region some of its voxels, int64 (n, 4), rows (0, z, y, x)."""
        found = self.properties.get("class_locations", {})
        return {key: np.asarray(rows, np.int64).reshape(-1, 4) for key, rows in found.items()}


class CaseStore:
    """The cases in one folder.

    Args:
        folder: ``preprocessed/DatasetXXX_Name/<data_identifier>``; need not exist.
        transpose: The plans' ``transpose_forward``; only for the records of cases written by nnunetv2.
    """

    def __init__(self, folder: Path, transpose: Triple | None = None) -> None:
        self.folder = Path(folder)
        self.transpose = transpose

    @property
    def settings_file(self) -> Path:
        """Says what all cases were made with; nnU-Net writes none."""
        return self.folder / OWN_FOLDER / "settings.json"

    def case_ids(self, *, hidden: bool = False) -> list[str]:
        """The names of all whole cases, sorted; ``hidden``: also of those that `hide` has taken away."""
        if not self.folder.is_dir():
            return []
        names = {entry.name for entry in self.folder.iterdir()}
        cases = {name.removesuffix(".pkl") for name in names if name.endswith(".pkl")}
        away = set() if hidden else self._hidden_ids()
        return sorted(case for case in cases - away if all(name in names for name in _file_names(case)))

    def hide(self, case_ids: Iterable[str]) -> None:
        """These cases, and no others, are no longer among `case_ids`; who knows their names can still open them."""
        wanted = set(case_ids)
        if wanted == self._hidden_ids():
            return
        if wanted:
            write_json(self._hidden_file, sorted(wanted))
        else:
            self._hidden_file.unlink()

    def _hidden_ids(self) -> set[str]:
        return set(read_json(self._hidden_file)) if self._hidden_file.is_file() else set()

    def save(self, case_id: str, case: PreprocessedCase, patch_size: Sequence[int]) -> None:
        """Write a case; an interrupted call leaves no case of this name, or the old one.

        Args:
            case_id: Its name.
            case: With labels.
            patch_size: Voxels that are read at a time; decides about the chunks.

        Raises:
            UserError: the folder can't be written to or the disk is full.
        """
        assert case.labels is not None
        labels = case.labels.astype(np.int16, copy=False)
        locations: dict[Label, Any] = {key: rows if len(rows) else [] for key, rows in case.class_locations.items()}
        properties = {**case.record.to_properties(), "class_locations": locations}
        image_name, labels_name, properties_name = _file_names(case_id)
        try:
            own = self.folder / OWN_FOLDER
            own.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="unfinished-", dir=own) as unfinished:
                write_array(case.data, Path(unfinished) / image_name, patch_size)
                write_array(labels, Path(unfinished) / labels_name, patch_size)
                (Path(unfinished) / properties_name).write_bytes(pickle.dumps(properties))
                self.remove(case_id)
                for name in (labels_name, image_name, properties_name):
                    os.replace(Path(unfinished) / name, self.folder / name)
        except (OSError, RuntimeError) as error:  # blosc2 raises RuntimeError where writing fails
            raise UserError(
                f"Can't write case {case_id} to {self.folder}: {error}.",
                "Check the folder's permissions and the free space. Finished cases are kept.",
            ) from error

    def open(self, case_id: str) -> StoredCase:
        """Open a case for reading.

        Raises:
            UserError: it is not there, is damaged, or its properties hold anything but plain data.
        """
        image_name, labels_name, properties_name = _file_names(case_id)
        if not (self.folder / properties_name).is_file():
            raise UserError(f"{self.folder} has no case {case_id!r}.", "Preprocess the dataset first.")
        properties = load_pickle(self.folder / properties_name)
        if not isinstance(properties, dict):
            raise UserError(f"{self.folder / properties_name} is damaged.", "Remove it and preprocess again.")
        return StoredCase(
            open_array(self.folder / image_name), open_array(self.folder / labels_name), properties, self.transpose
        )

    def made_ns(self, case_id: str) -> int:
        """When a case was written (nanoseconds, as files have it); 0 if it is not there."""
        file = self.folder / _file_names(case_id)[-1]
        return file.stat().st_mtime_ns if file.is_file() else 0

    def remove(self, case_id: str) -> None:
        """Remove a case's files, properties first; none needs to exist."""
        self._sources_file(case_id).unlink(missing_ok=True)
        for name in reversed(_file_names(case_id)):
            (self.folder / name).unlink(missing_ok=True)

    def sources(self, case_id: str) -> Any:
        """What was noted about the files that a case was made from; None without a note."""
        file = self._sources_file(case_id)
        return read_json(file) if file.is_file() else None

    def note_sources(self, case_id: str, sources: Any) -> None:
        """Note (JSON values) what a case was made from, after it was saved; it is forgotten with the case."""
        write_json(self._sources_file(case_id), sources)

    def _sources_file(self, case_id: str) -> Path:
        return self.folder / OWN_FOLDER / "sources" / f"{case_id}.json"

    @property
    def _hidden_file(self) -> Path:
        return self.folder / OWN_FOLDER / "hidden.json"

    def check_format(self) -> None:
        """Raises: UserError: the folder holds cases of an older nnU-Net, which neither are read nor may be mixed in."""
        old = next((file.name for file in sorted(self.folder.glob("*")) if file.suffix in OLD_SUFFIXES), None)
        if old is not None:
            raise UserError(
                f"{self.folder} holds cases in the format of nnunetv2 before 2.6 ({old}).",
                "Remove or rename that folder, or set nnUNet_preprocessed to another; the cases are then made anew.",
            )

    def remove_unfinished(self) -> None:
        """Remove what interrupted runs left behind: parts of cases, and files without properties.

        Not for folders that :meth:`check_format` refuses.
        """
        for left in (self.folder / OWN_FOLDER).glob("unfinished-*"):
            shutil.rmtree(left, ignore_errors=True)
        whole = {name for case in self.case_ids(hidden=True) for name in _file_names(case)}
        for file in self.folder.glob("*"):
            if file.suffix in (".b2nd", ".pkl") and file.name not in whole:
                file.unlink()


def _file_names(case_id: str) -> tuple[str, str, str]:
    """Image, labels, properties."""
    return f"{case_id}.b2nd", f"{case_id}{PREPROCESSED_LABELS}.b2nd", f"{case_id}.pkl"


def write_array(array: np.ndarray, file: Path, patch_size: Sequence[int]) -> None:
    """Write (channels, z, y, x), or (z, y, x), compressed in chunks."""
    edges = block_and_chunk((1, *array.shape)[-4:], patch_size, array.itemsize)
    block, chunk = (each[-array.ndim :] for each in edges)
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(file),
        chunks=chunk,
        blocks=block,
        cparams=_compression(_better_filter(array, block)),
    )


def open_array(file: Path) -> Any:
    """Open an array for reading slices. Raises: UserError: missing or damaged."""
    mapped = {} if os.name == "nt" else {"mmap_mode": "r"}  # Windows can't map these files
    try:
        return blosc2.open(str(file), mode="r", dparams={"nthreads": 1}, **mapped)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"Can't read {file}: {error}.", "Remove the case's files and preprocess again.") from error


def _compression(chosen: blosc2.Filter) -> dict[str, Any]:
    """ZSTD packs three to ten times faster than nnU-Net's LZ4HC and as small; nnU-Net reads either (ours)."""
    return {"codec": blosc2.Codec.ZSTD, "clevel": STORE.compression_level, "filters": [chosen], "nthreads": 1}


def _better_filter(array: np.ndarray, block: Sequence[int]) -> blosc2.Filter:
    """Shuffling of bytes helps interpolated values and hurts others: try both on one block from the middle."""
    extent = [min(size, edge) for size, edge in zip(array.shape, block, strict=True)]
    starts = [(size - edge) // 2 for size, edge in zip(array.shape, extent, strict=True)]
    sample = np.ascontiguousarray(array[tuple(slice(s, s + e) for s, e in zip(starts, extent, strict=True))])

    def packed_bytes(candidate: blosc2.Filter) -> int:
        packed = blosc2.asarray(sample, chunks=extent, blocks=extent, cparams=_compression(candidate))
        return int(packed.schunk.cbytes)

    return min((blosc2.Filter.NOFILTER, blosc2.Filter.SHUFFLE), key=packed_bytes)
