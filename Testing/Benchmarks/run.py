"""Measures CPU time and memory of the engine, and of nnunetv2 beside it where PEER_VENV names its environment.

Usage: run.py [--only NAME ...] [--output FOLDER] [--data FOLDER] [--threads N] [--keep]
Writes bench.json and bench.md to the output folder and prints the table. CPU seconds are those of the whole process
tree, start-up included; compare them, not wall times, on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS, Benchmark, Missing, Side, our_side, peer_side
from measure import Measurement, best, measure

from segautoconfiglib.base.terminal import print_table

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = ("benchmark", "ours CPU s", "peer CPU s", "ratio", "ours MiB", "peer MiB", "ours wall s", "peer wall s")


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
    results = {}
    for name in arguments.only or BENCHMARKS:
        result = run_benchmark(name, BENCHMARKS[name], [side for side in (ours, peer) if side], arguments.data, output)
        results[name] = result
        write_results(results, output)
    print_table("", COLUMNS, [row(result) for result in results.values()], sys.stdout)
    if not arguments.keep:
        shutil.rmtree(work)
    say(f"Written: {output / 'bench.json'}, {output / 'bench.md'}")
    return int(any(result.get("ours", {}).get("exit_code") for result in results.values()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--output", type=Path, default=Path("bench-output"), help="default: bench-output")
    data = os.environ.get("SEGAUTOCONFIG_TEST_DATA") or REPOSITORY.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(data), help=f"real images (default: {data})")
    parser.add_argument("--threads", type=int, default=1, help="of the numerical libraries (default: 1)")
    parser.add_argument("--keep", action="store_true", help="keep the inputs for the next run (some GB)")
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


def row(result: dict[str, Any]) -> list[Any]:
    """The cells of COLUMNS."""
    sides = [result.get(name, {}) for name in ("ours", "peer")]
    sides = [{} if side.get("exit_code") else side for side in sides]
    cpu = [side.get("cpu_s") for side in sides]
    ratio = cpu[1] / cpu[0] if cpu[0] and cpu[1] else None
    others = [side.get(key) for key in ("peak_mib", "wall_s") for side in sides]
    return [result["title"], *cpu, ratio, *others]


def write_results(results: dict[str, Any], output: Path) -> None:
    machine = {
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "cores": os.cpu_count(),
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    (output / "bench.json").write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    lines = [", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for result in results.values():
        cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell or "-") for cell in row(result)]
        lines.append(f"| {' | '.join(cells)} |")
    (output / "bench.md").write_text("\n".join(lines) + "\n")


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
