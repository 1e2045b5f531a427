"""What a run did, as a JSON file for programs that go on with its results (``--report``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segautoconfiglib import __version__
from segautoconfiglib.base.records import write_json


def run_report(
    *,
    task: str,
    modality: str,
    licence: bool,
    device: str,
    source: Path | str | None,
    output: Path | None,
    files: Sequence[Path],
    weights: Sequence[Path],
    classes: Mapping[int, str],
    runtime_seconds: float,
    options: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of the report, with TotalSegmentator's keys as far as they have a meaning here.

    Args:
        task: Its name.
        modality: Of the task, "CT" or "MR".
        licence: Whether its weights need a licence.
        device: That was computed on.
        source: The image; None or a word where it was no file.
        output: What the user named.
        files: All that were written.
        weights: The models that were run.
        classes: Names of the structures that were asked for, by label.
        runtime_seconds: Of the whole run.
        options: As the user chose them, such as fast, fastest, multilabel, output_type, roi_subset, save_lowres.
        warnings: Of the run.
    """
    return {
        "engine": "segautoconfiglib",
        "engine_version": __version__,
        "torch_version": _version("torch"),
        "task": task,
        "modality": modality,
        "license_required": licence,
        "device": "gpu" if device.startswith("cuda") else device,
        **options,
        "input": None if source is None else str(source),
        "output": None if output is None else str(output),
        "num_classes": len(classes),
        "classes": {str(label): name for label, name in classes.items()},
        "weights": list(map(str, weights)),
        "runtime_seconds": round(runtime_seconds, 2),
        "output_files": sorted(_relative(file, output) for file in files),
        "warnings": list(warnings),
    }


def write_report(file: Path, content: Mapping[str, Any]) -> None:
    """Write it. Raises: UserError: it can't be written."""
    write_json(file, content)


def _relative(file: Path, output: Path | None) -> str:
    """The name of a file in the output folder; the whole path of any other."""
    below = output is not None and file != output and file.is_relative_to(output)
    return file.relative_to(output).as_posix() if output is not None and below else str(file)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
