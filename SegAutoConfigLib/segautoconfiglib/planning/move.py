"""Plans of one dataset for another: the same network, spacing and normalisation, so that weights can go on learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segautoconfiglib.base.errors import Problem, ProblemsError
from segautoconfiglib.base.words import counted
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.planning.normalization import normalization_schemes, use_mask
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.planning.presets import checked_plans_name


def moved_plans(plans: Plans, dataset_name: str, plans_name: str, reader: str | None = None) -> Plans:
    """The plans for another dataset; everything that is not named here stays, also the intensities of the source.

    Args:
        plans: Of the source.
        dataset_name: Of the target.
        plans_name: In the target. Where it is another one, folders of preprocessed cases are renamed likewise.
        reader: nnU-Net's name of the reader of the target's images; None: that of the source.

    Raises:
        UserError: ``plans_name`` can't be the name of a file.
    """
    old, new = plans.plans_name, checked_plans_name(plans_name)
    changes: dict[str, Any] = {"dataset_name": dataset_name, "plans_name": new}
    if reader is not None:
        changes["image_reader_writer"] = reader
    if old != new:
        entries = plans.configurations
        changes["configurations"] = {name: _renamed(entry, old, new) for name, entry in entries.items()}
    return Plans.from_json({**plans.to_json(), **changes}, f"plans {new!r}")


def _renamed(entry: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    identifier = entry.get("data_identifier")
    if not isinstance(identifier, str):
        return dict(entry)
    rest = identifier[len(old) :] if identifier.startswith(old) else f"_{identifier}"
    return {**entry, "data_identifier": new + rest}


def check_channels(plans: Plans, channels: int, dataset_name: str) -> None:
    """Find out whether plans were made for as many channels. Raises: ProblemsError: naming each configuration."""
    problems = []
    for name in plans.configuration_names:
        planned = len(plans.configuration(name).normalization_schemes)
        if planned != channels:
            problems.append(Problem(f"Configuration {name} is for {counted(planned, 'channel')}."))
    if problems:
        raise ProblemsError(
            f"The plans {plans.plans_name!r} of {plans.dataset_name} do not fit {dataset_name}, which has "
            f"{counted(channels, 'channel')}:",
            problems,
            "Give --own-channels to normalise those of the target, and --adapt channels in the training that goes from "
            "one dataset to the other.",
        )


def with_channels(plans: Plans, channels: Sequence[str], measured: Fingerprint) -> Plans:
    """Plans with the normalisation of a dataset's own channels; all else stays.

    Args:
        plans: Made for other channels.
        channels: Names as in dataset.json.
        measured: The dataset's fingerprint.
    """
    schemes = normalization_schemes(channels)
    masks = use_mask(schemes, measured.median_relative_size_after_cropping)
    own = {"normalization_schemes": schemes, "use_mask_for_norm": masks}
    entries = {
        name: {**entry, **own} if "normalization_schemes" in entry else entry
        for name, entry in plans.configurations.items()
    }
    intensities = measured.foreground_intensity_properties_per_channel
    changes = {"configurations": entries, "foreground_intensity_properties_per_channel": intensities}
    return Plans.from_json({**plans.to_json(), **changes}, f"plans {plans.plans_name!r}")
