"""A folder of images and one of label maps (or both in one) as cases, paired by the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segautoconfiglib.base.errors import Problem, ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.words import counted, first_of
from segautoconfiglib.dataset.case_names import channels_of, is_label_name, match_labels, twins
from segautoconfiglib.dataset.dataset import visible
from segautoconfiglib.dataset.source_cases import SourceCase
from segautoconfiglib.image import dicom
from segautoconfiglib.image.formats import file_ending, stem

SHOWN = 5


def cases_from_folder(
    images: Path, labels: Path | None = None, *, unlabelled_as_test: bool = False, report: Reporter = silent
) -> list[SourceCase]:
    """Pair images with label maps.

    Args:
        images: Holds image files, folders of DICOM files, or (without ``labels``) images and label maps. Files that
            all end in ``_0000``, ``_0001`` ... are channels of cases.
        labels: Holds label maps; None: they lie among the images and their names say so (case7_seg.nii.gz).
        unlabelled_as_test: Images without a label map become test cases.
        report: Gets a "log" about pairs with different names, a "warning" about files that are left out.

    Raises:
        UserError: a folder is missing or has no files that can be read.
        ProblemsError: images without label map, names used twice.
    """
    files = image_files(images)
    label_files = [file for file in image_files(labels) if file.is_file()] if labels is not None else []
    if labels is None:
        label_files = [file for file in files if file.is_file() and is_label_name(stem(file))]
        files = [file for file in files if file not in label_files]
        if not label_files or not files:
            raise UserError(
                f"The names of the files in {images} do not tell images from label maps.",
                "Give the folder of the label maps as well, or name them like case7.nii.gz and case7_seg.nii.gz.",
            )
    problems = [
        Problem(f"the name is used twice: {', '.join(file.name for file in same)}.", "Remove one.", str(same[0].parent))
        for same in (*twins(files), *twins(label_files))
    ]
    cases = channels_of(files)
    pairs, left = match_labels(list(cases), {stem(file): file for file in label_files})
    bare = [case for case in cases if case not in pairs]
    if not unlabelled_as_test:
        hint = "Name its label map like the image, say --unlabelled-as-test, or remove the image."
        problems += [
            Problem("the image has no label map of its name.", hint, str(cases[case][0]), case) for case in bare
        ]
    if problems:
        raise ProblemsError("The images and label maps can't be paired:", problems)
    _tell(pairs, left, report)
    return [SourceCase(case, cases[case], pairs.get(case), test=case not in pairs) for case in sorted(cases)]


def image_files(folder: Path) -> list[Path]:
    """Files of readable kinds and folders of DICOM files, sorted. Raises: UserError: there are none."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.", "Check the path.")
    found = [path for path in visible(folder) if (file_ending(path) and path.is_file()) or dicom.is_dicom(path)]
    if not found:
        names = ", ".join(path.name for path in visible(folder)[:3])
        raise UserError(
            f"{folder} has no images{f', but {names}' if names else ''}.",
            "Put files such as .nii.gz, .nrrd or .png there, or a folder of DICOM files for each case.",
        )
    return found


def _tell(pairs: dict[str, Path], left: Sequence[str], report: Reporter) -> None:
    renamed = [f"{case} with {file.name}" for case, file in pairs.items() if stem(file) != case]
    if renamed:
        report("log", message=f"Paired by parts of the names: {first_of(renamed, SHOWN)}.")
    if left:
        message = f"{counted(len(left), 'label map')} without an image: {first_of(left, SHOWN)}."
        report("warning", message=message, hint="Left out.")
