"""Files from the network: of limited size, with progress, nothing left of what did not arrive whole."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.lock import alone, scratch_folder
from segautoconfiglib.base.records import existing_folder
from segautoconfiglib.models.bundle import Transfer

STAGE = "download"
SCHEMES = ("http", "https")
#: Far above any model: five folds of the largest preset take about 6 GB.
LARGEST_BYTES = 50 * 10**9
#: Without a byte for so long a connection counts as broken.
PATIENCE_S = 60.0
#: Folder for what has come so far.
PARTLY_THERE = ".downloading"
#: Answers to the request for a part of a file.
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
#: Answer of a proxy that wants a login; of secure connections it comes as the text of an error.
PROXY_LOGIN = 407
PROXY_HINT = (
    "The proxy of this network refuses it. Name the proxy with a login in the environment "
    "(https_proxy=http://USER:PASSWORD@HOST:PORT), or fetch the file on another computer and import it here."
)


def is_address(text: str) -> bool:
    """Whether a text looks like the address of a file on the network rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


@contextmanager
def downloaded(
    address: str,
    folder: Path,
    *,
    largest: int = LARGEST_BYTES,
    resume: bool = False,
    report: Reporter = silent,
    cancel: CancelToken | None = None,
) -> Iterator[Path]:
    """The file of an address, while the context lasts.

    Args:
        address: http or https; where it leads on to another address, that must be one of these, too.
        folder: Gets a temporary folder or file; need not exist.
        largest: Bytes.
        resume: Leave what has come where the transfer breaks off or is stopped, and continue from there the next time.
        report: Gets "started" and "progress" (megabytes), where the size is known before.
        cancel: Asked all the time.

    Raises:
        UserError: the address is wrong or does not answer, or the file is too large or did not arrive whole.
        Cancelled: on request.
    """
    _check_scheme(address)
    place = existing_folder(folder)
    if resume:
        with _kept(address, place, report, cancel) as file:
            _fetch(address, file, largest, report, cancel)
            try:
                yield file
            finally:
                file.unlink(missing_ok=True)
                _version_file(file).unlink(missing_ok=True)
        return
    with scratch_folder(place, ".downloading-") as temporary:
        file = temporary / _file_name(address)
        _fetch(address, file, largest, report, cancel)
        yield file


@contextmanager
def _kept(address: str, place: Path, report: Reporter, cancel: CancelToken | None) -> Iterator[Path]:
    """Where a file stays while it is incomplete; nobody else writes to it."""
    folder, name = place / PARTLY_THERE, _file_name(address)
    try:
        with alone(folder / f"{name}.lock", f"Downloading {address}", report=report, cancel=cancel):
            yield folder / name
    finally:
        with suppress(OSError):  # there is something in it
            folder.rmdir()


def _check_scheme(address: str) -> None:
    wrong = UserError(f"{address} can't be downloaded.", "Give an address that begins with https:// or http://.")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise wrong from error
    if parts.scheme.lower() not in SCHEMES or not parts.netloc:
        raise wrong


def _file_name(address: str) -> str:
    """The last part of the address, as far as it can be the name of a file."""
    name = unquote(urlsplit(address).path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = re.sub(r'[<>:"|?*\x00-\x1f]', "_", name).strip(". ")[-100:]
    return name if name.lower().endswith(".zip") else f"{name or 'model'}.zip"


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(address: str, file: Path, largest: int, report: Reporter, cancel: CancelToken | None) -> None:
    """Bring a file, or the rest of one of which there is something already, if the server has the same one still."""
    start, version = (file.stat().st_size if file.is_file() else 0), _known_version(file)
    with _speaking_of(address), _opened(address, start if version else 0, version) as answer:
        start = start if answer.status == PARTIAL_CONTENT else 0
        if not start:
            file.unlink(missing_ok=True)  # before its version is that of the new one
            _version_file(file).write_text(_version(answer.headers), encoding="utf-8")
        _receive(answer, file, address, largest, report, cancel or CancelToken(), start)


def _version_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.version")


def _known_version(file: Path) -> str:
    """What the server called the version of the file of which there is a part; empty where that is not known."""
    with suppress(OSError, UnicodeDecodeError):
        return _version_file(file).read_text(encoding="utf-8")
    return ""


def _version(headers: Any) -> str:
    """What tells whether a file is still the same: a strong ETag, else its date; empty where there is neither."""
    tag = headers.get("ETag") or ""
    version = tag if tag.startswith('"') else headers.get("Last-Modified") or ""
    return version if version.isascii() and version.isprintable() else ""


def _opened(address: str, start: int = 0, version: str = "") -> Any:
    """The answer to the request for a file, from this byte on if the server can do that and has this version of it."""
    headers = {"User-Agent": "segautoconfiglib", "Accept": "*/*"}
    opener = urllib.request.build_opener(_Redirects)
    try:
        wanted = {**headers, "Range": f"bytes={start}-", "If-Range": version} if start else headers
        answer = opener.open(urllib.request.Request(address, headers=wanted), timeout=PATIENCE_S)
        if answer.status != PARTIAL_CONTENT or _begins_at(answer.headers, start):
            return answer
        answer.close()
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
    return opener.open(urllib.request.Request(address, headers=headers), timeout=PATIENCE_S)


def _begins_at(headers: Any, start: int) -> bool:
    """Whether a part of a file begins at this byte."""
    return (headers.get("Content-Range") or "").replace("bytes ", "").startswith(f"{start}-")


@contextmanager
def _speaking_of(address: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        raise UserError(
            f"{address} answers {error.code} ({error.reason}).",
            PROXY_HINT if error.code == PROXY_LOGIN else "Check the address; it may have moved, or need a login.",
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error)
        refused = reason.startswith("Tunnel connection failed")
        raise UserError(
            f"{address} can't be downloaded: {reason}.",
            PROXY_HINT if refused else "Check the address and the connection, then try again.",
            "connection",
        ) from error


def _receive(
    answer: Any, file: Path, address: str, largest: int, report: Reporter, cancel: CancelToken, start: int
) -> None:
    """Write what comes behind the first ``start`` bytes of the file."""
    length = answer.headers.get("Content-Length")
    size = int(length) if length and length.isdecimal() else None
    allowed = min(largest - start, shutil.disk_usage(file.parent).free)
    if size is not None and size > allowed:
        raise _too_large(address, f"{(start + size) / 1e9:.2f} GB", allowed, largest - start)
    transfer = Transfer(STAGE, size or 0, report if size else silent, cancel)
    with file.open("ab" if start else "wb") as stream:
        transfer.copy(_Limited(answer, allowed, address, largest - start), stream)  # type: ignore[arg-type]
    got = file.stat().st_size - start
    if size is not None and got != size:
        raise UserError(f"{address} broke off after {start + got} of {start + size} bytes.", "Try again.")


class _Limited:
    """A stream that ends with an error where it gets too long."""

    def __init__(self, stream: IO[bytes], allowed: int, address: str, largest: int) -> None:
        self._stream, self._left = stream, allowed
        self._error = _too_large(address, "more", allowed, largest)

    def read(self, count: int) -> bytes:
        chunk = self._stream.read(count)
        self._left -= len(chunk)
        if self._left < 0:
            raise self._error
        return chunk


def _too_large(address: str, size: str, allowed: int, largest: int) -> UserError:
    where = "is the limit" if allowed == largest else "are free on the disk"
    return UserError(
        f"{address} is too large: {size}; {allowed / 1e9:.2f} GB {where}.",
        "Free some space." if allowed < largest else "Download it with another program, and import the file.",
    )
