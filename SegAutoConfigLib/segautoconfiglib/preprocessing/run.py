"""Preprocessing a dataset: continues where it stopped, refuses what does not fit, names the case that fails."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import ProblemsError, UserError, naming
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import copy_file, existing_folder, read_json, write_json
from segautoconfiglib.base.words import counted, first_of
from segautoconfiglib.dataset.dataset import Case, Dataset
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.sources import sources_of
from segautoconfiglib.dataset.structure import label_file_clashes
from segautoconfiglib.fingerprint.extract import check_finite, largest_cases, workers_for_cases
from segautoconfiglib.image.files import files_of, read_header, read_image, read_labels, reading_bytes, write_labels
from segautoconfiglib.image.formats import TIFF_ENDINGS, TWO_FILE_ENDINGS, file_ending
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.preprocessing.case import check_settings, network_grid, preprocess_case
from segautoconfiglib.preprocessing.current import check_folder, current_cases, data_settings
from segautoconfiglib.preprocessing.in_use import readers
from segautoconfiglib.preprocessing.store import CaseStore

#: Written bytes per voxel of an image channel (float32, compressed; measured 1.7 to 3) and of labels.
STORED_BYTES_PER_CHANNEL_VOXEL = 3.0
STORED_BYTES_PER_LABEL_VOXEL = 0.1


#: Memory that resampling takes beside its input and output.
SLAB_BYTES = 50 * 2**20


def preprocess_dataset(
    dataset: Dataset,
    plans: Plans,
    configuration_name: str,
    folder: Path,
    *,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> CaseStore:
    """Preprocess all training cases for one configuration.

    Whole cases made with the same settings from the same files are kept, nnU-Net's own cases too where they fit; all
    others are made again, and cases that the dataset no longer has are removed. Another process that does the same
    work is waited for. While a training reads the folder, nothing in it is changed: removed cases are only hidden.

    Args:
        dataset: With a label for every case.
        plans: Of the dataset.
        configuration_name: One with data of its own.
        folder: For the cases: ``preprocessed/DatasetXXX_Name/<data_identifier>``.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started", "progress" and "log".
        cancel: Asked between cases; finished cases stay.

    Returns:
        The store with all cases.

    Raises:
        UserError: the disk is too small, the folder holds other files, the ids of two cases lead to one file, or cases
            must be made again that a training reads (all before anything is written); the folder can't be written to,
            or a case can't be preprocessed (it is named).
        Cancelled: on request.
    """
    clashes = label_file_clashes(case.id for case in dataset.cases)
    if clashes:
        raise ProblemsError(f"{dataset.name} can't be preprocessed:", clashes)
    configuration = plans.configuration(configuration_name)
    label_spec = dataset.description.label_spec
    check_settings(plans, configuration, len(dataset.description.channels))
    check_folder(plans, configuration_name, label_spec)
    store = CaseStore(folder, plans.transpose_forward)
    lock = folder.with_name(f".{folder.name}.lock")
    with alone(lock, f"Preprocessing {configuration_name}", report=report, cancel=cancel):
        store.check_format()
        store.hide(set(store.case_ids(hidden=True)) - {case.id for case in dataset.cases})
        kept = current_cases(store, dataset.cases, plans, configuration, label_spec, report)
        in_use = readers(folder)
        _check_readers(in_use, set(store.case_ids()) - kept)
        waiting = [case for case in dataset.cases if case.id not in kept]
        _check_disk(stored_bytes(plans, configuration) * len(waiting) + label_bytes(waiting), folder)
        _prepare_folder(store, data_settings(plans, configuration, label_spec), kept, keep_files=bool(in_use))
        there = f"{len(kept)} of {len(dataset.cases)} cases are preprocessed already." if kept else ""
        begun = f"preprocessing {counted(len(waiting), 'case')}."
        report("log", message=f"{configuration_name}: {there or begun}")
        map_cases(
            preprocess_and_save,
            [(case.id, (case, plans, configuration, label_spec, folder)) for case in waiting],
            workers=workers_for_cases(waiting, peak_bytes(waiting, plans, configuration), workers),
            stage="preprocess",
            report=report,
            cancel=cancel,
        )
    return store


def preprocess_and_save(
    case: Case, plans: Plans, configuration: Configuration, label_spec: LabelSpec, folder: Path
) -> None:
    """Read, preprocess and store one case. Raises: UserError: naming the case."""
    try:
        if case.label is None:
            raise UserError("There is no label.", "Every training case needs a label file.")
        sources = sources_of(case)
        image = read_image(case.images)
        check_finite(image.array, case.id, case.images)
        labels = read_labels(case.label)
        _check_values(labels.array, case.label, label_spec)
        made = preprocess_case(image, labels, plans, configuration, label_spec)
        del image, labels
        store = CaseStore(folder)
        store.save(case.id, made, configuration.patch_size)
        store.note_sources(case.id, sources)
    except UserError as error:
        raise naming(case.id, error) from error


def _check_values(labels: np.ndarray, file: Path, label_spec: LabelSpec) -> None:
    """Refuse values that dataset.json does not declare (it numbers them from 0 without gaps)."""
    highest = max(label_spec.all_labels) if label_spec.ignore_label is None else label_spec.ignore_label
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > highest:
        raise UserError(
            f"{file} holds label values from {low} to {high}; dataset.json declares 0 to {highest}.",
            "Declare the value there, or correct the file; 'verify' lists all such cases.",
        )


def copy_ground_truth(dataset: Dataset, folder: Path) -> None:
    """Copy the labels of all cases for evaluation; those that are there already are left alone.

    Files that stand for themselves are copied byte by byte; others (a header with a voxel file, a tif with its spacing
    beside it, a label map with another ending than the dataset's) are read and written.

    Raises:
        UserError: a file can't be read or written.
    """
    ending = dataset.description.file_ending
    for case in dataset.cases:
        if case.label is None:
            continue
        target = folder / f"{case.id}{ending}"
        try:
            changed_ns = max(file.stat().st_mtime_ns for file in files_of(case.label))
            if target.exists() and target.stat().st_mtime_ns == changed_ns:
                continue
            if file_ending(case.label) != ending or ending in (*TWO_FILE_ENDINGS, *TIFF_ENDINGS):
                labels = read_labels(case.label)
                write_labels(labels.array[0], target, labels.geometry)
            else:
                copy_file(case.label, target)
            os.utime(target, ns=(changed_ns, changed_ns))
        except OSError as error:
            raise UserError(
                f"Can't copy {case.label} to {target}: {error.strerror or error}.",
                "Check permissions and the free space.",
            ) from error


def peak_bytes(cases: Sequence[Case], plans: Plans, configuration: Configuration) -> int:
    """Memory of one worker on the largest case: all channels and one more as float32, masks and labels, old and new.

    Raises:
        UserError: a header can't be read.
    """
    peak = 0
    for case in largest_cases(cases):
        headers = [read_header(file) for file in case.images]
        shape = [headers[0].shape[axis] for axis in plans.transpose_forward]
        spacing = [headers[0].geometry.spacing_mm[axis] for axis in plans.transpose_forward]
        voxels = math.prod(shape) + _voxels_after(shape, spacing, configuration)
        needed = voxels * (4 * sum(header.channels for header in headers) + 8) + SLAB_BYTES
        peak = max(peak, reading_bytes(headers), needed)
    return peak


def stored_bytes(plans: Plans, configuration: Configuration) -> float:
    """Size of a median case's files, from the plans; 0 where they do not tell."""
    shape = [round(edge) for edge in plans.original_median_shape_after_transp]
    spacing = plans.original_median_spacing_after_transp
    if not shape or not spacing:
        return 0
    channels = len(configuration.normalization_schemes)
    per_voxel = channels * STORED_BYTES_PER_CHANNEL_VOXEL + STORED_BYTES_PER_LABEL_VOXEL
    return _voxels_after(shape, spacing, configuration) * per_voxel


def label_bytes(cases: Sequence[Case]) -> int:
    """Size of the cases' label files: they are copied for evaluation."""
    return sum(file.stat().st_size for case in cases if case.label for file in files_of(case.label))


def _voxels_after(shape: Sequence[int], spacing_mm: Sequence[float], configuration: Configuration) -> int:
    """Voxels after resampling; axes are the plans' transposed ones."""
    return math.prod(network_grid(shape, spacing_mm, configuration)[0])


def _check_disk(needed: float, folder: Path) -> None:
    """Refuse to start where the disk is too small, or missing."""
    free = shutil.disk_usage(existing_folder(folder)).free
    if needed > free:
        raise UserError(
            f"The preprocessed cases need about {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free.",
            "Free some space, or choose another folder (--workspace or nnUNet_preprocessed).",
            "room",
        )


def _check_readers(in_use: Sequence[str], outdated: set[str]) -> None:
    """Refuse to make cases again that are being read."""
    if in_use and outdated:
        names = first_of(sorted(outdated), 3)
        raise UserError(
            f"{counted(len(outdated), 'case')} must be preprocessed again ({names}), but a training reads them: "
            f"{', '.join(in_use)}.",
            "Wait for its end, or stop it; then start again.",
        )


def _prepare_folder(store: CaseStore, settings: dict[str, Any], kept: set[str], *, keep_files: bool) -> None:
    """Remove all cases but those that are kept, unless files are in use, and say what the new ones are made with."""
    try:
        if not keep_files:
            for case_id in set(store.case_ids(hidden=True)) - kept:
                store.remove(case_id)
            store.hide(())
            store.remove_unfinished()
    except OSError as error:
        raise UserError(
            f"Can't remove outdated cases from {store.folder}: {error.strerror or error}.",
            "Check the folder's permissions.",
        ) from error
    if not store.settings_file.is_file() or read_json(store.settings_file) != settings:
        write_json(store.settings_file, settings)
