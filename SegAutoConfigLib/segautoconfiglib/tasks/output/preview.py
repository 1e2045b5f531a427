"""A picture of all structures that were found: groups of them from the front and from the side, with names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import atomic_path
from segautoconfiglib.image.label_table import Colour, colour_of
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.tasks.output.label_files import tracked
from segautoconfiglib.tasks.output.rendering import View, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGE = "preview"
#: Which structures are shown together, by words in their names; the first group with a word in a name has it.
GROUPS: dict[str, str] = {
    "Muscles": "gluteus|autochthon|iliopsoas|muscle|masseter|temporalis|pterygoid|digastric|tongue|psoas|pectoralis|"
    "rectus|serratus|latissimus|trapezius|oblique|erector|transversospinalis|quadratus|quadriceps|thigh|sartorius|"
    "deltoid|spinatus|subscapularis|coracobrachial|teres|triceps|sternocleido|constrictor|platysma|scapulae|scalene|"
    "thyroid_left|thyroid_right|thyrohyoid|prevertebral",
    "Heart and vessels": "heart|aort|arter|vein|vena|brachiocephalic|atri|ventricular|vessel|celiac|pulmonary|coronary",
    "Lungs and airways": "lung|trachea|bronch|airway|larynx_air|pharynx|sinus|pleural",
    "Bones": "vertebra|rib_|sternum|costal|humerus|scapula|clavicula|femur|hip|sacrum|skull|patella|tibia|fibula|"
    "tarsal|phalanges|ulna|radius|carpal|mandible|jaw|disc|zygomatic|styloid|hyoid|cartilage|teeth|bone|implant",
    "Organs": "",
}
ORDER = ("Bones", "Muscles", "Heart and vessels", "Lungs and airways", "Organs")
#: A task of at most so many structures is shown as one group.
FEW = 12
#: Somewhat from the side and from above, as eyes find solid; the whole side from the patient's left.
VIEWS = (View.turned(18, 8), View.turned(78, 8))
#: The patient behind a group: what all structures together cover, this bright.
GHOST = 0.075
BACKGROUND, TEXT, FAINT_TEXT = "#12161c", "#f1f3f5", "#9aa4b0"
#: Size of the parts of the picture (inches) and its resolution; rows of names below a group, at most.
PANEL_HEIGHT, LEAST_WIDTH, MOST_WIDTH, TITLE_HEIGHT, GROUP_HEIGHT, NAME_HEIGHT = 3.4, 1.9, 4.2, 0.42, 0.32, 0.175
DPI, LONGEST, MOST_NAMES = 110, 560, 16
INSTALL = 'Install it with: pip install "segautoconfiglib[train]"'


def need_preview_packages() -> None:
    """Check that the optional package is there. Raises: UserError: it is not, with what installs it."""
    try:
        import matplotlib.backends.backend_agg  # noqa: F401
    except ImportError as error:
        text = f"Drawing a preview needs a package that is not installed ({error.name})."
        raise UserError(text, INSTALL, "install") from error


def draw_preview(
    labels: np.ndarray,
    geometry: Geometry,
    names: Mapping[int, str],
    file: Path,
    *,
    colours: Mapping[int, Colour] | None = None,
    title: str = "",
    longest: int = LONGEST,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> None:
    """Draw the structures that were found.

    Args:
        labels: (z, y, x).
        geometry: Of the labels; any orientation.
        names: By label; others are not shown.
        file: The PNG, replaced when it exists.
        colours: By label.
        title: Above the picture.
        longest: Pixels that are computed along the longer side of each view; shown at a fixed size.
        report: Told of progress.
        cancel: Asked between structures.

    Raises:
        UserError: the file can't be written.
        Cancelled: on request.
    """
    boxes = find_objects(labels, max_label=max(names, default=0))
    present = {label: name for label, name in names.items() if boxes[label - 1] is not None}
    shown = {label: colour_of(label, colours) for label in present}
    grouped = groups(present)
    steps = tracked({one: present[one] for group in grouped.values() for one in group}, STAGE, report, cancel)
    pictures = list(grouped.values())
    drawn = (
        render(labels, geometry, shown, pictures, VIEWS, longest=longest, step=lambda: next(steps, None))
        if pictures
        else []
    )
    next(steps, None)  # the last one is done
    figure = _figure(grouped, present, shown, drawn, title)
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor=BACKGROUND)


def groups(names: Mapping[int, str]) -> dict[str, list[int]]:
    """Labels by what they are shown with; one group without a name where there are few."""
    if len(names) <= FEW:
        return {"": list(names)} if names else {}
    found: dict[str, list[int]] = {title: [] for title in ORDER}
    for label, name in names.items():
        found[next(title for title, words in GROUPS.items() if re.search(words, name))].append(label)
    return {title: labels for title, labels in found.items() if labels}


def families(names: Sequence[str]) -> dict[str, list[str]]:
    """Names that differ by side and number only, together; the key is what they have in common, for people."""
    found: dict[str, list[str]] = {}
    for name in names:
        base = re.sub(r"_(left|right)\b|_[A-Z]?[0-9]+$|_fdi[0-9]+$", "", re.sub(r"_(left|right)(?=_)", "", name))
        found.setdefault(base.replace("_", " "), []).append(name)
    return found


def _figure(
    grouped: Mapping[str, Sequence[int]],
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    drawn: Sequence[Sequence[np.ndarray]],
    title: str,
) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictures = dict(zip(grouped, drawn, strict=True))
    ghosts = [np.max([picture[..., 3] for picture in one_view], axis=0) for one_view in zip(*drawn, strict=True)]
    widths = [PANEL_HEIGHT * ghost.shape[1] / ghost.shape[0] for ghost in ghosts]
    width = min(max([*widths, LEAST_WIDTH]), MOST_WIDTH)
    entries = {name: _entries([names[m] for m in members]) for name, members in grouped.items()}
    side_by_side = len(grouped) <= 1
    across, down = (max(1, len(ghosts)), 1) if side_by_side else (len(grouped), len(ghosts))
    rows = max([len(one) for one in entries.values()], default=1)
    legend = GROUP_HEIGHT / 2 + NAME_HEIGHT * rows
    height = TITLE_HEIGHT + GROUP_HEIGHT + PANEL_HEIGHT * down + legend
    figure = Figure(figsize=(width * across, height), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    figure.text(0.12 / (width * across), 1 - 0.12 / height, title, color=TEXT, fontsize=12, va="top", weight="bold")
    if not grouped:
        figure.text(0.5, 0.5, "Nothing was found.", color=FAINT_TEXT, fontsize=11, ha="center", va="center")
    for column, (name, pair) in enumerate(pictures.items()):
        for row, picture in enumerate(pair):
            place = (row, 0) if side_by_side else (column, row)
            left, bottom = place[0] / across, (legend + PANEL_HEIGHT * (down - 1 - place[1])) / height
            panel = figure.add_axes((left, bottom, 1 / across, PANEL_HEIGHT / height))
            _show(panel, picture, ghosts[row])
        if name:
            top = 1 - (TITLE_HEIGHT + GROUP_HEIGHT / 2) / height
            figure.text((column + 0.5) / across, top, name, color=TEXT, fontsize=10.5, ha="center", va="center")
        _names(figure, entries[name], names, colours, column / across, legend)
    return figure


def _show(panel: Axes, picture: np.ndarray, ghost: np.ndarray) -> None:
    """One picture on the background, the rest of the patient behind it."""
    from matplotlib.colors import to_rgb

    ground = np.array(to_rgb(BACKGROUND))
    behind = ground + (1 - ground) * GHOST * ghost[..., None]
    seen = picture[..., 3:]
    panel.imshow(picture[..., :3] * seen + behind * (1 - seen), interpolation="antialiased")
    panel.set_axis_off()
    panel.margins(0.04)
    height, width = ghost.shape
    panel.set_xlim(-0.04 * width, 1.04 * width)
    panel.set_ylim(1.03 * height, -0.03 * height)


def _entries(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What the legend of a group says: a text, and the structures whose colours stand before it."""
    found = families(names)
    listed = [(f"{base} ({len(same)})" if len(same) > 2 else base, same) for base, same in found.items()]
    if len(listed) <= MOST_NAMES:
        return listed
    rest = listed[MOST_NAMES - 1 :]
    return [*listed[: MOST_NAMES - 1], (f"and {len(rest)} more", [name for _, same in rest for name in same])]


def _names(
    figure: Figure,
    entries: Sequence[tuple[str, list[str]]],
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    left: float,
    legend: float,
) -> None:
    """The legend of a group: patches in the colours of the structures, and what they are called."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    numbers = {name: label for label, name in names.items()}
    for row, (text, same) in enumerate(entries):
        y = legend - GROUP_HEIGHT / 4 - NAME_HEIGHT * (row + 0.5)
        x = left * width + 0.22
        shown = same[:: max(1, len(same) // 6)][:6]
        for place, name in enumerate(shown):
            share = 0.24 / len(shown)
            patch = Rectangle(
                ((x + place * share) / width, (y - 0.05) / height), share / width, 0.1 / height,
                color=np.array(colours[numbers[name]]) / 255, linewidth=0,
            )  # fmt: skip
            figure.add_artist(patch)
        figure.text((x + 0.32) / width, y / height, text, color=TEXT, fontsize=7.5, va="center")
