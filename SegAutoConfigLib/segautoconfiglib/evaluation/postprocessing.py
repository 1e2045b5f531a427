"""Keeping the largest connected part of structures, where the held-out cases say that this helps (as nnU-Net does).

What is kept to is nnU-Net's rule: all structures together if the mean Dice rises and that of no structure falls, then
each structure by itself if its own mean Dice rises.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import choose_workers, map_cases
from segautoconfiglib.base.records import atomic_path, checked_folder, copy_file, read_json, write_json
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import visible_files
from segautoconfiglib.dataset.labels import Label, LabelSpec
from segautoconfiglib.evaluation.compare import label_pairs
from segautoconfiglib.evaluation.metrics import class_metrics
from segautoconfiglib.evaluation.places import POSTPROCESSING_JSON, POSTPROCESSING_PICKLE
from segautoconfiglib.evaluation.summary import Summary, known_mean
from segautoconfiglib.image.crop import bounding_box, crop
from segautoconfiglib.image.files import read_header, read_labels, write_labels
from segautoconfiglib.preprocessing.safe_pickle import load_pickle

STAGE_FIND, STAGE_APPLY = "find-postprocessing", "postprocess"
#: nnunetv2's function, as its files name it.
FUNCTION_MODULE = "nnunetv2.postprocessing.remove_connected_components"
FUNCTION = "remove_all_but_largest_component_from_segmentation"
FIND_AGAIN = "Find the postprocessing again (find-postprocessing, or find-best)."

#: Memory that a case takes: truth and labels, a copy, a mask and the numbered parts (4).
BYTES_PER_VOXEL = 16

#: What is regarded as one thing: a label, a region, or a list of labels or regions (nnU-Net's ``labels_or_regions``).
Target = Label | list[Label]


def keep_largest(labels: np.ndarray, target: Target) -> np.ndarray:
    """Set what does not belong to the largest connected part to 0; of equally large parts all are kept.

    Args:
        labels: (z, y, x) integers. Voxels are connected over faces, edges and corners.
        target: What is regarded as one thing.

    Returns:
        A changed copy, or ``labels`` itself where nothing is to be removed.
    """
    mask = np.isin(labels, target_labels(target))
    if not mask.any():
        return labels
    box = bounding_box(mask)
    inside = crop(mask, box)
    parts, count = ndimage.label(inside, structure=np.ones((3, 3, 3), bool))
    sizes = np.bincount(parts[inside], minlength=count + 1)
    small = sizes < sizes.max()
    small[0] = False
    if not small.any():
        return labels
    kept = labels.copy()
    crop(kept, box)[small[parts]] = 0
    return kept


def target_labels(target: Target) -> list[int]:
    """The label values of a target."""
    entries = target if isinstance(target, list) else [target]
    return sorted({label for entry in entries for label in ((entry,) if isinstance(entry, int) else entry)})


def find_postprocessing(
    truth: Path,
    predictions: Path,
    spec: LabelSpec,
    *,
    file_ending: str,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Target]:
    """Find out which structures to reduce to their largest part.

    Args:
        truth: Folder of label maps.
        predictions: Folder of label maps, of cases that the network was not trained on.
        spec: The labels or regions.
        file_ending: Of all files.
        workers: Processes; None as many as cores and memory allow.
        report: Gets started and progress per pass over the cases, and the findings as log.
        cancel: Asked between cases.

    Returns:
        The targets of :func:`keep_largest` that help, one after the other.

    Raises:
        UserError: files are missing or unreadable, or do not belong together.
    """
    pairs = label_pairs(Path(truth), Path(predictions), file_ending, None, allow_missing=True)
    largest = max((reference for _, reference, _ in pairs), key=lambda file: file.stat().st_size)
    processes = choose_workers(BYTES_PER_VOXEL * int(np.prod(read_header(largest).shape)), workers)

    def mean_dice(accepted: Sequence[Target], candidates: Sequence[Target]) -> list[dict[Label, float]]:
        tasks = [(case, (found, reference, spec, accepted, candidates)) for case, reference, found in pairs]
        results = map_cases(dice_with, tasks, workers=processes, stage=STAGE_FIND, report=report, cancel=cancel)
        return [
            {entry: known_mean(case[index][entry] for case in results) for entry in spec.foreground}
            for index in range(len(candidates) + 1)
        ]

    accepted: list[Target] = []
    everything: Target = list(spec.foreground_labels)
    before, after = mean_dice(accepted, [everything])
    if known_mean(after.values()) > known_mean(before.values()) and not any(
        after[entry] < before[entry] for entry in before
    ):
        accepted.append(everything)
    if len(spec.foreground) > 1:
        # Labels do not overlap, so what is done to one changes no other, and one pass over the files tells about all.
        for together in [[entry] for entry in spec.foreground] if spec.has_regions else [spec.foreground]:
            before, *results = mean_dice(accepted, together)
            accepted += [
                entry for entry, result in zip(together, results, strict=True) if result[entry] > before[entry]
            ]
    report("log", message=f"Largest part only: {target_names(accepted, spec) or 'nowhere'}.")
    return accepted


def target_names(targets: Sequence[Target], spec: LabelSpec) -> str:
    """Targets as people call them."""
    names = {tuple(target_labels(entry)): name for entry, name in spec.names.items()}
    return ", ".join(names.get(tuple(target_labels(target)), "all structures together") for target in targets)


def dice_with(
    prediction: Path, reference: Path, spec: LabelSpec, accepted: Sequence[Target], candidates: Sequence[Target]
) -> list[dict[Label, float]]:
    """Dice per class of one case, without and with each of the candidates on top of what is accepted already."""
    truth, labels = read_labels(reference).array[0], read_labels(prediction).array[0]
    if truth.shape != labels.shape:
        raise UserError(
            f"Truth {reference} has {truth.shape} voxels (z, y, x), prediction {prediction} {labels.shape}.",
            "Check whether the two belong together.",
        )

    def dice(found: np.ndarray) -> dict[Label, float]:
        metrics = class_metrics(
            truth, found, spec.foreground, spacing_mm=(1, 1, 1), ignore_label=spec.ignore_label, surface=False
        )
        return {entry: values["Dice"] for entry, values in metrics.items()}

    for target in accepted:
        labels = keep_largest(labels, target)
    results = [dice(labels)]
    for target in candidates:
        changed = keep_largest(labels, target)
        results.append(results[0] if changed is labels else dice(changed))
    return results


def apply_postprocessing(
    folder: Path,
    output: Path,
    targets: Sequence[Target],
    *,
    file_ending: str,
    cases: Sequence[str] | None = None,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Reduce structures to their largest part in all label maps of a folder.

    Args:
        folder: Label maps; dataset.json and plans.json are copied, too.
        output: Gets files of the same names; may be ``folder`` itself.
        targets: From :func:`find_postprocessing` or :func:`load_postprocessing`.
        file_ending: Of the label maps.
        cases: Only these; None: all.
        workers: Processes; None as many as cores and memory allow.
        report: Gets started, progress per case and artifact.
        cancel: Asked between cases.

    Returns:
        The files that were written.

    Raises:
        UserError: there are no label maps, or one is unreadable.
    """
    folder, output = checked_folder(folder), Path(output)
    files = [file for file in visible_files(folder, file_ending) if cases is None or _case(file, file_ending) in cases]
    if not files:
        raise UserError(f"There is no file ending in {file_ending} in {folder}.", "Check the folder.")
    if folder.absolute() != output.absolute():
        output.mkdir(parents=True, exist_ok=True)
        for name in ("dataset.json", "plans.json"):
            if (folder / name).is_file():
                copy_file(folder / name, output / name)
    largest = max(files, key=lambda file: file.stat().st_size)
    processes = choose_workers(BYTES_PER_VOXEL * int(np.prod(read_header(largest).shape)), workers)
    tasks = [(_case(file, file_ending), (file, output / file.name, targets)) for file in files]
    map_cases(postprocess_file, tasks, workers=processes, stage=STAGE_APPLY, report=report, cancel=cancel)
    report("artifact", path=str(output), description=f"{counted(len(files), 'segmentation')} after postprocessing")
    return [output / file.name for file in files]


