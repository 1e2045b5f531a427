"""A trained model, ready to predict; neither the trainer's code nor its name is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.plugins import plugin_names
from segautoconfiglib.base.words import named
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import INFERENCE
from segautoconfiglib.inference.predictor import Progress, SlidingWindow
from segautoconfiglib.inference.restore import restore
from segautoconfiglib.models.folder import ALL, FINAL, Fold, ModelFolder
from segautoconfiglib.networks.build import build_network
from segautoconfiglib.networks.checkpoint import OWN_KEY, load_weights, read_checkpoint
from segautoconfiglib.networks.device import resolve_device
from segautoconfiglib.networks.own import check_outputs
from segautoconfiglib.networks.trained import trained_architecture
from segautoconfiglib.planning.architectures import architecture_spec, is_own_network
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.preprocessing.geometry import SpatialRecord

#: Takes the logits of an image, (class, depth, y, x), consecutive along the first axis.
LogitsUser = Callable[[Sequence[torch.Tensor]], None]


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
        previous: Of a cascade: the model whose labels are an input of this one, where it was loaded too.
    """

    plans: Plans
    description: DatasetDescription
    configuration_name: str
    networks: tuple[nn.Module, ...]
    mirror_axes: tuple[int, ...]
    device: torch.device
    folder: ModelFolder | None = None
    previous: Model | None = None

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
            self._activation,
        )

    @property
    def _activation(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What is averaged in place of logits, where the plans ask for it."""
        if not self.configuration.average_probabilities:
            return None
        return torch.sigmoid if self.label_spec.has_regions else partial(torch.softmax, dim=1)

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
        also: LogitsUser | None = None,
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
            also: Given all logits, which are kept in memory for it.
            progress: Called with tiles done and tiles in all.
            cancel: Asked between tiles.

        Returns:
            (z, y, x) uint8 or uint16.

        Raises:
            UserError: the network returns no finite numbers.
            Cancelled: on request.
        """
        slabs: Iterable[torch.Tensor] = self.slabs(data, mirror=mirror, step=step, progress=progress, cancel=cancel)
        if also is not None:
            slabs = list(slabs)
            also(slabs)
        return restore(
            slabs,
            record,
            self.configuration,
            self.label_spec,
            probabilities=probabilities,
            uncertainty=uncertainty,
        )


def described(folder: ModelFolder, fold: Fold, checkpoint: str = FINAL) -> DatasetDescription:
    """A model's dataset.json. Raises: UserError: it can't be used; names the plug-in for its files."""
    try:
        return folder.description
    except ProblemsError as error:
        formats = [problem.message for problem in error.problems if problem.message.startswith("file_ending")]
        own = read_checkpoint(folder.checkpoint(fold, checkpoint)).get(OWN_KEY) if formats else None
        names = own.get("plugins", ()) if isinstance(own, dict) else ()
        missing = [name for name in names if name not in plugin_names()]
        if not missing:
            raise
        raise UserError(
            f"{error.message} {formats[0]}",
            f"The model was trained with the plug-in {' and '.join(missing)}: name it (--plugin FILE).",
            "plugin",
        ) from error


def load_model(
    folder: ModelFolder | Path | str,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = FINAL,
    device: str = "cpu",
    previous: bool = True,
    report: Reporter = silent,
) -> Model:
    """Load a model trained by nnunetv2 or by this program.

    Args:
        folder: ``<trainer>__<plans>__<configuration>`` (another name will do too).
        folds: 0, 1, ... or "all"; None takes all folds of the splits that are there, else "all".
        checkpoint: File name in the fold folders.
        device: See :func:`~segautoconfiglib.networks.device.resolve_device`.
        previous: Of a cascade, load the models of the stages before too: those beside it with the same trainer (in
            nnU-Net 1: the one without "CascadeFullRes" in its name) and plans, with the same folds where they were
            asked for.
        report: Told which folds are used, and where a stage before has another trainer.

    Raises:
        UserError: parts are missing, damaged, of unknown make, or do not fit each other; or no such device.
    """
    folder = folder if isinstance(folder, ModelFolder) else ModelFolder.open(folder)
    chosen = folder.chosen_folds(folds, checkpoint)
    description = described(folder, chosen[0], checkpoint)
    left = [fold for fold in folder.folds(checkpoint) if fold not in chosen and folder.is_random(fold)]
    if folds is None and left:
        report("log", message=f"Left out, as its cases were drawn at random: {named(left, 'fold')} (-f takes it).")
    target = resolve_device(device)
    contents = [read_checkpoint(folder.checkpoint(fold, checkpoint)) for fold in chosen]
    name = _configuration_name(folder, contents[0])
    configuration = folder.plans.configuration(name)
    before = None
    for stage in folder.plans.stages(name)[:-1] if previous else ():
        below = _previous_model(folder, name, stage, report)
        lower = load_model(below, folds=folds, checkpoint=checkpoint, device=device, previous=False, report=report)
        before = replace(lower, previous=before)
    networks = tuple(
        _network(folder, configuration, content, folder.checkpoint(fold, checkpoint), target)
        for fold, content in zip(chosen, contents, strict=True)
    )
    mirror_axes = tuple(contents[0].get("inference_allowed_mirroring_axes") or ())
    which = "the fold trained on all cases" if chosen == [ALL] else named(chosen, "fold")
    report("log", message=f"Predicting with {which} of {folder.path.name} on {target}.")
    return Model(folder.plans, description, name, networks, mirror_axes, target, folder, before)


def _previous_model(folder: ModelFolder, name: str, stage: str, report: Reporter) -> ModelFolder:
    """The model of a stage before a cascade, beside it. Raises: UserError: it is not there."""
    path = folder.stage_folder(stage)
    if ModelFolder(path).name_parts[0] != folder.name_parts[0]:
        report("log", message=f"The stage before {folder.path.name} is {path.name}, of another trainer.")
    try:
        return ModelFolder.open(path)
    except UserError as error:
        raise UserError(
            f"{folder.path.name} is a cascade: {name} needs the labels that {stage} predicts. {error.message}",
            "Train or import that model, or give its predictions (-prev_stage_predictions FOLDER).",
            "import-lower-stage",
        ) from error


def release_memory() -> None:
    """Give the memory of models that are gone back to the GPU, for other processes."""
    torch.cuda.empty_cache()


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
) -> nn.Module:
    """A fold's network in evaluation mode."""
    description, name = folder.description, configuration.architecture.network_class_name
    own = content.get(OWN_KEY)
    architecture_spec(name, own.get("plugins", ()) if isinstance(own, dict) else ())
    channels, outputs = configuration.input_channels(description), description.label_spec.output_channels
    architecture = trained_architecture(configuration, content, file)
    network = build_network(architecture, channels, outputs, deep_supervision=False)
    load_weights(network, content["network_weights"], file)
    if is_own_network(name):
        check_outputs(network, (channels, *configuration.patch_size), outputs, single=True)
    return network.eval().to(device)
