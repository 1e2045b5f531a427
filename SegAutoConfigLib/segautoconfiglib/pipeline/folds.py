"""The folds of a preprocessed dataset whose raw dataset has got or lost cases."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.dataset.dataset import Dataset, visible_files
from segautoconfiglib.dataset.splits import SPLITS_FILE, current_splits, load_splits, save_splits, unused_cases
from segautoconfiglib.image.formats import stem

GROUND_TRUTH = "gt_segmentations"


def known_cases(folder: Path) -> set[str]:
    """The cases that a dataset had when it was preprocessed last; empty before. folder: its preprocessed one."""
    return {stem(file) for file in _ground_truth(folder)}


def forget_cases(folder: Path, cases: Collection[str]) -> None:
    """Remove the copies of their labels: should they come again, they are new."""
    for file in _ground_truth(folder):
        if stem(file) in cases:
            file.unlink()


def follow_splits(context: Context, raw: Dataset, folder: Path, known: Collection[str]) -> None:
    """Deal new cases to the folds that there are, and drop those that are gone.

    Args:
        context: Gets a warning where the folds are the user's own, else a log line.
        raw: The dataset.
        folder: Its preprocessed folder.
        known: The cases that it had when it was preprocessed last.
    """
    mine, used = raw.folder / SPLITS_FILE, folder / SPLITS_FILE
    ids = {case.id for case in raw.cases}
    splits = current_splits(mine, used, ids, known)
    if splits is None or (used.exists() and splits == load_splits(used)):
        return
    save_splits(used, splits)
    new, gone = sorted(ids - set(known)), sorted(set(known) - ids)
    unnamed = unused_cases(load_splits(mine), new) if mine.exists() and known else ()
    if unnamed:
        context.report(
            "warning",
            message=f"{mine} does not name {', '.join(unnamed)}: dealt to its folds.",
            hint="Add them to that file if they belong elsewhere (all images of a patient to one side of each fold).",
        )
    changes = [
        f"{', '.join(cases)} {what}" for cases, what in ((new, "dealt to the folds"), (gone, "dropped")) if cases
    ]
    if known and changes:
        context.report("log", message=f"{SPLITS_FILE}: {'; '.join(changes)}. All other cases keep their folds.")


def _ground_truth(folder: Path) -> list[Path]:
    labels = folder / GROUND_TRUTH
    return visible_files(labels) if labels.is_dir() else []
