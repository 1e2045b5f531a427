"""Which stored cases are as they would be made now: same settings, same raw files; also among nnU-Net's own cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent, strict_json
from segautoconfiglib.base.records import read_json
from segautoconfiglib.dataset.dataset import Case
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.sources import sources_of
from segautoconfiglib.image.files import read_header, read_image, read_labels
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.preprocessing.case import location_keys, network_grid, preprocess_case
from segautoconfiglib.preprocessing.store import CaseStore

#: Up to which share a stored case and one made now may differ: mean of the images' differences, and of the labels'.
SAME_IMAGE = 0.01
SAME_LABELS = 0.001
SAME_SPACING = 0.001


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
            **({"normalize_after_resampling": True} if configuration.normalize_after_resampling else {}),
        }
    )


def check_folder(plans: Plans, name: str, label_spec: LabelSpec) -> None:
    """Whether the folder of a configuration's cases is its own, or shared only with such as make the same cases.

    Raises:
        UserError: a configuration of the same plans makes other cases for the same folder.
    """
    own = plans.configuration(name)
    settings = data_settings(plans, own, label_spec)
    for other in plans.configuration_names:
        try:
            entry = plans.configuration(other)
        except UserError:  # said where it is used
            continue
        theirs = data_settings(plans, entry, label_spec)
        if entry.data_identifier == own.data_identifier and theirs != settings:
            keys = ", ".join(key for key, value in settings.items() if theirs[key] != value)
            raise UserError(
                f"Configurations {name} and {other} of {plans.plans_name} keep different cases ({keys}) in one folder, "
                f"{own.data_identifier}.",
                f'Give the one that was added a "data_identifier" of its own, such as "{plans.plans_name}_{name}".',
            )


def current_cases(
    store: CaseStore,
    cases: Sequence[Case],
    plans: Plans,
    configuration: Configuration,
    label_spec: LabelSpec,
    report: Reporter = silent,
) -> set[str]:
    """The stored cases that are as they would be made now.

    Cases in a folder without our settings are nnU-Net's. They do not say how they were made: each is compared with
    the header of its image, and one with what preprocessing makes of it; those that fit are noted as current.

    Args:
        store: Of the configuration.
        cases: Of the dataset.
        plans: Of the dataset.
        configuration: Of the plans.
        label_spec: Of the dataset.
        report: Gets one "log" about cases of nnU-Net.

    Raises:
        UserError: a raw file can't be read.
    """
    stored = set(store.case_ids())
    there = [case for case in cases if case.id in stored]
    if store.settings_file.is_file():
        same = read_json(store.settings_file) == data_settings(plans, configuration, label_spec)
        return {case.id for case in there if same and store.sources(case.id) == sources_of(case)}
    if not there:
        return set()
    faults = {case.id: _misfit(store, case, plans, configuration, label_spec) for case in there}
    fitting = [case for case in there if not faults[case.id]]
    if fitting:
        sample = min(fitting, key=lambda case: sum(size for _, size, _ in sources_of(case)))
        if not _same_voxels(store, sample, plans, configuration):
            fitting, faults = [], {sample.id: "its voxels are not what these plans make of its files"}
    for case in fitting:
        store.note_sources(case.id, sources_of(case))
    report("log", message=_adoption_text(len(fitting), len(cases), store, faults))
    return {case.id for case in fitting}


def _adoption_text(fitting: int, total: int, store: CaseStore, faults: Mapping[str, str]) -> str:
    wrong = [f"case {case}: {fault}" for case, fault in faults.items() if fault]
    text = f"{store.folder.name} holds cases of nnU-Net; {fitting} of {total} are used as they are."
    return f"{text} Others do not fit and are made again ({wrong[0]})." if wrong else text


def _misfit(store: CaseStore, case: Case, plans: Plans, configuration: Configuration, label_spec: LabelSpec) -> str:
    """Why a case of nnU-Net can't be one of these plans, as far as headers tell; "" where it can."""
    header = read_header(case.images[0])
    try:
        stored = store.open(case.id)
        record = stored.record
    except UserError as error:
        return error.message
    made_ns = store.made_ns(case.id)
    if any(changed_ns > made_ns for _, _, changed_ns in sources_of(case)):
        return "its files were changed later"
    shape = tuple(header.shape[axis] for axis in plans.transpose_forward)
    same_spacing = np.allclose(record.geometry.spacing_mm, header.geometry.spacing_mm, rtol=SAME_SPACING, atol=0)
    if record.full_shape != shape or not same_spacing:
        return "its image has another size or spacing by now"
    grid, _ = network_grid(record.cropped_shape, record.spacing_mm, configuration)
    expected = (len(configuration.normalization_schemes), *grid)
    if tuple(stored.data.shape) != expected:
        return f"its shape is {tuple(stored.data.shape)}, the plans ask for {expected}"
    if set(stored.class_locations) != set(location_keys(label_spec)):
        return "its labels are not those of dataset.json"
    return ""


def _same_voxels(store: CaseStore, case: Case, plans: Plans, configuration: Configuration) -> bool:
    """True where preprocessing makes of a case what is stored."""
    assert case.label is not None
    stored = store.open(case.id)
    made = preprocess_case(read_image(case.images), read_labels(case.label), plans, configuration, None)
    assert made.labels is not None
    if made.data.shape != tuple(stored.data.shape) or made.labels.shape != tuple(stored.labels.shape):
        return False
    difference = float(np.abs(made.data - stored.data[:]).mean())
    return (
        difference <= SAME_IMAGE * float(np.abs(made.data).mean())
        and float((made.labels != stored.labels[:]).mean()) <= SAME_LABELS
    )
