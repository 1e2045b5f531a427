"""The selective scan of state space models (Gu & Dao 2023, arXiv:2312.00752), with torch alone.

For every channel e and state n, with h before the first token zero::

    h[t] = exp(dt[t] a) h[t-1] + dt[t] b[t] x[t]        y[t] = sum over n of c[t] h[t] + d x[t]

Tokens are taken in groups, one after the other, that hand on their last state, so memory beside inputs and outputs does
not grow with their number. Where a state is small, a group is cut into chunks that are gone through at the same time:
once from state zero, which tells what each chunk adds to the state that enters it, then from the true states. Nothing
is ever divided by a decay, so no number grows. Only the state before each group is kept for the gradient; the rest is
computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segautoconfiglib.defaults import SCAN


@dataclass(frozen=True)
class Blocks:
    """How tokens are divided.

    Attributes:
        chunks: Gone through at the same time.
        steps: Tokens of a chunk; a group has ``chunks * steps``.
    """

    chunks: int
    steps: int

    @staticmethod
    def fitting(state: int, length: int, device: torch.device) -> Blocks:
        """For states of so many numbers: enough at a time that the work, not its start, takes the time.

        Args:
            state: batch * channel * state.
            length: Tokens.
            device: Sizes differ between CPU and GPU.
        """
        if device.type == "cpu":
            sizes = tuple(torch.get_num_threads() * size for size in (SCAN.step_numbers_cpu, SCAN.group_numbers_cpu))
        else:
            sizes = (SCAN.step_numbers_gpu, SCAN.group_numbers_gpu)
        at_once, in_group = (max(1, size // state) for size in sizes)
        chunks = at_once if at_once >= SCAN.min_chunks else 1
        steps = max(1, min(in_group, length) // chunks)
        return Blocks(chunks, steps)


def selective_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, *, blocks: Blocks | None = None
) -> Tensor:
    """Run the scan; gradients flow to all arguments.

    Args:
        x: (batch, channel, length) float32 or float64, the tokens.
        dt: (batch, channel, length), their step sizes, positive.
        a: (channel, state), negative.
        b: (batch, state, length).
        c: (batch, state, length).
        d: (channel,).
        blocks: How tokens are divided; None: as is fastest.

    Returns:
        y: (batch, channel, length).
    """
    if blocks is None:
        blocks = Blocks.fitting(x.shape[0] * a.numel(), x.shape[2], x.device)
    y: Tensor = _Scan.apply(x, dt, a, b, c, d, blocks)
    return y


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, blocks = inputs
        y, states = _forward(*inputs)
        ctx.save_for_backward(*tensors, states)
        ctx.blocks = blocks
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs: tuple[Any, ...] = (*ctx.saved_tensors, gradients[0], ctx.blocks)
        return *_backward(*inputs), None


def _forward(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, blocks: Blocks
) -> tuple[Tensor, Tensor]:
    """y, and the state before each group (group, batch, state, channel)."""
    y = torch.empty_like(x)
    work = _Work(x, a, blocks)
    state = x.new_zeros(x.shape[0], *work.rates.shape)
    states = []
    for group in _groups(x.shape[2], blocks):
        states.append(state)
        tokens = group.take(x, dt, b, c)
        hidden, state = work.run(tokens, state)
        outputs = torch.matmul(tokens.c.unsqueeze(-2), hidden).squeeze(-2)
        y[:, :, group.tokens] = group.undo(outputs.addcmul_(tokens.x, d), x.shape[0])
    return y, torch.stack(states)


def _backward(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, states: Tensor, dy: Tensor, blocks: Blocks
) -> tuple[Tensor, ...]:
    """The gradients of x, dt, a, b, c, d, groups from the last to the first."""
    batch = x.shape[0]
    of_x, of_dt, of_b, of_c = (torch.empty_like(tensor) for tensor in (x, dt, b, c))
    work = _Work(x, a, blocks)
    of_rates = torch.zeros_like(work.rates)
    passed = torch.zeros_like(states[0])  # the gradient of the state after the group
    for group, state in zip(reversed(list(_groups(x.shape[2], blocks))), states.flip(0), strict=True):
        tokens = group.take(x, dt, b, c)
        of_y = group.lay_out(dy)
        hidden, _ = work.run(tokens, state)
        of_c[:, :, group.tokens] = group.undo(_times(hidden, of_y), batch)
        of_hidden, passed = work.run_back(tokens, of_y, passed)
        of_b[:, :, group.tokens] = group.undo(_times(of_hidden, tokens.dt * tokens.x), batch)
        of_inputs = torch.matmul(tokens.b.unsqueeze(-2), of_hidden).squeeze(-2)  # of dt x
        of_x[:, :, group.tokens] = group.undo((tokens.dt * of_inputs).addcmul_(of_y, d), batch)
        of_exponents = work.of_exponents(of_hidden, hidden)
        of_rates += torch.mul(of_exponents, tokens.dt.unsqueeze(-2), out=hidden).sum((0, 1))
        of_steps = of_exponents.mul_(work.rates).sum(-2).addcmul_(of_inputs, tokens.x)
        of_dt[:, :, group.tokens] = group.undo(of_steps, batch)
    return of_x, of_dt, of_rates.t(), of_b, of_c, torch.einsum("bel,bel->e", dy, x)


def _times(numbers: Tensor, channels: Tensor) -> Tensor:
    """The sum over channels: (step, row, state, channel) with (step, row, channel) to (step, row, state)."""
    return torch.matmul(numbers, channels.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class _Tokens:
    """A group's inputs, laid out (step, row, ...); a row is a chunk of a sample."""

    x: Tensor
    dt: Tensor
    b: Tensor
    c: Tensor


