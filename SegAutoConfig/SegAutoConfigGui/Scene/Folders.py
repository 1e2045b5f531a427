"""Cases that lie as files in a folder: which image belongs to which segmentation."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Files import detach
from SegAutoConfigGui.Scene.Geometry import removedOnError
from SegAutoConfigGui.Scene.Matching import nameKey

ENDINGS = (".nii.gz", ".gipl.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd", ".gipl")
#: Folders of images, with those that may hold their segmentations; the first two are nnU-Net's, "Ts" is for tests.
LAYOUTS = (
    ("imagesTr", ("labelsTr",)),
    ("imagesTs", ("labelsTs",)),
    ("images", ("labels", "segmentations", "masks", "labelmaps")),
)
#: Of nnU-Net's: saving a scene must not overwrite what lies there.
DATASET_FOLDERS = {name for images, choices in LAYOUTS[:2] for name in (images, *choices)}
SEGMENTATION = re.compile(r"(.+?)(\.seg|[-_. ]+(seg|segmentation|labels?|labelmap|mask))", re.IGNORECASE)
CHANNEL = re.compile(r"(.+)_\d{4}")
#: Words of names that tell a segmentation wherever they stand, and those that say nothing about the case.
SEGMENTATION_WORDS = {"seg", "segs", "segmentation", "label", "labels", "labelmap", "mask", "masks", "gt", "truth"}
IMAGE_WORDS = {"image", "images", "img", "volume", "vol"}
DESCRIPTION = "dataset.json"
#: Label maps have whole numbers from 0 to the first of these, no more different ones than the second, and this part
#: of all neighbours is equal.
HIGHEST_LABEL, FEW_VALUES, MOSTLY = 10_000, 200, 0.9


@dataclass(frozen=True)
class FilePair:
    """Files of one case.

    Attributes:
        id: Its name.
        images: One file per channel; none where a segmentation was found that no image belongs to.
        segmentation: A .seg.nrrd or label map; None where there is none.
        test: It lies among test cases (imagesTs).
        labelNames: Names of a label map's values, where a dataset.json tells them.
    """

    id: str
    images: tuple[Path, ...]
    segmentation: Path | None
    test: bool = False
    labelNames: Mapping[int, str] | None = None


def importFolder(folder: Path) -> list[FilePair]:
    """Find the cases of a folder without loading anything.

    Understood are: ``x.nrrd`` with ``x.seg.nrrd``, ``x_seg.nrrd``, ``x-label.nrrd``, ``mask_x.nrrd`` ... beside it;
    one folder per case, in which ``image.nrrd`` and ``label.nrrd`` are enough; images in ``imagesTr``
    (``x_0000.nrrd``, ``x_0001.nrrd``: channels) with ``labelsTr``.

    Raises:
        UserProblem: no such folder, or no images in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserProblem(_("There is no folder {folder}.").format(folder=folder))
    pairs = _ofLayout(folder) or _ofFlatFolder(folder)
    for part in sorted(path for path in folder.iterdir() if path.is_dir()) if not pairs else ():
        pairs += _ofLayout(part) or _ofCaseFolder(part)
    if not pairs:
        message = _("No images were found in {folder}.").format(folder=folder)
        hint = _("Expected are image files ({endings}) with segmentations of the same names beside them.")
        raise UserProblem(message, hint.format(endings=", ".join(ENDINGS)))
    return pairs


