"""Taking cases out of a raw dataset; their files are kept in a folder beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.words import first_of
from segautoconfiglib.dataset.change import Change, carry_out, changing
from segautoconfiglib.dataset.members import load_members
from segautoconfiglib.dataset.membership import Membership, counted_content, files_in, kept_at, new_splits
from segautoconfiglib.dataset.splits import splits_content

SHOWN = 10


def remove_cases(
    folder: Path, ids: Sequence[str], *, report: Reporter = silent, cancel: CancelToken | None = None
) -> Membership:
    """Move the files of cases to ``removed/<case>`` and correct dataset.json and the user's own splits.

    Args:
        folder: ``nnUNet_raw/DatasetXXX_Name``.
        ids: Training or test cases.
        report: Gets a "log" where another process is waited for.
        cancel: Ends the waiting.

    Raises:
        ProblemsError: some are no cases of the dataset; nothing was changed.
        UserError: the dataset can't be used, would have no cases in its file list, or files can't be moved.
    """
    if not folder.is_dir():
        raise UserError(f"There is no dataset folder {folder}.", "Check the name and the workspace.")
    with changing(folder, report=report, cancel=cancel):
        members = load_members(folder)
        known = {**members.test, **members.training}
        unknown = [case for case in dict.fromkeys(ids) if case not in known]
        if unknown or members.description is None:
            hint = f"It has: {first_of(list(known), SHOWN) or 'none'}."
            problems = [Problem("the dataset has no such case.", hint, case=case) for case in unknown]
            raise ProblemsError(f"The cases can't be removed from {folder.name}:", problems)
        training = [case for case in members.training if case not in ids]
        test = [case for case in members.test if case not in ids]
        content = counted_content(members.description, len(training), len(test))
        if members.description.dataset:
            if not training:
                raise UserError(
                    f"{folder.name} would have no training case left.",
                    "Its dataset.json lists the files of at least one. Delete the dataset instead.",
                )
            content["dataset"] = {case: members.description.dataset[case] for case in training}
        gone = set(members.training) - set(training)
        splits = new_splits(folder, training, gone=gone, before=members.training)
        change = Change(
            cases=tuple(dict.fromkeys(ids)),
            moves=tuple(
                move for case in dict.fromkeys(ids) for move in kept_at(folder, case, files_in(folder, known[case]))
            ),
            splits=None if splits is None else splits_content(splits),
            description=content,
        )
        carry_out(folder, change)
    return Membership(change.cases, (), len(training), len(test), splits is not None)
