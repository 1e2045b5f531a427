"""One mask from several structures, of a folder of masks or a label file with names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.words import near_names
from segautoconfiglib.image.files import read_labels, read_stored
from segautoconfiglib.image.formats import MEDICAL_ENDINGS
from segautoconfiglib.image.label_names import read_label_names
from segautoconfiglib.image.volume import Geometry, Volume
from segautoconfiglib.tasks.catalogue import BODY_CLASSES
from segautoconfiglib.tasks.staging import keep_inputs

#: A voxel of a mask belongs to the structure above this value.
THRESHOLD = 0.5

_LEFT = ("lung_upper_lobe_left", "lung_lower_lobe_left")
_RIGHT = ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right")
_SPINE = tuple(
    f"vertebrae_{letter}{number}" for letter, count in (("L", 5), ("T", 12), ("C", 7)) for number in range(count, 0, -1)
)
_RIBS = tuple(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13))
_CHAMBERS = tuple(
    f"heart_{part}" for part in ("myocardium", "atrium_left", "ventricle_left", "atrium_right", "ventricle_right")
)
_VERTEBRAE = (("sacrum", "vertebrae_S1", *_SPINE), ("sacrum", "vertebrae_L6", *_SPINE))

#: TotalSegmentator's names for several structures: the members, in several forms where tasks name them differently.
GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lung": ((*_LEFT, *_RIGHT), ("lung_left", "lung_right")),
    "lung_left": (_LEFT, ("lung_left",)),
    "lung_right": (_RIGHT, ("lung_right",)),
    "vertebrae": (*_VERTEBRAE, ("vertebrae",)),
    "ribs": (_RIBS,),
    "vertebrae_ribs": tuple((*members, *_RIBS) for members in _VERTEBRAE),
    "pelvis": (("femur_left", "femur_right", "hip_left", "hip_right"),),
    "body": (BODY_CLASSES,),
    "heart": (("heart",), _CHAMBERS),
}


class _Source(NamedTuple):
    """What there is to combine: names, the file of a structure, and how it is read."""

    names: tuple[str, ...]
    file: Callable[[str], Path]
    mask: Callable[[str], tuple[np.ndarray, Geometry]]


def combine_masks(source: Path, wanted: str | Sequence[str], output: Path | None = None) -> Volume:
    """The union of structures.

    Args:
        source: A folder with one mask per structure, or a label file that carries names.
        wanted: A name of ``GROUPS``, or names of structures.
        output: Where the mask will go; none of the files that it is made of.

    Returns:
        (1, z, y, x) uint8: 1 inside.

    Raises:
        UserError: a structure is missing (all of them are told), masks differ in their grid, a file can't be read, or
            would be overwritten.
    """
    source = Path(source)
    if not source.exists():
        raise UserError(f"{source} does not exist.", "Name a folder of masks, or a label file with names.")
    there = _folder(source) if source.is_dir() else _label_file(source)
    names = members(wanted, there.names, str(source))
    if output is not None:
        keep_inputs([output], map(there.file, names))
    combined: np.ndarray | None = None
    for name in names:
        mask, geometry = there.mask(name)
        if combined is None:
            combined, place, first = mask, geometry, name
            continue
        differences = place.differences(geometry)
        if combined.shape != mask.shape:
            differences.insert(0, f"{combined.shape} against {mask.shape} voxels (z, y, x)")
        if differences:
            raise UserError(
                f"{source}: the masks {first} and {name} differ: {'; '.join(differences)}.",
                "Combine masks of one image.",
            )
        combined |= mask
    assert combined is not None
    return Volume(combined[None].astype(np.uint8), place)


def members(wanted: str | Sequence[str], there: Sequence[str], source: str) -> tuple[str, ...]:
    """The structures that are meant, of those that are there.

    Raises:
        UserError: none is named, or some are missing.
    """
    forms = GROUPS.get(wanted, ((wanted,),)) if isinstance(wanted, str) else (tuple(dict.fromkeys(wanted)),)
    if not forms[0]:
        raise UserError("No structures to combine were named.", f"Name some, or one of {', '.join(GROUPS)}.")
    fitting = next((form for form in forms if set(form) <= set(there)), None)
    if fitting is not None:
        return fitting
    nearest = max(forms, key=lambda form: len(set(form) & set(there)))
    missing = [name for name in nearest if name not in there]
    problems = [Problem(f"{name} is missing.", near_names([name], there)) for name in missing]
    hint = f"Segment them first, or name others: structures that are there, or one of {', '.join(GROUPS)}."
    raise ProblemsError(f"{source} lacks what is to be combined:", problems, hint)


def _folder(folder: Path) -> _Source:
    files: dict[str, Path] = {}
    for ending in reversed(MEDICAL_ENDINGS):  # of two files of one structure the .nii.gz counts
        files.update({file.name[: -len(ending)]: file for file in sorted(folder.glob(f"*{ending}"))})

    def read(name: str) -> tuple[np.ndarray, Geometry]:
        volume = read_stored(files[name])
        return volume.array[0] > THRESHOLD, volume.geometry

    return _Source(tuple(sorted(files)), files.__getitem__, read)


def _label_file(file: Path) -> _Source:
    volume = read_labels(file)
    labels = {name: label for label, name in read_label_names(file).items()}
    if not labels:
        raise UserError(
            f"{file} does not say what its labels are called.",
            "Name a label file with names (written with --ml), or a folder with one mask per structure.",
        )
    return _Source(tuple(labels), lambda _: file, lambda name: (volume.array[0] == labels[name], volume.geometry))
