"""One picture per case: a slice with its labels over the image, or truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.defaults import EVALUATION
from segautoconfiglib.evaluation.metrics import boundary
from segautoconfiglib.evaluation.pictures import COLOURS, draw_contour, grey_limits, scores_text, shown_window
from segautoconfiglib.evaluation.slices import Slices, case_dice, fullest_slice, worst_slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Window = tuple[slice, ...]
Rgb = tuple[float, float, float]
LegendEntry = tuple[str, Rgb | None]

#: Of voxels that count nowhere; how opaque they are compared with labels.
IGNORE_COLOUR, IGNORE_SHARE = (1.0, 1.0, 1.0), 0.5

#: The longer edge of a panel and of one of several, and the most where slices have many pixels; the least width of all.
PANEL_INCH, SMALL_PANEL_INCH, MOST_PANEL_INCH, LEAST_WIDTH_INCH = 4.8, 3.4, 9.0, 4.2
#: A slice is drawn at most so many times as long as wide.
MOST_ASPECT = 4.0
TITLE_INCH, PANEL_TITLE_INCH, LEGEND_ROW_INCH, GAP_INCH, DPI = 0.36, 0.22, 0.17, 0.08, 110
#: Width of a letter in title and legend, and of a legend's entry without its name.
TITLE_LETTER_INCH, LETTER_INCH, HANDLE_INCH = 0.08, 0.067, 0.42
#: With so many classes the legend has only those in the picture, and at most so many of them.
ALL_NAMES, MOST_NAMES = 8, 24
#: Longest edge of slices (pixels) whose outlines are smooth lines; above it pixels are coloured, which is faster.
SMOOTH_PIXELS = 400


def draw_labels(
    shown: Slices,
    labels: np.ndarray,
    spec: LabelSpec,
    file: Path,
    *,
    title: str,
    intensity: float = EVALUATION.overlay_intensity,
) -> None:
    """The slice with most of the structures, its labels in colours.

    Args:
        shown: The image.
        labels: (z, y, x), as the image.
        spec: What they mean.
        file: The PNG, replaced when it exists.
        title: Over the picture; the slice's number is added.
        intensity: 0 shows the image alone, 1 hides it below the labels.
    """
    place = fullest_slice(labels, spec.foreground, shown.axis)
    drawn = np.take(labels, place, shown.axis)
    title = f"{title}     {shown.at(place)}".strip()
    layout = _Layout.of(shown, shown.whole, 1, title, _legend(spec, [drawn]), panel_titles=False)
    figure, panels = layout.figure()
    _draw_image(panels[0], shown, place, shown.whole)
    _draw_classes(panels[0], drawn, spec, intensity, width=0.9)
    _save(figure, file)


def draw_comparison(
    shown: Slices, truth: np.ndarray | None, prediction: np.ndarray, spec: LabelSpec, file: Path, *, title: str
) -> None:
    """Truth and prediction side by side: the slice with most of the structures, and the one that differs most.

    Args:
        shown: The image.
        truth: (z, y, x), as the image; None shows the prediction alone.
        prediction: Likewise.
        spec: What the labels mean.
        file: The PNG, replaced when it exists.
        title: Over the picture; Dice values are added.
    """
    both = {"prediction": prediction} if truth is None else {"truth": truth, "prediction": prediction}
    reference = next(iter(both.values()))
    places = [fullest_slice(reference, spec.foreground, shown.axis)]
    if truth is not None:
        title = f"{title}     {scores_text(case_dice(truth, prediction, spec))}"
        worst = worst_slice(truth, prediction, shown.axis, spec.ignore_label)
        places += [] if worst is None or worst in places else [worst]
    window = shown_window((reference > 0) | (prediction > 0), shown.spacing_mm, shown.axis)
    drawn = [
        (f"{name}   {shown.at(place)}", place, np.take(labels, place, shown.axis)[window])
        for place in places
        for name, labels in both.items()
    ]
    legend = _legend(spec, [labels for *_, labels in drawn])
    figure, panels = _Layout.of(shown, window, len(drawn), title, legend, panel_titles=True).figure()
    for panel, (name, place, labels) in zip(panels, drawn, strict=True):
        _draw_image(panel, shown, place, window)
        _draw_classes(panel, labels, spec, 0.0, width=1.6)
        panel.set_title(name, fontsize=8, color="0.3", pad=3)
    _save(figure, file)


def class_colours(count: int) -> list[Rgb]:
    """Colours of classes in order: those that are told apart best, then hues as far from each other as can be."""
    wheel = colormaps["hsv"]
    more = [wheel((0.07 + 0.618034 * index) % 1.0)[:3] for index in range(max(0, count - len(COLOURS)))]
    return [*map(to_rgb, COLOURS), *((red, green, blue) for red, green, blue in more)][:count]


def _legend(spec: LabelSpec, drawn: Sequence[np.ndarray]) -> list[LegendEntry]:
    """Names with their colours; None for a line of text. drawn: The labels in the picture."""
    entries: list[LegendEntry] = []
    for entry, colour in zip(spec.foreground, class_colours(len(spec.foreground)), strict=True):
        if len(spec.foreground) <= ALL_NAMES or any(np.isin(labels, entry).any() for labels in drawn):
            entries.append((spec.names[entry], colour))
    if len(entries) > MOST_NAMES:
        entries = [*entries[:MOST_NAMES], (f"and {len(entries) - MOST_NAMES} more", None)]
    if spec.ignore_label is not None:
        entries.append(("ignored", (0.8, 0.8, 0.8)))
    return entries


@dataclass(frozen=True)
class _Layout:
    """Where things are in a picture; lengths in inches."""

    title: str
    entries: list[LegendEntry]
    panels: int
    panel_width: float
    panel_height: float
    head: float

    @classmethod
    def of(
        cls, shown: Slices, window: Window, panels: int, title: str, entries: list[LegendEntry], *, panel_titles: bool
    ) -> _Layout:
        """Panels in the proportions of the slice's part ``window`` in millimetres."""
        rows, columns = ((part.stop - part.start) * mm for part, mm in zip(window, shown.pixel_mm, strict=True))
        ratio = min(max(rows / columns, 1 / MOST_ASPECT), MOST_ASPECT)
        pixels = max(part.stop - part.start for part in window)
        edge = min(max(PANEL_INCH if panels == 1 else SMALL_PANEL_INCH, pixels / DPI), MOST_PANEL_INCH)
        head = TITLE_INCH + (PANEL_TITLE_INCH if panel_titles else 0.0)
        return cls(title, entries, panels, edge / max(ratio, 1.0), edge * min(ratio, 1.0), head)

    @property
    def width(self) -> float:
        panels = self.panels * (self.panel_width + GAP_INCH) + GAP_INCH
        return max(panels, LEAST_WIDTH_INCH, TITLE_LETTER_INCH * len(self.title))

    @property
    def names_per_row(self) -> int:
        longest = max((len(name) for name, _ in self.entries), default=0)
        return max(1, min(len(self.entries), int(self.width / (HANDLE_INCH + LETTER_INCH * longest))))

    def figure(self) -> tuple[Figure, list[Axes]]:
        """An empty figure with panels, title and legend."""
        width, per_row = self.width, self.names_per_row
        foot = LEGEND_ROW_INCH * -(-len(self.entries) // per_row) + GAP_INCH
        height = self.panel_height + self.head + foot
        figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(figure)
        figure.text(0.5, 1 - TITLE_INCH / 2 / height, self.title, ha="center", va="center", fontsize=10)
        handles = [
            Line2D([], [], linestyle="none") if colour is None else Line2D([], [], color=colour, linewidth=5)
            for _, colour in self.entries
        ]
        figure.legend(
            handles, [name for name, _ in self.entries], loc="lower center", ncols=per_row, fontsize=8, frameon=False,
            handlelength=0.8, columnspacing=1.2, borderaxespad=0.2, labelspacing=0.4,
        )  # fmt: skip
        step = self.panel_width + GAP_INCH
        left = (width - self.panels * step + GAP_INCH) / 2
        size = (self.panel_width / width, self.panel_height / height)
        return figure, [
            figure.add_axes(((left + index * step) / width, foot / height, *size)) for index in range(self.panels)
        ]


def _draw_image(panel: Axes, shown: Slices, place: int, window: Window) -> None:
    low, high = grey_limits(shown.image)
    grey = np.take(shown.image, place, shown.axis)[window]
    panel.imshow(grey, cmap="gray", vmin=low, vmax=high, aspect="auto")
    panel.set_axis_off()


def _draw_classes(panel: Axes, labels: np.ndarray, spec: LabelSpec, intensity: float, width: float) -> None:
    """Fill and outline the classes of a slice (rows, columns), the largest first so that none is hidden."""
    layer = np.zeros((*labels.shape, 4))
    if spec.ignore_label is not None:
        layer[labels == spec.ignore_label] = (
            *IGNORE_COLOUR,
            IGNORE_SHARE * (intensity or EVALUATION.overlay_intensity),
        )
    colours = class_colours(len(spec.foreground))
    masks = [(np.isin(labels, entry), colour) for entry, colour in zip(spec.foreground, colours, strict=True)]
    masks.sort(key=lambda item: -int(item[0].sum()))
    smooth = max(labels.shape) <= SMOOTH_PIXELS
    for mask, colour in masks:
        layer[mask] = (*colour, intensity)
        if not smooth:
            layer[_rim(mask)] = (*colour, 1.0)
    panel.imshow(layer, aspect="auto", interpolation="nearest")
    for mask, colour in masks:
        if smooth and mask.any():
            draw_contour(panel, mask, colour, width=width)


def _rim(mask: np.ndarray) -> np.ndarray:
    """The outer pixels of a mask, so many that they are seen where the slice is shown smaller than it is."""
    inner = mask
    for _ in range(1 + max(mask.shape) // (2 * SMOOTH_PIXELS)):
        inner = inner & ~boundary(inner)
    return mask & ~inner


def _save(figure: Figure, file: Path) -> None:
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