def postprocess_file(file: Path, output: Path, targets: Sequence[Target]) -> None:
    """Reduce structures of one label map."""
    if not targets:
        if file != output:
            copy_file(file, output)
        return
    volume = read_labels(file)
    labels = volume.array[0]
    for target in targets:
        labels = keep_largest(labels, target)
    write_labels(labels, output, volume.geometry)


def _case(file: Path, ending: str) -> str:
    return file.name[: -len(ending)]


def save_postprocessing(targets: Sequence[Target], folder: Path, before: Summary, after: Summary) -> Path:
    """Write postprocessing.json and postprocessing.pkl as nnU-Net has them; returns the first.

    Args:
        targets: Of :func:`find_postprocessing`.
        folder: Of the predictions that it was found with.
        before: Metrics of these predictions.
        after: Metrics with the postprocessing.
    """
    kwargs = [{"labels_or_regions": target} for target in targets]
    means = {
        key: {"foreground_mean": summary.foreground_mean, "mean": summary.mean}
        for key, summary in (("input_folder", before), ("postprocessed", after))
    }
    write_json(
        folder / POSTPROCESSING_JSON,
        {**means, "postprocessing_fns": [FUNCTION] * len(targets), "postprocessing_kwargs": kwargs},
        sort_keys=True,
    )
    with atomic_path(folder / POSTPROCESSING_PICKLE) as temporary:
        temporary.write_bytes(_pickled(kwargs))
    return folder / POSTPROCESSING_JSON


