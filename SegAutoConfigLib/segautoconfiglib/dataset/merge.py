"""dataset.json of a dataset that gets more cases: labels may only be added at the end, nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segautoconfiglib.base.errors import Problem
from segautoconfiglib.dataset.description import DatasetDescription
from segautoconfiglib.dataset.labels import IGNORE
from segautoconfiglib.dataset.staging import CASES_FILE, Staging

#: Of a new dataset, where cases.json names none: keeps all of the geometry.
DEFAULT_ENDING = ".nrrd"
NEW_DATASET = "Cases of another kind need a dataset of their own."

Labels = Mapping[str, int | list[int]]


def merge(old: DatasetDescription | None, staging: Staging) -> tuple[dict[str, Any], list[Problem]]:
    """The content of dataset.json with what the new cases bring.

    Labels keep their numbers, new ones follow. The ignore label has the highest number, so a dataset that has one gets
    no further labels: all its label files would have to be numbered anew.

    Args:
        old: None for a new dataset.
        staging: What is to be added.

    Returns:
        The content, the number of cases left as it was (0), to be checked by `describe`; and contradictions.
    """
    content: dict[str, Any] = {"numTraining": 0, "file_ending": staging.file_ending or DEFAULT_ENDING}
    content |= old.to_json() if old is not None else {}
    problems: list[Problem] = []
    if staging.channel_names is not None:
        problems += _channel_problems(content.get("channel_names"), staging.channel_names)
        content.setdefault("channel_names", staging.channel_names)
    if staging.labels is not None:
        before: Labels = content.get("labels", {})
        problems += _label_problems(before, staging.labels)
        content["labels"] = _merged_labels(before, staging.labels)
        orders = (
            _orders(before, content.get("regions_class_order")),
            _orders(staging.labels, staging.regions_class_order),
        )
        problems += [
            Problem(
                f"region {name!r} is written as {orders[1][name]}; in the dataset as {value}.", NEW_DATASET, CASES_FILE
            )
            for name, value in orders[0].items()
            if orders[1].get(name, value) != value
        ]
        order = _merged_order(content["labels"], {**orders[1], **orders[0]})
        if order is not None:
            content["regions_class_order"] = order
    segments = _merged_segments(content.get("segments"), staging.segments)
    if segments:
        content["segments"] = segments
    return content, problems


def label_values(labels: Any) -> tuple[int, ...]:
    """All numbers that stand in the key ``labels``, sorted."""
    entries = labels.values() if isinstance(labels, Mapping) else ()
    return tuple(sorted({number for entry in entries for number in _values(entry)}))


def _values(entry: int | list[int]) -> tuple[int, ...]:
    return tuple(entry) if isinstance(entry, list) else (entry,)


def _channel_problems(old: Mapping[str, str] | None, new: Mapping[str, str]) -> list[Problem]:
    def comparable(names: Mapping[str, str]) -> dict[str, str]:
        return {key: name.casefold() for key, name in names.items()}

    if old is None or comparable(old) == comparable(new):
        return []
    had, got = (", ".join(names.values()) for names in (old, new))
    return [Problem(f"the channels are {got}; those of the dataset are {had}.", NEW_DATASET, CASES_FILE)]


def _label_problems(old: Labels, new: Labels) -> list[Problem]:
    added = _added(old, new)
    problems = [
        Problem(
            f"label {name!r} is {new[name]}; in the dataset it is {old[name]}.",
            "Labels keep their numbers: number the new label maps as in dataset.json.",
            CASES_FILE,
        )
        for name in new
        if name in old and set(_values(new[name])) != set(_values(old[name])) and not (name == IGNORE and added)
    ]
    twins = {name.casefold(): name for name in old}
    problems += [
        Problem(f"label {name!r} differs from {twins[name.casefold()]!r} only in upper and lower case.",
                "Use the dataset's name, or another one.", CASES_FILE)
        for name in added
        if name.casefold() in twins
    ]  # fmt: skip
    if added and IGNORE in old:
        text = f"the dataset has an ignore label, so it can't get further labels ({', '.join(added)})."
        hint = "The ignore label must have the highest number. Leave these labels out, or make a new dataset."
        problems.append(Problem(text, hint, CASES_FILE))
    return problems


def _added(old: Labels, new: Labels) -> list[str]:
    return [name for name in new if name not in old and name != IGNORE]


def _merged_labels(old: Labels, new: Labels) -> dict[str, int | list[int]]:
    """In file order, the ignore label last."""
    merged = {**old, **{name: new[name] for name in new if name not in old}}
    return {name: merged[name] for name in sorted(merged, key=lambda name: name == IGNORE)}


def _orders(labels: Labels, order: list[int] | None) -> dict[str, int]:
    """The value to write for each region."""
    names = [name for name, entry in labels.items() if name != IGNORE and set(_values(entry)) != {0}]
    return dict(zip(names, order or (), strict=False))


def _merged_order(labels: Labels, known: Mapping[str, int]) -> list[int] | None:
    """``regions_class_order`` for the merged labels; None where there are no regions. Gaps are left to `describe`."""
    if not any(isinstance(entry, list) for entry in labels.values()):
        return None
    single = {name: entry for name, entry in labels.items() if isinstance(entry, int)}
    regions = [name for name, entry in labels.items() if name != IGNORE and set(_values(entry)) != {0}]
    order = [known.get(name, single.get(name)) for name in regions]
    return [value for value in order if value is not None]


def _merged_segments(
    old: Mapping[str, Mapping[str, Any]] | None, new: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, dict[str, Any]]:
    old, new = old or {}, new or {}
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in {**old, **new}}
