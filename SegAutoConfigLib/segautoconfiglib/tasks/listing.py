"""Tasks as rows for programs and tables: what they find, and which weights are missing here. Never raises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from segautoconfiglib.tasks.catalogue import Catalogue, Mode, ModeName, Part, Task, load_catalogue
from segautoconfiglib.tasks.codes import SCHEME, UNKNOWN, Code, codes_of
from segautoconfiglib.tasks.weights import WeightsFolders

Row = dict[str, Any]
#: Whether there is a model that fits, and what is wrong with those that do not.
Known = dict[Part, tuple[bool, str]]

#: 3D Slicer's names of the lists that the codes are of.
TERMINOLOGY = "Segmentation category and type - DICOM master list"
ANATOMY = "Anatomic codes - DICOM master list"


def task_rows(weights: WeightsFolders, catalogue: Catalogue | None = None) -> list[Row]:
    """A row per task, in the catalogue's order.

    Args:
        weights: Where weights are looked for.
        catalogue: None: that of this version.
    """
    catalogue = catalogue or load_catalogue()
    known: Known = {}
    return [task_row(task, weights, catalogue, known) for task in catalogue.tasks]


def task_row(task: Task, weights: WeightsFolders, catalogue: Catalogue, known: Known | None = None) -> Row:
    """What there is to know about a task.

    Args:
        task: Of the catalogue.
        weights: Where weights are looked for.
        catalogue: Has the models that the task crops with, and the colours.
        known: Remembers what is known of models, for the tasks that share them.

    Returns:
        name, modality, labels (name to number, with the background), segments (colour, 3D Slicer's terminology entry),
        licence, subset (a choice of structures saves work), subset_missing (what such a choice takes besides),
        cropped_images, note, and modes: mode, spacing_mm (z, y, x), models, missing (dataset_id, dataset, model,
        address), problem, ready.
    """
    known = {} if known is None else known
    crop = catalogue.rough_crop(task, task.structures[:1]) if task.allows_subset else None
    besides = catalogue.find(crop.task).modes[crop.mode].parts if crop else ()
    return {
        "name": task.name,
        "modality": task.modality,
        "labels": {"background": 0, **{name: label for label, name in task.classes.items()}},
        "segments": {name: _segment_row(name, catalogue) for name in task.structures},
        "licence": task.licence,
        "subset": task.allows_subset,
        "subset_missing": _missing_rows(_missing(besides, weights, known), catalogue),
        "cropped_images": task.cropped_images,
        "note": task.note,
        "modes": [_mode_row(task, name, mode, weights, catalogue, known) for name, mode in task.modes.items()],
    }


def _segment_row(name: str, catalogue: Catalogue) -> Row:
    colour = [round(value / 255, 3) for value in catalogue.colour(name)]
    codes = codes_of(name)
    if codes == UNKNOWN:
        return {"color": colour}
    what, where = ((codes.category, codes.type, codes.modifier), (codes.region, codes.region_modifier))
    entry = [TERMINOLOGY, *map(_entry, what), ANATOMY if codes.region else "", *map(_entry, where)]
    return {"color": colour, "terminology": "~".join(entry)}


def _entry(code: Code | None) -> str:
    return f"{SCHEME}^{code.value}^{code.meaning}" if code else "^^"


def _mode_row(
    task: Task,
    name: ModeName,
    mode: Mode,
    weights: WeightsFolders,
    catalogue: Catalogue,
    known: Known,
) -> Row:
    parts = catalogue.needed(task, mode, catalogue.rough_crop(task))
    missing = _missing(parts, weights, known)
    wrong = " ".join(dict.fromkeys(known[part][1] for part in missing)).strip()
    return {
        "mode": name,
        "spacing_mm": mode.spacing_mm,
        "models": len(parts),
        "missing": _missing_rows(missing, catalogue),
        "problem": wrong or None,
        "ready": not missing,
    }


def _missing_rows(parts: Sequence[Part], catalogue: Catalogue) -> list[Row]:
    return [
        {
            "dataset_id": part.dataset_id,
            "dataset": catalogue.datasets[part.dataset_id].folder,
            "model": part.model_name,
            "address": catalogue.download_address(part.dataset_id),
        }
        for part in parts
    ]


def _missing(parts: Iterable[Part], weights: WeightsFolders, known: Known) -> list[Part]:
    """Those of the parts without a model that fits; ``known`` has all of them then."""
    parts = list(parts)
    for part in parts:
        if part not in known:
            there = weights.find(part) is not None
            refusal = None if there else weights.refusal(part)
            known[part] = there, "" if refusal is None else str(refusal)
    return [part for part in parts if not known[part][0]]
