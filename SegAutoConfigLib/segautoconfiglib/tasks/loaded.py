"""Models of tasks in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.tasks.catalogue import Part

if TYPE_CHECKING:
    from segautoconfiglib.inference.model import Model


class Weights(Protocol):
    """Where models lie, such as :class:`~segautoconfiglib.tasks.weights.WeightsFolders`."""

    def model(self, part: Part) -> ModelFolder:
        """The model of a part. Raises: UserError: it is missing or does not fit."""

    def models(self, parts: Iterable[Part]) -> list[ModelFolder]:
        """The models of several parts. Raises: UserError: names all that are missing."""


class LoadedModels:
    """The models that were used last, to be used again without reading them.

    Args:
        weights: Where they lie.
        device: See :func:`~segautoconfiglib.networks.device.resolve_device`.
        most: How many are kept. One suffices for an image; for many images as many as their task has save time.

    Attributes:
        used: Folders of the models that were asked for, in order; emptied by whoever begins to tell of a run.
    """

    def __init__(self, weights: Weights, device: str = "cpu", most: int = 1) -> None:
        self._weights, self._device, self._most = weights, device, most
        self._kept: OrderedDict[tuple[str, tuple[int, ...] | None], Model] = OrderedDict()
        self.used: list[Path] = []

    def check(self, parts: Iterable[Part]) -> None:
        """Raises: UserError: names all parts whose weights are missing, or one that does not fit."""
        self._weights.models(parts)

    def get(self, part: Part) -> Model:
        """The model of a part. Raises: UserError: its weights can't be used, or there is no such device."""
        from segautoconfiglib.inference.model import load_model, release_memory

        folder = self._weights.model(part)
        key = (str(folder.path), part.folds)
        if folder.path not in self.used:
            self.used.append(folder.path)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= self._most:  # before the new one comes
            self._kept.popitem(last=False)
            release_memory()
        self._kept[key] = load_model(folder, folds=part.folds, device=self._device)
        return self._kept[key]
