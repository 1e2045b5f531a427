"""Several processes that train one network: what each of them is, and the few things that they do together.

Each process has the whole network and its part of every batch. The loss is that of the whole batch, because its sums go
over all processes (`Group.total`, which has a gradient); the gradients of the parts are added up. So a step is the one
that a single process would make with the whole batch.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.torchrun import Place

#: How long a process waits for the others where one of them may be at long work of its own. A process that dies ends
#: the others at once: whoever started them sees to that.
_PATIENCE = timedelta(days=30)

Value = TypeVar("Value")


class PeerLostError(UserError):
    """Another process of the training has ended, and with it this one; the other one knows why."""


@dataclass(frozen=True)
class Group:
    """The processes of a training, as one of them sees them. This base class is a process that is alone.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are, on all machines.
        local_size: How many there are on this machine.
        device: Of this process; None: the one that the job names.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: str | None = None

    @property
    def is_first(self) -> bool:
        """True for the process that reports and writes files."""
        return self.rank == 0

    def part(self, samples: int) -> range:
        """This process's samples of a batch; those that are left over go to the first processes."""
        each, more = divmod(samples, self.size)
        start = self.rank * each + min(self.rank, more)
        return range(start, start + each + (self.rank < more))

    def check_batch(self, samples: int) -> None:
        """Raises: UserError: there is not a sample for every process."""
        check_batch(samples, self.size)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, the same in each of them; it has a gradient."""
        return value

    def mean(self, value: Tensor, weight: Tensor | float) -> Tensor:
        """The mean over the processes, weighted; 0 if all weights are 0. value: a scalar; weight: no gradient."""
        return value

    def add_gradients(self, network: nn.Module) -> None:
        """Replace the gradients by their sums over all processes."""

    def align(self, network: nn.Module) -> None:
        """Give the network the weights that it has in the first process."""

    def any(self, flag: bool) -> bool:
        """True if it is true in any process."""
        return flag

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of their numbers."""
        return [value]

    def first(self, function: Callable[[], Value]) -> Value:
        """What ``function`` returns in the first process, which alone calls it."""
        return function()

    def barrier(self) -> None:
        """Wait until all processes have come here."""


ALONE = Group()


@dataclass(frozen=True)
class JoinedGroup(Group):
    """One of several processes; see `join`.

    Attributes:
        control: torch's process group for everything but tensors of the network; it waits long.
    """

    control: Any = field(default=None, repr=False, compare=False)

    def total(self, value: Tensor) -> Tensor:
        return cast("Tensor", _Total.apply(value))

    def mean(self, value: Tensor, weight: Tensor | float) -> Tensor:
        share = torch.as_tensor(weight, dtype=value.dtype, device=value.device)
        values, weights = self.total(torch.stack([value * share, share])).unbind()
        return values / weights.clamp(min=1e-8)

    def add_gradients(self, network: nn.Module) -> None:
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _together():
            dist.all_reduce(flat)
        sums = flat.split([gradient.numel() for gradient in gradients])
        for gradient, values in zip(gradients, sums, strict=True):
            gradient.copy_(values.view(gradient.shape))

    @torch.no_grad()
    def align(self, network: nn.Module) -> None:
        for tensor in network.state_dict().values():
            values = tensor.contiguous()
            with _together():
                dist.broadcast(values, src=0)
            tensor.copy_(values)

    def any(self, flag: bool) -> bool:
        count = torch.tensor([int(flag)])
        with _together():
            dist.all_reduce(count, group=self.control)
        return bool(count.item())

    def gather(self, value: Value) -> list[Value]:
        values: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def first(self, function: Callable[[], Value]) -> Value:
        values = [function() if self.is_first else None]
        with _together():
            dist.broadcast_object_list(values, src=0, group=self.control)
        return cast("Value", values[0])

    def barrier(self) -> None:
        with _together():
            dist.barrier(group=self.control)


class _Total(torch.autograd.Function):
    """The sum over all processes; the gradient of a process's summand is the sum of the gradients in all of them."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _sum(value)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _sum(gradients[0])


def _sum(value: Tensor) -> Tensor:
    value = value.detach().clone(memory_format=torch.contiguous_format)
    with _together():
        dist.all_reduce(value)
    return value


@contextmanager
def _together() -> Iterator[None]:
    """Raises: PeerLostError: the other processes can't be reached any more."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(
            "Another process of this training has ended.",
            "Its own message says why. The last checkpoint is kept; continue with --resume.",
        ) from error


def check_batch(samples: int, processes: int) -> None:
    """Raises: UserError: a batch of so many samples can't be divided among so many processes."""
    if samples < processes:
        raise UserError(
            f"A batch of {samples} can't be divided among {processes} processes.",
            f"Use {samples} or fewer, or a larger batch size in the plans.",
        )


def join(place: Place, device: str, store_file: Path | None = None) -> Group:
    """Make this process one of several; waits for the others.

    Args:
        place: Which one it is.
        device: "cpu" or "cuda:N", of this process alone.
        store_file: Where processes of one machine find each other; None: by the environment of torchrun. All of them
            name the same file, which does not exist before.

    Raises:
        UserError: this build of torch can't, or the others can't be reached.
    """
    if not dist.is_available() or not dist.is_gloo_available():
        raise UserError(
            f"The installed torch {torch.__version__} can't train in several processes.",
            "Train in one process, or install another build of torch.",
        )
    backend = "gloo"
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"
    try:
        if not dist.is_initialized():
            where: dict[str, Any] = {"init_method": "env://"}
            if store_file is not None:
                where = {"store": dist.FileStore(str(store_file), place.size)}
            dist.init_process_group(backend, rank=place.rank, world_size=place.size, **where)
            atexit.register(leave)
        control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"Process {place.rank} of {place.size} could not reach the others: {reason}",
            "Check that all are started, and that the network and its firewall let them talk to each other.",
        ) from error
    return JoinedGroup(place.rank, place.size, place.local_size, device, control)


def leave() -> None:
    """Let go of the other processes; without effect if there are none."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
