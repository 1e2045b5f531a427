"""Names of cases from names of files: cleaned, numbered, and images matched with their label maps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segautoconfiglib.image.formats import stem

#: What a file's name has behind (or before) the case's name where it holds labels, or an image.
LABEL_WORDS = ("segmentation", "segmented", "labelmap", "labels", "label", "masks", "mask", "seg", "gt", "groundtruth")
IMAGE_WORDS = ("image", "images", "img", "scan", "volume", "ct", "mr", "mri", "sem")
SEPARATORS = r"[\s_.\-]+"
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def clean_id(name: str) -> str:
    """A name that every file system takes, without spaces: "my scan: 1" becomes "my_scan_1"."""
    text = re.sub(r'[\s<>:"/\\|?*\x00-\x1f]+', "_", name).strip("._ ")
    return text[:100].rstrip("._ ") or "case"


def numbered_ids(prefix: str, count: int, taken: Iterable[str] = ()) -> list[str]:
    """``PREFIX_001`` and so on, behind those that are taken; as many digits as needed, at least three."""
    numbers = [int(match[1]) for name in taken if (match := re.fullmatch(rf"{re.escape(prefix)}_(\d+)", name))]
    first = max(numbers, default=0) + 1
    digits = max(3, len(str(first + count - 1)))
    return [f"{prefix}_{number:0{digits}d}" for number in range(first, first + count)]


def channels_of(files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Case to its image files in order: ``CASE_0000``, ``CASE_0001`` belong together where all files are named so."""
    matches = [CHANNEL.fullmatch(stem(file)) for file in files]
    if not all(matches):
        return {stem(file): (file,) for file in files}
    found: dict[str, dict[str, Path]] = {}
    for file, match in zip(files, matches, strict=True):
        assert match is not None
        found.setdefault(match["case"], {})[match["channel"]] = file
    return {case: tuple(channels[key] for key in sorted(channels)) for case, channels in found.items()}


def twins(files: Sequence[Path]) -> list[list[Path]]:
    """Files of one name and several endings (a.nii.gz, a.nrrd)."""
    counts = Counter(map(stem, files))
    return [[file for file in files if stem(file) == name] for name, count in counts.items() if count > 1]


def without_words(name: str, words: Sequence[str]) -> str:
    """The name without such words at its end or beginning: "case7_seg" and "seg-case7" become "case7"."""
    chosen = "|".join(words)
    shorter = re.sub(rf"{SEPARATORS}({chosen})$", "", name, flags=re.IGNORECASE)
    shorter = re.sub(rf"^({chosen}){SEPARATORS}", "", shorter, flags=re.IGNORECASE) if shorter == name else shorter
    return shorter or name


def is_label_name(name: str) -> bool:
    """Whether a file's name says that it holds labels."""
    return without_words(name, LABEL_WORDS) != name or name.casefold() in LABEL_WORDS


def match_labels(images: Sequence[str], labels: Mapping[str, Path]) -> tuple[dict[str, Path], list[str]]:
    """Pair names of images with label files: by equal names first, then without words such as ``_seg`` and ``_image``.

    Args:
        images: Names of the cases.
        labels: Stem of each label file to the file.

    Returns:
        Case to its file, where exactly one fits; and the names of label files that are left over.
    """
    pairs = {name: labels[name] for name in images if name in labels}
    rest_images, rest = [name for name in images if name not in pairs], [name for name in labels if name not in pairs]
    image_keys = {name: _keys(name, name, IMAGE_WORDS) for name in rest_images}
    label_keys = {name: _keys(without_words(name, LABEL_WORDS), name, LABEL_WORDS + IMAGE_WORDS) for name in rest}
    for name in rest_images:
        fitting = [label for label in rest if image_keys[name] & label_keys[label]]
        rivals = [other for other in rest_images if any(image_keys[other] & label_keys[label] for label in fitting)]
        if len(fitting) == 1 and rivals == [name]:
            pairs[name] = labels[fitting[0]]
    used = set(pairs.values())
    return pairs, [label for label in rest if labels[label] not in used]


def _keys(name: str, whole: str, words: Sequence[str]) -> set[str]:
    """What a name may be compared by: itself, without such words, and without a channel number."""
    match = CHANNEL.fullmatch(whole)
    names = [name, without_words(name, words), *([match["case"]] if match else [])]
    return {re.sub(SEPARATORS, "_", text.strip()).casefold() for text in names}
