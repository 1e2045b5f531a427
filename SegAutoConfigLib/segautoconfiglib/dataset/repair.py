"""Faults of a raw dataset that need no decision are put right; the old files are kept beside the new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.parallel import map_cases
from segautoconfiglib.base.records import read_json
from segautoconfiglib.dataset.case_names import CHANNEL
from segautoconfiglib.dataset.change import PENDING, Change, carry_out, changing
from segautoconfiglib.dataset.dataset import (
    DATASET_FILE,
    IMAGES,
    LABELS,
    Case,
    channel_files,
    scan_images,
    visible_files,
)
from segautoconfiglib.dataset.description import DatasetDescription, describe, upgrade
from segautoconfiglib.dataset.labels import BACKGROUND, IGNORE
from segautoconfiglib.dataset.members import TEST_IMAGES, TEST_LABELS
from segautoconfiglib.dataset.membership import files_in, kept_at
from segautoconfiglib.dataset.merge import label_values
from segautoconfiglib.dataset.relabel import REST, LabelValues, by_value, numbering, shown
from segautoconfiglib.dataset.repair_case import CaseRepair, RepairTask, has_ending, repair_case
from segautoconfiglib.dataset.workers import workers_for_largest
from segautoconfiglib.image.formats import file_ending, stem

STAGE = "repair"
#: Folder in the dataset's raw folder; each case has a folder of its own in it, with imagesTr, labelsTr ...
REPLACED = "replaced"
PARTS = ((IMAGES, LABELS), (TEST_IMAGES, TEST_LABELS))


@dataclass(frozen=True)
class Repairs:
    """The outcome for a dataset.

    Attributes:
        cases: Those about which there is something to say.
        description: What was put right in dataset.json, in words.
        applied: False for a rehearsal.
        kept: Old files lie in the folder `REPLACED` now.
    """

    cases: tuple[CaseRepair, ...]
    description: tuple[str, ...]
    applied: bool
    kept: bool = False


def repair_dataset(
    folder: Path,
    *,
    values: Mapping[int, int] | None = None,
    labels: LabelValues | None = None,
    apply: bool = False,
    workers: int | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Repairs:
    """Find what can be put right, and do it if that is wanted: all of it, or (when stopped) nothing.

    Label maps on another grid are resampled onto their image's (nearest label); small differences of origin, spacing
    and direction between the files of a case vanish; labels stored as fractions become whole numbers; images and labels
    of another ending, and images without ``_0000``, get the form of the others; label values are renumbered without
    gaps. Images without labels and labels without images are left, and then numTraining stays, too.

    Args:
        folder: ``nnUNet_raw/DatasetXXX_Name``.
        values: Old to new label value (or `REST`), in all label maps.
        labels: Structure to its values in the label maps; they are numbered 1, 2, 3 ... in this order.
        apply: Write; else only say what would be done.
        workers: Processes; default: as many as cores and memory allow.
        report: Gets "started" and "progress".
        cancel: Asked between cases.

    Raises:
        UserError: dataset.json can't be used even so, ``labels`` name other values than occur, or files can't be
            written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no dataset folder {folder}.", "Check the name and the workspace.")
    with changing(folder, report=report, cancel=cancel):
        description, renumbered, remarks = _description(folder / DATASET_FILE, labels)
        changes = dict(values or {}) or renumbered
        if values and renumbered:
            raise UserError("Label values would be changed twice.", "Give --map or --labels, not both.")
        if description.dataset:
            raise UserError(
                f"{folder / DATASET_FILE} lists files that may lie anywhere; they are not changed.",
                "Make a dataset of copies: from-csv, or from-folder.",
            )
        expected = frozenset(label_values(description.labels))
        training, test = (_members(folder, *parts, description.file_ending) for parts in PARTS)
        tasks = [
            RepairTask(case, folder, description.file_ending, changes, expected, apply) for case in training + test
        ]
        repairs = map_cases(
            repair_case,
            [(task.case.id, (task,)) for task in tasks],
            workers=_workers([task.case for task in tasks], workers),
            stage=STAGE,
            report=report,
            cancel=cancel,
        )
        if labels is not None:
            _check_named(labels, repairs)
        alone = [_alone(folder, *parts, cases) for parts, cases in zip(PARTS, (training, test), strict=True)]
        count = len(training)
        if alone[0] or any(repair.unreadable for repair in repairs[:count]):
            count = description.numTraining  # what the dataset consists of has to be decided first
        if description.numTraining != count:
            remarks.append(f"numTraining: {description.numTraining} becomes {count}")
        found = tuple(repair for repair in (*repairs, *alone[0], *alone[1]) if repair.done or repair.left)
        content = {**description.to_json(), "numTraining": count}
        kept = False
        if apply and (remarks or any(repair.done for repair in found)):
            change = _change(folder, found, content, new_description=bool(remarks))
            carry_out(folder, change)
            kept = bool(change.keeps)
    return Repairs(found, tuple(remarks), apply, kept)


