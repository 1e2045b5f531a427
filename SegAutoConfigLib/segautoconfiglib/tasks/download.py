"""Weights of TotalSegmentator's tasks from where their authors publish them: an explicit step, and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import alone
from segautoconfiglib.base.records import atomic_path, existing_folder
from segautoconfiglib.base.workspace import dataset_id
from segautoconfiglib.models.download import downloaded
from segautoconfiglib.models.folder import SEPARATOR, ModelFolder
from segautoconfiglib.models.install import models_in
from segautoconfiglib.tasks.catalogue import Catalogue, Part, load_catalogue
from segautoconfiglib.tasks.weights import LICENCE_ADVICE, Check, WeightsFolders, check_fits, unpack

STAGE = "download-weights"
NOTICE = (
    "TotalSegmentator's authors publish these weights under the Apache License 2.0 "
    "(github.com/wasserth/TotalSegmentator). Cite Wasserthal et al., Radiology: Artificial Intelligence 5 (2023), "
    "doi 10.1148/ryai.230024. They are no medical device."
)
SHA256 = re.compile("[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20


def download_weights(
    parts: Sequence[Part],
    target: Path,
    *,
    sha256: Mapping[int, str] | None = None,
    there: WeightsFolders | None = None,
    overwrite: bool = False,
    check: Check | None = None,
    catalogue: Catalogue | None = None,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> list[ModelFolder]:
    """Fetch the weights of models that a folder does not have yet, dataset by dataset.

    Of several processes one fetches a dataset; the others wait, and take what it has brought.

    What breaks off goes on from there the next time. The SHA-256 of each zip file is kept beside its dataset, in
    ``DatasetXXX_Name.zip.sha256``; a file that has another one at a later download is refused.

    Args:
        parts: Of tasks; those of one dataset come together.
        target: The folder of weights.
        sha256: What the zip file of a dataset must have, by number; counts more than the catalogue and earlier files.
        there: What lies in these folders and fits is not fetched; None: in the target.
        overwrite: Fetch it all the same; what is in the target is replaced when the new one was checked.
        check: Called with each unpacked model; raises UserError for one that can't be used.
        catalogue: None: that of this version.
        report: Gets the licence notice, progress, checksums, and an "artifact" per model.
        cancel: Asked all the time.

    Returns:
        The models that were fetched.

    Raises:
        UserError: weights need a licence key (nothing is fetched then), an address does not answer, or a file does not
            have its checksum, is damaged, or lacks one of the models. Nothing of that file is in the target then.
        Cancelled: on request.
    """
    catalogue = catalogue or load_catalogue()
    there = there or WeightsFolders((target,))
    wanted = parts if overwrite else there.missing(parts)
    numbers = list(dict.fromkeys(part.dataset_id for part in wanted))
    _check_licences(numbers, catalogue)
    if not numbers:
        report("log", message="All of these weights are there already.")
        return []
    report("log", message=NOTICE)
    existing, made = existing_folder(target), []
    target.mkdir(parents=True, exist_ok=True)
    try:
        for place, number in enumerate(numbers):
            wishes = [part for part in wanted if part.dataset_id == number]
            given = (sha256 or {}).get(number)
            with (
                _elsewhere([str(catalogue.download_address(one)) for one in numbers[place:]]),
                _alone(catalogue.datasets[number].folder, target, report, cancel),
            ):
                if not overwrite and not there.missing(wishes):
                    report("log", message=f"{catalogue.datasets[number].folder} has come meanwhile.")
                    continue
                made += _fetch(wishes, target, catalogue, given, overwrite, check, report, cancel)
    finally:
        _remove_empty(target, existing)
    return made


def _check_licences(numbers: Sequence[int], catalogue: Catalogue) -> None:
    closed = [catalogue.datasets[number].folder for number in numbers if not catalogue.download_address(number)]
    if closed:
        raise UserError(
            f"These weights need a licence key and are not fetched: {', '.join(closed)}.",
            f"{LICENCE_ADVICE} A zip file of them: totalseg_import_weights -i FILE.zip.",
            "task-weights",
        )


def _alone(dataset: str, target: Path, report: Reporter, cancel: CancelToken | None) -> AbstractContextManager[None]:
    """While one process fetches a dataset into a folder, others wait."""
    return alone(target / f".{dataset}.lock", f"Downloading {dataset}", report=report, cancel=cancel)


@contextmanager
def _elsewhere(addresses: Sequence[str]) -> Iterator[None]:
    """An error about the connection says what computers without one can do.

    Args:
        addresses: Of all files that are still to come.
    """
    try:
        yield
    except UserError as error:
        if error.action != "connection":
            raise
        files = "\n".join(addresses)
        hint = (
            f"{error.hint} For a computer without internet download on another one:\n{files}\n"
            "Then import each file here (totalseg_import_weights -i FILE.zip), or name a folder of the unpacked files "
            "with TotalSegmentator --weights FOLDER."
        )
        raise UserError(error.message, hint, "connection") from error


def _fetch(
    parts: Sequence[Part],
    target: Path,
    catalogue: Catalogue,
    given: str | None,
    overwrite: bool,
    check: Check | None,
    report: Reporter,
    cancel: CancelToken | None,
) -> list[ModelFolder]:
    """The models of one dataset."""
    number = parts[0].dataset_id
    published = catalogue.datasets[number]
    address = catalogue.download_address(number)
    assert address is not None
    record = target / f"{published.folder}.zip.sha256"
    report("log", message=f"Downloading {address}")
    with downloaded(address, target, resume=True, report=report, cancel=cancel) as file:
        digest = checksum(file, cancel)
        _compare(digest, given, published.sha256, recorded_checksum(record), address, record)
        _check_content(file, address, parts)

        def check_model(model: ModelFolder) -> None:
            for part in parts:
                if model.name_parts[1:] == (part.plans, part.configuration):
                    check_fits(model, part)
            if check is not None:
                check(model)

        replaced = overwrite or any(target.glob(f"{published.folder}/*"))
        models = unpack(file, target, overwrite=replaced, check=check_model, report=report, cancel=cancel)
    with atomic_path(record) as temporary:
        temporary.write_text(f"{digest}  {published.folder}.zip\n", encoding="utf-8")
    known = given or published.sha256
    report("log", message=f"SHA-256 {digest} ({'as expected' if known else f'written to {record}'}).", sha256=digest)
    for model in models:
        report("artifact", path=str(model.path), description="model")
    return models


def _check_content(file: Path, address: str, parts: Sequence[Part]) -> None:
    """Raises: UserError: a zip file holds no model, or not those of all parts."""
    packed = models_in(file)
    names = {(dataset_id(model.dataset), *model.name.split(SEPARATOR)[1:]) for model in packed}
    lacking = [part.model_name for part in parts if (part.dataset_id, part.plans, part.configuration) not in names]
    if lacking:
        held = ", ".join(f"{model.dataset}/{model.name}" for model in packed)
        raise UserError(
            f"{address} holds {held}; dataset {parts[0].dataset_id} lacks {', '.join(lacking)}. Nothing was changed.",
            "Try again later, or get it elsewhere: totalseg_import_weights -i FILE.zip.",
            "task-weights",
        )


def checksum(file: Path, cancel: CancelToken | None = None) -> str:
    """SHA-256 of a file, hexadecimal. Raises: Cancelled: on request."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            if cancel is not None:
                cancel.raise_if_cancelled()
    return digest.hexdigest()


def recorded_checksum(record: Path) -> str | None:
    """What an earlier download left in its file; None where there was none."""
    try:
        words = record.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return words[0].lower() if words and SHA256.fullmatch(words[0].lower()) else None


def _compare(
    digest: str, given: str | None, published: str | None, recorded: str | None, address: str, record: Path
) -> None:
    """Raises: UserError: a file is not the one that is expected."""
    expected = given or published or recorded
    if expected is None or digest == expected.lower():
        return
    source = "as given" if given else "as published" if published else f"of the earlier download ({record})"
    raise UserError(
        f"{address} has the wrong checksum: SHA-256 {digest} instead of {expected}, {source}. Nothing was changed.",
        "It is damaged, or was exchanged. Try again; if its authors have published a new file, give its checksum "
        "(--sha256).",
        "checksum",
    )


def _remove_empty(folder: Path, until: Path) -> None:
    """Remove a folder, and those above it, where they are empty."""
    with suppress(OSError):
        while folder != until:
            folder.rmdir()
            folder = folder.parent
