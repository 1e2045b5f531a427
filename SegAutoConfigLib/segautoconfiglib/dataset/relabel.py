"""Label maps made fit for a dataset: values changed, masks merged, brought onto the grid of their image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import SimpleITK as sitk

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.labels import BACKGROUND, IGNORE
from segautoconfiglib.image.files import Header
from segautoconfiglib.image.medical import sitk_from_array
from segautoconfiglib.image.volume import Volume

LABELS_FORM = (
    "Write NAME=VALUE, or only names for the values 1, 2, 3 ...: --labels liver=1 tumour=2,3 other=4-9 background=rest"
)
MAP_FORM = "Write OLD=NEW with whole numbers: --map 255=1, or --map 1=1 2-117=2 rest=0"
#: What is written for every value but 0 that nothing else names, and the number that stands for it (in no file).
REST_WORD, REST = "rest", -(2**31)
#: Of a range, at most: as many as a label file can hold.
MOST_VALUES = 2**16
SHOWN = 20

#: Structure to its values in label files: numbers, ranges, `REST`.
LabelValues = Mapping[str, tuple[int | range, ...]]


def named_values(words: Iterable[str]) -> dict[str, tuple[int | range, ...]]:
    """What "liver=1", "tumour=2,3", "other=4-9", "background=rest" or "liver", "tumour" say: structure to its values.

    Background is 0 unless it is named.

    Raises:
        UserError: another form, or a value is named twice.
    """
    found: dict[str, tuple[int | range, ...]] = {}
    for word in words:
        name, given, text = word.partition("=")
        values = _values(text) if given else ()
        if not name or name in found or (given and not values):
            raise UserError(f"{word!r} does not name a label.", LABELS_FORM)
        following = (0,) if name == BACKGROUND else (1 + sum(other != BACKGROUND for other in found),)
        found[name] = values or following
    counts = Counter(value for values in found.values() for value in _each(values))
    twice = [value for value, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"The label value {shown(twice[:1])} is named twice.", LABELS_FORM)
    return found


def value_pairs(words: Iterable[str]) -> dict[int, int]:
    """What "255=1", "2-117=1" or "rest=0" says. Raises: UserError: another form, or a value twice."""
    found: dict[int, int] = {}
    for word in words:
        old, _, new = word.partition("=")
        values = list(_each(_values(old)))
        if not values or not new.isdecimal() or any(value in found for value in values):
            raise UserError(f"{word!r} is no change of a label value.", MAP_FORM)
        found |= dict.fromkeys(values, int(new))
    return found


def by_value(labels: LabelValues) -> dict[int, str]:
    """The structure of each value, ranges spread out."""
    return {value: name for name, values in labels.items() for value in _each(values)}


def changes_for(values: Mapping[int, int], present: Iterable[int]) -> dict[int, int]:
    """Which of the values that a label map holds become what, `REST` spread out; 0 is background unless it is named."""
    held = list(present)
    changes = {value: values[value] for value in held if value in values}
    if REST in values:
        changes |= {value: values[REST] for value in held if value not in values and value != 0}
    return changes


def shown(values: Sequence[object], most: int = SHOWN) -> str:
    """Label values for people: all, or the first and how many more there are."""
    texts = [REST_WORD if value == REST else str(value) for value in values]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _values(text: str) -> tuple[int | range, ...]:
    """What "1,4", "2-117" or "rest" says; nothing where it is of another form."""
    found: list[int | range] = []
    for part in map(str.strip, text.split(",")):
        ends = re.fullmatch(r"(\d+)-(\d+)", part)
        if ends and 0 <= int(ends[2]) - int(ends[1]) < MOST_VALUES:
            found.append(range(int(ends[1]), int(ends[2]) + 1))
        elif part == REST_WORD:
            found.append(REST)
        elif re.fullmatch(r"-?\d+", part):
            found.append(int(part))
        else:
            return ()
    return tuple(found)


def _each(values: Iterable[int | range]) -> Iterator[int]:
    for value in values:
        yield from (value if isinstance(value, range) else (value,))


def numbering(names: Sequence[str], known: Mapping[str, int | list[int]]) -> dict[str, int | list[int]]:
    """Numbers for labels: those of the dataset where it knows them, else the next ones; ignore gets the highest."""
    numbers: dict[str, int | list[int]] = {BACKGROUND: 0, **known}
    for name in sorted(names, key=lambda name: name == IGNORE):
        if name not in numbers:
            numbers[name] = 1 + max(number for entry in numbers.values() for number in np.atleast_1d(entry).tolist())
    return numbers


def changed_values(labels: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """Labels (any shape) with each old value replaced by its new one, all at once; other values stay."""
    result = labels.astype(np.int32)
    for old, new in values.items():
        if old != new:
            result[labels == old] = new
    return result


def on_grid(labels: Volume, image: Header) -> np.ndarray:
    """The label map at the image's voxels: the nearest label, 0 outside.

    Args:
        labels: (1, z, y, x).
        image: Of the image.

    Returns:
        (z, y, x) of the image's shape.

    Raises:
        UserError: one is a 2D picture, which has no place in space; or no structure lies in the image.
    """
    if labels.geometry.dimension != 3 or image.geometry.dimension != 3:
        raise UserError(
            f"Pictures of {labels.shape[1:]} and {image.shape[1:]} pixels can't be brought together.",
            "Draw or export the label map at the size of its image.",
        )
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkNearestNeighbor)
    resample.SetSize(image.shape[::-1])
    resample.SetOutputSpacing(image.geometry.spacing_mm[::-1])
    resample.SetOutputOrigin(image.geometry.origin)
    resample.SetOutputDirection(image.geometry.direction)
    moved = resample.Execute(sitk_from_array(labels.array[0].astype(np.int32), labels.geometry))
    result: np.ndarray = sitk.GetArrayFromImage(moved)
    if labels.array.any() and not result.any():
        raise UserError("Nothing of the label map lies in the image.", "Check that the two belong to one patient.")
    return result


def inside(mask: np.ndarray, threshold: float | None) -> np.ndarray:
    """Where a mask of any type says that the structure is.

    Args:
        mask: 0 outside and one other value inside; or any numbers, where there is a threshold.
        threshold: A mask of several values says so where it is above this one. Others need none.

    Raises:
        UserError: the mask has more than one value beside 0, and there is no threshold.
    """
    found = mask != 0
    values = np.unique(mask[found])
    if values.size > 1 and threshold is not None:
        return mask > threshold
    if values.size > 1:
        middle = 127 if 100 < values.max() < 256 else values.max() / 2
        shown = ", ".join(f"{value:g}" for value in values[:3]) + (" ..." if values.size > 3 else "")
        raise UserError(
            f"The mask has several values beside 0: {shown}.",
            f"Say from where on it counts (--threshold {middle:g}), or take it as a label map (from-folder).",
        )
    return found


def add_mask(labels: np.ndarray, mask: np.ndarray, number: int) -> Counter[int]:
    """Write ``number`` into ``labels`` (changed in place) where the mask is; returns which values were overwritten."""
    before, counts = np.unique(labels[mask], return_counts=True)
    labels[mask] = number
    return Counter({int(value): int(count) for value, count in zip(before, counts, strict=True) if value != 0})