@dataclass(frozen=True)
class _Group:
    """Tokens from ``start``, the last chunk filled up with zeros: steps of size 0 change no state."""

    start: int
    count: int
    chunks: int
    steps: int

    @property
    def tokens(self) -> slice:
        return slice(self.start, self.start + self.count)

    def take(self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> _Tokens:
        return _Tokens(*(self.lay_out(tensor) for tensor in (x, dt, b, c)))

    def lay_out(self, tensor: Tensor) -> Tensor:
        """(batch, number, length) to (step, batch * chunk, number)."""
        batch, numbers = tensor.shape[:2]
        part = tensor[:, :, self.tokens]
        missing = self.chunks * self.steps - self.count
        if missing:
            part = torch.nn.functional.pad(part, (0, missing))
        part = part.reshape(batch, numbers, self.chunks, self.steps)
        return part.permute(3, 0, 2, 1).reshape(self.steps, batch * self.chunks, numbers)

    def undo(self, laid_out: Tensor, batch: int) -> Tensor:
        """(step, batch * chunk, number) to (batch, number, count)."""
        whole = laid_out.reshape(self.steps, batch, self.chunks, -1).permute(1, 3, 2, 0)
        return whole.reshape(batch, -1, self.chunks * self.steps)[:, :, : self.count]


def _groups(length: int, blocks: Blocks) -> Iterator[_Group]:
    size = blocks.chunks * blocks.steps
    for start in range(0, length, size):
        count = min(size, length - start)
        chunks = min(blocks.chunks, count)
        yield _Group(start, count, chunks, -(-count // chunks))


@dataclass
class _Work:
    """Buffers (step, row, state, channel) for one group after the other."""

    like: Tensor
    a: Tensor
    blocks: Blocks
    rates: Tensor = field(init=False)
    buffers: dict[str, Tensor] = field(init=False, default_factory=dict)
    before: Tensor = field(init=False)
    chunks: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self.rates = self.a.t().contiguous()

    def _buffer(self, name: str, tokens: _Tokens) -> Tensor:
        steps, rows, channels = tokens.x.shape
        shape = (steps, rows, self.rates.shape[0], channels)
        found = self.buffers.get(name)
        if found is None or found.shape != shape:
            found = self.buffers[name] = self.like.new_empty(shape)
        return found

    def run(self, tokens: _Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
        """The states at all tokens, and the last one (batch, state, channel), from the one before the group."""
        decays, hidden = self._buffer("decays", tokens), self._buffer("hidden", tokens)
        torch.mul(tokens.dt.unsqueeze(-2), self.rates, out=decays).exp_()
        torch.mul((tokens.dt * tokens.x).unsqueeze(-2), tokens.b.unsqueeze(-1), out=hidden)
        batch = state.shape[0]
        self.chunks = hidden.shape[1] // batch
        if self.chunks > 1:
            local = hidden[0].clone()
            for decay, inputs in zip(decays[1:], hidden[1:], strict=True):
                torch.addcmul(inputs, decay, local, out=local)
            self.before = self._entering(state, local, tokens)
        else:
            self.before = state
        previous = self.before
        for decay, current in zip(decays, hidden, strict=True):
            current.addcmul_(decay, previous)
            previous = current
        return hidden, previous.unflatten(0, (batch, self.chunks))[:, -1].clone()  # buffers are used again

    def run_back(self, tokens: _Tokens, of_y: Tensor, passed: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the states at all tokens, and of the state before the group, from that after it."""
        decays, of_hidden = self.buffers["decays"], self._buffer("of_hidden", tokens)
        torch.mul(tokens.c.unsqueeze(-1), of_y.unsqueeze(-2), out=of_hidden)
        if self.chunks > 1:
            local = of_hidden[-1].clone()
            for decay, own in zip(reversed(decays[1:].unbind()), reversed(of_hidden[:-1].unbind()), strict=True):
                torch.addcmul(own, decay, local, out=local)
            of_hidden[-1] += self._entering(passed, local.mul_(decays[0]), tokens, backwards=True)
        else:
            of_hidden[-1] += passed
        following = of_hidden[-1]
        for decay, current in zip(reversed(decays[1:].unbind()), reversed(of_hidden[:-1].unbind()), strict=True):
            current.addcmul_(decay, following)
            following = current
        first = (decays[0] * of_hidden[0]).unflatten(0, (passed.shape[0], self.chunks))[:, 0]
        return of_hidden, first

    def of_exponents(self, of_hidden: Tensor, hidden: Tensor) -> Tensor:
        """The gradients of dt a, written over the decays."""
        decays = self.buffers["decays"].mul_(of_hidden)
        decays[1:] *= hidden[:-1]
        decays[0] *= self.before
        return decays

    def _entering(self, state: Tensor, local: Tensor, tokens: _Tokens, *, backwards: bool = False) -> Tensor:
        """What enters each chunk (row, state, channel): a chunk passes on what it adds itself and its decayed input.

        Args:
            state: (batch, state, channel), enters the first chunk; backwards the last.
            local: (row, state, channel), what chunks add.
            tokens: Of the group.
            backwards: From the last chunk to the first.
        """
        batch = state.shape[0]
        decay = torch.mul(tokens.dt.sum(0).unsqueeze(-2), self.rates).exp_().unflatten(0, (batch, self.chunks))
        local = local.unflatten(0, (batch, self.chunks))
        entering = torch.empty_like(local)
        order = range(self.chunks)
        for chunk in reversed(order) if backwards else order:
            entering[:, chunk] = state
            state = torch.addcmul(local[:, chunk], decay[:, chunk], state)
        return entering.flatten(0, 1)
