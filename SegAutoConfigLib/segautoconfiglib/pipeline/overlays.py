"""Pictures of a dataset's cases, and of predictions beside the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.parallel import choose_workers, map_cases
from segautoconfiglib.base.records import check_writable, checked_folder
from segautoconfiglib.base.words import counted
from segautoconfiglib.dataset.dataset import Case, list_cases, load_dataset, visible_files
from segautoconfiglib.dataset.description import DatasetDescription, load_description
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.evaluation.slices import Slices, case_dice, slice_axis, upside_down
from segautoconfiglib.image.files import read_header, read_image, read_labels
from segautoconfiglib.image.volume import Volume
from segautoconfiglib.pipeline.options import OverlayOptions
from segautoconfiglib.pipeline.preparation import load_plans
from segautoconfiglib.preprocessing.store import CaseStore

STAGE = "overlays"
#: What a case takes: image and labels as read and as used, two masks.
BYTES_PER_VOXEL = 24
#: A process costs seconds of imports; it pays where it has so many pictures to draw.
CASES_PER_WORKER = 8
#: Between the plane's spacing and that of slices of which nothing is known.
SLICE_FACTOR = 999.0


def draw_dataset(
    context: Context, dataset: str | int, output: Path, options: OverlayOptions | None = None
) -> list[Path]:
    """One PNG for every training case, with its labels: the slice that shows most of all structures.

    Args:
        context: Its workspace has the dataset.
        dataset: Name or number.
        output: Folder for ``<case>.png``.
        options: How they are drawn.

    Raises:
        UserError: there is no such dataset or channel.
        ProblemsError: some cases can't be drawn; all others are.
    """
    options = options or OverlayOptions()
    raw = load_dataset(context.workspace.raw / context.workspace.dataset_name(dataset))
    _check_channel(options.channel, raw.description)
    check_writable(output)
    tasks = [(case.id, (case, raw.description.label_spec, options, output)) for case in raw.cases]
    count = _workers(raw.cases, options.workers)
    return _finished(context, map_cases(_draw_raw, tasks, workers=count, **_common(context)), output)


def draw_preprocessed(
    context: Context,
    dataset: str | int,
    output: Path,
    options: OverlayOptions | None = None,
    *,
    plans_name: str = "nnUNetPlans",
    configuration: str | None = None,
) -> list[Path]:
    """As :func:`draw_dataset`, of the cases as the network sees them.

    Args:
        context: Its workspace has the dataset.
        dataset: Name or number.
        output: Folder for ``<case>.png``.
        options: How they are drawn.
        plans_name: Of the plans file, without ending.
        configuration: Default: 3d_fullres if planned, else 2d.

    Raises:
        UserError: there are no such plans, no such configuration or channel, or nothing is preprocessed.
        ProblemsError: some cases can't be drawn; all others are.
    """
    options = options or OverlayOptions()
    folder = context.workspace.preprocessed / context.workspace.dataset_name(dataset)
    plans = load_plans(folder, plans_name)
    if configuration is None:
        configuration = "3d_fullres" if "3d_fullres" in plans.configuration_names else "2d"
    planned = plans.configuration(configuration)
    description = load_description(folder / "dataset.json")
    _check_channel(options.channel, description)
    store = CaseStore(folder / planned.data_identifier)
    cases = store.case_ids()
    if not cases:
        raise UserError(
            f"{store.folder} has no preprocessed cases.", "Preprocess the dataset first, or draw the raw images."
        )
    check_writable(output)
    plane = planned.spacing[-2:]
    spacing = (planned.spacing[0] if len(planned.spacing) == 3 else SLICE_FACTOR * max(plane), *plane)
    voxels = max(math.prod(store.open(case).labels.shape) for case in cases)
    tasks = [(case, (store.folder, case, spacing, description.label_spec, options, output)) for case in cases]
    count = _processes(len(cases), voxels, options.workers)
    return _finished(context, map_cases(_draw_preprocessed, tasks, workers=count, **_common(context)), output)


def draw_predictions(
    context: Context,
    dataset: str | int,
    predictions: Path,
    output: Path,
    options: OverlayOptions | None = None,
    *,
    images: Path | None = None,
    truth: Path | None = None,
    most: int | None = None,
) -> list[Path]:
    """One PNG for every prediction, beside the truth where there is one; the worst is number 001.

    Args:
        context: Its workspace has the dataset.
        dataset: Name or number; its dataset.json names the labels.
        predictions: Folder of label maps.
        output: Folder for ``<rank>_<case>.png``. Predictions without truth come last.
        options: How they are drawn.
        images: Folder of images; None looks in the dataset's imagesTr and imagesTs.
        truth: Folder of label maps; None looks in the dataset's labelsTr and labelsTs.
        most: Draw at most so many.

    Raises:
        UserError: there is no such dataset, folder or channel, or no prediction with an image.
        ProblemsError: some predictions can't be drawn; all others are.
    """
    options = options or OverlayOptions()
    raw = context.workspace.raw / context.workspace.dataset_name(dataset)
    description = load_description(raw / "dataset.json")
    _check_channel(options.channel, description)
    ending, spec = description.file_ending, description.label_spec
    found = {file.name[: -len(ending)]: file for file in visible_files(checked_folder(predictions), ending)}
    cases = _images_of(
        found, [raw / "imagesTr", raw / "imagesTs"] if images is None else [checked_folder(images)], ending
    )
    if not cases:
        raise UserError(
            f"{predictions} has no {ending} file whose case has an image.",
            "Name the folder of their images (--images FOLDER), and of the true labels (--truth FOLDER), too; files "
            "are matched by name.",
        )
    check_writable(output)
    folders = [raw / "labelsTr", raw / "labelsTs"] if truth is None else [checked_folder(truth)]
    truths = {case.id: _first(folder / f"{case.id}{ending}" for folder in folders) for case in cases}
    count = _workers(cases, options.workers)
    pairs = [(case.id, (truths[case.id], found[case.id], spec)) for case in cases]
    scores = map_cases(_score, pairs, workers=count, **_common(context, "compare"))
    ranked = [case for _, case in sorted(zip(scores, cases, strict=True), key=lambda item: (item[0], item[1].id))]
    tasks = [
        (case.id, (case, options.channel, truths[case.id], found[case.id], spec, output / f"{rank:03d}_{case.id}.png"))
        for rank, case in enumerate(ranked[:most], start=1)
    ]
    return _finished(context, map_cases(_draw_prediction, tasks, workers=count, **_common(context)), output)


def _common(context: Context, stage: str = STAGE) -> dict:
    return {"stage": stage, "report": context.report, "cancel": context.cancel}


def _finished(context: Context, results: Sequence[Path | Problem], output: Path) -> list[Path]:
    """The files. Raises: ProblemsError: with the cases that could not be drawn."""
    files = [result for result in results if isinstance(result, Path)]
    problems = [result for result in results if isinstance(result, Problem)]
    if files:
        context.report("artifact", path=str(output), description=counted(len(files), "overlay picture"))
    if problems:
        raise ProblemsError(f"{len(problems)} of {counted(len(results), 'case')} could not be drawn:", problems)
    context.report("done", stage=STAGE, pictures=len(files))
    return files


def _check_channel(channel: int, description: DatasetDescription) -> None:
    if channel >= len(description.channels):
        named = ", ".join(f"{index} ({name})" for index, name in enumerate(description.channels))
        raise UserError(f"There is no channel {channel}.", f"Channels: {named}.")


def _first(files: Iterable[Path]) -> Path | None:
    return next((file for file in files if file.exists()), None)


def _images_of(wanted: dict[str, Path], folders: Sequence[Path], ending: str) -> list[Case]:
    """The cases among those of image folders, each once."""
    cases: dict[str, Case] = {}
    for folder in folders:
        if folder.is_dir() and any(folder.iterdir()):
            cases = {case.id: case for case in list_cases(folder, ending)} | cases
    return [cases[name] for name in sorted(wanted) if name in cases]


def _workers(cases: Sequence[Case], requested: int | None) -> int:
    largest = max((case.images[0] for case in cases if case.images[0].exists()), key=lambda file: file.stat().st_size)
    return _processes(len(cases), math.prod(read_header(largest).shape), requested)


def _processes(cases: int, voxels: int, requested: int | None) -> int:
    """Processes for a number of cases, the largest of which has so many voxels."""
    count = choose_workers(BYTES_PER_VOXEL * voxels, requested)
    return count if requested is not None else min(count, 1 + cases // CASES_PER_WORKER)


def _read_channel(case: Case, channel: int) -> Volume:
    """One channel, from its own file or from one with several."""
    if len(case.images) > 1:
        return read_image(case.images[channel : channel + 1])
    volume = read_image(case.images)
    return Volume(volume.array[channel : channel + 1], volume.geometry)


def _labels_of(image: Volume, file: Path) -> np.ndarray:
    """(z, y, x). Raises: UserError: unreadable, or of another size than its image."""
    labels = read_labels(file)
    if labels.shape != image.shape:
        raise UserError(
            f"{file} has {labels.shape} voxels (z, y, x), its image {image.shape}.", "They must lie on the same grid."
        )
    return labels.array[0]


def _slices(image: Volume, *labels: np.ndarray | None) -> tuple[Slices, list[np.ndarray | None]]:
    """Image and labels, turned as people look at them."""
    spacing = image.geometry.spacing_mm
    axis = slice_axis(image.shape, spacing)
    flips = tuple(upside_down(image.geometry, axis))
    shown = Slices(np.flip(image.array[0], flips), spacing, axis)
    return shown, [None if array is None else np.flip(array, flips) for array in labels]


def _draw_raw(case: Case, spec: LabelSpec, options: OverlayOptions, output: Path) -> Path | Problem:
    from segautoconfiglib.evaluation.overlays import draw_labels

    file = output / f"{case.id}.png"
    try:
        if case.label is None:
            raise UserError("the label file is missing.", "Add it; verify lists all that is wrong.")
        image = _read_channel(case, options.channel)
        shown, (labels,) = _slices(image, _labels_of(image, case.label))
        assert labels is not None
        draw_labels(shown, labels, spec, file, title=case.id, intensity=options.intensity)
    except UserError as error:
        return Problem.of(error, case=case.id)
    return file


def _draw_preprocessed(
    folder: Path,
    case: str,
    spacing: tuple[float, float, float],
    spec: LabelSpec,
    options: OverlayOptions,
    output: Path,
) -> Path | Problem:
    from segautoconfiglib.evaluation.overlays import draw_labels

    file = output / f"{case}.png"
    try:
        stored = CaseStore(folder).open(case)
        image, labels = np.asarray(stored.data[options.channel]), np.asarray(stored.labels[0])
        draw_labels(Slices(image, spacing, 0), labels, spec, file, title=case, intensity=options.intensity)
    except UserError as error:
        return Problem.of(error, case=case)
    return file


def _score(truth: Path | None, prediction: Path, spec: LabelSpec) -> float:
    """Mean Dice of the classes that occur; below all where files can't be compared, above all without a truth."""
    if truth is None:
        return math.inf
    try:
        expected, found = read_labels(truth), read_labels(prediction)
    except UserError:
        return -math.inf
    if expected.shape != found.shape:
        return -math.inf
    dice = [value for value in case_dice(expected.array, found.array, spec).values() if not math.isnan(value)]
    return sum(dice) / len(dice) if dice else 1.0


def _draw_prediction(
    case: Case, channel: int, truth: Path | None, prediction: Path, spec: LabelSpec, file: Path
) -> Path | Problem:
    from segautoconfiglib.evaluation.overlays import draw_comparison

    try:
        image = _read_channel(case, channel)
        labels = [None if truth is None else _labels_of(image, truth), _labels_of(image, prediction)]
        shown, (expected, found) = _slices(image, *labels)
        assert found is not None
        draw_comparison(shown, expected, found, spec, file, title=case.id)
    except UserError as error:
        return Problem.of(error, case=case.id)
    return file
