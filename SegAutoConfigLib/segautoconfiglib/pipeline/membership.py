"""Cases join a raw dataset, or leave it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import is_taken
from segautoconfiglib.base.words import command, named
from segautoconfiglib.base.workspace import dataset_id
from segautoconfiglib.dataset.splits import SPLITS_FILE, load_splits

if TYPE_CHECKING:
    from segautoconfiglib.dataset.membership import Membership


def add_cases(context: Context, dataset: str | int, source: Path, *, workers: int | None = None) -> Path:
    """Cases of a staging folder (with cases.json) join a raw dataset, which is made if it does not exist.

    Args:
        dataset: The full name of a new dataset; name or number of an existing one.
        source: The staging folder.

    Returns:
        The dataset's raw folder.

    Raises:
        UserError: see `dataset.add.add_cases`; or the number of a new dataset is taken; or cases are to be replaced
            while the dataset is being preprocessed.
    """
    from segautoconfiglib.dataset import add
    from segautoconfiglib.dataset.staging import load_staging

    name = name_to_add_to(context, dataset)
    if any(case.replace for case in load_staging(source).cases):
        check_not_read(context, name)
    folder = context.workspace.raw / name
    result = add.add_cases(source, folder, workers=workers, report=context.report, cancel=context.cancel)
    context.report("artifact", path=str(folder), description="raw dataset")
    report_membership(context, "add-cases", folder, result, replaced=list(result.replaced))
    return folder


def remove_cases(context: Context, dataset: str | int, ids: Sequence[str]) -> None:
    """Take cases out of a raw dataset; their files are kept in its folder ``removed``."""
    from segautoconfiglib.dataset import remove
    from segautoconfiglib.dataset.membership import REMOVED

    name = context.workspace.dataset_name(dataset)
    check_not_read(context, name)
    folder = context.workspace.raw / name
    result = remove.remove_cases(folder, ids, report=context.report, cancel=context.cancel)
    report_membership(context, "remove-cases", folder, result, removed=str(folder / REMOVED))


def check_not_read(context: Context, name: str) -> None:
    """Raises: UserError: a process reads the dataset's files, which would get other labels than images."""
    locks = (context.workspace.preprocessed / name).glob(".*.lock")
    if any(is_taken(lock) for lock in locks):
        raise UserError(
            f"{name} is being planned or preprocessed just now.", "Wait for its end, or stop it; training may go on."
        )


def name_to_add_to(context: Context, dataset: str | int) -> str:
    """The dataset's name. Raises: UserError: a new one whose name is not complete, or whose number is taken."""
    text, names = str(dataset), context.workspace.dataset_names()
    if not text.startswith("Dataset"):
        return context.workspace.dataset_name(dataset)
    if text in names:
        return text
    number = dataset_id(text)
    if re.search(r'[/\\:<>"|?*\x00-\x1f]|[ .]$', text):
        raise UserError(
            f"{text!r} can't be the name of a folder.", "Use letters, digits, _ and -: Dataset004_Hippocampus."
        )
    for name in names:
        if dataset_id(name) == number:
            hint = f"Choose another number, or add to {name}. Taken: {', '.join(sorted(names))}."
            raise UserError(f"The number {number} of {text} is that of {name}.", hint)
    return text


def report_membership(context: Context, stage: str, folder: Path, result: Membership, **more: Any) -> None:
    """Say what the dataset holds now."""
    if result.splits:
        context.report(
            "warning",
            message=f"Your own {folder / SPLITS_FILE} was changed as well: new cases were dealt to the folds, removed "
            "ones dropped.",
            hint="Put cases of one patient on the same side of each fold.",
        )
        _warn_of_empty_folds(context, folder)
    context.report(
        "done",
        stage=stage,
        dataset=folder.name,
        folder=str(folder),
        cases=list(result.cases),
        training=result.training,
        test=result.test,
        **more,
    )


def _warn_of_empty_folds(context: Context, folder: Path) -> None:
    """Folds that lost their last case, to train on or to validate."""
    splits = load_splits(folder / SPLITS_FILE)
    empty = [fold for fold, split in enumerate(splits) if not split.val or not split.train]
    if not empty:
        return
    kept = len(splits) - len(empty)
    again = command("split", folder.name, "--folds", max(2, kept), "--overwrite")
    context.report(
        "warning",
        message=f"{named(empty, 'fold').capitalize()} of {SPLITS_FILE} {'is' if len(empty) == 1 else 'are'} empty now.",
        hint=f"Deal the cases anew (with --group or --groups, where patients have several): {again}",
        action="fill-folds",
    )
