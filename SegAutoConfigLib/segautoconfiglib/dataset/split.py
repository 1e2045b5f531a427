"""Which cases of a raw dataset are for testing, and folds of one's own; patients stay together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.dataset.change import Change, carry_out, changing
from segautoconfiglib.dataset.dataset import DATASET_FILE, IMAGES, LABELS
from segautoconfiglib.dataset.members import TEST_IMAGES, TEST_LABELS, Members, load_members
from segautoconfiglib.dataset.membership import Membership, counted_content, files_in, new_splits
from segautoconfiglib.dataset.splits import SPLITS_FILE, make_splits, splits_content

TEST_FORM = "Write a share (--test 20%), a number (--test 12), or names of cases (--test case_003 case_017)."
PLACES = {IMAGES: TEST_IMAGES, LABELS: TEST_LABELS}


def choose_test(
    ids: Sequence[str], wanted: Sequence[str], *, seed: int, groups: Mapping[str, str] | None = None
) -> list[str]:
    """The cases that a wish means.

    Args:
        ids: To choose among.
        wanted: "20%", "12", or names of cases.
        seed: Of the choice.
        groups: Case to its group (patient), which is taken whole; others are groups of their own.

    Returns:
        Names, sorted. With groups as many as come closest to the wish without taking all.

    Raises:
        ProblemsError: some names are no cases.
        UserError: no cases, or all of them, would be chosen.
    """
    count = _count(wanted, len(ids)) if len(wanted) == 1 and wanted[0] not in ids else None
    if count is None:
        unknown = [name for name in wanted if name not in ids]
        if unknown:
            problems = [Problem("there is no such training case.", TEST_FORM, case=name) for name in unknown]
            raise ProblemsError("The cases for testing can't be chosen:", problems)
        chosen = set(wanted)
    else:
        chosen = _draw(ids, count, seed, groups or {}) if count < len(ids) else set(ids)
    if not chosen or len(chosen) >= len(ids):
        raise UserError(f"{len(chosen)} of {len(ids)} cases would be for testing.", TEST_FORM)
    return sorted(chosen)


def _count(wanted: Sequence[str], total: int) -> int | None:
    """How many cases a share or a number means; None for a name."""
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", wanted[0])
    if share:
        return max(1, round(float(share[1]) / 100 * total))
    return int(wanted[0]) if wanted[0].isdecimal() else None


def _draw(ids: Sequence[str], count: int, seed: int, groups: Mapping[str, str]) -> set[str]:
    members: dict[str, list[str]] = {}
    for case in sorted(ids):
        members.setdefault(groups.get(case, f"\0{case}"), []).append(case)
    names = sorted(members)
    np.random.RandomState(seed).shuffle(names)
    chosen: set[str] = set()
    for name in names:
        larger = len(chosen) + len(members[name])
        if larger < len(ids) and abs(larger - count) < abs(len(chosen) - count):
            chosen.update(members[name])
    return chosen


def groups_by_pattern(ids: Sequence[str], pattern: str) -> dict[str, str]:
    """Case to its group: what a regular expression (its first bracket) finds in the name.

    Raises:
        UserError: it is no regular expression.
        ProblemsError: names in which it finds nothing.
    """
    try:
        matches = {case: re.search(pattern, case) for case in ids}
    except re.error as error:
        raise UserError(
            f"{pattern!r} is no regular expression: {error}.", "For example: --group '(.+)_[0-9]+'"
        ) from error
    problems = [
        Problem(f"{pattern!r} finds nothing in the name.", "Change the expression, or use --groups FILE.", case=case)
        for case, match in matches.items()
        if match is None
    ]
    if problems:
        raise ProblemsError("The cases can't be grouped:", problems)
    return {case: match[1] if match.re.groups else match[0] for case, match in matches.items() if match}


def split_dataset(
    folder: Path,
    *,
    test: Sequence[str] = (),
    folds: int | None = None,
    seed: int = 12345,
    groups: Mapping[str, str] | None = None,
    overwrite: bool = False,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Membership:
    """Move training cases to imagesTs and labelsTs, write folds for the others, or both.

    Args:
        folder: ``nnUNet_raw/DatasetXXX_Name``.
        test: See `choose_test`; empty: none are moved.
        folds: Number of folds to write to the raw folder's splits_final.json; None: an existing file is kept.
        seed: Of both choices.
        groups: Case to its patient, who is never divided.
        overwrite: An existing splits_final.json may be replaced.
        report: Gets a "log" where another process is waited for.
        cancel: Ends the waiting.

    Raises:
        UserError: the dataset can't be used, its files lie elsewhere, or there are folds already.
        ProblemsError: files are in the way, with all of them; nothing was changed.
    """
    if folds is not None and folds < 2:
        raise UserError(f"{folds} folds can't validate each other.", "Give 2 or more; 5 are usual.")
    with changing(folder, report=report, cancel=cancel):
        members = load_members(folder)
        if members.description is None or not members.training:
            raise UserError(f"{folder} has no training cases.", "Check the name and the workspace.")
        if folds is not None and (folder / SPLITS_FILE).exists() and not overwrite:
            raise UserError(f"{folder / SPLITS_FILE} exists.", "Say --overwrite to replace it.")
        chosen = choose_test(list(members.training), test, seed=seed, groups=groups) if test else []
        moves = _moves(folder, members, chosen)
        training = [case for case in members.training if case not in chosen]
        splits = new_splits(folder, training, gone=set(chosen), before=members.training)
        if folds is not None:
            wanted = {case: groups[case] for case in training if case in groups} if groups else None
            splits = make_splits(training, folds, seed=seed, groups=wanted)
        change = Change(
            cases=tuple(chosen),
            moves=tuple(moves),
            splits=None if splits is None else splits_content(splits),
            description=counted_content(members.description, len(training), len(members.test) + len(chosen)),
        )
        carry_out(folder, change)
    changed = folds is None and splits is not None
    return Membership(tuple(chosen), (), len(training), len(members.test) + len(chosen), changed)


def _moves(folder: Path, members: Members, chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Old and new paths, relative to the dataset's folder. Raises: UserError, ProblemsError."""
    assert members.description is not None
    if members.description.dataset and chosen:
        raise UserError(
            f"{folder / DATASET_FILE} lists the files of its cases.",
            'Move the entries by hand, or copy the files to imagesTr and labelsTr and remove the key "dataset".',
        )
    moves = [
        (file.relative_to(folder), Path(PLACES[file.parent.name]) / file.name)
        for case in chosen
        for file in files_in(folder, members.training[case])
    ]
    problems = [
        Problem("there is such a file already.", "Remove or rename it.", str(folder / target))
        for _, target in moves
        if (folder / target).exists()
    ]
    if problems:
        raise ProblemsError(f"{folder.name} can't be split:", problems)
    return [(str(source), str(target)) for source, target in moves]
