"""Models as zip files in nnU-Net's layout: paths as below the results folder, so that either program installs them."""

from __future__ import annotations

import json
import math
import shutil
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.records import atomic_path, existing_folder
from segautoconfiglib.base.words import counted
from segautoconfiglib.models.card import CARD_FILE, ModelCard, load_card
from segautoconfiglib.models.folder import (
    DATASET_FILE,
    FINAL,
    FINGERPRINT_FILE,
    PLANS_FILE,
    SUMMARY_FILE,
    Fold,
    ModelFolder,
    file_name,
)

STAGE = "export-model"
MODEL_FILES = (PLANS_FILE, DATASET_FILE, FINGERPRINT_FILE)
FOLD_FILES = ("progress.png",)
#: What nnU-Net's choice of post-processing leaves in a model folder.
CROSS_VALIDATION = "crossval_results_folds_*"
CROSS_VALIDATION_FILES = ("summary.json", "postprocessing.json", "postprocessing.pkl")
#: Files that hardly become smaller.
COMPRESSED = (".pth", ".png")
CHUNK_BYTES = 2**20
REPORT_EVERY_S = 0.5


@dataclass
class Transfer:
    """Copies files with progress in megabytes, and stops on request.

    Attributes:
        stage: For the events.
        total_bytes: Of all files.
        report: Gets "started" and "progress".
        cancel: Asked before every chunk.
    """

    stage: str
    total_bytes: int
    report: Reporter
    cancel: CancelToken
    _done: int = field(default=0, init=False)
    _last: float = field(default=0.0, init=False)
    _total: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._total = math.ceil(self.total_bytes / 1e6)
        self.report("started", stage=self.stage, total=self._total)

    def copy(self, source: IO[bytes], target: IO[bytes]) -> None:
        """Copy a file to its end. Raises: Cancelled: on request."""
        while chunk := source.read(CHUNK_BYTES):
            self.cancel.raise_if_cancelled()
            target.write(chunk)
            self._done += len(chunk)
            if time.monotonic() - self._last >= REPORT_EVERY_S or self._done >= self.total_bytes:
                self._last = time.monotonic()
                done = self._total if self._done >= self.total_bytes else int(self._done / 1e6)
                self.report("progress", stage=self.stage, done=done, total=self._total)


def export_models(
    models: Sequence[ModelFolder],
    file: Path,
    *,
    folds: Sequence[Fold] | None = None,
    checkpoints: Sequence[str] = (FINAL,),
    predictions: bool = False,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Write models to a zip file; it appears only when it is whole.

    Args:
        models: With names of the form trainer__plans__configuration.
        file: The zip file; an existing one is replaced.
        folds: Which; None: all that have one of the checkpoints.
        checkpoints: File names; each of ``folds`` must have all of them.
        predictions: Also the segmentations of the held-out cases.
        report: Gets "started", "progress" (megabytes) and "artifact".
        cancel: Asked all the time; nothing is left then.

    Returns:
        ``file``.

    Raises:
        UserError: a part of a model is missing, its name has another form, or the disk is too small.
        Cancelled: on request.
    """
    file = Path(file)
    if file.is_dir():
        raise UserError(f"{file} is a folder.", f"Name the file: {file / 'model.zip'}.")
    texts: dict[str, str] = {}
    sources: dict[str, Path] = {}
    for model in models:
        prefix = _archive_folder(model)
        chosen = chosen_folds(model, folds, checkpoints)
        for source in _files(model, chosen, checkpoints, predictions):
            sources[f"{prefix}/{source.relative_to(model.path).as_posix()}"] = source
        texts |= _texts(model, prefix, chosen)
    total = sum(source.stat().st_size for source in sources.values())
    free = shutil.disk_usage(existing_folder(file.absolute().parent)).free
    if total > free:
        raise UserError(
            f"The zip file takes about {total / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in {file.absolute().parent}.",
            "Free some space, choose another folder, or fewer folds.",
        )
    transfer = Transfer(STAGE, total, report, cancel or CancelToken())
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        for name, source in sources.items():
            _add(archive, name, source, transfer)
    report("artifact", path=str(file), description=counted(len(models), "model"))
    return file


def chosen_folds(model: ModelFolder, folds: Sequence[Fold] | None, checkpoints: Sequence[str]) -> list[Fold]:
    """The folds to export. Raises: UserError: there are none, or one lacks a checkpoint; says what is there."""
    if folds is not None:
        for checkpoint in checkpoints:
            chosen = model.chosen_folds(folds, checkpoint)
        return chosen
    found = {fold for checkpoint in checkpoints for fold in model.folds(checkpoint)}
    return [fold for fold in model.folds(None) if fold in found] or model.chosen_folds(None, checkpoints[0])


def _archive_folder(model: ModelFolder) -> str:
    """Where a model lies in the archive. Raises: UserError: its name does not tell what it is."""
    ModelFolder.open(model.path)
    if not all(model.name_parts):
        raise UserError(
            f"{model.path.name} is no name that nnU-Net knows.",
            "Rename the folder to trainer__plans__configuration, for example nnUNetTrainer__nnUNetPlans__3d_fullres.",
        )
    return f"{model.dataset}/{model.path.name}"


def _files(model: ModelFolder, folds: Iterable[Fold], checkpoints: Sequence[str], predictions: bool) -> list[Path]:
    """The files that are copied as they are. Logs and debug.json stay: they tell about the computer, not the model."""
    found = [model.path / name for name in MODEL_FILES]
    for fold in folds:
        folder = model.fold_folder(fold)
        found += [folder / name for name in (*checkpoints, *FOLD_FILES)]
        if predictions:
            found += sorted((folder / SUMMARY_FILE).parent.glob(f"*{model.description.file_ending}"))
    for folder in sorted(model.path.glob(CROSS_VALIDATION)):
        found += [folder / name for name in CROSS_VALIDATION_FILES]
    return [file for file in found if file.is_file()]


def _texts(model: ModelFolder, prefix: str, folds: Iterable[Fold]) -> dict[str, str]:
    """The files that are changed on the way: the title alone, and results without the paths of this computer."""
    texts = {}
    title = load_card(model.path).title
    if title is not None:
        texts[f"{prefix}/{CARD_FILE}"] = json.dumps(ModelCard(title=title).to_json())
    for fold in folds:
        summary = model.fold_summary(fold)
        for entry in summary.get("metric_per_case", []):
            entry |= {key: file_name(entry[key]) for key in ("prediction_file", "reference_file") if key in entry}
        if summary:
            texts[f"{prefix}/fold_{fold}/{SUMMARY_FILE}"] = json.dumps(summary, indent=4)
    return texts


def _add(archive: zipfile.ZipFile, name: str, source: Path, transfer: Transfer) -> None:
    info = zipfile.ZipInfo.from_file(source, name, strict_timestamps=False)
    info.compress_type = zipfile.ZIP_STORED if source.suffix in COMPRESSED else zipfile.ZIP_DEFLATED
    with source.open("rb") as stream, archive.open(info, "w", force_zip64=True) as target:
        transfer.copy(stream, target)
