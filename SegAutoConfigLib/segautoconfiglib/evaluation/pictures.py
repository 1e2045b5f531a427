"""Overlay pictures: slices of the image with the contours of truth and prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.dataset.dataset import DatasetDescription, list_cases
from segautoconfiglib.evaluation.metrics import joint_counts, overlap_metrics
from segautoconfiglib.image.files import read_image, read_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: As matplotlib takes it.
Colour = str | tuple[float, float, float]

#: Colours of the classes, in order, then again (told apart also with the common colour blindnesses; Okabe & Ito 2008).
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")

#: Share of the shown grey values that is cut off at either end.
CLIPPED_PERCENT = 0.5

#: Space around the structures, as a share of their extent, and the least width that is shown (mm).
MARGIN, LEAST_EXTENT_MM = 0.35, 40.0

#: Room for title and legend.
HEADER_INCH, FOOTER_INCH, LEAST_WIDTH_INCH = 0.52, 0.38, 6.0

#: Classes that are named in title and legend.
MOST_NAMES = 6


@dataclass(frozen=True)
class Overlay:
    """What one picture shows.

    Attributes:
        image: (z, y, x), one channel.
        truth: (z, y, x) labels.
        prediction: (z, y, x) labels.
        spacing_mm: (z, y, x).
        classes: Names with their label or, for regions, labels.
        ignore_label: Voxels whose truth has it do not count; None if there is none.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    spacing_mm: Sequence[float]
    classes: Mapping[str, int | tuple[int, ...]]
    ignore_label: int | None = None

    def mask(self, labels: np.ndarray, name: str) -> np.ndarray:
        """Where ``labels`` belongs to a class."""
        return np.isin(labels, self.classes[name])

    def dice(self) -> dict[str, float]:
        """Dice of each class; NaN where it is in neither truth nor prediction."""
        size = int(max(self.truth.max(), self.prediction.max(), *map(np.max, self.classes.values()))) + 1
        counts = joint_counts(self.truth, self.prediction, size)
        if self.ignore_label is not None and self.ignore_label < size:
            counts[self.ignore_label] = 0
        values = {name: (value,) if isinstance(value, int) else value for name, value in self.classes.items()}
        return {name: overlap_metrics(counts, labels)["Dice"] for name, labels in values.items()}


def draw_overlays(
    images: Path, truth: Path, predictions: Path, description: DatasetDescription, output: Path, *, most: int = 12
) -> list[Path]:
    """One PNG for every case that has an image, a truth and a prediction, named after the case.

    Args:
        images: Folder of images; the first channel is shown.
        truth: Folder of true label maps.
        predictions: Folder of predicted label maps.
        description: Tells file ending and classes.
        output: Folder for the pictures.
        most: Stop after this many.

    Returns:
        The files written.

    Raises:
        UserError: a file can't be read or written.
    """
    spec, ending = description.label_spec, description.file_ending
    classes = {spec.names[entry]: entry for entry in spec.foreground}
    written: list[Path] = []
    for case in list_cases(images, ending, len(description.channels)):
        files = [folder / f"{case.id}{ending}" for folder in (truth, predictions)]
        if len(written) == most or not all(file.exists() for file in files):
            continue
        volume = read_image(case.images[:1])
        labels = [read_labels(file).array[0] for file in files]
        overlay = Overlay(volume.array[0], labels[0], labels[1], volume.geometry.spacing_mm, classes, spec.ignore_label)
        draw_overlay(overlay, output / f"{case.id}.png", title=case.id)
        written.append(output / f"{case.id}.png")
    return written


def draw_overlay(overlay: Overlay, file: Path, *, title: str = "", slices: int = 4) -> None:
    """Draw one case: slices across the coarsest axis, through the structures, with Dice per class in the title.

    Args:
        overlay: What to show.
        file: The PNG, replaced when it exists.
        title: In front of the Dice values.
        slices: Number of slices side by side, at most.
    """
    axis = int(np.argmax(overlay.spacing_mm))
    shown = np.isin(overlay.truth, _all_labels(overlay)) | np.isin(overlay.prediction, _all_labels(overlay))
    window = shown_window(shown, overlay.spacing_mm, axis)
    places = _places(shown, axis, slices)
    rows, columns = (
        np.delete(np.array(overlay.spacing_mm), axis) * [part.stop - part.start for part in window]
    ).tolist()
    width = min(4.0, 14.0 / len(places))
    height = min(max(width * rows / columns, 1.0), 9.0)
    figure = Figure(
        figsize=(max(width * len(places), LEAST_WIDTH_INCH), height + HEADER_INCH + FOOTER_INCH), facecolor="white"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(places), squeeze=False)[0]
    limits = grey_limits(overlay.image)
    for panel, place in zip(panels, places, strict=True):
        _draw_slice(panel, overlay, axis, place, window, limits)
        panel.set_title(f"{'zyx'[axis]} = {place}", fontsize=8, color="0.4", pad=3)
    figure.suptitle(
        f"{title}     {scores_text(overlay.dice())}".strip(), fontsize=11, y=1 - 0.08 / figure.get_figheight()
    )
    _draw_legend(figure, overlay)
    share = 1 / (height + HEADER_INCH + FOOTER_INCH)
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - HEADER_INCH * share, bottom=FOOTER_INCH * share, wspace=0.03)
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def grey_limits(image: np.ndarray) -> tuple[float, float]:
    """The values that are shown black and white."""
    low, high = np.percentile(image, (CLIPPED_PERCENT, 100 - CLIPPED_PERCENT)).tolist()
    return low, max(high, low + 1e-6)


