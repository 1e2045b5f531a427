"""A trained model, ready to predict; neither the trainer's code nor its name is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.inference.predictor import Progress, SlidingWindow
from segautoconfiglib.inference.restore import restore
from segautoconfiglib.models.folder import ALL, FINAL, Fold, ModelFolder
from segautoconfiglib.networks.build import build_network
from segautoconfiglib.networks.checkpoint import load_weights, read_checkpoint
from segautoconfiglib.networks.device import resolve_device
from segautoconfiglib.networks.unet import UNet
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.preprocessing.geometry import SpatialRecord


@dataclass(frozen=True)
class Model:
    """One configuration with the weights of one or more folds.

    Attributes:
        plans: The model's plans.
        description: The training set's dataset.json.
        configuration_name: Of ``plans``.
        networks: One per fold, in evaluation mode on ``device``.
        mirror_axes: Axes of the patch along which the network was trained on mirrored images.
        device: Where the networks are.
        folder: Where the model came from; None if it was made in memory.
    """

    plans: Plans
    description: DatasetDescription
    configuration_name: str
    networks: tuple[UNet, ...]
    mirror_axes: tuple[int, ...]
    device: torch.device
    folder: ModelFolder | None = None

    @property
    def configuration(self) -> Configuration:
        """Patch size, spacing and so on."""
        return self.plans.configuration(self.configuration_name)

    @property
    def label_spec(self) -> LabelSpec:
        """Meaning of the labels."""
        return self.description.label_spec

    def window(self, *, mirror: bool = True, step: float = INFERENCE.step) -> SlidingWindow:
        """The networks as a sliding window; see there."""
        return SlidingWindow(
            self.networks,
            self.configuration.patch_size,
            self.label_spec.output_channels,
            self.device,
            self.mirror_axes if mirror else (),
            step,
        )

    def slabs(
        self,
        data: Any,
        *,
        mirror: bool = True,
        step: float = INFERENCE.step,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[torch.Tensor]:
        """Logits of a preprocessed image (channel, z, y, x); see :meth:`SlidingWindow.slabs`."""
        return self.window(mirror=mirror, step=step).slabs(data, progress=progress, cancel=cancel)

    def segment(
        self,
        data: Any,
        record: SpatialRecord,
        *,
        mirror: bool = True,
        step: float = INFERENCE.step,
        probabilities: np.ndarray | None = None,
        uncertainty: np.ndarray | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> np.ndarray:
        """Labels of a preprocessed image on the grid of its file.

        Args:
            data: (channel, z, y, x) float32 as preprocessing gives it.
            record: How it came about.
            mirror: Average over mirrored images along the axes of the training.
            step: Distance of tiles, share of the patch.
            probabilities: (class, z, y, x) float32 on the grid of the file; filled if given.
            uncertainty: (z, y, x) float32 on the grid of the file; filled if given, from 0 to 1.
            progress: Called with tiles done and tiles in all.
            cancel: Asked between tiles.

        Returns:
            (z, y, x) uint8 or uint16.

        Raises:
            UserError: the network returns no finite numbers.
            Cancelled: on request.
        """
        slabs = self.slabs(data, mirror=mirror, step=step, progress=progress, cancel=cancel)
        return restore(
            slabs,
            record,
            self.configuration,
            self.label_spec,
            probabilities=probabilities,
            uncertainty=uncertainty,
        )


def load_model(
    folder: ModelFolder | Path | str,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = FINAL,
    device: str = "cpu",
    report: Reporter = silent,
) -> Model:
    """Load a model trained by nnunetv2 or by this program.

    Args:
        folder: ``<trainer>__<plans>__<configuration>`` (another name will do too).
        folds: 0, 1, ... or "all"; None takes all numbered folds that are there, else "all".
        checkpoint: File name in the fold folders.
        device: See :func:`~segautoconfiglib.networks.device.resolve_device`.
        report: Told which folds are used.

    Raises:
        UserError: parts are missing, damaged, of unknown make, or do not fit each other; or no such device.
    """
    folder = folder if isinstance(folder, ModelFolder) else ModelFolder.open(folder)
    chosen = folder.chosen_folds(folds, checkpoint)
    target = resolve_device(device)
    contents = [read_checkpoint(folder.checkpoint(fold, checkpoint)) for fold in chosen]
    name = _configuration_name(folder, contents[0])
    configuration = folder.plans.configuration(name)
    if configuration.previous_stage:
        raise UserError(
            f"Configuration {name!r} needs the predictions of {configuration.previous_stage!r}.",
            "Cascades are not supported yet. Use another configuration.",
        )
    networks = tuple(
        _network(folder, configuration, content, folder.checkpoint(fold, checkpoint), target)
        for fold, content in zip(chosen, contents, strict=True)
    )
    mirror_axes = tuple(contents[0].get("inference_allowed_mirroring_axes") or ())
    which = "the fold trained on all cases" if chosen == [ALL] else f"fold(s) {', '.join(map(str, chosen))}"
    report("log", message=f"Predicting with {which} of {folder.path.name} on {target}.")
    return Model(folder.plans, folder.description, name, networks, mirror_axes, target, folder)


def check_checkpoints(folder: ModelFolder) -> None:
    """Open every checkpoint of a model and put its weights into the network of the plans.

    Raises:
        UserError: one is damaged, would run code, or does not fit.
    """
    for file in sorted(folder.path.glob("fold_*/checkpoint_*.pth")):
        content = read_checkpoint(file)
        configuration = folder.plans.configuration(_configuration_name(folder, content))
        _network(folder, configuration, content, file, torch.device("cpu"))


def _configuration_name(folder: ModelFolder, content: dict[str, Any]) -> str:
    """From the checkpoint; the folder's name counts where that says nothing."""
    arguments = content.get("init_args")
    return str((isinstance(arguments, dict) and arguments.get("configuration")) or folder.name_parts[2])


def _network(
    folder: ModelFolder,
    configuration: Configuration,
    content: dict[str, Any],
    file: Path,
    device: torch.device,
) -> UNet:
    description = folder.description
    network = build_network(
        configuration.architecture,
        len(description.channels),
        description.label_spec.output_channels,
        deep_supervision=False,
    )
    load_weights(network, content["network_weights"], file)
    return network.eval().to(device)
