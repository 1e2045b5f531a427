"""Models as zip files in nnU-Net's layout: paths as below the results folder, so that either program installs them."""

from __future__ import annotations

import json
import math
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent, strict_json
from segautoconfiglib.base.lock import scratch_folder
from segautoconfiglib.base.records import atomic_path, existing_folder, read_json
from segautoconfiglib.base.words import counted
from segautoconfiglib.models.anonymous import anonymous, anonymous_summary
from segautoconfiglib.models.card import CARD_FILE, ModelCard, load_card
from segautoconfiglib.models.folder import (
    DATASET_FILE,
    FINAL,
    FINGERPRINT_FILE,
    PLANS_FILE,
    SEPARATOR,
    SUMMARY_FILE,
    Fold,
    ModelFolder,
)
from segautoconfiglib.models.packed import CHOICE_FILES, ENSEMBLES

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

#: Writes a checkpoint without names and paths to a new file, if it has some; returns whether it has.
Clean = Callable[[Path, Path], bool]


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
            self.skip(len(chunk))

    def skip(self, count: int) -> None:
        """Count bytes as copied."""
        self._done += count
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
    case_names: bool = False,
    clean: Clean | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Path:
    """Write models to a zip file; it appears only when it is whole.

    Beside them go the ensembles that they form, and the choice among the models of their dataset, where all of its
    members are among them.

    Args:
        models: With names of the form trainer__plans__configuration.
        file: The zip file; an existing one is replaced.
        folds: Which; None: all of the splits that have one of the checkpoints (see `ModelFolder.of_splits`).
        checkpoints: File names; each of ``folds`` must have all of them.
        predictions: Also the segmentations of the held-out cases, whose files have the cases' names.
        case_names: Leave the names of cases in. Paths of this computer are taken out in any case.
        clean: Called with a checkpoint and a new file; writes it there without names of cases and paths, if it has
            some. Returns whether it has. None: checkpoints are copied as they are.
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
    case_names = case_names or predictions
    texts: dict[str, str] = {}
    sources: dict[str, Path] = {}
    for model in models:
        prefix = _archive_folder(model)
        chosen = chosen_folds(model, folds, checkpoints)
        for source in _files(model, chosen, checkpoints, predictions):
            sources[f"{prefix}/{source.relative_to(model.path).as_posix()}"] = source
        texts |= _texts(model, prefix)
    for beside in files_beside(models):
        sources[beside.relative_to(beside.parents[_depth(beside, models)]).as_posix()] = beside
    total = sum(source.stat().st_size for source in sources.values())
    free = shutil.disk_usage(existing_folder(file.absolute().parent)).free
    if total > free:
        raise UserError(
            f"The zip file takes about {total / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in {file.absolute().parent}.",
            "Free some space, choose another folder, or fewer folds.",
        )
    transfer = Transfer(STAGE, total, report, cancel or CancelToken())
    with (
        atomic_path(file) as temporary,
        scratch_folder(file.absolute().parent, ".exporting-") as cleaned,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in texts.items():
            archive.writestr(name, text)
        for name, source in sources.items():
            other = _public_text(source, case_names)
            if other is not None:
                archive.writestr(_entry(name, source), other)
                transfer.skip(source.stat().st_size)
            elif source.suffix == ".pth" and clean is not None and clean(source, cleaned / source.name):
                _add(archive, name, cleaned / source.name, transfer, source)
                transfer.skip(source.stat().st_size - (cleaned / source.name).stat().st_size)
            else:
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
    return model.of_splits([fold for fold in model.folds(None) if fold in found]) or model.chosen_folds(
        None, checkpoints[0]
    )


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
        found += [folder / name for name in (*checkpoints, *FOLD_FILES, SUMMARY_FILE)]
        if predictions:
            found += sorted((folder / SUMMARY_FILE).parent.glob(f"*{model.description.file_ending}"))
    for folder in sorted(model.path.glob(CROSS_VALIDATION)):
        found += [folder / name for name in CROSS_VALIDATION_FILES]
    return [file for file in found if file.is_file()]


def _texts(model: ModelFolder, prefix: str) -> dict[str, str]:
    """The title alone of what is known about where the model came from."""
    title = load_card(model.path).title
    return {} if title is None else {f"{prefix}/{CARD_FILE}": json.dumps(ModelCard(title=title).to_json())}


def files_beside(models: Sequence[ModelFolder]) -> list[Path]:
    """Results of ensembles that some models form, and the choice of find-best, where it is one of them alone."""
    found = []
    for folder in sorted({model.path.absolute().parent for model in models}):
        names = {model.path.name for model in models if model.path.absolute().parent == folder}
        for ensemble in sorted((folder / ENSEMBLES).glob("ensemble___*")):
            if set(ensemble.name.split("___")[1:-1]) <= names:
                found += [ensemble / name for name in CROSS_VALIDATION_FILES]
        if set(chosen_models(folder)) <= names:
            found += [folder / name for name in CHOICE_FILES]
    return [file for file in found if file.is_file()]


def chosen_models(folder: Path) -> list[str]:
    """Names of the models that find-best chose (and none that they depend on); empty where there is no choice.

    Args:
        folder: Of the results of a dataset.

    Raises:
        UserError: the choice file is damaged.
    """
    file = folder / CHOICE_FILES[0]
    if not file.is_file():
        return []
    content = read_json(file)
    try:
        members = content["best_model_or_ensemble"]["selected_model_or_models"]
        keys = ("trainer", "plans_identifier", "configuration")
        return [SEPARATOR.join(str(member[key]) for key in keys) for member in members]
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} is no choice file ({error!r}).", "Run find-best again, or remove it.") from error


def _depth(file: Path, models: Sequence[ModelFolder]) -> int:
    """Number of folders between a file beside models and the results folder."""
    folders = [model.path.absolute().parent for model in models]
    return next(index for index, parent in enumerate(file.parents) if parent in folders) + 1


def _public_text(source: Path, case_names: bool) -> str | None:
    """The content of a file without names of cases and paths; None where it has none, or is no text."""
    if source.suffix == ".txt":
        text = source.read_text(encoding="utf-8")
        return text.replace(str(source.absolute().parents[1]), "$nnUNet_results")
    if source.suffix != ".json":
        return None
    try:
        content = read_json(source)
    except UserError:  # a damaged summary says nothing
        return "{}"
    if not isinstance(content, dict):
        return "{}"
    if source.name == Path(SUMMARY_FILE).name:
        return json.dumps(strict_json(anonymous_summary(content, names=case_names)), indent=4)
    changed = anonymous(content)
    if case_names:  # lists of cases may stay where they hold no paths
        changed = {key: changed.get(key, anonymous({"": content[key]})[""]) for key in content}
    return None if changed == content else json.dumps(strict_json(changed), indent=4)


def _entry(name: str, source: Path) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo.from_file(source, name, strict_timestamps=False)
    info.compress_type = zipfile.ZIP_STORED if source.suffix in COMPRESSED else zipfile.ZIP_DEFLATED
    return info


def _add(archive: zipfile.ZipFile, name: str, source: Path, transfer: Transfer, dated: Path | None = None) -> None:
    """Add a file, with the date of another one."""
    info = _entry(name, dated or source)
    info.file_size = source.stat().st_size
    with source.open("rb") as stream, archive.open(info, "w", force_zip64=True) as target:
        transfer.copy(stream, target)