def _check_named(labels: LabelValues, repairs: Sequence[CaseRepair]) -> None:
    """Raises: UserError: a value is named (not in a range) that no label map holds, or one that occurs is not."""
    found = {value for repair in repairs for value in repair.values} - {0}
    named = {value for values in labels.values() for value in values if isinstance(value, int)} - {0, REST}
    held = f"The label maps hold the values {shown(sorted(found)) or 'of background only'}"
    if missing := sorted(named - found):
        hint = "Give the values that stand in the label maps now; change names alone in dataset.json."
        raise UserError(f"{held}; none holds {shown(missing)}, which --labels names.", hint)
    of_value = by_value(labels)
    if REST not in of_value and (unnamed := sorted(found - set(of_value))):
        none = f"background={unnamed[0]} or background=rest for what is no structure."
        hint = f"Name every value: --labels ... NAME={unnamed[0]}; {none}"
        raise UserError(f"{held}; --labels does not say what {shown(unnamed)} is.", hint)


def _description(file: Path, wanted: LabelValues | None) -> tuple[DatasetDescription, dict[int, int], list[str]]:
    """dataset.json as it will be, how label values change with it, and what was put right in it."""
    content, remarks = upgrade(read_json(file))
    labels, values = content.get("labels"), {}
    if wanted is not None:
        new = numbering([name for name in wanted if name != BACKGROUND], {})
        values = {old: int(np.max(new[name])) for old, name in by_value(wanted).items()}
        if content.pop("regions_class_order", None) is not None:
            raise UserError(f"{file} has regions: their numbers can't be given with --labels.", "Use --map OLD=NEW.")
    else:
        new, values = _without_gaps(labels)
    if new != labels:
        content["labels"] = new
        order = content.get("regions_class_order")
        content |= {"regions_class_order": [values.get(number, number) for number in order]} if order else {}
        remarks.append(f"labels: {', '.join(f'{name} {number}' for name, number in new.items())}")
    return describe(content, file), values, remarks


def _without_gaps(labels: Any) -> tuple[Any, dict[int, int]]:
    """Labels numbered 0, 1, 2 ..., with the old value of each number; others than such labels come back as they are."""
    numbers = label_values(labels)
    plain = isinstance(labels, Mapping) and all(type(number) is int and number >= 0 for number in numbers)
    if not plain or 0 not in numbers:
        return labels, {}
    ignore = labels.get(IGNORE)
    ordered = sorted(numbers, key=lambda number: (number == ignore, number))
    new = {old: index for index, old in enumerate(ordered)}
    changed = {
        name: [new[number] for number in entry] if isinstance(entry, list) else new[entry]
        for name, entry in labels.items()
    }
    return changed, {old: number for old, number in new.items() if old != number}


def _members(folder: Path, images: str, labels: str, ending: str) -> list[Case]:
    """Cases as the files tell, of any ending, images with or without channel number; the right ending wins."""
    if not (folder / images).is_dir():
        return []
    scan = scan_images(folder / images, ending)
    found = dict(scan.files)
    for file in (*filter(file_ending, scan.other), *scan.without_channel):
        match = CHANNEL.fullmatch(stem(file))
        case, channel = (match["case"], int(match["channel"])) if match else (stem(file), 0)
        found.setdefault(case, {}).setdefault(channel, [file])
    label_of = {
        stem(file): file for file in sorted(_labels(folder / labels), key=lambda file: has_ending(file, ending))
    }
    return [Case(case, channel_files(files), label_of.get(case)) for case, files in sorted(found.items())]


def _labels(folder: Path) -> list[Path]:
    return [file for file in visible_files(folder) if file_ending(file)] if folder.is_dir() else []


def _alone(folder: Path, images: str, labels: str, cases: Sequence[Case]) -> list[CaseRepair]:
    """Label maps without image, and training images without label map: what becomes of them has to be decided."""
    known = {case.id for case in cases}
    found = [
        Problem(f"the label map has no image in {images}.", "Add the image, or remove it.", str(file), stem(file))
        for file in _labels(folder / labels)
        if stem(file) not in known
    ]
    found += [
        Problem(f"the image has no label map in {labels}.", "Add one, or remove it.", str(case.images[0]), case.id)
        for case in cases
        if case.label is None and images == IMAGES
    ]
    return [CaseRepair(problem.case, left=[problem]) for problem in found]


def _change(folder: Path, repairs: Sequence[CaseRepair], content: dict[str, Any], *, new_description: bool) -> Change:
    keeps = [(DATASET_FILE, _free_name(folder))] if new_description else []
    moves: list[tuple[str, str]] = []
    for repair in repairs:
        old = [folder / source for _, source in repair.files]
        with_parts = list(dict.fromkeys(part for file in old for part in files_in(folder, Case(repair.case, (file,)))))
        keeps += kept_at(folder, repair.case, with_parts, REPLACED)
        moves += repair.renamed
        moves += [
            (str(file.relative_to(folder)), str(file.relative_to(folder / PENDING)))
            for new, _ in repair.files
            for file in files_in(folder, Case(repair.case, (folder / PENDING / new,)))
        ]
    return Change(
        cases=tuple(repair.case for repair in repairs if repair.done),
        keeps=tuple(keeps),
        moves=tuple(moves),
        description=content,
    )


def _free_name(folder: Path) -> str:
    """Where dataset.json is kept, relative to the dataset's folder; what was kept before stays."""
    kept, number = Path(REPLACED, DATASET_FILE), 2
    while (folder / kept).exists():
        kept, number = kept.with_name(f"dataset_{number}.json"), number + 1
    return str(kept)


def _workers(cases: Sequence[Case], requested: int | None) -> int:
    files = [file for case in cases for file in (*case.images, case.label)]
    return workers_for_largest(files, lambda header: 12 * header.bytes, requested)
