"""TotalSegmentator's tasks: their weights, and what there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.base.workspace import dataset_id
from segautoconfiglib.inference.checking import checkpoint_check
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.tasks.catalogue import Catalogue, Part, Task, load_catalogue
from segautoconfiglib.tasks.download import SHA256, STAGE, download_weights
from segautoconfiglib.tasks.listing import task_row, task_rows
from segautoconfiglib.tasks.weights import SMALL, WeightsFolders, unpack

Row = dict[str, Any]

ALL = "all"
FAST = "_fast"
#: TotalSegmentator's own word for the fast form of total_mr.
OLD_NAMES = {"total_fast_mr": "total_mr_fast"}


def download_task_weights(
    context: Context,
    names: Sequence[str],
    *,
    folder: Path | None = None,
    sha256: Sequence[str] = (),
    overwrite: bool = False,
) -> list[ModelFolder]:
    """Fetch the weights of tasks, and those that they crop with, unless they are there.

    Args:
        context: Its workspace gets them.
        names: Of tasks, with "_fast" of their fast form; numbers of datasets; behind either "_small" for the small
            variant of the models; "all" for all that need no licence key.
        folder: Gets them instead, also those that are elsewhere on this computer.
        sha256: What the zip file must have; of several ``NUMBER=SHA256``.
        overwrite: Also what is there.

    Raises:
        UserError: unknown names; see :func:`~segautoconfiglib.tasks.download.download_weights`.
    """
    parts = list(dict.fromkeys(part for name in names for part in wanted_parts(name, load_catalogue())))
    target = folder or context.workspace.task_weights().target
    usual = task_weights(context)
    there = WeightsFolders((target,)) if folder else WeightsFolders((target, *usual.folders), usual.shared)
    _tell_what_subsets_take(context, names, parts, there)
    models = download_weights(
        parts,
        target,
        sha256=_checksums(sha256, parts),
        there=there,
        overwrite=overwrite,
        check=checkpoint_check(context.report),
        report=context.report,
        cancel=context.cancel,
    )
    _tell_ready(context, models, target)
    context.report("done", stage=STAGE, models=[str(model.path) for model in models])
    return models


def import_task_weights(
    context: Context, file: Path, *, folder: Path | None = None, overwrite: bool = False
) -> list[ModelFolder]:
    """Put the models of a zip file among the weights.

    Args:
        context: Its workspace gets them.
        file: As TotalSegmentator publishes them.
        folder: Gets them instead.
        overwrite: Replace models of the same name.

    Raises:
        UserError: see :func:`~segautoconfiglib.models.install.import_models`.
    """
    target = folder or context.workspace.task_weights().target
    models = unpack(
        file, target, overwrite=overwrite, check=_check_of_task(context), report=context.report, cancel=context.cancel
    )
    for model in models:
        context.report("artifact", path=str(model.path), description="model")
    _tell_ready(context, models, target)
    context.report("done", stage=STAGE, models=[str(model.path) for model in models])
    return models


def _check_of_task(context: Context) -> Callable[[ModelFolder], None]:
    """Refuses models of other datasets than TotalSegmentator's, and those that can't be opened."""
    known, opens = load_catalogue().datasets, checkpoint_check(context.report)

    def check(model: ModelFolder) -> None:
        name = model.path.parent.name
        if dataset_id(name) not in known:
            raise UserError(f"No task of TotalSegmentator has weights of {name}.", "Your own models: import-model.")
        if opens is not None:
            opens(model)

    return check


def _tell_what_subsets_take(
    context: Context, names: Sequence[str], parts: Sequence[Part], there: WeightsFolders
) -> None:
    """Say what is fetched although tasks do without it where all of their structures are looked for."""
    catalogue = load_catalogue()
    usual = {part for name in names for part in wanted_parts(name, catalogue, subsets=False)}
    for part in there.missing(part for part in parts if part not in usual):
        context.report(
            "log",
            message=f"{catalogue.datasets[part.dataset_id].folder} is fetched, too: a choice of structures "
            "(--roi_subset) is looked for with it first, roughly.",
        )


def _tell_ready(context: Context, models: Sequence[ModelFolder], target: Path) -> None:
    """Say which tasks can be run now with models that have come to a folder, and what their own tasks still lack."""
    catalogue, usual = load_catalogue(), task_weights(context)
    weights = WeightsFolders((target, *usual.folders), usual.shared)
    ready: list[str] = []
    waiting: list[str] = []
    come = {(dataset_id(model.path.parent.name), model.name_parts[1]) for model in models}
    for task in catalogue.tasks:
        for name, mode in task.modes.items():
            parts = catalogue.needed(task, mode, catalogue.rough_crop(task))
            if not come & _places(parts):
                continue
            words = task.name if name == "default" else f"{task.name} ({name})"
            missing = weights.missing(parts)
            if not missing:
                ready.append(words)
            elif come & _places(mode.parts):
                waiting.append(f"{words} {', '.join(str(part.dataset_id) for part in missing)}")
    how = "" if target in usual.folders else f" (with --weights {target})"
    if ready:
        context.report("log", message=f"Ready now{how}: {', '.join(ready)}.")
    if waiting:
        context.report("log", message=f"Datasets that are still missing: {'; '.join(waiting)}.")


def _places(parts: Sequence[Part]) -> set[tuple[int, str]]:
    """Numbers of datasets and names of plans: what tells models apart."""
    return {(part.dataset_id, part.plans) for part in parts}


def task_weights(context: Context, given: Path | str | None = None) -> WeightsFolders:
    """Where weights are looked for; the models of a given zip file are unpacked.

    Raises:
        UserError: see :meth:`~segautoconfiglib.tasks.weights.WeightsFolders.search`.
    """
    return WeightsFolders.search(given, context.workspace, report=context.report, cancel=context.cancel)


def list_tasks(context: Context, given: Path | None = None) -> list[Row]:
    """A row per task; see :func:`~segautoconfiglib.tasks.listing.task_row`."""
    return task_rows(task_weights(context, given))


def one_task(context: Context, name: str, given: Path | None = None) -> Row:
    """The row of a task. Raises: UserError: there is none of this name; says which are near."""
    catalogue = load_catalogue()
    return task_row(catalogue.find(name), task_weights(context, given), catalogue)


def wanted_parts(name: str, catalogue: Catalogue, *, subsets: bool = True) -> list[Part]:
    """The models that a word on the command line stands for.

    Args:
        name: Such a word.
        catalogue: Has the tasks.
        subsets: Also those that only a choice of a task's structures is cropped with.

    Raises:
        UserError: it stands for none.
    """
    if name == ALL:
        return [part for task in catalogue.tasks if not task.licence for part in _all_parts(task, catalogue)]
    small = name.endswith(SMALL) and name not in catalogue.by_name
    name = name.removesuffix(SMALL) if small else name
    if re.fullmatch(r"[0-9]+", name):
        return _of_dataset(int(name), catalogue, small)
    name = OLD_NAMES.get(name, name)
    fast = name.endswith(FAST) and name not in catalogue.by_name
    task = catalogue.find(name.removesuffix(FAST) if fast else name)
    return _parts(task, catalogue, fast, small, subsets)


def _of_dataset(number: int, catalogue: Catalogue, small: bool) -> list[Part]:
    """The model of a dataset. Raises: UserError: there is none, or no small one."""
    for task in catalogue.tasks:
        for mode in task.modes:
            parts = task.mode(fast=mode == "fast", fastest=mode == "fastest").parts
            for index, part in enumerate(parts):
                if part.dataset_id == number:
                    return [task.mode(fast=mode == "fast", fastest=mode == "fastest", small=small).parts[index]]
    raise UserError(f"No task has weights of a dataset {number}.", "Name a task (totalseg_info lists them).")


def _parts(task: Task, catalogue: Catalogue, fast: bool, small: bool = False, subsets: bool = True) -> list[Part]:
    """The models of a task at one resolution, with those that it, or a choice of its structures, is cropped with."""
    crop = catalogue.rough_crop(task, task.structures[:1] if task.allows_subset and subsets else ())
    return catalogue.needed(task, task.mode(fast=fast, small=small), crop)


def _all_parts(task: Task, catalogue: Catalogue) -> list[Part]:
    others = [part for mode in task.modes.values() for part in mode.parts]
    return [*_parts(task, catalogue, fast=False), *others]


def _checksums(words: Sequence[str], parts: Sequence[Part]) -> dict[int, str]:
    """Checksums by dataset. Raises: UserError: one is none, or belongs to nothing."""
    numbers = list(dict.fromkeys(part.dataset_id for part in parts))
    found = {}
    for word in words:
        number, _, digest = word.rpartition("=")
        digest = digest.lower()
        if not SHA256.fullmatch(digest):
            raise UserError(f"{digest!r} is no SHA-256 checksum.", "It has 64 characters, 0 to 9 and a to f.")
        if not number and len(numbers) != 1:
            several = f"There are {counted(len(numbers), 'file')}, of the datasets {', '.join(map(str, numbers))}"
            raise UserError(f"{several}, and one checksum.", f"Write {numbers[0]}=CHECKSUM.")
        if number and (not number.isdecimal() or int(number) not in numbers):
            raise UserError(
                f"{number!r} is none of the datasets that are fetched.", f"They are {', '.join(map(str, numbers))}."
            )
        found[int(number) if number else numbers[0]] = digest
    return found
