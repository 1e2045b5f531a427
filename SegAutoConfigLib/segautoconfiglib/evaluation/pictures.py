"""Parts of pictures of slices: colours, outlines, grey values, titles, and what of a slice is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

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

#: Classes that a title names.
MOST_NAMES = 6


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


def draw_contour(panel: Axes, mask: np.ndarray, colour: Colour, width: float) -> None:
    """The outline of a mask, closed at the edge of the picture too."""
    padded = np.pad(mask.astype(float), 1)
    rows, columns = (np.arange(length) - 1 for length in padded.shape)
    panel.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=width)


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
