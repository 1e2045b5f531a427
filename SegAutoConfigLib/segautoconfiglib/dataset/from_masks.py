"""Folders with one mask per structure as cases: a folder per case, or a folder per structure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.dataset.case_names import channels_of, match_labels
from segautoconfiglib.dataset.dataset import visible
from segautoconfiglib.dataset.from_folder import image_files
from segautoconfiglib.dataset.labels import BACKGROUND
from segautoconfiglib.dataset.relabel import REST_WORD
from segautoconfiglib.dataset.source_cases import SourceCase
from segautoconfiglib.image import dicom
from segautoconfiglib.image.formats import file_ending, stem

#: Names of folders with images, and with masks (in the folder of a case, or around the folders of structures).
IMAGE_FOLDERS = ("images", "image", "imagestr", "imgs", "img", "raw", "scans")
MASK_FOLDERS = ("segmentations", "segmentation", "masks", "mask", "labels", "labelstr", "structures", "rois")
LAYOUTS = (
    "Known arrangements: CASE/image.nii.gz with CASE/segmentations/organ.nii.gz; CASE/image.nii.gz beside "
    "CASE/organ.nii.gz (--images image); images/case.nii.gz with organ/case.nii.gz (--images names the folder)."
)

Structures = Mapping[str, tuple[str, ...]]


def structures_of(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What "tumour", "kidney=kidney_left,kidney_right" say: label to the names of its masks, in order of precedence."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, given, masks = word.partition("=")
        names = tuple(text.strip() for text in masks.split(",")) if given else (name,)
        if not name or name in found or not all(names):
            raise UserError(f"{word!r} names no mask.", "Write NAME, or NAME=MASK,MASK: --labels kidney=left,right")
        if name != BACKGROUND:
            found[name] = names
    return found


def cases_from_masks(
    folder: Path,
    *,
    labels: Structures | None = None,
    images: Sequence[str] = (),
    masks: str | None = None,
    report: Reporter = silent,
) -> list[SourceCase]:
    """Find images and masks.

    Args:
        folder: See `LAYOUTS`.
        labels: Label to its masks ("rest": all others), later ones win over earlier ones; None: all masks, sorted by
            name.
        images: The image files of each case in the order of the channels (with or without ending), a DICOM folder of
            each case, or the one folder of images; empty: found by their places and names.
        masks: Name of the folder with masks, in each case or around those of the structures.
        report: Gets a "log" about what was found.

    Raises:
        UserError: the arrangement is not known.
        ProblemsError: cases without image or mask.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", "Check the path.")
    image_folder = _one_of(folder, images, IMAGE_FOLDERS) if len(images) <= 1 else None
    if image_folder is not None and not dicom.is_dicom(image_folder):
        found, problems = _by_structure(folder, image_folder, masks)
        what = f"images in {image_folder.name}, a folder for each structure"
    else:
        found, problems = _by_case(folder, images, masks)
        what = "a folder for each case"
    names = sorted({name for case in found for name in case.masks})
    if problems and not names:
        raise ProblemsError(f"{folder} can't be used:", problems, LAYOUTS)
    if not names:
        raise UserError(f"{folder} has no images with masks.", LAYOUTS)
    chosen = _with_rest(labels, names) if labels else {name: (name,) for name in names if name != BACKGROUND}
    unknown = [mask for many in chosen.values() for mask in many if mask not in names]
    problems += [Problem(f"no case has a mask {name!r}.", f"There are: {', '.join(names)}.") for name in unknown]
    cases = [_ordered(case, chosen) for case in found]
    problems += [
        Problem("there is no mask.", "Add one (an empty one will do), or remove the case.", case=case.id)
        for case in cases
        if not case.masks and not unknown
    ]
    if problems:
        raise ProblemsError(f"{folder} can't be used:", problems)
    left = [name for name in names if name not in {mask for many in chosen.values() for mask in many}]
    report("log", message=f"{folder.name}: {what}; masks: {', '.join(chosen)}{_left(left)}.")
    return cases


def _with_rest(labels: Structures, names: Sequence[str]) -> Structures:
    """``rest`` is every mask that is not named, unless one is called so."""
    rest = tuple(name for name in names if name not in {mask for many in labels.values() for mask in many})
    return {
        label: tuple(mask for name in masks for mask in (rest if name == REST_WORD and name not in names else (name,)))
        for label, masks in labels.items()
    }