def loadPair(pair: FilePair, labelNames: Mapping[int, str] | None = None) -> tuple[list[Any], Any]:
    """Load the files of a case into the scene.

    Args:
        pair: From `importFolder`.
        labelNames: Names for the values of plain label maps; None: those that a dataset.json tells.

    Returns:
        Volume nodes and the segmentation node (None without one), with the first volume as reference.

    Raises:
        UserProblem: a file can't be read, or is a segmentation without an image; nothing of the case stays in the scene
            then.
    """
    if not pair.images:
        message = _("{file} is named like a segmentation, but no image of a matching name lies beside it.")
        hint = _("Name both alike, such as x.nrrd and x.seg.nrrd, or load them as data and add them as a case.")
        raise UserProblem(message.format(file=pair.segmentation.name), hint)
    several = len(pair.images) > 1
    with removedOnError():
        volumes = []
        for channel, path in enumerate(pair.images):
            name = f"{pair.id}_{channel:04d}" if several and CHANNEL.fullmatch(_stem(path)) else _stem(path)
            volumes.append(_load(path, slicer.util.loadVolume, name if several else pair.id))
        if pair.segmentation is None:
            if not several and not pair.test:
                _refuseLabelMap(volumes[0], pair.images[0])
            return volumes, None
        segmentation = _load(pair.segmentation, slicer.util.loadSegmentation, f"{pair.id} segmentation")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volumes[0])
        if not _stem(pair.segmentation).lower().endswith(".seg"):
            _nameSegments(segmentation, labelNames or pair.labelNames or {})
    return volumes, segmentation


def _load(path: Path, load: Any, name: str) -> Any:
    try:
        node = load(str(path), {"name": name, "show": False})
    except RuntimeError as error:
        raise UserProblem(_("{path} can't be read.").format(path=path), "", str(error)) from error
    if node is None:
        raise UserProblem(_("{path} can't be read.").format(path=path), _("Slicer's log says more."))
    if path.parent.name in DATASET_FOLDERS:
        detach(node)
    return node


def _refuseLabelMap(volume: Any, path: Path) -> None:
    """A label map without its image must not become the image of a case."""
    if looksLikeLabels(slicer.util.arrayFromVolume(volume)):
        message = _("{file} looks like a label map (a few whole numbers only), and no image belongs to it.")
        hint = _("Name both alike, such as x.nrrd and x_label.nrrd; or load it as data and add it as a case.")
        raise UserProblem(message.format(file=path.name), hint)


def looksLikeLabels(array: np.ndarray) -> bool:
    """True for voxels (k, j, i) that are a few whole numbers from 0 on, most of them side by side with equal ones."""
    if array.ndim != 3 or array.size == 0 or array.min() != 0 or not 0 < array.max() <= HIGHEST_LABEL:
        return False
    numbers = array.astype(np.uint16)
    if not np.array_equal(numbers, array):
        return False
    equal = (numbers[..., 1:] == numbers[..., :-1]).mean() if array.shape[-1] > 1 else 0
    return bool(len(np.unique(numbers)) <= FEW_VALUES and equal > MOSTLY)


def _nameSegments(segmentationNode: Any, names: Mapping[int, str]) -> None:
    segments = segmentationNode.GetSegmentation()
    for segment in (segments.GetNthSegment(i) for i in range(segments.GetNumberOfSegments())):
        if segment.GetLabelValue() in names:
            segment.SetName(names[segment.GetLabelValue()])


def _ofLayout(folder: Path) -> list[FilePair]:
    pairs = []
    for images, choices in LAYOUTS:
        if not (folder / images).is_dir():
            continue
        labels = next((folder / name for name in choices if (folder / name).is_dir()), None)
        segmentations = {_caseOf(path): path for path in _files(labels)} if labels is not None else {}
        names = _labelNames(folder / DESCRIPTION)
        for id, files in _byCase(_files(folder / images)).items():
            pairs.append(FilePair(id, tuple(files), segmentations.get(nameKey(id)), images.endswith("Ts"), names))
    return pairs


def _ofFlatFolder(folder: Path) -> list[FilePair]:
    """Images with segmentations beside them: of the same stem, else of a matching name."""
    files = _files(folder)
    segmentations = {_caseOf(path): path for path in files if SEGMENTATION.fullmatch(_stem(path))}
    images = _byCase(path for path in files if path not in segmentations.values())
    pairs = [FilePair(id, tuple(paths), segmentations.pop(nameKey(id), None)) for id, paths in images.items()]
    pairs = _matchedByWords(pairs, list(segmentations.values()))
    nameless = len(pairs) == 1 and not _wordsOfCase(pairs[0].id)
    return [replace(pairs[0], id=folder.name)] if nameless else pairs


