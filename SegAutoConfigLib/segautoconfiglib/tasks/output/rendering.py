"""Label maps as shaded surfaces, seen from outside: a picture as of a 3D viewer, from numpy and scipy alone.

Every structure is smoothed, and each line of sight (parallel projection) followed to where it enters one: from a bound
that the structure's outermost voxels give, in steps below a voxel. The nearest structure is shown, lit by its slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import (
    binary_erosion,
    find_objects,
    gaussian_filter,
    map_coordinates,
    maximum_filter,
    minimum_filter,
)

from segautoconfiglib.image.label_table import Colour
from segautoconfiglib.image.volume import Geometry

#: A structure's surface lies where its smoothed mask has this value; below a half, for thin structures to stay.
LEVEL = 0.4
#: Smoothing of the surface, and of its slope, which shows steps more readily (voxels).
SURFACE_SIGMA, SLOPE_SIGMA = 0.7, 1.3
#: Free voxels around a structure, for the smoothing.
PADDING = 4
#: Finer voxels than these are put together (pixels); they would cost time and show no more.
FINEST = 2.5
#: Steps along a line of sight, and how far a surface can lie from the centre of an outermost voxel (voxels).
STEP, REACH = 1.0, 1.2
#: Light: from all sides, from the lamp, mirrored by the surface, and the sharpness of that.
AMBIENT, DIFFUSE, SPECULAR, SHININESS = 0.34, 0.70, 0.22, 22
#: Towards the lamp: away from the viewer, down, right.
LAMP = (-0.77, -0.50, -0.40)
#: How much is darker what lies in a hollow, and how much at most; the hollow's width (share of the picture).
HOLLOW_PER_MM, HOLLOW_MOST, HOLLOW_WIDTH = 0.012, 0.45, 0.012
#: The farthest point of the scene is darker than the nearest by this.
FOG = 0.22


@dataclass(frozen=True)
class View:
    """From where a patient is looked at, as directions in ITK's physical axes (to the left, the back, the head).

    Attributes:
        away: From the viewer to the patient.
        down: The picture's downward direction.
        right: And the one to its right.
    """

    away: tuple[float, float, float]
    down: tuple[float, float, float]
    right: tuple[float, float, float]

    @classmethod
    def turned(cls, azimuth: float, elevation: float = 0.0) -> View:
        """From the front, but gone ``azimuth`` degrees towards the patient's left and ``elevation`` upwards."""
        a, e = math.radians(azimuth), math.radians(elevation)
        away = (-math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e))
        down = (math.sin(a) * math.sin(e), -math.cos(a) * math.sin(e), -math.cos(e))
        return cls(away, down, (math.cos(a), math.sin(a), 0.0))


@dataclass(frozen=True)
class Picture:
    """One view of a label map, at one scale, being drawn.

    Attributes:
        to_mm: (3, 3), from indices (z, y, x) of the labels to the view's axes (away, down, right), mm.
        low: Least position in these axes.
        pixel_mm: Edge of a pixel.
        depth: (height, width), mm away; infinite where nothing is.
        slope: (height, width, 3), outwards from the surface, in the view's axes.
        colour: (height, width, 3), 0 to 1.
    """

    to_mm: np.ndarray
    low: np.ndarray
    pixel_mm: float
    depth: np.ndarray
    slope: np.ndarray
    colour: np.ndarray

    @classmethod
    def empty(cls, to_mm: np.ndarray, corners: np.ndarray, longest: int) -> Picture:
        """With room for points (n, 3), given as indices; ``longest`` is its height or width in pixels."""
        seen = corners @ to_mm.T
        low, size = seen.min(axis=0), np.ptp(seen, axis=0)
        pixel_mm = float(size[1:].max()) / longest
        height, width = (max(1, math.ceil(length / pixel_mm)) for length in size[1:])
        depth = np.full((height, width), np.inf)
        return cls(to_mm, low, pixel_mm, depth, np.zeros((height, width, 3)), np.zeros((height, width, 3)))


