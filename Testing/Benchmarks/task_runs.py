"""TotalSegmentator's tasks here and with the `totalsegmentator` package: time, memory, and whether labels are equal.

Usage: PEER=/path/to/python/of/totalsegmentator task_runs.py [--only CASE ...] [--side SIDE ...] [--output FOLDER]
Both sides get the same random weights of the published networks, but narrow ones, in the published folders; nothing is
downloaded. Prints a table in Markdown, and writes it to
tasks.md in the output folder; figures of earlier runs there are kept, so that sides can be measured one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from measure import measure

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Testing"))

#: Of shared/data/ct-totalsegmentator: 112 and 30 slices of 101 x 122 voxels of 3 mm; and a part of the latter.
WHOLE, SMALL, PART = "example_ct.nii.gz", "example_ct_sm.nii.gz", "part.nii.gz"
PART_BOX = (slice(0, 30), slice(20, 84), slice(20, 110))
#: Case -> the image, and what is typed behind it.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "total_fast": (WHOLE, ("-ta", "total", "--fast")),
    "total": (SMALL, ("-ta", "total")),
    "roi_subset": (SMALL, ("-ta", "total", "--roi_subset", "stomach", "pancreas", "vertebrae_L1")),
    "crop": (SMALL, ("-ta", "kidney_cysts")),
    "body_fast": (WHOLE, ("-ta", "body", "--fast")),
    "body": (PART, ("-ta", "body")),
}
#: Models that the cases take.
WEIGHTS = (
    ("total", "default"), ("total", "fast"), ("total", "fastest"), ("kidney_cysts", "default"), ("body", "default"),
    ("body", "fast"),
)  # fmt: skip
#: Channels of the first stage; 32 in the published models.
WIDTH = 4
SIDES = ("ours", "peer", "peer32")
HEADINGS = (
    "case", "CPU s, here", "CPU s, package", "wall s, here", "wall s, package", "peak MiB, here", "peak MiB, package",
    "equal voxels", "equal, sums in 32 bits", "labels found",
)  # fmt: skip


def main() -> int:
    """Measure what was asked for, then compare. Returns 1 if a run failed."""
    arguments = parse_arguments()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    make_weights(output / "weights")
    results_file = output / "tasks.json"
    results: dict[str, Any] = json.loads(results_file.read_text()) if results_file.is_file() else {}
    sides = [side for side in arguments.side if side == "ours" or os.environ.get("PEER")]
    for case in arguments.only:
        for side in sides:
            run = measure(
                command(
                    side, image(CASES[case][0], arguments.data, output), output / result(case, side), CASES[case][1]
                ),
                environment(side, output, arguments.threads),
                output / f"{case}-{side}.log",
            )
            figures = {key: value for key, value in asdict(run).items() if key != "output"}
            results.setdefault(case, {})[side] = figures
            results_file.write_text(json.dumps(results, indent=2) + "\n")
            sys.stderr.write(f"{case}, {side}: {figures}\n{run.output[-1500:] if run.exit_code else ''}\n")
    text = table(results, output)
    (output / "tasks.md").write_text(text)
    sys.stdout.write(text)
    return int(any(figures["exit_code"] for case in results.values() for figures in case.values()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--side", nargs="+", choices=SIDES, default=list(SIDES), help="default: all")
    parser.add_argument("--output", type=Path, default=Path("bench-output") / "tasks")
    parser.add_argument("--threads", type=int, default=1, help="of the numerical libraries (default: 1)")
    data = os.environ.get("SEGAUTOCONFIG_TEST_DATA") or REPOSITORY.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(data) / "ct-totalsegmentator", help="folder of the images")
    return parser.parse_args()


def make_weights(folder: Path) -> None:
    """Random weights of all cases; those of an earlier run stay."""
    from task_weights import make_task_weights

    for task, mode in WEIGHTS:
        done = folder / f".{task}-{mode}"
        if not done.is_file():
            make_task_weights(folder, task, mode, width=WIDTH)
            done.touch()


def image(name: str, data: Path, output: Path) -> Path:
    """The file of an image; the part is cut out where it is not there yet."""
    if name != PART:
        return data / name
    if not (output / PART).is_file():
        from segautoconfiglib.image.files import read_stored, write_image

        small = read_stored(data / SMALL)
        write_image(small.array[0][PART_BOX], output / PART, small.geometry)
    return output / PART


def result(case: str, side: str) -> str:
    """The name of the labels' file."""
    return f"{case}-{side}.nii.gz"


def command(side: str, image: Path, output: Path, words: tuple[str, ...]) -> list[str | Path]:
    """What a side runs."""
    task = ["-i", image, "-o", output, "--ml", "-d", "cpu", *words]
    if side == "ours":
        return [sys.executable, "-m", "segautoconfiglib", "TotalSegmentator", *task]
    return [os.environ["PEER"], Path(__file__).with_name("task_peer.py"), side.removeprefix("peer") or "16", *task]


def environment(side: str, output: Path, threads: int) -> dict[str, str]:
    """Homes of their own, with nothing to be sent or asked. The package gets PEER_PYTHONPATH as PYTHONPATH."""
    home = output / "home"
    home.mkdir(exist_ok=True)
    config = {
        "totalseg_id": "totalseg_BENCHMARK", "send_usage_stats": False, "prediction_counter": 0,
        "statistics_disclaimer_shown": True,
    }  # fmt: skip
    (home / "config.json").write_text(json.dumps(config))
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    own = {"HOME": str(home), "TOTALSEG_HOME_DIR": str(home), "TOTALSEG_WEIGHTS_PATH": str(output / "weights")}
    if side != "ours":
        own["PYTHONPATH"] = os.environ.get("PEER_PYTHONPATH", "")
    return {**os.environ, **numbers, **own}


def table(results: dict[str, Any], output: Path) -> str:
    """Figures and equality of all cases that were measured, in Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", "| --- " + "| ---: " * (len(HEADINGS) - 1) + "|"]
    for case, sides in results.items():
        ours, peer = (sides.get(side, {}) for side in ("ours", "peer"))
        figures = [f"{side.get(key, '-')}" for key in ("cpu_s", "wall_s", "peak_mib") for side in (ours, peer)]
        equal = [share_equal(output, case, side) for side in ("peer", "peer32")]
        lines.append(f"| {' | '.join([case, *figures, *equal, labels_found(output, case)])} |")
    return "\n".join(lines) + "\n"


def share_equal(output: Path, case: str, side: str) -> str:
    """Of the voxels of both results, and how many differ."""
    files = [output / result(case, name) for name in ("ours", side)]
    if not all(file.is_file() for file in files):
        return "-"
    ours, peer = (labels_of(file) for file in files)
    if ours.shape != peer.shape:
        return f"{ours.shape} against {peer.shape}"
    return f"{np.mean(ours == peer):.6f} ({np.count_nonzero(ours != peer)} differ)"


def labels_found(output: Path, case: str) -> str:
    file = output / result(case, "ours")
    return str(len(set(np.unique(labels_of(file))) - {0})) if file.is_file() else "-"


def labels_of(file: Path) -> np.ndarray:
    """(z, y, x)."""
    from segautoconfiglib.image.files import read_labels

    return read_labels(file).array[0]


if __name__ == "__main__":
    sys.exit(main())
