"""Which cases train and which validate, per fold (nnU-Net's splits_final.json)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.records import copy_file, read_json, write_json
from segautoconfiglib.defaults import TRAINING

SPLITS_FILE = "splits_final.json"
#: Key of a fold's debug.json: see `is_random`.
RANDOM_SPLIT = "random_split"
FORM = 'A splits file is a list of {"train": [case ids], "val": [case ids]}, one entry per fold.'
#: Share of the training cases of a fold beyond the splits file (nnU-Net).
RANDOM_TRAIN_SHARE = 0.8


@dataclass(frozen=True)
class Split:
    """Case ids of one fold, each list sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def make_splits(
    ids: Sequence[str],
    folds: int = TRAINING.folds,
    *,
    seed: int = TRAINING.split_seed,
    groups: Mapping[str, str] | None = None,
) -> list[Split]:
    """Cut the cases into folds at random, as nnU-Net does (its shuffled five-fold split and seed).

    With fewer cases than folds there are as many folds as cases.

    Args:
        ids: The cases.
        folds: How many.
        seed: Of the shuffling.
        groups: Case to its group (patient): a group is never divided. Others are groups of their own.

    Raises:
        UserError: fewer than two cases, or groups.
    """
    ordered = sorted(ids)
    if groups:
        return _grouped_splits(ordered, folds, seed, groups)
    if len(ordered) < 2:
        raise UserError(
            f"{len(ordered)} case is too few for a split into training and validation.",
            "Add cases, or train on everything with --fold all.",
            "fold-all",
        )
    order = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(order)
    parts = np.array_split(order, min(folds, len(ordered)))
    return [_split(ordered, set(part.tolist())) for part in parts]


def _grouped_splits(ordered: Sequence[str], folds: int, seed: int, groups: Mapping[str, str]) -> list[Split]:
    """Groups in random order, the large ones first, each to the fold with the fewest cases to validate."""
    members: dict[str, list[int]] = {}
    for index, case in enumerate(ordered):
        members.setdefault(groups.get(case, f"\0{case}"), []).append(index)
    if len(members) < 2:
        text = f"All cases belong to one group ({groups[ordered[0]]!r}): there is nothing to validate with."
        raise UserError(text, "Check the groups.")
    names = sorted(members)
    np.random.RandomState(seed).shuffle(names)
    held: list[set[int]] = [set() for _ in range(min(folds, len(names)))]
    for name in sorted(names, key=lambda name: -len(members[name])):
        min(held, key=len).update(members[name])
    return [_split(ordered, val) for val in held]


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
    """Write a splits file, atomically."""
    write_json(path, splits_content(splits))


def splits_content(splits: Sequence[Split]) -> list[dict[str, Any]]:
    """What a splits file holds. Fewer folds than usual are explained in a ``note`` beside train and val."""
    note = {}
    if _hold_one_out(splits) and len(splits) < TRAINING.folds:
        note = {"note": f"{len(splits)} folds instead of {TRAINING.folds}, because there are only so many cases."}
    return [{"train": list(split.train), "val": list(split.val), **note} for split in splits]


def take_over_splits(raw: Path, preprocessed: Path) -> None:
    """The user's own splits apply: copy them to where training reads them.

    Args:
        raw: The splits file in the raw folder; nothing happens where there is none.
        preprocessed: The one that training uses; may be missing.

    Raises:
        UserError: ``raw`` is no splits file, or contradicts an existing ``preprocessed``.
    """
    if raw.exists() and not preprocessed.exists():
        load_splits(raw)
        copy_file(raw, preprocessed)
    joined_splits(raw, preprocessed)


def joined_splits(raw: Path, used: Path) -> list[Split] | None:
    """The folds of the user's own splits file and of the one that training uses; either may be missing.

    One may name cases that the other does not: the dataset has grown or shrunk since.

    Returns:
        None where there is neither file.

    Raises:
        UserError: a file is no splits file, or they contradict each other.
    """
    files = [file for file in (raw, used) if file.exists()]
    if len(files) < 2:
        return load_splits(files[0]) if files else None
    mine, theirs = load_splits(raw), load_splits(used)
    difference = _difference(mine, theirs)
    if difference:
        raise UserError(
            f"{raw} differs from {used}: {difference}.",
            "Models may have been trained with the latter. Delete one of the two files.",
        )
    known = _named(mine)
    rest = [_only(split, lambda case: case not in known) for split in theirs[: len(mine)]]
    joined = [
        Split(one.train + more.train, one.val + more.val)
        for one, more in zip_longest(mine, rest, fillvalue=Split((), ()))
    ]
    return joined + theirs[len(mine) :]


def _difference(mine: Sequence[Split], used: Sequence[Split]) -> str:
    """What the first difference between two lists of folds is, over the cases that both name; order does not count."""
    common = _named(mine) & _named(used)
    differing = [
        number
        for number, (one, other) in enumerate(zip(mine, used, strict=False))
        if any(set(a) & common != set(b) & common for a, b in ((one.train, other.train), (one.val, other.val)))
    ]
    shorter = min(len(mine), len(used))
    further = [*mine[shorter:], *used[shorter:]]  # may hold out cases that the other does not know
    if further and (differing or any(not split.val or common & set(split.val) for split in further)):
        return f"{len(mine)} folds against {len(used)}"
    return f"fold {differing[0]} has other cases" if differing else ""


