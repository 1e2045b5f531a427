"""Models from zip files, of nnU-Net or of this program: nothing in them is trusted before it was checked."""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import scratch_folder
from segautoconfiglib.base.records import existing_folder
from segautoconfiglib.base.words import counted
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.models.bundle import Transfer
from segautoconfiglib.models.card import CARD_FILE, ModelCard, load_card
from segautoconfiglib.models.changes import check_idle
from segautoconfiglib.models.folder import DATASET_FILE, ModelFolder
from segautoconfiglib.models.packed import (
    LARGEST_TEXT,
    UNSAFE_NAME,
    V1_CHECKPOINT,
    Packed,
    packed_choices,
    packed_models,
)

STAGE = "import-model"

MOST_MEMBERS = 20_000
#: Unpacked and packed size: weights hardly become smaller, texts by 10 to 30.
MOST_RATIO = 100
#: Up to which unpacked size the ratio does not matter (bytes).
HARMLESS_BYTES = 50 * 10**6


def import_models(
    file: Path,
    workspace: Workspace,
    *,
    dataset: str | None = None,
    overwrite: bool = False,
    check: Callable[[ModelFolder], None] | None = None,
    convert: Callable[[Path], None] | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[ModelFolder]:
    """Put all models of a zip file into the results folder; all of them, or none.

    Args:
        file: Of nnU-Net or of :func:`~segautoconfiglib.models.bundle.export_models`; a zipped model folder will do.
        workspace: Where models lie.
        dataset: Name of the dataset that they are put under; None: as in the file.
        overwrite: Replace models of the same name.
        check: Called with each unpacked model; raises UserError for one that can't be used.
        convert: Called with the folder of an unpacked model of nnU-Net 1; makes it one of nnU-Net 2.
        report: Gets "started", "progress" (megabytes), "log" about what is left out, and "warning".
        cancel: Asked all the time; nothing is left then.

    Raises:
        UserError: the file is damaged or may do harm, it holds no usable model, a model is there already or being
            trained, or the disk is too small.
        Cancelled: on request.
    """
    file = Path(file)
    made = [folder for folder in (workspace.results, *workspace.results.parents) if not folder.exists()]
    try:
        with _opened(file) as archive:
            members = _checked_members(archive, file)
            packed = packed_models(members, archive, file, dataset)
            choices = packed_choices(members, packed, dataset)
            targets = [workspace.results / model.dataset / model.name for model in packed]
            _check_targets(targets, overwrite)
            _check_convertible(packed, file, convert)
            _check_sizes([*packed, *choices], file, workspace.results)
            _tell_what_stays(archive, [*packed, *choices], report)
            workspace.results.mkdir(parents=True, exist_ok=True)
            with scratch_folder(workspace.results, ".importing-") as temporary:
                places = _unpack(archive, [*packed, *choices], temporary, report, cancel or CancelToken())
                unpacked = [ModelFolder(place) for place in places[: len(packed)]]
                for model, source in zip(unpacked, packed, strict=True):
                    with _speaking_of(file, temporary):
                        if source.old and convert is not None:
                            convert(model.path)
                        _check_model(model, check)
                    _write_card(model.path, file)
                _put(unpacked, targets)
                for choice, place in zip(choices, places[len(packed) :], strict=True):
                    _put_choice(choice, place, workspace.results / choice.dataset, overwrite, report)
    except OSError as error:
        raise UserError(
            f"Can't import {file}: {error.strerror or error} ({error.filename or workspace.results}).",
            "Check the permissions and the free space.",
        ) from error
    finally:
        for folder in made:
            with suppress(OSError):  # there is something in it now
                folder.rmdir()
    return [ModelFolder(target) for target in targets]


def models_in(file: Path, dataset: str | None = None) -> list[Packed]:
    """What :func:`import_models` would unpack. Raises: UserError: the file is damaged, harmful, or holds no model."""
    with _opened(file) as archive:
        return packed_models(_checked_members(archive, file), archive, file, dataset)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """The zip file. Raises: UserError: it is none, or damaged, also where that is found later."""
    if not file.is_file():
        raise UserError(f"There is no file {file}.", "Check the path.")
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(
            f"{file} is no zip file, or damaged ({error or type(error).__name__}).", "Copy or download it again."
        ) from error


def _checked_members(archive: zipfile.ZipFile, file: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """All files of an archive. Raises: UserError: one of them leads out of the folder, or is no plain file."""
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise _harmful(file, f"it holds {len(infos)} files")
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        path, kind = PurePosixPath(info.filename.replace("\\", "/")), stat.S_IFMT(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or any(UNSAFE_NAME.search(part) for part in path.parts):
            raise _harmful(file, f"{info.filename!r:.100} is no path inside a folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _harmful(file, f"{info.filename!r:.100} is a link or a device")
        if info.flag_bits & 1:
            raise UserError(f"{file} is protected by a password.", "Unpack it, and zip the model folder without one.")
        if info.is_dir():
            continue
        if path in members:
            raise _harmful(file, f"{info.filename!r:.100} is there twice")
        members[path] = info
    return members


def _harmful(file: Path, reason: str) -> UserError:
    return UserError(
        f"{file} is refused: {reason}.", "It was tampered with, or is no model. Get it from a source that you trust."
    )


def _check_targets(targets: Sequence[Path], overwrite: bool) -> None:
    there = [target for target in targets if os.path.lexists(target)]
    if there and not overwrite:
        raise UserError(
            f"There is a model already at {', '.join(map(str, there))}.",
            "Replace it with --overwrite, or import under another dataset's name (--dataset).",
            "replace-model",
        )
    for target in there:
        check_idle(ModelFolder(target))


def _check_convertible(packed: Sequence[Packed], file: Path, convert: Callable[[Path], None] | None) -> None:
    if convert is None and any(model.old for model in packed):
        raise UserError(
            f"{file} holds a model of nnU-Net 1, which only torch can read.", "Install torch (doctor tells how)."
        )


def _check_sizes(models: Sequence[Packed], file: Path, results: Path) -> None:
    infos = [info for model in models for info in model.members.values()]
    total, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    texts = [info.file_size for info in infos if not info.filename.endswith((".pth", V1_CHECKPOINT))]
    if (total > HARMLESS_BYTES and total > MOST_RATIO * packed) or max(texts, default=0) > LARGEST_TEXT:
        raise _harmful(file, f"{packed / 1e6:.1f} MB would become {total / 1e9:.1f} GB")
    free = shutil.disk_usage(existing_folder(results)).free
    if total > free:
        raise UserError(
            f"The models in {file} take {total / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in {results}.",
            "Free some space, or choose another workspace.",
        )


def _tell_what_stays(archive: zipfile.ZipFile, models: Sequence[Packed], report: Reporter) -> None:
    taken = {info.filename for model in models for info in model.members.values()}
    left = [info.filename for info in archive.infolist() if not info.is_dir() and info.filename not in taken]
    if left:
        report("log", message=f"Left in the zip file: {counted(len(left), 'file')} that prediction does not need.")
    pickles = [name for name in left if name.endswith("postprocessing.pkl")]
    if any(f"{name.removesuffix('.pkl')}.json" not in taken for name in pickles):
        report(
            "warning",
            message="postprocessing.pkl was left out: such files can run code.",
            hint="Predictions are made without post-processing.",
        )


def _unpack(
    archive: zipfile.ZipFile, models: Sequence[Packed], folder: Path, report: Reporter, cancel: CancelToken
) -> list[Path]:
    """Unpack what is kept. Returns: one folder for each of ``models``."""
    transfer = Transfer(STAGE, sum(i.file_size for m in models for i in m.members.values()), report, cancel)
    unpacked = []
    for model in models:
        place = folder / model.dataset / model.name if model.name else folder / ".beside" / model.dataset
        for name, info in model.members.items():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("wb") as stream:
                transfer.copy(source, stream)
            with suppress(ValueError, OverflowError, OSError):  # the date of a checkpoint is that of the training
                then = time.mktime((*info.date_time, 0, 0, -1))
                os.utime(target, (then, then))
        unpacked.append(place)
    return unpacked


@contextmanager
def _speaking_of(file: Path, temporary: Path) -> Iterator[None]:
    """Errors name the zip file and the place in it, not the temporary folder."""
    try:
        yield
    except UserError as error:
        place = f"{temporary}{os.sep}"
        message, hint = f"{file} can't be used: {error.message.replace(place, '')}", error.hint.replace(place, "")
        if isinstance(error, ProblemsError):
            raise ProblemsError(message, error.problems, hint) from error
        raise UserError(message, hint, error.action) from error


def _check_model(model: ModelFolder, check: Callable[[ModelFolder], None] | None) -> None:
    configuration = model.plans.configuration(model.name_parts[2])
    channels, schemes = len(model.description.channels), len(configuration.normalization_schemes)
    if channels != schemes:
        raise UserError(
            f"{model.path / DATASET_FILE} names {counted(channels, 'channel')}, the plans {schemes}.",
            "Its parts do not belong together; export the model again.",
        )
    if check is not None:
        check(model)


def _write_card(folder: Path, file: Path) -> None:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    card = ModelCard(origin=f"imported from {file.name}", imported=now)
    title = load_card(folder).title
    if title is not None and title.isprintable():
        card = card.model_copy(update={"title": title})
    card.save(folder / CARD_FILE)


def _put(models: Sequence[ModelFolder], targets: Sequence[Path]) -> None:
    """Move models to their places, each in one step; models of the same name are removed when all have arrived."""
    old: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for model, target in zip(models, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target):
                old[target] = target.with_name(f".removed-{secrets.token_hex(4)}")
                os.replace(target, old[target])
            os.replace(model.path, target)
            done.append(target)
    except OSError:
        for target in done:
            shutil.rmtree(target, ignore_errors=True)
        for target, kept in old.items():
            os.replace(kept, target)
        raise
    for kept in old.values():
        shutil.rmtree(kept, ignore_errors=True)


def _put_choice(choice: Packed, source: Path, target: Path, overwrite: bool, report: Reporter) -> None:
    """Put files beside the models of a dataset; other ones that are there already stay unless they may be replaced."""
    kept = []
    for name in choice.members:
        there = target / name
        if there.exists() and not filecmp.cmp(source / name, there, shallow=False) and not overwrite:
            kept.append(name)
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / name, there)
    if kept:
        report(
            "warning",
            message=f"{target} has others of its own, which were kept: {', '.join(kept)}.",
            hint="Replace them with --overwrite; models of the same names are replaced then, too.",
            action="replace-model",
        )
