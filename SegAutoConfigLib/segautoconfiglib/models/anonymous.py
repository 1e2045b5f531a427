"""What a model's files tell about the cases and the computer it was trained on, taken out of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from segautoconfiglib.models.folder import file_name

#: Lists of cases in dataset.json, of nnU-Net 2 and 1; and the folder of the model that a training started from.
PRIVATE_KEYS = ("dataset", "training", "test", "validation", "continued_from")
#: A text that is nothing but the path of a file or folder on some computer.
ABSOLUTE_PATH = re.compile(r"(/[^/\s][^\n]*/|[A-Za-z]:[\\/]|\\\\)[^\n]*")


def anonymous(content: Any) -> Any:
    """The content of a JSON file (plans.json, dataset.json, ...) without lists of cases and absolute paths.

    Args:
        content: It is not changed. Only the outermost keys are looked at for lists of cases.

    Returns:
        The same where there is nothing to take out; of a path its last part stays.
    """
    if isinstance(content, Mapping):
        content = {key: value for key, value in content.items() if key not in PRIVATE_KEYS}
    return _without_paths(content)


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_paths(entry) for entry in value]
    if isinstance(value, str) and ABSOLUTE_PATH.fullmatch(value):
        return file_name(value.rstrip("/\\"))
    return value


def anonymous_summary(summary: Mapping[str, Any], *, names: bool = False) -> dict[str, Any]:
    """A summary.json with numbers in place of the cases' names, and without paths.

    Args:
        summary: It is not changed.
        names: Leave the names.
    """
    entries = []
    for number, entry in enumerate(summary.get("metric_per_case", []), start=1):
        files = {key: file_name(entry[key]) for key in ("prediction_file", "reference_file") if key in entry}
        if not names:
            files = {key: f"case_{number:03}{_ending(name)}" for key, name in files.items()}
        entries.append({**entry, **files})
    return {**anonymous(summary), "metric_per_case": entries} if entries else dict(anonymous(summary))


def _ending(name: str) -> str:
    match = re.search(r"\.(nii\.gz|ome\.tiff?|\w{1,8})$", name)
    return match[0] if match else ""


def anonymous_checkpoint(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's dictionary whose plans and dataset.json are anonymous; weights and numbers are shared."""
    arguments = content.get("init_args")
    if not isinstance(arguments, Mapping):
        return dict(content)
    changed = {key: anonymous(value) if isinstance(value, Mapping) else value for key, value in arguments.items()}
    return {**content, "init_args": changed}
