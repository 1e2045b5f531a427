"""Both ends of a cascade's stages: what a stage needs of the one before, and what it leaves for the one after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.image.files import read_labels
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.inference.model import Model
from segautoconfiglib.inference.restore import restore
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.preprocessing.case import network_grid, preprocess_case
from segautoconfiglib.preprocessing.geometry import SpatialRecord, Triple
from segautoconfiglib.preprocessing.stages import PredictedStage, one_hot

#: Data (channel, z, y, x) float32 on the network's grid, to be sliced, and how they came about.
Prepared = tuple[Any, SpatialRecord]

#: From a case's id and its image to the labels (1, z, y, x) that the previous stage finds in it, on the same grid.
PreviousLabels = Callable[[str, Volume], Volume]


@dataclass(frozen=True)
class WithLabels:
    """An image with a label map as more channels, one per label, which are made where it is sliced.

    Attributes:
        image: (channel, z, y, x) float32, sliceable.
        labels: (z, y, x), sliceable.
        values: Of the labels.
    """

    image: Any
    labels: Any
    values: Sequence[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channel, z, y, x)."""
        return (self.image.shape[0] + len(self.values), *self.image.shape[1:])

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        """All channels of a box; ``index``: slices of all axes, of which the first takes every channel."""
        return np.concatenate([self.image[index], one_hot(self.labels[index[1:]], self.values)])


def network_input(image: Volume, previous: Volume | None, model: Model) -> Prepared:
    """An image as a model's network takes it.

    Args:
        image: As read from the files.
        previous: Labels (1, z, y, x) of the previous stage on the same grid; None for a model that is no cascade.
        model: The model.

    Raises:
        UserError: the channels, or the grid of the labels, do not fit.
    """
    case = preprocess_case(image, previous, model.plans, model.configuration, None)
    if case.labels is None:
        return case.data, case.record
    return WithLabels(case.data, case.labels[0], model.label_spec.foreground_labels), case.record


def predicted_labels(
    image: Volume, model: Model, *, mirror: bool, step: float, cancel: CancelToken | None = None
) -> Volume | None:
    """What the previous stage of a cascade finds in an image, on the image's grid; None for any other model.

    Raises:
        UserError: the model was loaded without its previous stage, or the image does not fit it.
        Cancelled: on request.
    """
    if model.configuration.previous_stage is None:
        return None
    if model.previous is None:
        raise UserError(
            f"{model.configuration_name} needs the labels that {model.configuration.previous_stage} predicts.",
            "Give them, or load the model with its previous stage.",
        )
    stage = model.previous
    below = predicted_labels(image, stage, mirror=mirror, step=step, cancel=cancel)
    data, record = network_input(image, below, stage)
    labels = stage.segment(data, record, mirror=mirror, step=step, cancel=cancel)
    return Volume(labels[None], image.geometry)


def labels_in(folder: Path, ending: str, model: Model) -> PreviousLabels:
    """The previous stage's labels from the files ``<case><ending>`` of a folder.

    Raises:
        UserError: the model is no cascade, or there is no such folder; when called, the case's file is missing or not
            that of its image.
    """
    if model.configuration.previous_stage is None:
        raise UserError(
            f"{model.configuration_name} takes no predictions of a previous stage.",
            "Leave them out (-prev_stage_predictions), or choose a cascade.",
        )
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} with predictions of the previous stage.", "Check the path.")

    def read(case: str, image: Volume) -> Volume:
        file = folder / f"{case}{ending}"
        if not file.is_file():
            raise UserError(
                f"There is no prediction of the previous stage: {file} is missing.",
                f"Predict the case with {model.configuration.previous_stage}, or leave out the folder.",
            )
        return checked_labels(read_labels(file), image, model, str(file))

    return read


def checked_labels(labels: Volume, image: Volume, model: Model, name: str) -> Volume:
    """Labels of the previous stage, if they may be that. Raises: UserError: another grid, or unknown values."""
    if labels.shape != image.shape:
        raise UserError(
            f"{name} has {_text(labels.shape)} voxels, the image {_text(image.shape)} (z, y, x).",
            "Labels of the previous stage must have the image's grid.",
        )
    low, high, highest = int(labels.array.min()), int(labels.array.max()), max(model.label_spec.all_labels)
    if low < 0 or high > highest:
        raise UserError(
            f"{name} has values from {low} to {high}, the model knows the labels 0 to {highest}.",
            "Give the labels that the previous stage of this model predicted.",
        )
    return labels


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class NextStage:
    """A configuration that learns from what another one predicts.

    Attributes:
        configuration: Its grid and patch.
        output: Where the label maps for it go.
    """

    configuration: Configuration
    output: PredictedStage

    def grid(self, record: SpatialRecord) -> Triple:
        """The shape that a case has in this configuration; it is cropped as in all others."""
        return network_grid(record.cropped_shape, record.spacing_mm, self.configuration)[0]

    def write(self, case_id: str, slabs: Iterable[torch.Tensor], record: SpatialRecord, model: Model) -> None:
        """Save the labels of a case on this configuration's grid.

        Args:
            case_id: Its name.
            slabs: Logits (class, depth, y, x), consecutive along the first axis.
            record: Of the case in the model's configuration.
            model: That the logits are of.
        """
        labels = restore(slabs, _between(record, self.grid(record)), model.configuration, model.label_spec)
        self.output.save(case_id, labels, self.configuration.patch_size)


def _between(record: SpatialRecord, shape: Triple) -> SpatialRecord:
    """From one stage's grid to the next one's as if that were a file's.

    As in nnU-Net the spacing that decides about a separate axis is the first stage's alone.
    """
    box = tuple((0, size) for size in shape)
    return replace(
        record,
        geometry=Geometry(record.network_spacing_mm),
        transpose=(0, 1, 2),
        full_shape=shape,
        box=box,  # type: ignore[arg-type]
    )


def predict_next_stages(
    model: Model,
    cases: Iterator[tuple[str, Prepared | UserError]],
    stages: Sequence[NextStage],
    *,
    mirror: bool = True,
    step: float = INFERENCE.step,
    cancel: CancelToken | None = None,
) -> Iterator[str]:
    """Write the label maps for the next stages, of preprocessed cases.

    Args:
        model: Of the stage before.
        cases: Names and data.
        stages: The next stages.
        mirror: Average over mirrored images.
        step: Distance of tiles, share of the patch.
        cancel: Asked between tiles.

    Yields:
        Each case when it is done.

    Raises:
        UserError: a case can't be read or predicted.
        Cancelled: on request; finished cases stay.
    """
    for name, prepared in cases:
        if isinstance(prepared, UserError):
            raise prepared
        data, record = prepared
        slabs = list(model.slabs(data, mirror=mirror, step=step, cancel=cancel))
        for stage in stages:
            stage.write(name, slabs, record, model)
        yield name