def update_splits(
    splits: Sequence[Split], *, new: Iterable[str] = (), gone: Collection[str] = (), folds: int = TRAINING.folds
) -> list[Split]:
    """Folds for a dataset that grew or shrank: its other cases keep their places.

    A new case validates in the fold with the fewest validation cases (the first of several) and trains in all others.
    A single fold keeps its share of validation cases. Folds that were as many as cases, for want of more, become as
    many as usual.

    Args:
        splits: As they are.
        new: Cases to be dealt out; those that have a place keep it.
        gone: Cases to be dropped.
        folds: The usual number of folds.
    """
    known = _named(splits)
    waiting = sorted(set(new) - known)
    few = _hold_one_out(splits) and len(splits) < folds
    kept = [_only(split, lambda case: case not in gone) for split in splits]
    result = [(list(split.train), list(split.val)) for split in kept]
    if few and waiting:
        missing = min(folds, len(known) + len(waiting)) - len(splits)
        result += [(sorted(known - set(gone)), []) for _ in range(missing)]
    share = len(splits[0].val) / max(1, len(known))
    for case in waiting:
        sizes = [len(val) for _, val in result]
        chosen = sizes.index(min(sizes))
        if len(result) == 1 and sizes[0] + 1 > share * (len(result[0][0]) + sizes[0] + 1):
            chosen = -1
        for fold, (train, val) in enumerate(result):
            (val if fold == chosen else train).append(case)
    changed = bool(waiting) or known & set(gone)
    return [Split(tuple(sorted(train)), tuple(sorted(val))) for train, val in result] if changed else list(splits)


def current_splits(raw: Path, used: Path, case_ids: Collection[str], known: Collection[str]) -> list[Split] | None:
    """The folds that apply to a dataset as it is now, from the files that are there; None where there are none.

    Args:
        raw: The user's own splits file, in the raw folder.
        used: The one that training uses.
        case_ids: The dataset's cases.
        known: Those that it had when it was preprocessed last. Cases beside them are new; cases among them that are in
            no fold were left out on purpose. Empty: nothing is known, and the files apply as they are.

    Raises:
        UserError: a file is no splits file, or they contradict each other.
    """
    splits = joined_splits(raw, used)
    if splits is None or not known:
        return splits
    return update_splits(splits, new=set(case_ids) - set(known), gone=set(known) - set(case_ids))


def split_for_fold(
    splits_file: Path,
    case_ids: Sequence[str],
    fold: int | Literal["all"],
    *,
    splits: Sequence[Split] | None = None,
    save: bool = True,
) -> Split:
    """The cases of one fold.

    Args:
        splits_file: Made when it is missing (not for "all"); an existing one (a manual split) is used as it is.
        case_ids: The cases that exist.
        fold: "all" trains and validates on everything; a number beyond the file draws a random split (nnU-Net).
        splits: To be taken in place of the file's.
        save: Write a file that is missing.

    Raises:
        UserError: the file names cases that do not exist, a side is empty, or the fold is no fold.
    """
    if fold == "all":
        return Split(tuple(sorted(case_ids)), tuple(sorted(case_ids)))
    if not isinstance(fold, int) or fold < 0:
        raise UserError(f"{fold!r} is no fold.", 'Give a number from 0, or "all".')
    if splits is None:
        splits = load_splits(splits_file) if splits_file.is_file() else make_splits(case_ids)
        if save and not splits_file.is_file():
            save_splits(splits_file, splits)
    split = splits[fold] if fold < len(splits) else _random_split(sorted(case_ids), fold)
    _check_split(split, set(case_ids), splits_file, fold)
    return split


def is_random(splits_file: Path, fold: int | Literal["all"]) -> bool:
    """Whether the cases of a fold are drawn at random, because the file has no such fold."""
    return fold != "all" and splits_file.is_file() and fold >= len(load_splits(splits_file))


def overlap(split: Split) -> tuple[str, ...]:
    """Cases that both train and validate; validation results are too good where there are any."""
    return tuple(sorted(set(split.train) & set(split.val)))


def unused_cases(splits: Iterable[Split], case_ids: Iterable[str]) -> tuple[str, ...]:
    """Cases that no split names, sorted."""
    return tuple(sorted(set(case_ids) - _named(splits)))


def _named(splits: Iterable[Split]) -> set[str]:
    return {case for split in splits for case in (*split.train, *split.val)}


def _hold_one_out(splits: Sequence[Split]) -> bool:
    """Whether there are as many folds as cases, each with one to validate."""
    return len(splits) == len(_named(splits)) and all(len(split.val) == 1 for split in splits)


def _only(split: Split, wanted: Callable[[str], bool]) -> Split:
    return Split(*(tuple(filter(wanted, cases)) for cases in (split.train, split.val)))


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
        Problem(f"{side} is empty.", "Each side needs at least one case; or train with --fold all.", action="fold-all")
        for side, cases in (("train", split.train), ("val", split.val))
        if not cases
    ]
    if problems:
        raise ProblemsError(f"Fold {fold} of {source} can't be used:", problems)
