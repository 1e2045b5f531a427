"""What one stage of a cascade has found, as an input of the next one: label maps on its grid, in nnU-Net's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.base.workspace import stage_model
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.preprocessing.store import open_array, write_array

#: Folder in the model of a stage, with a folder for each next stage (nnU-Net).
NEXT_STAGE_FOLDER = "predicted_next_stage"
ENDING = ".b2nd"


def previous_stage(model_folder: Path, name: str, configuration: Configuration) -> PredictedStage | None:
    """What was predicted for a cascade; None for any other configuration.

    Args:
        model_folder: Of the cascade.
        name: Of its configuration.
        configuration: Says which stage is before it.
    """
    stage = configuration.previous_stage
    return None if stage is None else PredictedStage(stage_model(model_folder, stage), name)


def one_hot(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """A channel per label: float32 (label, z, y, x), 1 where ``labels`` (z, y, x) has the value, else 0."""
    channels = np.empty((len(values), *labels.shape), np.float32)
    for channel, value in zip(channels, values, strict=True):
        np.equal(labels, value, out=channel)
    return channels


@dataclass(frozen=True)
class PredictedStage:
    """The label maps that one stage has predicted for the next one.

    Attributes:
        model_folder: Of the stage that has predicted them.
        next_name: Configuration of the next stage.
    """

    model_folder: Path
    next_name: str

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.model_folder / NEXT_STAGE_FOLDER / self.next_name

    def file(self, case_id: str) -> Path:
        """Of a case."""
        return self.folder / f"{case_id}{ENDING}"

    def save(self, case_id: str, labels: np.ndarray, patch_size: Sequence[int]) -> None:
        """Write a case's label map; it appears only when it is whole.

        Args:
            case_id: Its name.
            labels: (z, y, x) uint8 or uint16 on the grid of the next stage's preprocessed case.
            patch_size: Voxels that are read at a time; decides about the chunks.

        Raises:
            UserError: the folder can't be written to or the disk is full.
        """
        file = self.file(case_id)
        try:
            with atomic_path(file) as temporary:
                temporary.unlink()  # blosc2 makes its files itself
                write_array(labels, temporary, patch_size)
        except (OSError, RuntimeError) as error:  # blosc2 raises RuntimeError where writing fails
            raise UserError(f"Can't write {file}: {error}.", "Check permissions and the free space.") from error

    def open(self, case_id: str) -> Any:
        """A case's label map (z, y, x), to be sliced. Raises: UserError: it is missing or damaged."""
        file = self.file(case_id)
        if not file.is_file():
            raise UserError(
                f"Case {case_id} has no prediction of the previous stage ({file}).",
                f"Train or validate the fold of {self.model_folder.name} that holds it out.",
            )
        return open_array(file)

    def shape(self, case_id: str) -> tuple[int, ...] | None:
        """Of a case's label map; None where it is missing or damaged."""
        try:
            return tuple(self.open(case_id).shape)
        except UserError:
            return None


@dataclass(frozen=True)
class StackedLabels:
    """A case's labels with those of the previous stage as a second channel, read only where it is sliced.

    Attributes:
        labels: (1, z, y, x), sliceable.
        previous: (z, y, x), sliceable.
    """

    labels: Any
    previous: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(2, z, y, x)."""
        return (2, *self.labels.shape[1:])

    @property
    def nbytes(self) -> int:
        """Decompressed."""
        return 2 * int(self.labels.nbytes)

    def __getitem__(self, index: Any) -> np.ndarray:
        """(2, z, y, x) int16; ``index``: ``[:]``, or slices of all axes of which the first takes every channel."""
        place = index[1:] if isinstance(index, tuple) else slice(None)
        return np.concatenate([self.labels[index], self.previous[place][None].astype(np.int16)])
