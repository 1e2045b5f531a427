"""Plans from one dataset to another, for training there with the network of the first."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.dataset import DATASET_FILE, load_dataset
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.dataset.splits import SPLITS_FILE, take_over_splits
from segautoconfiglib.pipeline.continuation import PLAIN_NAME, same_data
from segautoconfiglib.pipeline.preparation import fingerprint, load_plans, note_origin
from segautoconfiglib.planning.move import check_channels, moved_plans, with_channels
from segautoconfiglib.planning.plans import Plans


def move_plans(
    context: Context,
    source: str | int,
    target: str | int,
    plans_name: str = "nnUNetPlans",
    new_name: str | None = None,
    *,
    own_channels: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the plans of a dataset for another one, with what training needs beside them.

    Args:
        context: Its workspace holds both.
        source: Number or name of the planned dataset.
        target: Number or name of the other one. It needs no plans and no fingerprint of its own.
        plans_name: Of the source's plans.
        new_name: In the target; None: the same.
        own_channels: Normalise the target's channels as a plan of its own would; they may differ from the source's in
            number and kind. Only this needs the target's fingerprint, which is made where it is missing.
        overwrite: Replace other plans of that name.

    Returns:
        The plans file.

    Raises:
        UserError: there are no such datasets or plans, the channels differ in number, or the target has other plans of
            this name.
    """
    names = context.workspace.dataset_name(source), context.workspace.dataset_name(target)
    source_folder, folder = (context.workspace.preprocessed / name for name in names)
    plans = load_plans(source_folder, plans_name)
    description, reader = _target(context, names[1])
    if not own_channels:
        check_channels(plans, len(description.channels), names[1])
        _compare_channels(context, source_folder, description, names)
    moved = moved_plans(plans, names[1], new_name or plans_name, reader)
    if own_channels:
        moved = with_channels(moved, description.channels, fingerprint(context, names[1]))
    moved = _placed(moved, folder, description.label_spec)
    file = folder / f"{moved.plans_name}.json"
    if file.exists() and not overwrite and Plans.load(file) != moved:
        raise UserError(
            f"{names[1]} has other plans of the name {moved.plans_name} already.",
            "Give the moved ones another name (move-plans --as NAME, -tp NAME in nnU-Net's command), or replace those "
            "with --overwrite.",
        )
    if not (folder / DATASET_FILE).exists():
        description.save(folder / DATASET_FILE)
    take_over_splits(context.workspace.raw / names[1] / SPLITS_FILE, folder / SPLITS_FILE)
    moved.save(file)
    if not own_channels:  # else the intensities are its own
        note_origin(file, names[0])
    context.report("artifact", path=str(file), description="plans")
    return file


def _placed(plans: Plans, folder: Path, spec: LabelSpec) -> Plans:
    """The plans with preprocessed cases of their own where folders of that name are for other ones already."""

    def identifier(name: str, wished: str) -> str:
        own = f"{plans.plans_name}_{name}"
        names = [wished, own] if PLAIN_NAME.fullmatch(wished) else [own]
        more = (f"{own}_{number}" for number in count(2))
        return next(each for each in chain(names, more) if same_data(folder, each, plans, name, spec))

    entries = {
        name: {**entry, "data_identifier": identifier(name, str(entry["data_identifier"]))}
        if "data_identifier" in entry
        else entry
        for name, entry in plans.configurations.items()
    }
    return plans.model_copy(update={"configurations": entries})


def _target(context: Context, name: str) -> tuple[DatasetDescription, str | None]:
    """dataset.json of the target, and the reader of its images where there are raw ones."""
    raw = context.workspace.raw / name
    if not raw.exists():
        return load_description(context.workspace.preprocessed / name / DATASET_FILE), None
    dataset = load_dataset(raw)
    return dataset.description, dataset.reader_name


def _compare_channels(
    context: Context, source_folder: Path, description: DatasetDescription, names: tuple[str, str]
) -> None:
    """Channels of other names may be meant; that is said."""
    file = source_folder / DATASET_FILE
    there = load_description(file).channels if file.exists() else description.channels
    if [name.casefold() for name in there] != [name.casefold() for name in description.channels]:
        context.report(
            "warning",
            message=f"The channels of {names[0]} are {', '.join(there)}, those of {names[1]} "
            f"{', '.join(description.channels)}.",
            hint="Their order decides which is normalised how; check that this is meant.",
        )
