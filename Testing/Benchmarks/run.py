"""Measures CPU time and memory of the engine, and of nnunetv2 beside it where PEER_VENV names its environment.

Usage: run.py [--only NAME ...] [--output FOLDER] [--data FOLDER] [--threads N] [--keep] [--results FILE]
Prints one table in Markdown and writes it to bench.md in the output folder, with all figures in bench.json. A run of
all benchmarks with both sides also writes it to RESULTS.md beside this file, to be committed. CPU seconds are those of
the whole process tree, start-up included; compare them, not wall times, on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from benchmarks import BENCHMARKS, Benchmark, Missing, Side, our_side, peer_side
from measure import Measurement, best, measure

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("RESULTS.md")
SIDES = {"ours": "here", "peer": "nnunetv2"}
#: Measured quantity -> its heading. Each becomes three columns: here, nnunetv2, and the second divided by the first.
QUANTITIES = {"cpu_s": "CPU s", "wall_s": "wall s", "peak_mib": "peak MiB"}
PACKAGES = ("segautoconfiglib", "nnunetv2", "torch", "numpy", "scipy", "SimpleITK", "blosc2")


def main() -> int:
    """Run the chosen benchmarks. Returns 1 if a command of ours failed."""
    arguments = parse_arguments()
    output = arguments.output.absolute()
    work = output / "work"
    work.mkdir(parents=True, exist_ok=True)
    try:
        ours, peer = our_side(work, arguments.threads), peer_side(work, arguments.threads)
    except Missing as error:
        say(str(error))
        return 2
    if peer is None:
        say("PEER_VENV is not set: only our own figures are measured.")
    results: dict[str, Any] = {}
    sides = [side for side in (ours, peer) if side]
    head = {**machine(arguments.threads), **{SIDES[side.name]: versions(side) for side in sides}}
    for name in arguments.only or BENCHMARKS:
        results[name] = run_benchmark(name, BENCHMARKS[name], sides, arguments.data, output)
        (output / "bench.json").write_text(json.dumps({"machine": head, "results": results}, indent=2) + "\n")
        (output / "bench.md").write_text(table(head, results))
    sys.stdout.write(table(head, results))
    written = [output / "bench.json", output / "bench.md"]
    target = arguments.results or (RESULTS if peer and not arguments.only else None)
    if target:
        target.write_text(table(head, results))
        written.append(target)
    if not arguments.keep:
        shutil.rmtree(work)
    say(f"Written: {', '.join(map(str, written))}")
    return int(any(result.get("ours", {}).get("exit_code") for result in results.values()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="default: bench-output")
    data = os.environ.get("SEGAUTOCONFIG_TEST_DATA") or REPOSITORY.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(data), help=f"real images (default: {data})")
    parser.add_argument("--threads", type=int, default=1, help="of the numerical libraries (default: 1)")
    parser.add_argument("--keep", action="store_true", help="keep the inputs for the next run (some GB)")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help=f"write the table here too (default: {RESULTS.name} if complete)"
    )
    return parser.parse_args()


def run_benchmark(name: str, benchmark: Benchmark, sides: list[Side], data: Path, output: Path) -> dict[str, Any]:
    """Both sides, one after the other. What fails is said and left out."""
    result: dict[str, Any] = {"title": benchmark.title}
    try:
        benchmark.prepare(sides[0], data)
    except Missing as error:
        say(f"{name}: left out, {error}")
        return result | {"left_out": str(error)}
    for side in sides:
        run = best([run_once(name, benchmark, side, output) for _ in range(benchmark.repeat)])
        result[side.name] = {key: value for key, value in asdict(run).items() if key != "output"}
        if run.exit_code:
            say(f"{name}, {side.name}: exit code {run.exit_code}\n{run.output[-1500:]}")
        else:
            say(f"{name}, {side.name}: {run.cpu_s} CPU s, {run.peak_mib} MiB, {run.wall_s} s, load {run.load}")
    return result


def run_once(name: str, benchmark: Benchmark, side: Side, output: Path) -> Measurement:
    side.work.mkdir(parents=True, exist_ok=True)
    benchmark.before(side)
    return measure(side.command(benchmark.words(side)), side.environment, output / f"{name}-{side.name}.log")


def table(head: dict[str, Any], results: dict[str, Any]) -> str:
    """Machine and versions, the table, and why cells are empty, in Markdown."""
    lines = ["# Benchmarks", "", *(f"- {key}: {value}" for key, value in head.items()), ""]
    headings = [f"{text}, {side}" for text in QUANTITIES.values() for side in (*SIDES.values(), "ratio")]
    lines += [f"| work | {' | '.join(headings)} |", "| --- " + "| ---: " * len(headings) + "|"]
    lines += [f"| {' | '.join([result['title'], *cells(result)])} |" for result in results.values()]
    missing = [result for result in results.values() if "left_out" in result]
    lines += [f"\n{result['title']}: left out, {result['left_out']}" for result in missing]
    return "\n".join([*lines, "", "CPU and wall time are in seconds; ratio is nnunetv2 divided by here.", ""])


def cells(result: dict[str, Any]) -> list[str]:
    """What belongs under the headings; "-" for what was not measured or failed."""
    sides = [result.get(name, {}) for name in SIDES]
    found = []
    for key in QUANTITIES:
        ours, peer = (None if side.get("exit_code") else side.get(key) for side in sides)
        ratio = f"{peer / ours:.1f}" if ours and peer else "-"
        found += [number(ours), number(peer), ratio]
    return found


def number(value: float | None) -> str:
    """Two digits after the point for small numbers, none for large ones."""
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def machine(threads: int) -> dict[str, str]:
    """What the figures depend on."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory",
        "system": platform.platform(),
        "threads": f"{threads} per process",
    }


def versions(side: Side) -> str:
    """Of a side's Python and packages, as its environment says."""
    code = (
        "import platform, sys; from importlib.metadata import distributions; "
        "found = {item.metadata['Name'].lower(): item.version for item in distributions()}; "
        "names = [name for name in sys.argv[1:] if name.lower() in found]; "
        "print(', '.join([f'Python {platform.python_version()}', *(f'{n} {found[n.lower()]}' for n in names)]))"
    )
    command = [str(side.python), "-c", code, *PACKAGES]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True)
    return f"{text}, commit {commit.stdout.strip()}" if side.name == "ours" and commit.stdout else text


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
