"""Which cases train and which validate, per fold (nnU-Net's splits_final.json)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.records import atomic_path, read_json, write_json
from segautoconfiglib.defaults import TRAINING

FORM = 'A splits file is a list of {"train": [case ids], "val": [case ids]}, one entry per fold.'
#: Share of the training cases of a fold beyond the splits file (nnU-Net).
RANDOM_TRAIN_SHARE = 0.8


@dataclass(frozen=True)
class Split:
    """Case ids of one fold, each list sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def make_splits(ids: Sequence[str], folds: int = TRAINING.folds) -> list[Split]:
    """Cut the cases into folds at random, as nnU-Net does (its shuffled five-fold split and seed).

    With fewer cases than folds there are as many folds as cases.

    Raises:
        UserError: fewer than two cases.
    """
    ordered = sorted(ids)
    if len(ordered) < 2:
        raise UserError(
            f"{len(ordered)} case is too few for a split into training and validation.",
            "Add cases, or train on everything with --fold all.",
        )
    order = np.arange(len(ordered))
    np.random.RandomState(TRAINING.split_seed).shuffle(order)
    parts = np.array_split(order, min(folds, len(ordered)))
    return [_split(ordered, set(part.tolist())) for part in parts]


def load_splits(path: Path) -> list[Split]:
    """Read a splits file. Raises: UserError: missing or not of the right form."""
    data = read_json(path)
    if not isinstance(data, list) or not data:
        raise UserError(f"{path} is no splits file.", FORM)
    problems = [
        Problem(f"fold {fold}: got {entry!r:.100}.", FORM) for fold, entry in enumerate(data) if not _is_split(entry)
    ]
    if problems:
        raise ProblemsError(f"{path} is no splits file:", problems)
    return [Split(tuple(entry["train"]), tuple(entry["val"])) for entry in data]


def save_splits(path: Path, splits: Sequence[Split]) -> None:
    """Write a splits file, atomically. Fewer folds than usual are explained in a ``note`` beside train and val."""
    cases = {case for split in splits for case in (*split.train, *split.val)}
    note = {}
    if len(splits) == len(cases) < TRAINING.folds:
        note = {"note": f"{len(splits)} folds instead of {TRAINING.folds}, because there are only so many cases."}
    write_json(path, [{"train": list(split.train), "val": list(split.val), **note} for split in splits])


def take_over_splits(raw: Path, preprocessed: Path) -> None:
    """The user's own splits apply: copy them to where training reads them.

    Args:
        raw: The splits file in the raw folder; nothing happens where there is none.
        preprocessed: The one that training uses; may be missing.

    Raises:
        UserError: ``raw`` is no splits file, or differs from an existing ``preprocessed``.
    """
    if not raw.exists():
        return
    mine = load_splits(raw)
    if not preprocessed.exists():
        with atomic_path(preprocessed) as temporary:
            shutil.copyfile(raw, temporary)
        return
    difference = _difference(mine, load_splits(preprocessed))
    if difference:
        raise UserError(
            f"{raw} differs from {preprocessed}: {difference}.",
            "Models may have been trained with the latter. Delete one of the two files.",
        )


def _difference(mine: Sequence[Split], used: Sequence[Split]) -> str:
    """What the first difference between two lists of folds is; the order of the cases does not count."""
    if len(mine) != len(used):
        return f"{len(mine)} folds against {len(used)}"
    for number, (one, other) in enumerate(zip(mine, used, strict=True)):
        if set(one.train) != set(other.train) or set(one.val) != set(other.val):
            return f"fold {number} has other cases"
    return ""


def split_for_fold(
    splits_file: Path, case_ids: Sequence[str], fold: int | Literal["all"], *, save: bool = True
) -> Split:
    """The cases of one fold.

    Args:
        splits_file: Made when it is missing (not for "all"); an existing one (a manual split) is used as it is.
        case_ids: The cases that exist.
        fold: "all" trains and validates on everything; a number beyond the file draws a random split (nnU-Net).
        save: Write a file that is missing.

    Raises:
        UserError: the file names cases that do not exist, a side is empty, or the fold is no fold.
    """
    if fold == "all":
        return Split(tuple(sorted(case_ids)), tuple(sorted(case_ids)))
    if not isinstance(fold, int) or fold < 0:
        raise UserError(f"{fold!r} is no fold.", 'Give a number from 0, or "all".')
    splits = load_splits(splits_file) if splits_file.is_file() else make_splits(case_ids)
    if save and not splits_file.is_file():
        save_splits(splits_file, splits)
    split = splits[fold] if fold < len(splits) else _random_split(sorted(case_ids), fold)
    _check_split(split, set(case_ids), splits_file, fold)
    return split


def overlap(split: Split) -> tuple[str, ...]:
    """Cases that both train and validate; validation results are too good where there are any."""
    return tuple(sorted(set(split.train) & set(split.val)))


def unused_cases(splits: Iterable[Split], case_ids: Iterable[str]) -> tuple[str, ...]:
    """Cases that no split names, sorted."""
    named = {case for split in splits for case in (*split.train, *split.val)}
    return tuple(sorted(set(case_ids) - named))


def _is_split(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(side), list) and all(isinstance(case, str) for case in entry[side])
        for side in ("train", "val")
    )


def _split(ordered: Sequence[str], val: set[int]) -> Split:
    return Split(
        tuple(case for index, case in enumerate(ordered) if index not in val),
        tuple(case for index, case in enumerate(ordered) if index in val),
    )


def _random_split(ordered: Sequence[str], fold: int) -> Split:
    generator = np.random.RandomState(TRAINING.split_seed + fold)
    chosen = generator.choice(len(ordered), int(RANDOM_TRAIN_SHARE * len(ordered)), replace=False)
    return _split(ordered, set(range(len(ordered))) - set(chosen.tolist()))


def _check_split(split: Split, case_ids: set[str], source: Path, fold: int) -> None:
    problems = [
        Problem(f"{side} names {case!r}, which is no case of this dataset.", "Correct the id or remove it.")
        for side, cases in (("train", split.train), ("val", split.val))
        for case in cases
        if case not in case_ids
    ]
    problems += [
        Problem(f"{side} is empty.", "Each side needs at least one case; or train with --fold all.")
        for side, cases in (("train", split.train), ("val", split.val))
        if not cases
    ]
    if problems:
        raise ProblemsError(f"Fold {fold} of {source} can't be used:", problems)
