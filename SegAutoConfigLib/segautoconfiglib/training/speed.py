"""How fast this device trains a network: a few real steps, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import silent
from segautoconfiglib.base.parallel import usable_cores
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.defaults import BUDGET
from segautoconfiglib.networks.device import autocast, cpu_threads, memory_errors, tuned_convolutions
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.training.setup import compile_network, make_objective, make_state, random_batch
from segautoconfiglib.training.step import train_step

#: Steps whose time is measured, after one that is not.
TIMED_STEPS = 3


@dataclass(frozen=True)
class Speed:
    """Measures configurations on a device, with random images.

    Attributes:
        description: dataset.json; it has the number of channels and labels.
        recipe: How each step trains.
        device: To train on.
        cancel: Asked before every step.
        threads: Of torch, where the device is a CPU; None: as it is set.
        patience_s: After so many seconds a configuration is not measured any more, if one step has been.
        known: Seconds of the training steps measured so far.
    """

    description: DatasetDescription
    recipe: Recipe
    device: torch.device
    cancel: CancelToken
    threads: int | None = None
    patience_s: float = math.inf
    known: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def with_best_threads(self, configuration: Configuration, workers: int = 0) -> Speed:
        """On a CPU, the number of threads that is fastest now: threads wait for each other where cores are busy.

        Args:
            configuration: To be measured.
            workers: Processes that will make batches meanwhile, each on a core of its own.
        """
        if self.device.type != "cpu":
            return self
        most = max(1, usable_cores() - workers)
        counts = sorted({1, max(1, most // 2), max(1, most - 1), most}, reverse=True)
        candidates = [replace(self, threads=count) for count in counts]
        return min(candidates, key=lambda speed: speed.step_seconds(configuration))

    def step_seconds(self, configuration: Configuration, *, compiled: bool = False) -> float:
        """Median time of a training step, making its batch included; infinite if it can't be compiled.

        It is measured once.

        Raises:
            UserError: the device's memory does not suffice.
        """
        key = f"{configuration.to_json()} {self.threads} {compiled}"
        if key not in self.known:
            self.known[key] = self._measure_step(configuration, compiled) * (1 + BUDGET.reading_share)
        return self.known[key]

    def _measure_step(self, configuration: Configuration, compiled: bool) -> float:
        state = make_state(self.recipe, self.description, configuration, self.device)
        objective = make_objective(self.recipe, self.description, configuration, self.device)
        batch_size = self.recipe.batch_size or configuration.batch_size
        batch = random_batch(batch_size, configuration, self.description)
        tuned, threads = tuned_convolutions(), cpu_threads(self.threads)
        with memory_errors(self.device, batch_size, configuration.patch_size), tuned, threads:
            if compiled:
                compile_network(state, objective, batch_size, configuration, self.description, silent)
                if state.forward is state.network:
                    return math.inf
            return self._median(lambda: train_step(state, objective, batch, self.recipe.learning_rate))

    def forward_seconds(self, configuration: Configuration) -> float:
        """Median time of the network on one patch, as in prediction: without learning, without tuned convolutions."""
        network = make_state(self.recipe, self.description, configuration, self.device).network.eval()
        network.deep_supervision = False  # type: ignore[assignment]
        image = torch.from_numpy(random_batch(1, configuration, self.description)["data"]).to(self.device)
        precision, threads = autocast(self.device), cpu_threads(self.threads)
        with memory_errors(self.device, 1, configuration.patch_size), precision, threads, torch.inference_mode():
            return self._median(lambda: network(image).sum().item())  # the number waits for the device

    def _median(self, step: Callable[[], object]) -> float:
        times: list[float] = []
        start = time.monotonic()
        while len(times) <= TIMED_STEPS and (len(times) < 2 or time.monotonic() < start + self.patience_s):
            self.cancel.raise_if_cancelled()
            begin = time.monotonic()
            step()
            times.append(time.monotonic() - begin)
        return median(times[1:])
