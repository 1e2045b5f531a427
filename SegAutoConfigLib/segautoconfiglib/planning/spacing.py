"""Target spacing, order of the axes, and sizes after resampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segautoconfiglib.defaults import PLANNING

Triple = tuple[int, int, int]


def target_spacing(spacings_mm: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The spacing that all cases are resampled to.

    The median of each axis; but where one axis is much coarser and has much fewer voxels than the others, a low
    percentile of that axis' spacings, so that thin-slice cases keep their detail (Isensee et al. 2021).

    Args:
        spacings_mm: (cases, 3), axes (z, y, x).
        shapes: (cases, 3), voxels after cropping.

    Returns:
        (3,) millimetres, axes (z, y, x).
    """
    target = np.median(spacings_mm, axis=0)
    size = np.median(shapes, axis=0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != coarse]
    finest_others = float(target[others].max())
    coarser = target[coarse] > PLANNING.anisotropy_threshold * finest_others
    shorter = size[coarse] * PLANNING.anisotropy_threshold < size[others].min()
    if coarser and shorter:
        low = float(np.percentile(spacings_mm[:, coarse], PLANNING.anisotropic_spacing_percentile))
        # stays the coarsest axis, so that the order of the axes does not change
        target[coarse] = low if low >= finest_others else finest_others + PLANNING.coarse_axis_margin_mm
    return target


def axis_order(spacing_mm: Sequence[float]) -> tuple[Triple, Triple]:
    """The transposition that puts the coarsest axis first, and its inverse.

    Args:
        spacing_mm: Target spacing (z, y, x).

    Returns:
        (forward, backward), for ``numpy.transpose``.
    """
    coarse = int(np.argmax(spacing_mm))
    first, second = (axis for axis in range(3) if axis != coarse)
    forward = (coarse, first, second)
    return forward, (forward.index(0), forward.index(1), forward.index(2))


def resampled_shape(
    shape: Sequence[int], spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> tuple[int, ...]:
    """Size of a volume after resampling, rounded half to even as nnU-Net does.

    Args:
        shape: Voxels per axis.
        spacing_mm: Of the volume, same axes.
        new_spacing_mm: Wanted, same axes.
    """
    edges = zip(shape, spacing_mm, new_spacing_mm, strict=True)
    return tuple(round(float(old) / float(new) * size) for size, old, new in edges)


def coarser_spacing(spacing_mm: Sequence[float]) -> list[float]:
    """One step towards the spacing of ``3d_lowres``: axes much finer than the coarsest first, then all."""
    coarsest = max(spacing_mm)
    fine = [coarsest / edge > PLANNING.lowres_fine_axis_ratio for edge in spacing_mm]
    grow = fine if any(fine) else [True] * len(fine)
    step = PLANNING.lowres_spacing_step
    return [edge * step if growing else edge for edge, growing in zip(spacing_mm, grow, strict=True)]
