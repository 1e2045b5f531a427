"""All cases of a raw dataset, those for testing too; also of one that has none yet, or does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.dataset import (
    DATASET_FILE,
    IMAGES,
    LABELS,
    Case,
    DatasetDescription,
    channel_files,
    load_dataset,
    load_description,
    scan_images,
    visible,
    visible_files,
)

TEST_IMAGES, TEST_LABELS = "imagesTs", "labelsTs"


def places(test: bool) -> tuple[str, str]:
    """The folders of images and labels of the cases for testing, or else for training."""
    return (TEST_IMAGES, TEST_LABELS) if test else (IMAGES, LABELS)


@dataclass(frozen=True)
class Members:
    """What a raw dataset consists of.

    Attributes:
        description: Its dataset.json; None where there is no dataset yet.
        training: Case id to its files, sorted.
        test: The same for cases that are not trained on.
    """

    description: DatasetDescription | None = None
    training: Mapping[str, Case] = field(default_factory=dict)
    test: Mapping[str, Case] = field(default_factory=dict)


def load_members(folder: Path) -> Members:
    """Find the cases of a dataset's raw folder by the names of the files.

    Raises:
        UserError: the folder holds files but no dataset.json, or dataset.json can't be used.
    """
    file = folder / DATASET_FILE
    if not file.is_file():
        if folder.is_dir() and visible(folder):
            raise UserError(
                f"{folder} holds files, but no {DATASET_FILE}.", f"Add {DATASET_FILE}, or choose another name."
            )
        return Members()
    description = load_description(file)
    ending = description.file_ending
    listed = {case.id: case for case in load_dataset(folder).cases} if description.dataset else None
    training = _cases(folder / IMAGES, folder / LABELS, ending) if listed is None else listed
    return Members(description, training, _cases(folder / TEST_IMAGES, folder / TEST_LABELS, ending))


def _cases(images: Path, labels: Path, ending: str) -> dict[str, Case]:
    found = scan_images(images, ending).files if images.is_dir() else {}
    label_files = visible_files(labels, ending) if labels.is_dir() else []
    label_of = {path.name[: -len(ending)]: path for path in label_files}
    return {case: Case(case, channel_files(found[case]), label_of.get(case)) for case in sorted(found)}
