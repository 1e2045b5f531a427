"""Time and memory of U-Mamba's parts against the number of tokens: python Testing/Benchmarks/mamba.py [FILE.md]

Every row is measured in a process of its own. Peak memory is what was added to that before the first call; "loop" is
the recurrence token by token with torch's own gradient, where that ends in reasonable time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from run import processor
from torch import Tensor

from segautoconfiglib.networks.mamba import MambaLayer
from segautoconfiglib.networks.scan import selective_scan

#: Channels inside a Mamba layer at full resolution (32 features), and at the lowest (320).
CASES = [(64, 2**power) for power in (10, 12, 14, 16, 18)] + [(640, 2**power) for power in (6, 8, 10)]
STATES = 16
LONGEST_LOOP = 2**10


def inputs(channels: int, length: int) -> list[Tensor]:
    """x, dt, a, b, c, d in the layout in which the layer has them."""
    x, dt, b, c = (torch.randn(1, length, n).transpose(1, 2) for n in (channels, channels, STATES, STATES))
    a = -torch.arange(1.0, STATES + 1).repeat(channels, 1)
    return [each.requires_grad_() for each in (x, 0.05 * dt.sigmoid(), a, b, c, torch.ones(channels))]


def loop(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The definition."""
    state, outputs = x.new_zeros(x.shape[0], *a.shape), []
    for token, step, enters, leaves in zip(*(each.unbind(2) for each in (x, dt, b, c)), strict=True):
        state = (step[:, :, None] * a).exp() * state + (step * token)[:, :, None] * enters[:, None]
        outputs.append((state * leaves[:, None]).sum(2) + d * token)
    return torch.stack(outputs, 2)


def measure(kind: str, channels: int, length: int) -> tuple[float, float, float]:
    """Processor time in seconds of the forward pass without gradient, of both passes, and MiB added."""
    torch.set_num_threads(1)
    call: Callable[[], Tensor]
    if kind == "layer":
        layer, features = MambaLayer(channels // 2), torch.randn(1, channels // 2, length, 1, requires_grad=True)
        call = lambda: layer(features)  # noqa: E731
    else:
        given, function = inputs(channels, length), loop if kind == "loop" else selective_scan
        call = lambda: function(*given)  # noqa: E731
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        forward = _seconds(call)
    both = _seconds(lambda: call().sum().backward())
    return forward, both, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
        if sum(times) > 10:
            break
    return min(times)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="Markdown file (default: standard output)")
    file: Path | None = parser.parse_args().file
    head = ["what", "channels", "tokens", "forward s", "both passes s", "us per token, both", "MiB added"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for kind in ("scan", "loop", "layer"):
        for channels, length in CASES:
            if kind == "loop" and length > LONGEST_LOOP:
                continue
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                forward, both, memory = process.submit(measure, kind, channels, length).result()
            per_token = both / length * 1e6
            numbers = (f"{forward:.3f}", f"{both:.3f}", f"{per_token:.0f}", f"{memory:.0f}")
            rows.append([kind, str(channels), str(length), *numbers])
            sys.stderr.write(f"{' '.join(rows[-1])}\n")
    title = f"# Selective scan and Mamba layer\n\n{processor()}, one thread, torch {torch.__version__}\n\n"
    text = title + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text)


if __name__ == "__main__":
    main()
