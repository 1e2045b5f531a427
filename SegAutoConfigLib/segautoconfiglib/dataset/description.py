"""dataset.json: read, brought up to date and checked, with all problems in one error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from segautoconfiglib.base.errors import Problem, ProblemsError
from segautoconfiglib.base.records import Record, read_json
from segautoconfiglib.dataset.labels import LabelSpec, label_problems
from segautoconfiglib.image.formats import readable_endings

#: Reader classes of nnU-Net that may be named in ``overwrite_image_reader_writer``.
READER_NAMES = ("NaturalImage2DIO", "SimpleITKIO", "Tiff3DIO", "NibabelIO")
REORIENTING_READER_NAMES = ("NibabelIOWithReorient", "SimpleITKIOWithReorient")
V1_FILE_ENDING = ".nii.gz"
#: Ids of cases become names of files in many folders: they must lead nowhere else, and must not be hidden.
CASE_ID = re.compile(r"[^./\\:][^/\\:]*")
CASE_FORM = "Names of cases become names of files: use no slash, backslash or colon, and no dot at the start."
CHANNELS_FORM = 'Write {"0": "CT"}, with one entry per channel, numbered from "0".'


class DatasetDescription(Record):
    """A dataset.json. Other keys (name, licence, ...) are kept."""

    channel_names: dict[str, str]
    labels: dict[str, int | list[int]]
    numTraining: int  # noqa: N815 - the key's name in the file
    file_ending: str
    regions_class_order: list[int] | None = None
    overwrite_image_reader_writer: str | None = None
    dataset: dict[str, dict[str, Any]] | None = None
    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def channels(self) -> list[str]:
        """Channel names in the order of the channels."""
        return [self.channel_names[str(index)] for index in range(len(self.channel_names))]

    @cached_property
    def label_spec(self) -> LabelSpec:
        """What the label values mean."""
        return LabelSpec.from_json(self.labels, self.regions_class_order)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was accepted although it is not nnU-Net v2's form, in words."""
        return self._warnings

    @property
    def asked_reader(self) -> str | None:
        """The reader class that the file asks for, where it can be followed."""
        return self.overwrite_image_reader_writer if self.overwrite_image_reader_writer in READER_NAMES else None


def load_description(path: Path) -> DatasetDescription:
    """Read a dataset.json of nnU-Net v2 or v1; see ``warnings`` for what was brought up to date.

    Raises:
        UserError: missing, not JSON.
        ProblemsError: with all problems of its content.
    """
    return describe(read_json(path), path)


def describe(data: Any, source: Path | str) -> DatasetDescription:
    """As :func:`load_description`, from JSON values that came from ``source``."""
    if not isinstance(data, Mapping):
        raise ProblemsError(f"{source} is no dataset.json:", [Problem("Expected an object with keys and values.")])
    upgraded, warnings = upgrade(data)
    problems = _problems(upgraded)
    if problems:
        raise ProblemsError(f"{source} can't be used:", problems)
    description = DatasetDescription.from_json(upgraded, source)
    object.__setattr__(description, "_warnings", (*warnings, *_reader_warnings(upgraded)))
    return description


