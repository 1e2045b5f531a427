"""Geometry of training patches: how far they may be rotated, and how large a part of the case that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segautoconfiglib.defaults import AUGMENTATION, PLANNING
from segautoconfiglib.planning.recipe import AXIS_NAMES

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class PatchGeometry:
    """Sizes in voxels, axes (z, y, x); patches of 2D networks have z = 1.

    Attributes:
        patch: What the network gets.
        loaded: The box around a patch's centre within which a rotated patch finds its voxels; where it may lie in the
            case decides how patches are drawn. Equal to ``patch`` without augmentation.
        in_plane: Rotate and scale only within the (y, x) plane: 2D patches, and 3D patches with few slices
            ("dummy 2D").
        rotation: Largest angle (radians) about each axis; the axis z alone if ``in_plane``.
        mirror_axes: Axes that may be mirrored, counted as the network counts them (2D: 0 is y).
        dimension: 2 or 3, of the network.
    """

    patch: Shape
    loaded: Shape
    in_plane: bool
    rotation: tuple[float, ...]
    mirror_axes: tuple[int, ...]
    dimension: int


def patch_geometry(
    patch_size: Sequence[int],
    *,
    augment: bool,
    mirror: bool | str | Sequence[int],
    dummy_2d: bool = True,
    margin: float = AUGMENTATION.patch_margin,
) -> PatchGeometry:
    """The geometry for a patch size of the plans (nnU-Net's rules).

    Args:
        patch_size: Voxels, (z, y, x) or (y, x).
        augment: Rotate and scale patches.
        mirror: Allow mirroring along every axis, or along these: letters of "zyx", or numbers as the network counts
            them.
        dummy_2d: Rotate and scale patches with few slices within these alone.
        margin: Smallest scale that the loaded box is enlarged for.
    """
    size = tuple(patch_size)
    flat = dummy_2d and is_flat(size)
    patch = (1, size[0], size[1]) if len(size) == 2 else (size[0], size[1], size[2])
    rotation = rotation_range(size, flat=flat)
    return PatchGeometry(
        patch=patch,
        loaded=loaded_size(patch, rotation, margin) if augment else patch,
        in_plane=len(size) == 2 or flat,
        rotation=rotation if augment else (0.0,) * len(rotation),
        mirror_axes=_axes(mirror, len(size)),
        dimension=len(size),
    )


def _axes(mirror: bool | str | Sequence[int], dimension: int) -> tuple[int, ...]:
    """Numbers of axes as the network counts them; 2D networks have no z."""
    if isinstance(mirror, str):
        return tuple(axis for axis, name in enumerate(AXIS_NAMES[3 - dimension :]) if name in mirror)
    return tuple(range(dimension)) if mirror is True else tuple(mirror or ())


def is_flat(patch_size: Sequence[int]) -> bool:
    """True for 3D patches with so few slices that rotation out of the plane would mix unlike distances."""
    return len(patch_size) == 3 and max(patch_size) / patch_size[0] > PLANNING.anisotropy_threshold


def rotation_range(patch_size: Sequence[int], *, flat: bool) -> tuple[float, ...]:
    """Largest rotation angles (radians): one, within the plane, or one about each of three axes.

    Args:
        patch_size: Voxels, (z, y, x) or (y, x).
        flat: Rotate 3D patches within the plane alone.
    """
    if len(patch_size) == 2:
        long = max(patch_size) / min(patch_size) > AUGMENTATION.long_patch
        return (math.radians(AUGMENTATION.rotation_long_2d if long else AUGMENTATION.rotation_2d),)
    if flat:
        return (math.radians(AUGMENTATION.rotation_2d),)
    return (math.radians(AUGMENTATION.rotation_3d),) * 3


def loaded_size(patch: Shape, rotation: Sequence[float], margin: float = AUGMENTATION.patch_margin) -> Shape:
    """The box that holds ``patch`` turned about any one axis, enlarged for scaling.

    Args:
        patch: Voxels (z, y, x).
        rotation: Largest angles (radians); one: within the plane, and z stays as it is.
        margin: Smallest scale.
    """
    z, y, x = patch
    angles = [min(math.pi / 2, angle) for angle in rotation]
    if len(angles) == 1:
        turned = [patch, _turned((z, y, x), (1, 2), angles[0])]
    else:
        turned = [patch, *(_turned(patch, plane, angle) for plane, angle in zip(_PLANES, angles, strict=True))]
    sizes = [max(candidate[axis] for candidate in turned) / margin for axis in range(3)]
    return (z if len(angles) == 1 else int(sizes[0])), int(sizes[1]), int(sizes[2])


#: The two axes that turn when a patch is rotated about z, y, x.
_PLANES = ((1, 2), (0, 2), (0, 1))


def _turned(patch: Shape, plane: tuple[int, int], angle: float) -> list[float]:
    """Edges after turning, as nnU-Net counts them: one of the two edges by the sum, the other by the difference."""
    size: list[float] = list(patch)
    first, second = (patch[axis] for axis in plane)
    cosine, sine = math.cos(angle), math.sin(angle)
    if plane == (0, 2):
        size[0], size[2] = abs(cosine * first - sine * second), sine * first + cosine * second
    else:
        size[plane[0]], size[plane[1]] = cosine * first + sine * second, abs(cosine * second - sine * first)
    return size
