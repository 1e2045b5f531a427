"""Who works on a training: this process alone, several that it starts, or those that torchrun has started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.torchrun import Place, torchrun_place
from segautoconfiglib.networks.device import devices_text, resolve_device
from segautoconfiglib.training.distributed import ALONE, Group, PeerLostError, check_batch, join
from segautoconfiglib.training.processes import run_processes

#: A function ``task(*arguments, report=, cancel=, group=)`` of a module that every process can import.
Task = Callable[..., Any]
Value = TypeVar("Value")


class Team:
    """Does tasks in all its processes.

    Args:
        devices: Of the processes on this machine.
        group: Of processes that torchrun has started; None: they are started for each task, if they are several.
    """

    def __init__(self, devices: Sequence[str], group: Group | None = None) -> None:
        self.devices = tuple(devices)
        self._group = group
        self._working = False

    @property
    def size(self) -> int:
        """How many processes, on all machines."""
        return len(self.devices) if self._group is None else self._group.size

    def check_batch(self, samples: int) -> None:
        """Raises: UserError: there is not a sample for every process."""
        check_batch(samples, self.size)

    def lead(self, work: Callable[[], Value], cancel: CancelToken) -> Value | None:
        """Call ``work``, which may :meth:`run` tasks, in the first of torchrun's processes; the others do the tasks.

        Returns:
            What ``work`` returned; None in the others.
        """
        if self._group is None:
            return work()
        if not self._group.is_first:
            self._follow(self._group, cancel)
            return None
        try:
            return work()
        finally:
            if not self._working:  # in the middle of a task the others do not listen
                with suppress(PeerLostError):  # they need not be told any more
                    self._group.first(lambda: None)

    def run(self, task: Task, *arguments: Any, report: Reporter, cancel: CancelToken) -> Any:
        """Do a task in all processes. Returns: what it returned in the first one, whose events ``report`` gets."""
        if self._group is None and len(self.devices) > 1:
            return run_processes(task, arguments, self.devices, report=report, cancel=cancel)
        if self._group is None:
            return task(*arguments, report=report, cancel=cancel, group=ALONE)
        self._working = True
        self._group.first(lambda: (task, arguments))
        result = task(*arguments, report=report, cancel=cancel, group=self._group)
        self._group.barrier()
        self._working = False
        return result

    def _follow(self, group: Group, cancel: CancelToken) -> None:
        while True:
            given: Any = group.first(lambda: None)
            if given is None:
                return
            task, arguments = given
            task(*arguments, report=silent, cancel=cancel, group=group)
            group.barrier()


def assemble(device: str = "auto", gpus: int | tuple[int, ...] = 1, processes: int = 1) -> Team:
    """The team for a training; joins the others where torchrun has started this process.

    Args:
        device: As `resolve_device` takes it.
        gpus: How many GPUs of this machine, or which: their numbers.
        processes: How many processes on the CPU.

    Raises:
        UserError: there are no such devices, or the wishes contradict each other.
    """
    place = torchrun_place()
    if place is not None:
        if gpus != 1 or processes != 1:
            raise UserError(
                f"torchrun has started {place.size} processes; --gpus and --processes start their own.",
                "Leave them out (and -num_gpus), or start the command without torchrun.",
            )
        name = _device_in_torchrun(device, place)
        return Team([name] * place.local_size, join(place, name))
    if processes > 1:
        return Team(_on_cpu(device, gpus, processes))
    return Team([str(resolve_device(device))] if gpus == 1 else _gpus(device, gpus))


def _device_in_torchrun(device: str, place: Place) -> str:
    kind = resolve_device(device).type if device in ("auto", "cuda", "cpu") else device
    if kind == "cuda":
        return str(resolve_device(f"cuda:{place.local_rank}"))
    if kind == "cpu":
        return kind
    raise UserError(
        f"Several processes can't share the device {device}.", "Use --device cuda (a GPU for each process) or cpu."
    )


def _on_cpu(device: str, gpus: int | tuple[int, ...], processes: int) -> list[str]:
    if gpus != 1:
        raise UserError("GPUs and CPU processes were asked for.", "Give --gpus or --processes.")
    if resolve_device(device).type != "cpu":
        raise UserError("--processes is for the CPU.", "Add --device cpu, or use --gpus N.")
    return ["cpu"] * processes


def _gpus(device: str, gpus: int | tuple[int, ...]) -> list[str]:
    numbers = tuple(range(gpus)) if isinstance(gpus, int) else gpus
    if not numbers:
        raise UserError("No GPU was chosen.", "Give how many, 1 or more, or which (0,2); or use --device cpu.", "cpu")
    if device not in ("auto", "cuda"):
        raise UserError(
            f"GPUs and the device {device} were asked for.",
            "Leave out --device, or --gpus; on the CPU several processes are started with --processes N.",
        )
    if len(set(numbers)) < len(numbers):
        raise UserError(f"A GPU is named twice: {', '.join(map(str, numbers))}.", "Name each one once.")
    try:
        return [str(resolve_device(f"cuda:{number}")) for number in numbers]
    except UserError as error:
        wanted = ", ".join(f"cuda:{number}" for number in numbers)
        raise UserError(
            f"{len(numbers)} GPUs were asked for ({wanted}); this machine has: {devices_text()}.",
            "Use as many as there are, or --device cpu.",
        ) from error
