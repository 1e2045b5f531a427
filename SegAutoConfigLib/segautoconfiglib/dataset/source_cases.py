"""Cases whose files lie anywhere, and how they are to become part of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SourceCase:
    """Files of a case, wherever they lie.

    Attributes:
        id: Its name so far.
        images: One file (or DICOM folder) per channel in order, or one with all channels.
        labels: The label map, where there is one.
        masks: Structure to its mask, in place of a label map; of overlapping ones the later wins.
        test: Not to be trained on; may lack labels.
        validation: It validates in the dataset's only fold.
        patient: Cases of one patient are never divided between training and validation. Empty: not known.
    """

    id: str
    images: tuple[Path, ...]
    labels: Path | None = None
    masks: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    test: bool = False
    validation: bool = False
    patient: str = ""


@dataclass(frozen=True)
class Making:
    """How cases become part of a dataset.

    Attributes:
        channels: Names of the channels; empty: those of the dataset, or guessed from the first case.
        labels: Structure to its values in the label maps (see `relabel.LabelValues`); None: as in the dataset, or
            numbered by the values found.
        file_ending: Of a new dataset; None: that of the images where nnU-Net knows it.
        resample: Bring label maps onto their image's grid where they have another.
        threshold: A mask of several values counts where it is above this number.
        rename: Cases are called ``<rename>_001`` and so on.
        test: Which cases go to imagesTs: "20%", a number, or names; empty: those that say so themselves.
        seed: Of the choice.
    """

    channels: tuple[str, ...] = ()
    labels: Mapping[str, tuple[int | range, ...]] | None = None
    file_ending: str | None = None
    resample: bool = False
    threshold: float | None = None
    rename: str | None = None
    test: tuple[str, ...] = ()
    seed: int = 12345