def render(
    labels: np.ndarray,
    geometry: Geometry,
    colours: Mapping[int, Colour],
    groups: Sequence[Iterable[int]],
    views: Sequence[View],
    *,
    longest: int = 560,
    step: Callable[[], object] = lambda: None,
) -> list[list[np.ndarray]]:
    """Pictures of groups of labels; all of a view have one scale and place.

    Args:
        labels: (z, y, x), with at least one of the labels.
        geometry: Of the labels; any orientation.
        colours: Of all labels of the groups.
        groups: What each picture shows.
        views: From where.
        longest: Height or width of each picture, whichever is larger (pixels).
        step: Called before each label of a group is drawn.

    Returns:
        Per group and view (height, width, 4): red, green, blue and opacity, 0 to 1.
    """
    to_mm = (np.reshape(geometry.direction, (3, 3)) * geometry.spacing_mm[::-1])[:, ::-1]
    boxes = find_objects(labels, max_label=max(colours, default=0))
    corners = np.concatenate([_corners(box) for label in colours if (box := boxes[label - 1]) is not None])
    result = []
    for members in groups:
        pictures = [Picture.empty(np.array([v.away, v.down, v.right]) @ to_mm, corners, longest) for v in views]
        for label in members:
            step()
            box = boxes[label - 1]
            if box is None:
                continue
            finest = FINEST * min(picture.pixel_mm for picture in pictures)
            structure = _Structure.of(labels, label, box, [max(1, round(finest / mm)) for mm in geometry.spacing_mm])
            for picture in pictures:
                _draw(structure, np.array(colours[label]) / 255, picture)
        result.append([_lit(picture) for picture in pictures])
    return result