def _matchedByWords(pairs: Sequence[FilePair], segmentations: Sequence[Path]) -> list[FilePair]:
    """Give images without a segmentation the one whose name has the same words, or the only one there is.

    Args:
        pairs: Cases; those of one file that is named like a segmentation become segmentations.
        segmentations: Files that fit no case so far.
    """
    done = [pair for pair in pairs if pair.segmentation is not None]
    single = [pair for pair in pairs if pair.segmentation is None]
    named = [pair for pair in single if len(pair.images) == 1 and _words(_stem(pair.images[0])) & SEGMENTATION_WORDS]
    images = {pair.id: _wordsOfCase(pair.id) for pair in pairs if pair not in named}
    left = {file: _wordsOfCase(_stem(file)) for file in (*segmentations, *(pair.images[0] for pair in named))}
    found: dict[str, Path | None] = {pair.id: pair.segmentation for pair in done}
    rules = [_haveEqualWords, _haveSharedWords, *([_isNameless] if len(images) == len(left) == 1 else [])]
    for fits in rules:
        for file, words in list(left.items()):
            ids = [id for id in images if fits(images[id], words)]
            rivals = [other for other in left if ids and fits(images[ids[0]], left[other])]
            if len(ids) == len(rivals) == 1 and ids[0] not in found:
                found[ids[0]] = file
                del left[file]
    done += [replace(pair, segmentation=found.get(pair.id)) for pair in single if pair not in named]
    return sorted(done, key=lambda pair: pair.images[0]) + [FilePair(_stem(file), (), file) for file in sorted(left)]


def _haveEqualWords(image: set[str], segmentation: set[str]) -> bool:
    return bool(image) and image == segmentation


def _haveSharedWords(image: set[str], segmentation: set[str]) -> bool:
    """True where one has all words of the other."""
    return bool(image and segmentation) and (segmentation < image or image < segmentation)


def _isNameless(image: set[str], segmentation: set[str]) -> bool:
    """True where only one of them names the case."""
    return not image or not segmentation


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.casefold()))


def _wordsOfCase(name: str) -> set[str]:
    return _words(name) - SEGMENTATION_WORDS - IMAGE_WORDS


def _ofCaseFolder(folder: Path) -> list[FilePair]:
    """A folder of one case: all images are its channels. A folder of several cases is read as a flat one."""
    files = _files(folder)
    segmentations = [path for path in files if SEGMENTATION.fullmatch(_stem(path))]
    segmentations = segmentations or [path for path in files if _words(_stem(path)) & SEGMENTATION_WORDS]
    images = [path for path in files if path not in segmentations]
    if len(segmentations) != 1 or not images:
        return _ofFlatFolder(folder)
    return [FilePair(folder.name, tuple(images), segmentations[0])]


def _files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in paths if path.name.lower().endswith(ENDINGS)]


def _byCase(images: Iterable[Path]) -> dict[str, list[Path]]:
    """Case id to its channels in order (``_0000``, ``_0001`` ...)."""
    cases: dict[str, list[Path]] = {}
    for path in images:
        match = CHANNEL.fullmatch(_stem(path))
        cases.setdefault(match[1] if match else _stem(path), []).append(path)
    return cases


def _caseOf(segmentation: Path) -> str:
    """The key of the case that a segmentation file belongs to."""
    match = SEGMENTATION.fullmatch(_stem(segmentation))
    stem = match[1] if match else _stem(segmentation)
    channel = CHANNEL.fullmatch(stem)
    return nameKey(channel[1] if channel else stem)


def _stem(path: Path) -> str:
    ending = next(ending for ending in ENDINGS if path.name.lower().endswith(ending))
    return path.name[: -len(ending)]


def _labelNames(path: Path) -> dict[int, str] | None:
    """Value to name from a dataset.json, nnU-Net's ({name: value}) or the Decathlon's ({value: name})."""
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        pairs = [(key, value) if str(key).isdigit() else (value, key) for key, value in labels.items()]
        return {int(value): str(name) for value, name in pairs if not isinstance(value, list) and int(value) > 0}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
