"""Preprocessing a dataset: continues where it stopped, refuses what does not fit, names the case that fails."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent, strict_json
from segautoconfiglib.base.parallel import choose_workers, map_cases
from segautoconfiglib.base.records import atomic_path, read_json, write_json
from segautoconfiglib.dataset.dataset import Case, Dataset
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.fingerprint.extract import check_finite
from segautoconfiglib.image.files import read_header, read_image, read_labels
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.planning.spacing import resampled_shape
from segautoconfiglib.preprocessing.case import location_keys, preprocess_case
from segautoconfiglib.preprocessing.store import OWN_FOLDER, CaseStore

SETTINGS_FILE = "settings.json"

#: Written bytes per voxel of an image channel (float32, compressed) and of labels.
STORED_BYTES_PER_CHANNEL_VOXEL = 3.5
STORED_BYTES_PER_LABEL_VOXEL = 0.2


#: What is worked on at a time while resampling.
SLAB_BYTES = 50 * 2**20


@dataclass(frozen=True)
class CaseSize:
    """What a case needs, from the headers of its files; nothing is taken off for cropping.

    Attributes:
        channels: Of the image.
        voxels: Of the files.
        new_voxels: After resampling.
    """

    channels: int
    voxels: int
    new_voxels: int

    @property
    def peak_bytes(self) -> int:
        """Memory of one worker: all channels and one more as float32, masks and labels, before and after resampling."""
        return (self.voxels + self.new_voxels) * (4 * self.channels + 8) + SLAB_BYTES

    @property
    def stored_bytes(self) -> float:
        """Size of the stored files."""
        return self.new_voxels * (self.channels * STORED_BYTES_PER_CHANNEL_VOXEL + STORED_BYTES_PER_LABEL_VOXEL)


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

    Whole cases made with the same settings from the same files are kept; all others are made again, and cases that the
    dataset no longer has are removed.

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
        UserError: the disk is too small (before anything is written), the folder can't be written to, or a case can't
            be preprocessed (it is named).
        Cancelled: on request.
    """
    configuration = plans.configuration(configuration_name)
    label_spec = dataset.description.label_spec
    store = CaseStore(folder, plans.transpose_forward)
    settings = data_settings(plans, configuration, label_spec)
    kept = _current_cases(store, dataset.cases, settings)
    waiting = [case for case in dataset.cases if case.id not in kept]
    sizes = [case_size(case, plans, configuration) for case in waiting]
    _check_disk(sizes, plans, folder)
    _prepare_folder(store, settings, kept)
    if kept:
        report("log", message=f"{len(kept)} of {len(dataset.cases)} cases are preprocessed already.")
    map_cases(
        preprocess_and_save,
        [(case.id, (case, plans, configuration, label_spec, folder)) for case in waiting],
        workers=choose_workers(max((size.peak_bytes for size in sizes), default=0), workers),
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
        image = read_image(case.images)
        check_finite(image.array, case.id, case.images)
        made = preprocess_case(image, read_labels(case.label), plans, configuration, label_spec)
        del image
        CaseStore(folder).save(case.id, made, configuration.patch_size)
    except UserError as error:
        if case.id in error.message:
            raise
        raise UserError(f"Case {case.id}: {error.message}", error.hint) from error


def copy_ground_truth(dataset: Dataset, folder: Path) -> None:
    """Copy the labels of all cases, byte by byte, for evaluation; those that are there already are left alone.

    Raises:
        UserError: a file can't be read or written.
    """
    for case in dataset.cases:
        if case.label is None:
            continue
        target = folder / f"{case.id}{dataset.description.file_ending}"
        try:
            source = case.label.stat()
            if target.exists():
                there = target.stat()
                if (there.st_size, there.st_mtime_ns) == (source.st_size, source.st_mtime_ns):
                    continue
            with atomic_path(target) as temporary:
                shutil.copyfile(case.label, temporary)
                os.utime(temporary, ns=(source.st_atime_ns, source.st_mtime_ns))
        except OSError as error:
            raise UserError(
                f"Can't copy {case.label} to {target}: {error.strerror or error}.",
                "Check permissions and the free space.",
            ) from error


def data_settings(plans: Plans, configuration: Configuration, label_spec: LabelSpec) -> dict[str, Any]:
    """Everything in plans and labels that preprocessed data depend on, as JSON values.

    The patch size is not among them: it decides about the layout of the files only.
    """
    schemes = configuration.normalization_schemes
    intensities = plans.foreground_intensity_properties_per_channel
    return strict_json(
        {
            "transpose_forward": plans.transpose_forward,
            "spacing": configuration.spacing,
            "normalization_schemes": schemes,
            "use_mask_for_norm": configuration.use_mask_for_norm,
            "intensities": {str(i): intensities.get(str(i)) for i, name in enumerate(schemes) if name.startswith("CT")},
            "resampling_fn_data": configuration.resampling_fn_data,
            "resampling_fn_data_kwargs": configuration.resampling_fn_data_kwargs,
            "resampling_fn_seg": configuration.resampling_fn_seg,
            "resampling_fn_seg_kwargs": configuration.resampling_fn_seg_kwargs,
            "locations": location_keys(label_spec),
        }
    )


def case_size(case: Case, plans: Plans, configuration: Configuration) -> CaseSize:
    """Voxels before and after resampling, from the headers. Raises: UserError: a header can't be read."""
    headers = [read_header(file) for file in case.images]
    shape = [headers[0].shape[axis] for axis in plans.transpose_forward]
    spacing = [headers[0].geometry.spacing_mm[axis] for axis in plans.transpose_forward]
    target = [*spacing[: 3 - len(configuration.spacing)], *configuration.spacing]
    channels = sum(header.channels for header in headers)
    return CaseSize(channels, math.prod(shape), math.prod(resampled_shape(shape, spacing, target)))


def _current_cases(store: CaseStore, cases: Sequence[Case], settings: dict[str, Any]) -> set[str]:
    """The stored cases that are as they would be made now."""
    file = store.folder / OWN_FOLDER / SETTINGS_FILE
    if not file.is_file() or read_json(file) != settings:
        return set()
    stored = set(store.case_ids())
    return {case.id for case in cases if case.id in stored and _is_newer(store.folder / f"{case.id}.pkl", case)}


def _is_newer(made: Path, case: Case) -> bool:
    sources = [*case.images, case.label] if case.label else case.images
    return made.stat().st_mtime >= max(file.stat().st_mtime for file in sources if file)


def _check_disk(sizes: Sequence[CaseSize], plans: Plans, folder: Path) -> None:
    """Refuse to start where the disk is too small."""
    needed = sum(size.stored_bytes for size in sizes) * _share_left_by_cropping(sizes, plans)
    there = next(parent for parent in folder.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"The preprocessed cases need about {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free.",
            "Free some space, or choose another folder (--workspace or nnUNet_preprocessed).",
        )


def _share_left_by_cropping(sizes: Sequence[CaseSize], plans: Plans) -> float:
    """The median image after cropping, from the plans, against the files."""
    if not sizes or not plans.original_median_shape_after_transp:
        return 1.0
    median = sorted(size.voxels for size in sizes)[len(sizes) // 2]
    return min(1.0, math.prod(plans.original_median_shape_after_transp) / median)


def _prepare_folder(store: CaseStore, settings: dict[str, Any], kept: set[str]) -> None:
    """Remove all cases but those that are kept, and say what the new ones are made with."""
    try:
        for case_id in set(store.case_ids()) - kept:
            store.remove(case_id)
        store.remove_unfinished()
    except OSError as error:
        raise UserError(
            f"Can't remove outdated cases from {store.folder}: {error.strerror or error}.",
            "Check the folder's permissions.",
        ) from error
    write_json(store.folder / OWN_FOLDER / SETTINGS_FILE, settings)