def _left(names: Sequence[str]) -> str:
    return f"; left out: {', '.join(names)}" if names else ""


def _ordered(case: SourceCase, chosen: Structures) -> SourceCase:
    found = {name: tuple(file for mask in masks for file in case.masks.get(mask, ())) for name, masks in chosen.items()}
    return SourceCase(case.id, case.images, masks={name: files for name, files in found.items() if files})


def _one_of(folder: Path, named: Sequence[str], usual: Sequence[str]) -> Path | None:
    """The sub-folder that was named, or else has one of the usual names."""
    inside = [path for path in visible(folder) if path.is_dir()]
    wanted = [name.rstrip("/").casefold() for name in named] or list(usual)
    return next((path for name in wanted for path in inside if path.name.casefold() == name), None)


def _by_structure(folder: Path, images: Path, masks: str | None) -> tuple[list[SourceCase], list[Problem]]:
    """images/case.nii.gz and organ/case.nii.gz, also with all organs in a folder masks/."""
    cases = channels_of(image_files(images))
    around = _one_of(folder, (masks,) if masks else (), MASK_FOLDERS)
    root = around if around is not None and _has_folders(around) else folder
    organs = [path for path in visible(root) if path.is_dir() and path != images]
    found: dict[str, dict[str, tuple[Path, ...]]] = {case: {} for case in cases}
    problems = []
    for organ in organs:
        files = _mask_files(organ)
        pairs, left = match_labels(list(cases), {stem(file): file for file in files})
        for case, file in pairs.items():
            found[case][organ.name] = (file,)
        hint = f"Name it like its image in {images.name}, or remove it."
        problems += [Problem("the mask has no image.", hint, str(organ / name)) for name in left]
    return [SourceCase(case, cases[case], masks=found[case]) for case in sorted(cases)], problems


def _by_case(folder: Path, images: Sequence[str], masks: str | None) -> tuple[list[SourceCase], list[Problem]]:
    """CASE/image.nii.gz and CASE/segmentations/organ.nii.gz, or all files of a case in one folder."""
    cases, problems = [], []
    for place in (path for path in visible(folder) if path.is_dir()):
        inner = _one_of(place, (masks,) if masks else (), MASK_FOLDERS)
        if inner is None and not masks:
            others = [path for path in visible(place) if path.is_dir() and not dicom.is_dicom(path)]
            inner = others[0] if len(others) == 1 else None
        try:
            channels = _images(place, images, beside_masks=inner is None)
        except UserError as error:
            problems.append(Problem(error.message, error.hint, str(place), place.name))
            continue
        files = [file for file in _mask_files(inner or place) if file not in channels]
        cases.append(SourceCase(place.name, tuple(channels), masks={stem(file): (file,) for file in files}))
    counts = {len(case.images) for case in cases}
    if len(counts) > 1:
        text = f"cases have {' or '.join(map(str, sorted(counts)))} images."
        problems.append(Problem(text, "Name them in the order of the channels: --images T1 T2", str(folder)))
    return cases, problems


def _images(place: Path, wanted: Sequence[str], *, beside_masks: bool) -> list[Path]:
    """The images of a case's folder, in order. Raises: UserError: not found, or not to be told from masks."""
    found = [path for path in visible(place) if dicom.is_dicom(path) or (file_ending(path) and path.is_file())]
    if wanted:
        chosen = [next((p for p in found if name in (p.name, stem(p))), None) for name in wanted]
        missing = [name for name, path in zip(wanted, chosen, strict=True) if path is None]
        if missing:
            names = ", ".join(path.name for path in found[:5]) or "nothing that can be read"
            raise UserError(f"There is no image {', '.join(missing)}.", f"There is: {names}.")
        return [path for path in chosen if path is not None]
    if beside_masks:
        found = [p for p in found if p.is_dir() or stem(p).casefold() in (*IMAGE_FOLDERS, "ct", "mr", "mri", "scan")]
    if not found:
        raise UserError("There is no image, or it can't be told from the masks.", "Name it: --images image.nii.gz")
    return found


def _mask_files(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if file_ending(path) and path.is_file()]


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() for path in visible(folder))