def upgrade(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Bring the keys of nnU-Net v1 (and of the Decathlon) to those of v2; returns them and what was changed."""
    new, warnings = dict(data), []
    if "channel_names" not in new and "modality" in new:
        new["channel_names"] = new.pop("modality")
        warnings.append("The old key modality was read as channel_names.")
    if labels_are_inverted(new.get("labels")):
        new["labels"] = {str(name): int(number) for number, name in new["labels"].items()}
        warnings.append("labels was read in the old form, number to name.")
    if "file_ending" not in new and "modality" in data:
        new["file_ending"] = V1_FILE_ENDING
        warnings.append(f"file_ending is missing; {V1_FILE_ENDING} was taken, as in nnU-Net v1.")
    return new, warnings


def labels_are_inverted(labels: Any) -> bool:
    """True for v1's form {"0": "background", "1": "liver"}, where every name stands once."""
    return (
        isinstance(labels, Mapping)
        and bool(labels)
        and all(str(key).isdecimal() and isinstance(value, str) for key, value in labels.items())
        and len(set(labels.values())) == len(labels)
    )


def _problems(data: dict[str, Any]) -> list[Problem]:
    problems = [
        Problem(f"The key {key} is missing.", hint)
        for key, hint in (
            ("channel_names", CHANNELS_FORM),
            ("labels", 'Write {"background": 0, "first structure": 1, ...}.'),
            ("numTraining", "Write the number of training cases."),
            ("file_ending", 'Write the ending of the image and label files, for example ".nii.gz".'),
        )
        if key not in data
    ]
    if "channel_names" in data:
        problems += _channel_problems(data["channel_names"])
    if "labels" in data:
        problems += label_problems(data["labels"], data.get("regions_class_order"))
    if "numTraining" in data and (type(data["numTraining"]) is not int or data["numTraining"] < 0):
        problems.append(Problem(f"numTraining: got {data['numTraining']!r}.", "Write the number of training cases."))
    if "file_ending" in data:
        problems += _ending_problems(data["file_ending"])
    reader = data.get("overwrite_image_reader_writer")
    if reader is not None and not isinstance(reader, str):
        problems.append(Problem(f"overwrite_image_reader_writer: got {reader!r}.", "Name a reader, or remove the key."))
    return problems + _file_list_problems(data.get("dataset"))


def _channel_problems(names: Any) -> list[Problem]:
    if not isinstance(names, Mapping) or not names:
        return [Problem(f"channel_names: got {names!r:.100}.", CHANNELS_FORM)]
    problems = []
    if set(names) != {str(index) for index in range(len(names))}:
        problems.append(Problem(f"channel_names: the keys are {', '.join(map(repr, names))}.", CHANNELS_FORM))
    problems += [
        Problem(f"channel_names: the name of channel {key} is {name!r}.", 'Write a text, for example "CT".')
        for key, name in names.items()
        if not isinstance(name, str)
    ]
    return problems


def _ending_problems(ending: Any) -> list[Problem]:
    if isinstance(ending, str) and ending.lower() in readable_endings():
        return []
    hint = f"Known: {', '.join(readable_endings())}. A plug-in can add more."
    if isinstance(ending, str) and f".{ending.lower()}" in readable_endings():
        hint = f'Write it with the dot: ".{ending}".'
    return [Problem(f"file_ending: files ending in {ending!r} can't be read.", hint)]


def _file_list_problems(cases: Any) -> list[Problem]:
    form = 'Write {"case": {"images": ["file of channel 0", ...], "label": "file"}}.'
    if cases is None:
        return []
    if not isinstance(cases, Mapping) or not cases:
        return [Problem(f"dataset: got {cases!r:.100}.", form)]
    problems = [
        Problem(f"dataset: {case!r:.100} can't be the name of a case.", CASE_FORM)
        for case in cases
        if not CASE_ID.fullmatch(str(case))
    ]
    return problems + [
        Problem(f"dataset: the entry is {entry!r:.100}.", form, case=str(case))
        for case, entry in cases.items()
        if not (
            isinstance(entry, Mapping)
            and isinstance(entry.get("images"), list)
            and entry["images"]
            and all(isinstance(file, str) for file in entry["images"])
            and isinstance(entry.get("label"), str)
        )
    ]


def _reader_warnings(data: Mapping[str, Any]) -> list[str]:
    reader = data.get("overwrite_image_reader_writer")
    if reader in (None, "None", *READER_NAMES):
        return []
    if reader in REORIENTING_READER_NAMES:
        return [f"{reader} is not followed: images are used in their stored orientation. Reorient the files instead."]
    return [f"overwrite_image_reader_writer: {reader!r} is unknown; the reader is chosen by the file ending."]
