"""Where the files of a task go, found out and checked before the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.records import check_writable
from segautoconfiglib.tasks.catalogue import Task
from segautoconfiglib.tasks.output.derived import DERIVED
from segautoconfiglib.tasks.output.dicom_series import need_dicom_packages
from segautoconfiglib.tasks.output.label_files import ENDING, OutputType, output_files
from segautoconfiglib.tasks.output.preview import need_preview_packages
from segautoconfiglib.tasks.source import Source
from segautoconfiglib.tasks.staging import check_places, keep_inputs
from segautoconfiglib.tasks.wishes import Wishes

STATISTICS_FILE = "statistics.json"
BODY = "body"


@dataclass(frozen=True)
class Places:
    """Where files go; absent: they are not written.

    Attributes:
        labels: By format, one file each.
        masks: The folder of one file per structure, in place of ``labels``.
        derived: Masks that follow from others are written, too.
        preview: The picture.
        statistics: The numbers.
        report: What was done.
    """

    labels: Mapping[OutputType, Path]
    masks: Path | None = None
    derived: bool = False
    preview: Path | None = None
    statistics: Path | None = None
    report: Path | None = None

    def files(self, task: Task, wishes: Wishes) -> list[Path]:
        """All that may be written."""
        structures = [*wishes.options().names(task).values(), *(DERIVED if self.derived else ())]
        masks = [] if self.masks is None else [self.masks / f"{name}{ENDING}" for name in structures]
        others = [file for file in (self.preview, self.statistics, self.report) if file is not None]
        return [*self.labels.values(), *masks, *others]


def places(output: Path | None, wishes: Wishes, task: Task, source: Source) -> Places:
    """Where files will go.

    Args:
        output: What the user named; None: labels are not written.
        wishes: Which files.
        task: In names of files.
        source: The image, which is kept.

    Raises:
        UserError: formats that go neither with the image nor with the name, lacking packages, no place for a preview, a
            folder that can't be written to, or a file that is part of the image.
    """
    if output is None and wishes.preview:
        raise UserError("There is no place for the preview: no output was named.", "Name one, or leave out preview.")
    if wishes.preview:
        need_preview_packages()
    found = _named(wishes) if output is None else _below(output, wishes, task, source)
    files = found.files(task, wishes)
    keep_inputs(files, source.files)
    check_places(files)
    own = _named(wishes)
    options = {own.statistics: "--statistics", own.report: "--report"}
    folders: dict[Path, str] = {}  # with the option that chooses another one
    for file in files:
        folders.setdefault(file.parent, options.get(file, "-o"))
    for folder, option in folders.items():
        check_writable(folder, option)
    return found


def _below(output: Path, wishes: Wishes, task: Task, source: Source) -> Places:
    masks = wishes.types == ("nifti",) and not wishes.ml
    labels = output_files(output, wishes.types, task=task.name, multilabel=not masks)
    if any(kind != "nifti" for kind in labels):
        if source.series is None:
            raise UserError(
                "DICOM objects can be written for images that come as DICOM only.",
                "Give the folder of the series, or write NIfTI (-ot nifti).",
            )
        need_dicom_packages()
    first = next(iter(labels.values()))
    folder = first if masks else first.parent
    own = _named(wishes)
    return Places(
        labels={} if masks or wishes.skip_saving else labels,
        masks=folder if masks and not wishes.skip_saving else None,
        derived=task.name == BODY and not wishes.no_derived_masks,
        preview=folder / f"preview_{task.name}.png" if wishes.preview else None,
        statistics=own.statistics or (folder / STATISTICS_FILE if wishes.statistics else None),
        report=own.report,
    )


def _named(wishes: Wishes) -> Places:
    """What has a place of its own."""
    return Places(labels={}, statistics=_absolute(wishes.statistics_file), report=_absolute(wishes.report))


def _absolute(file: Path | str | None) -> Path | None:
    return None if file is None else Path(file).expanduser().absolute()