@dataclass(frozen=True)
class _Structure:
    """One structure: where it is (share of each voxel), smoothed; an index i here is ``first + factors * i`` there."""

    surface: np.ndarray
    smooth: np.ndarray
    outermost: np.ndarray  # indices (n, 3)
    first: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, label: int, box: tuple[slice, ...], factors: Sequence[int]) -> _Structure:
        mask = labels[box] == label
        padded = np.pad(
            mask, [(PADDING * f, PADDING * f + -size % f) for f, size in zip(factors, mask.shape, strict=True)]
        )
        blocks = padded.reshape([n for f, size in zip(factors, padded.shape, strict=True) for n in (size // f, f)])
        share = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
        there = share > 0
        steps = np.array(factors, float)
        first = np.array([part.start for part in box]) - PADDING * steps + (steps - 1) / 2
        outermost = np.argwhere(there & ~binary_erosion(there))
        return cls(gaussian_filter(share, SURFACE_SIGMA), gaussian_filter(share, SLOPE_SIGMA), outermost, first, steps)


def _draw(structure: _Structure, colour: np.ndarray, picture: Picture) -> None:
    """Enter one structure where it is nearer than what was drawn before."""
    to_view = picture.to_mm * structure.factors
    origin = picture.to_mm @ structure.first - picture.low
    edges = np.linalg.norm(to_view, axis=0)
    rows, columns, near, far = _bounds(structure.outermost @ to_view.T + origin, float(edges.max()), picture)
    inside = near < picture.depth[rows, columns]
    rows, columns, near, far = rows[inside], columns[inside], near[inside], far[inside]
    to_index = np.linalg.inv(to_view)
    seen = np.stack([near, (rows + 0.5) * picture.pixel_mm, (columns + 0.5) * picture.pixel_mm])
    start = to_index @ (seen - origin[:, None])
    level = LEVEL * min(1.0, float(structure.surface.max()))
    depth = near + _distances(structure.surface, level, start, to_index[:, 0], far - near, STEP * float(edges.min()))
    nearer = depth < picture.depth[rows, columns]
    rows, columns, depth = rows[nearer], columns[nearer], depth[nearer]
    points = start[:, nearer] + to_index[:, :1] * (depth - near[nearer])
    normal = _gradient(structure.smooth, points) @ -to_index  # by index, then by mm
    picture.depth[rows, columns] = depth
    picture.slope[rows, columns] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    picture.colour[rows, columns] = colour


def _bounds(
    seen: np.ndarray, cell_mm: float, picture: Picture
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (rows, columns) that may show a structure, and between which depths, by its outermost voxels.

    Args:
        seen: (n, 3), their centres in the view's axes, mm.
        cell_mm: The longest edge of a voxel.
        picture: Where they will be shown.
    """
    cell_mm = max(cell_mm, picture.pixel_mm)
    cells = np.floor(seen[:, 1:] / cell_mm).astype(int)
    corner = cells.min(axis=0) - 1
    cells -= corner
    size = cells.max(axis=0) + 2
    near, far = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(near, tuple(cells.T), seen[:, 0])
    np.maximum.at(far, tuple(cells.T), seen[:, 0])
    near, far = minimum_filter(near, 3), maximum_filter(far, 3)
    places = []
    for axis, length in enumerate(picture.depth.shape):
        low, high = (corner[axis] * cell_mm, (corner[axis] + size[axis]) * cell_mm)
        pixels = np.arange(max(0, int(low / picture.pixel_mm)), min(length, math.ceil(high / picture.pixel_mm)))
        index = np.floor((pixels + 0.5) * picture.pixel_mm / cell_mm).astype(int) - corner[axis]
        places.append((pixels, np.clip(index, 0, size[axis] - 1)))
    (rows, by_row), (columns, by_column) = places
    near, far = near[np.ix_(by_row, by_column)], far[np.ix_(by_row, by_column)]
    inside = np.nonzero(np.isfinite(near))
    reach = REACH * cell_mm
    return rows[inside[0]], columns[inside[1]], near[inside] - reach, far[inside] + reach


def _distances(
    surface: np.ndarray, level: float, start: np.ndarray, along: np.ndarray, longest: np.ndarray, step: float
) -> np.ndarray:
    """How far it is along lines of sight to where they enter a structure; infinite where they do not.

    Args:
        surface: (z, y, x).
        level: Its value at the surface.
        start: (3, n), indices.
        along: (3,), indices per mm.
        longest: (n,), mm.
        step: mm.
    """
    found = np.full(start.shape[1], np.inf)
    active = np.arange(start.shape[1])
    before = np.zeros(len(active), surface.dtype)
    for number in range(math.ceil(longest.max(initial=0) / step) + 1):
        value = map_coordinates(surface, start[:, active] + along[:, None] * (number * step), order=1)
        hit = value >= level
        share = (level - before[hit]) / np.maximum(value[hit] - before[hit], 1e-6)
        found[active[hit]] = (number - 1 + share) * step
        go_on = ~hit & (number * step < longest[active])
        active, before = active[go_on], value[go_on]
        if not active.size:
            break
    return found


def _gradient(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """By index, at points (3, n) between the voxels: (n, 3)."""
    parts = []
    for axis in range(3):
        step = np.zeros((3, 1))
        step[axis] = 1
        ahead, behind = (map_coordinates(values, points + side * step, order=1) for side in (1, -1))
        parts.append(ahead - behind)
    return np.stack(parts, axis=1).astype(float)


def _lit(picture: Picture) -> np.ndarray:
    """What was drawn, in the lamp's light: (height, width, 4)."""
    hit = np.isfinite(picture.depth)
    lamp = np.array(LAMP) / np.linalg.norm(LAMP)
    halfway = lamp - (1.0, 0.0, 0.0)
    halfway /= np.linalg.norm(halfway)
    lit = np.maximum(picture.slope @ lamp, 0)[..., None]
    mirrored = np.maximum(picture.slope @ halfway, 0)[..., None] ** SHININESS
    shown = (picture.colour * (AMBIENT + DIFFUSE * lit) + SPECULAR * mirrored) * _shadows(picture, hit)[..., None]
    return np.concatenate([np.clip(shown, 0, 1), hit[..., None]], axis=-1)


def _shadows(picture: Picture, hit: np.ndarray) -> np.ndarray:
    """How bright each pixel is for its place: less in hollows and far away; (height, width)."""
    if not hit.any():
        return np.ones(hit.shape)
    near, far = float(picture.depth[hit].min()), float(picture.depth[hit].max())
    filled = np.where(hit, picture.depth, 0.0)
    sigma = HOLLOW_WIDTH * max(hit.shape)
    share = np.maximum(gaussian_filter(hit.astype(float), sigma), 1e-6)
    hollow = np.where(hit, filled - gaussian_filter(filled, sigma) / share, 0.0)
    fog = FOG * np.where(hit, (filled - near) / max(far - near, picture.pixel_mm), 0.0)
    shadows: np.ndarray = (1 - np.clip(hollow * HOLLOW_PER_MM, 0, HOLLOW_MOST)) * (1 - fog)
    return shadows


def _corners(box: tuple[slice, ...]) -> np.ndarray:
    """(8, 3) indices; the outer faces of the voxels."""
    ends = [(part.start - 0.5, part.stop - 0.5) for part in box]
    return np.array([(z, y, x) for z in ends[0] for y in ends[1] for x in ends[2]])