def _pickled(kwargs: Sequence[dict[str, Any]]) -> bytes:
    """Pickle of ([nnunetv2's function, ...], [kwargs, ...]), put together by hand: nnunetv2 need not be installed."""
    function = pickle.GLOBAL + f"{FUNCTION_MODULE}\n{FUNCTION}\n".encode()
    functions = pickle.EMPTY_LIST + pickle.MARK + function * len(kwargs) + pickle.APPENDS
    values = pickle.dumps(list(kwargs), 2)
    head, body, end = values[:2], values[2:-1], values[-1:]
    return head + functions + body + pickle.TUPLE2 + end


def load_postprocessing(file: Path) -> list[Target]:
    """The targets in a postprocessing.json or .pkl of nnunetv2 or of this program; code in it is not run.

    Raises:
        UserError: missing, damaged, refused, or it asks for a function that there is not.
    """
    file = Path(file)
    if not file.exists():
        raise UserError(f"{file} does not exist.", "Check the path; find-postprocessing and find-best make this file.")
    try:
        if file.suffix == ".json":
            content = read_json(file)
            functions, kwargs = content["postprocessing_fns"], content["postprocessing_kwargs"]
        else:
            known = {(FUNCTION_MODULE, FUNCTION): FUNCTION}
            functions, kwargs = load_pickle(file, stand_ins=known, remedy=FIND_AGAIN)
        if unknown := sorted({str(name) for name in functions} - {FUNCTION}):
            raise UserError(f"{file} asks for {', '.join(unknown)}.", f"Known is only {FUNCTION}.")
        return [_target(entry["labels_or_regions"]) for entry, _ in zip(kwargs, functions, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is no postprocessing file ({type(error).__name__}: {error}).", FIND_AGAIN) from error


def _target(value: Any) -> Target:
    """nnU-Net's ``labels_or_regions``, where JSON knows no tuples. Raises: TypeError, ValueError: it is none."""
    if isinstance(value, (list, tuple)):
        entries = [int(entry) if not isinstance(entry, (list, tuple)) else tuple(map(int, entry)) for entry in value]
        return entries if isinstance(value, list) else tuple(target_labels(entries))
    return int(value)
