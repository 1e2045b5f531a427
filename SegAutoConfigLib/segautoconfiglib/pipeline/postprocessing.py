"""Finding and applying the postprocessing of segmentations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.lock import scratch_folder
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.evaluation import postprocessing
from segautoconfiglib.evaluation.compare import evaluate_folder, label_pairs
from segautoconfiglib.evaluation.places import POSTPROCESSED, POSTPROCESSING_JSON, POSTPROCESSING_PICKLE, SUMMARY
from segautoconfiglib.evaluation.summary import Summary
from segautoconfiglib.models.bundle import CROSS_VALIDATION
from segautoconfiglib.models.folder import DATASET_FILE, ModelFolder


def find_postprocessing(
    context: Context,
    predictions: Path,
    truth: Path,
    *,
    description_file: Path | None = None,
    keep: bool = True,
    workers: int | None = None,
) -> tuple[Summary, Summary]:
    """Find the postprocessing that helps; postprocessing.json, .pkl and ``postprocessed/`` go beside the predictions.

    Args:
        context: Gets the events.
        predictions: Folder of label maps.
        truth: Folder of label maps.
        description_file: dataset.json; None: the one in ``predictions``.
        keep: Leave ``postprocessed/`` there.
        workers: Processes; None as many as cores and memory allow.

    Returns:
        The metrics before and after.
    """
    check_writable(predictions)
    description = load_description(description_file or predictions / DATASET_FILE)
    return write_postprocessing(context, truth, predictions, description, keep=keep, workers=workers)


def write_postprocessing(
    context: Context,
    truth: Path,
    predictions: Path,
    description: DatasetDescription,
    *,
    before: Summary | None = None,
    keep: bool = True,
    workers: int | None = None,
) -> tuple[Summary, Summary]:
    """As :func:`find_postprocessing`, with what is known already.

    Args:
        context: Gets the events.
        truth: Folder of label maps.
        predictions: Likewise.
        description: Names the labels.
        before: Metrics of the predictions; None: summary.json is written first.
        keep: As there.
        workers: As there.
    """
    spec = description.label_spec
    common: dict[str, Any] = {
        "file_ending": description.file_ending,
        "workers": workers,
        "report": context.report,
        "cancel": context.cancel,
    }
    targets = postprocessing.find_postprocessing(truth, predictions, spec, **common)
    cases = [case for case, *_ in label_pairs(truth, predictions, description.file_ending, None, True)]
    if before is None:
        summary_file = predictions / SUMMARY
        before = evaluate_folder(truth, predictions, spec, cases=cases, output=summary_file, **common)
    with _kept(predictions / POSTPROCESSED) if keep else scratch_folder(predictions, ".unfinished-") as folder:
        postprocessing.apply_postprocessing(predictions, folder, targets, cases=cases, **common)
        after, summary_file = before, folder / SUMMARY
        if targets:
            after = evaluate_folder(truth, folder, spec, cases=cases, output=summary_file, **common)
        else:
            before.save(summary_file, sort_keys=True)
    file = postprocessing.save_postprocessing(targets, predictions, before, after)
    context.report("artifact", path=str(file), description="postprocessing")
    return before, after


@contextmanager
def _kept(folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    yield folder


def postprocess(
    context: Context,
    folder: Path,
    output: Path,
    file: Path,
    *,
    description_file: Path | None = None,
    cases: Sequence[str] | None = None,
    workers: int | None = None,
) -> list[Path]:
    """Apply a postprocessing.json or .pkl to the label maps of a folder.

    Args:
        context: Gets the events.
        folder: Label maps.
        output: Gets files of the same names.
        file: The postprocessing.
        description_file: dataset.json, for the file ending; None: the one in ``folder``.
        cases: Only these; None: all.
        workers: Processes; None as many as cores and memory allow.
    """
    targets = postprocessing.load_postprocessing(file)
    check_writable(output)
    description = load_description(description_file or folder / DATASET_FILE)
    context.report(
        "log",
        message=f"Largest part only: {postprocessing.target_names(targets, description.label_spec) or 'nowhere'}.",
    )
    files = postprocessing.apply_postprocessing(
        folder,
        output,
        targets,
        file_ending=description.file_ending,
        cases=cases,
        workers=workers,
        report=context.report,
        cancel=context.cancel,
    )
    context.report("done", stage=postprocessing.STAGE_APPLY, cases=len(files), output=str(output))
    return files


def model_postprocessing(model: ModelFolder) -> Path | None:
    """The postprocessing that was found for a model, from the most folds; None where there is none."""
    names = (POSTPROCESSING_JSON, POSTPROCESSING_PICKLE)
    found = [file for name in names for file in model.path.glob(f"{CROSS_VALIDATION}/{name}")]
    return max(found, key=lambda file: file.parent.name.count("_"), default=None)
