"""Cases that lie as files in a folder: which image belongs to which segmentation."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import UserProblem
from SegAutoConfigGui.Scene.Geometry import removedOnError
from SegAutoConfigGui.Scene.Matching import nameKey

ENDINGS = (".nii.gz", ".gipl.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd", ".gipl")
#: Folders of images, with those that may hold their segmentations; the first two are nnU-Net's, "Ts" is for tests.
LAYOUTS = (
    ("imagesTr", ("labelsTr",)),
    ("imagesTs", ("labelsTs",)),
    ("images", ("labels", "segmentations", "masks", "labelmaps")),
)
SEGMENTATION = re.compile(r"(.+?)(\.seg|[-_. ]+(seg|segmentation|labels?|labelmap|mask))", re.IGNORECASE)
CHANNEL = re.compile(r"(.+)_\d{4}")
DESCRIPTION = "dataset.json"


@dataclass(frozen=True)
class FilePair:
    """Files of one case.

    Attributes:
        id: Its name.
        images: One file per channel.
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

    Understood are: ``x.nrrd`` with ``x.seg.nrrd``, ``x_seg.nrrd``, ``x-label.nrrd`` ... beside it; one folder per
    case; images in ``imagesTr`` (``x_0000.nrrd``, ``x_0001.nrrd``: channels) with ``labelsTr``.

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
        UserProblem: a file can't be read; nothing of the case stays in the scene then.
    """
    several = len(pair.images) > 1
    with removedOnError():
        volumes = []
        for channel, path in enumerate(pair.images):
            name = f"{pair.id}_{channel:04d}" if several and CHANNEL.fullmatch(_stem(path)) else _stem(path)
            volumes.append(_load(path, slicer.util.loadVolume, name if several else pair.id))
        if pair.segmentation is None:
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
    return node


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
    """Images with segmentations of the same stem beside them."""
    files = _files(folder)
    segmentations = {_caseOf(path): path for path in files if SEGMENTATION.fullmatch(_stem(path))}
    images = _byCase(path for path in files if path not in segmentations.values())
    return [FilePair(id, tuple(paths), segmentations.get(nameKey(id))) for id, paths in images.items()]


def _ofCaseFolder(folder: Path) -> list[FilePair]:
    """A folder of one case: all images are its channels. A folder of several cases is read as a flat one."""
    files = _files(folder)
    segmentations = [path for path in files if SEGMENTATION.fullmatch(_stem(path))]
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
