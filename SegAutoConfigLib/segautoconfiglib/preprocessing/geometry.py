"""How a case was brought to the network's grid, as data: saved with the case, and undone after prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.crop import Box, uncrop
from segautoconfiglib.image.volume import PSEUDO_SLICE_SPACING, Geometry

Triple = tuple[int, int, int]

#: Our own entries beside nnU-Net's; nnunetv2 ignores them.
OWN_KEY = "segautoconfig"
#: From ITK's physical space (x to the left, y to the back) to NIfTI's (x to the right, y to the front), and back.
FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class SpatialRecord:
    """The spatial steps of preprocessing. "Transposed" axes are ``array.transpose(transpose)`` of the file's (z, y, x).

    Attributes:
        geometry: Of the file.
        transpose: The plans' ``transpose_forward``.
        full_shape: Voxels before cropping, transposed axes.
        box: What was cut out, (first, one past the last) per transposed axis.
        resampled_shape: Voxels of the network's grid, transposed axes.
        network_spacing_mm: Spacing of the network's grid, transposed axes.
    """

    geometry: Geometry
    transpose: Triple
    full_shape: Triple
    box: Box
    resampled_shape: Triple
    network_spacing_mm: tuple[float, float, float]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of the file, transposed axes."""
        z, y, x = (self.geometry.spacing_mm[axis] for axis in self.transpose)
        return z, y, x

    @property
    def file_shape(self) -> Triple:
        """Voxels of the file, (z, y, x)."""
        z, y, x = (self.full_shape[self.transpose.index(axis)] for axis in range(3))
        return z, y, x

    @property
    def cropped_shape(self) -> Triple:
        """Voxels after cropping and before resampling, transposed axes."""
        z, y, x = (stop - start for start, stop in self.box)
        return z, y, x

    def restore_labels(self, labels: np.ndarray) -> np.ndarray:
        """Undo crop and transposition.

        Args:
            labels: Of ``cropped_shape``, any type.

        Returns:
            (z, y, x) as in the file, 0 outside the box.
        """
        backward = tuple(int(axis) for axis in np.argsort(self.transpose))
        return np.ascontiguousarray(uncrop(labels, self.box, self.full_shape).transpose(backward))

    def to_properties(self) -> dict[str, Any]:
        """The entries of nnU-Net's properties file (class_locations excepted), and ours under :data:`OWN_KEY`.

        The place in space is there for whichever of nnU-Net's readers the plans name: each writes with its own entry.
        """
        geometry = self.geometry
        return {
            "sitk_stuff": {
                "spacing": tuple(float(edge) for edge in geometry.spacing_mm[::-1][: geometry.dimension]),
                "origin": tuple(map(float, geometry.origin)),
                "direction": tuple(map(float, geometry.direction)),
            },
            **({"nibabel_stuff": {"original_affine": _nifti_affine(geometry)}} if geometry.dimension == 3 else {}),
            "spacing": [float(edge) for edge in geometry.spacing_mm],
            "shape_before_cropping": tuple(map(int, self.full_shape)),
            "bbox_used_for_cropping": [[int(start), int(stop)] for start, stop in self.box],
            "shape_after_cropping_and_before_resampling": self.cropped_shape,
            OWN_KEY: {
                "transpose_forward": list(map(int, self.transpose)),
                "resampled_shape": list(map(int, self.resampled_shape)),
                "network_spacing_mm": list(map(float, self.network_spacing_mm)),
            },
        }

    @classmethod
    def from_properties(
        cls, properties: Mapping[str, Any], resampled_shape: Triple, transpose: Triple | None = None
    ) -> SpatialRecord:
        """Read the entries of a properties file.

        Args:
            properties: Of nnunetv2 or of :meth:`to_properties`.
            resampled_shape: Of the stored image.
            transpose: The plans' ``transpose_forward``; needed only for files of nnunetv2, which do not hold it.

        Raises:
            UserError: an entry is missing or wrong, or ``transpose`` is needed.
        """
        own = properties.get(OWN_KEY, {})
        if transpose is None and "transpose_forward" not in own:
            raise UserError(
                "These preprocessed data were written by nnunetv2 and do not say how their axes were exchanged.",
                "Preprocess the dataset again.",
            )
        try:
            geometry = file_geometry(properties)
            x, y, z = own.get("transpose_forward", transpose)
            box = tuple((int(start), int(stop)) for start, stop in properties["bbox_used_for_cropping"])
            spacing = [geometry.spacing_mm[axis] for axis in (x, y, z)]
            sizes = zip(spacing, box, resampled_shape, strict=True)
            network = own.get("network_spacing_mm") or [
                edge * (stop - start) / new for edge, (start, stop), new in sizes
            ]
            return cls(
                geometry=geometry,
                transpose=(x, y, z),
                full_shape=tuple(map(int, properties["shape_before_cropping"])),  # type: ignore[arg-type]
                box=box,  # type: ignore[arg-type]
                resampled_shape=resampled_shape,
                network_spacing_mm=tuple(network),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(
                f"The properties of a preprocessed case are not usable ({type(error).__name__}: {error}).",
                "Preprocess the dataset again.",
            ) from error


def file_geometry(properties: Mapping[str, Any]) -> Geometry:
    """The file's geometry, from what nnU-Net's reader of that format keeps.

    Raises:
        KeyError, TypeError, ValueError, IndexError: an entry is missing or wrong.
    """
    z, y, x = (float(edge) for edge in properties["spacing"])
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        origin, direction = (tuple(map(float, stuff[key])) for key in ("origin", "direction"))
        return Geometry((z, y, x), origin, direction, len(stuff["spacing"]))
    if "nibabel_stuff" in properties:
        affine = FLIP_XY @ np.asarray(properties["nibabel_stuff"]["original_affine"], float)
        direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        return Geometry((z, y, x), tuple(affine[:3, 3].tolist()), tuple(direction.reshape(-1).tolist()))
    if z == PSEUDO_SLICE_SPACING and 1 in properties["shape_before_cropping"]:
        return Geometry((z, y, x), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
    return Geometry((z, y, x))


def _nifti_affine(geometry: Geometry) -> np.ndarray:
    """From voxel indices (x, y, z) to millimetres in NIfTI's space, float64 (4, 4), of a 3D geometry."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(geometry.direction, (3, 3)) * geometry.spacing_mm[::-1]
    affine[:3, 3] = geometry.origin
    return FLIP_XY @ affine
