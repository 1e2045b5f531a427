"""Formats of plug-ins: files that the engine's own readers do not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from segautoconfiglib.image.volume import Geometry, Volume


@dataclass(frozen=True)
class OwnFormat:
    """Files of one ending, read and written by a plug-in.

    Attributes:
        ending: In lower case, with the dot.
        reader: ``read(path)`` gives an array (z, y, x), (channel, z, y, x) or, in 2D, (y, x), and the spacing in
            millimetres along its spatial axes; or a :class:`~segautoconfiglib.image.volume.Volume`, which also has
            origin and direction.
        writer: ``write(path, array, spacing_mm)``, array (z, y, x); the file appears when it returns.
    """

    ending: str
    reader: Callable[[Path], Any]
    writer: Callable[[Path, Any, tuple[float, float, float]], Any]

    @property
    def reader_name(self) -> str:
        """For plans, in place of a class of nnU-Net's."""
        return getattr(self.reader, "__name__", self.ending)

    def read(self, file: Path, labels: bool = False) -> Volume:
        """As the other formats do. Raises: UserError: the plug-in's function fails, or gives something else."""
        from segautoconfiglib.image.volume import Volume

        found = self._call("reader", file, self.reader, file)
        return found if isinstance(found, Volume) else self._volume(found, file)

    def header(self, file: Path) -> tuple[np.ndarray, Geometry]:
        """The array and its geometry: the whole file is read."""
        volume = self.read(file)
        return volume.array, volume.geometry

    def write(self, array: np.ndarray, file: Path, geometry: Geometry) -> None:
        """Write (z, y, x), atomically. Raises: UserError: the plug-in's function fails."""
        from segautoconfiglib.base.records import atomic_path

        with atomic_path(file) as temporary:
            self._call("writer", file, self.writer, temporary, array, geometry.spacing_mm)

    def _call(self, what: str, file: Path, function: Callable[..., Any], *given: Any) -> Any:
        try:
            return function(*given)
        except (Cancelled, MemoryError, UserError):
            raise
        except Exception as error:
            raise UserError(
                f"{file}: the plug-in's {what} for {self.ending} fails: {type(error).__name__}: {error}.",
                "Check the file, or correct the plug-in.",
            ) from error

    def _volume(self, found: Any, file: Path) -> Volume:
        import numpy as np

        from segautoconfiglib.image.volume import PSEUDO_SLICE_SPACING, Geometry, Volume

        array, spacing = found if isinstance(found, tuple) and len(found) == 2 else (None, ())
        if (
            not isinstance(array, np.ndarray)
            or array.dtype.kind not in "buif"
            or array.ndim not in (2, 3, 4)
            or len(edges := tuple(float(edge) for edge in spacing)) != min(3, array.ndim)
            or not all(edge > 0 for edge in edges)
        ):
            raise UserError(
                f"{file}: the plug-in's reader for {self.ending} gives {type(found).__name__}: {found!r:.80}.",
                "It must give an array of numbers (z, y, x) or (channel, z, y, x), and three spacings above 0 in mm "
                "(2D: (y, x) and two).",
            )
        array = array.astype(np.uint8) if array.dtype == bool else array
        if array.ndim == 2:
            y, x = edges
            geometry = Geometry((PSEUDO_SLICE_SPACING * max(edges), y, x), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2)
            return Volume(array[None, None], geometry)
        z, y, x = edges
        return Volume(array if array.ndim == 4 else array[None], Geometry((z, y, x)))


def _own_format(ending: str, reader: Callable[..., Any], writer: Callable[..., Any]) -> OwnFormat:
    from segautoconfiglib.image.formats import READABLE_ENDINGS

    if not ending.startswith(".") or ending != ending.lower() or ending in READABLE_ENDINGS:
        known = "it is read already" if ending in READABLE_ENDINGS else "it must start with a dot, in lower case"
        raise UserError(f"A reader can't be registered for the ending {ending!r}: {known}.", "Use another ending.")
    return OwnFormat(ending, reader, writer)


#: File ending -> `OwnFormat`; filled by plug-ins.
READERS = Registry("image reader", {}, _own_format)