def scores_text(dice: Mapping[str, float]) -> str:
    """Dice per class, or their mean where there are many."""
    if len(dice) <= MOST_NAMES:
        return "Dice:  " + "     ".join(f"{name} {value:.3f}" for name, value in dice.items())
    present = [value for value in dice.values() if not math.isnan(value)]
    return f"Dice:  mean of {len(present)} classes {sum(present) / max(1, len(present)):.3f}"


def _draw_slice(
    panel: Axes, overlay: Overlay, axis: int, place: int, window: tuple[slice, ...], limits: tuple[float, float]
) -> None:
    steps = np.delete(np.array(overlay.spacing_mm), axis)
    grey = np.take(overlay.image, place, axis)[window]
    panel.imshow(grey, cmap="gray", vmin=limits[0], vmax=limits[1], aspect=steps[0] / steps[1])
    panel.set_axis_off()
    for index, name in enumerate(overlay.classes):
        colour = COLOURS[index % len(COLOURS)]
        for labels, style in ((overlay.truth, "solid"), (overlay.prediction, "dashed")):
            mask = overlay.mask(np.take(labels, place, axis)[window], name)
            if mask.any():
                draw_contour(panel, mask, colour, dashed=style == "dashed")


def draw_contour(panel: Axes, mask: np.ndarray, colour: Colour, *, width: float = 1.9, dashed: bool = False) -> None:
    """The outline of a mask, closed at the edge of the picture too; a dashed one on a dark ground, to stand out."""
    padded = np.pad(mask.astype(float), 1)
    rows, columns = (np.arange(length) - 1 for length in padded.shape)
    if dashed:
        panel.contour(columns, rows, padded, levels=[0.5], colors=["black"], linewidths=2.2, alpha=0.6)
        panel.contour(
            columns, rows, padded, levels=[0.5], colors=[_light(colour)], linewidths=1.3, linestyles=[(0, (3, 2))]
        )
    else:
        panel.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=width)


def _light(colour: Colour) -> tuple[float, ...]:
    return tuple(0.5 + 0.5 * part for part in to_rgb(colour))


def _draw_legend(figure: Figure, overlay: Overlay) -> None:
    names = list(overlay.classes)[:MOST_NAMES]
    handles = [Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=3) for i in range(len(names))]
    handles.append(Line2D([], [], color="black", linewidth=1.2, linestyle=(0, (3, 2))))
    handles.insert(-1, Line2D([], [], color="black", linewidth=1.2))
    labels = [*names, "truth", "prediction"]
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=9, frameon=False)


def _all_labels(overlay: Overlay) -> list[int]:
    return sorted({int(label) for value in overlay.classes.values() for label in np.atleast_1d(value)})


def _places(shown: np.ndarray, axis: int, count: int) -> list[int]:
    """Slices through the structures, evenly spaced without the outermost ones; the middle where there is nothing."""
    others = tuple(i for i in range(3) if i != axis)
    occupied = np.flatnonzero(shown.any(axis=others))
    if not occupied.size:
        return [shown.shape[axis] // 2]
    shares = (np.arange(count) + 0.5) / count
    return sorted({int(occupied[round(share * (occupied.size - 1))]) for share in shares})


def shown_window(shown: np.ndarray, spacing_mm: Sequence[float], axis: int) -> tuple[slice, ...]:
    """The part of the slices to show: the structures with a margin; everything where there is nothing."""
    window = []
    for other in (i for i in range(3) if i != axis):
        occupied = np.flatnonzero(shown.any(axis=tuple(i for i in range(3) if i != other)))
        length = shown.shape[other]
        if not occupied.size:
            window.append(slice(0, length))
            continue
        low, high = int(occupied[0]), int(occupied[-1]) + 1
        half = max((high - low) * (0.5 + MARGIN), LEAST_EXTENT_MM / spacing_mm[other] / 2)
        middle = (low + high) / 2
        window.append(slice(max(0, round(middle - half)), min(length, round(middle + half))))
    return tuple(window)
