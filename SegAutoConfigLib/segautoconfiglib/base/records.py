"""Typed records for JSON files: unknown keys are kept, mistakes name the file, the key and the value."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from segautoconfiglib.base.errors import Action, Problem, ProblemsError, UserError
from segautoconfiglib.base.events import strict_json

#: How long a file waits for its place while the old one is being read (seconds; Windows).
READER_PATIENCE_S = 10.0


@contextmanager
def atomic_path(path: Path | str, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on an error nothing is left.

    The temporary name keeps the file's ending (writers choose the format by it) and starts with a dot.

    Args:
        path: Of the finished file.
        durable: Have the content on the disk before the name: else a power failure can leave an empty file in place of
            the old one. For files that are hard to make again.

    Raises:
        UserError: the folder can't be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        yield temporary
        try:
            if durable:
                with temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
            replace_file(temporary, path)
        except OSError as error:
            raise _write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(temporary: Path, path: Path) -> None:
    """Put a file in the place of another. On Windows that waits while somebody reads the old one. Raises: OSError."""
    until = time.monotonic() + READER_PATIENCE_S
    while True:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() >= until:
                raise
            time.sleep(READER_PATIENCE_S / 100)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content; the copy appears when it is whole.

    Raises:
        UserError: the folder of ``target`` can't be written to.
        OSError: ``source`` can't be read, or the disk is full.
    """
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def checked_folder(folder: Path | str) -> Path:
    """The folder. Raises: UserError: there is no such folder."""
    if not Path(folder).is_dir():
        raise UserError(f"The folder {folder} does not exist.", "Check the path.")
    return Path(folder)


def check_writable(folder: Path, option: str = "--workspace") -> None:
    """Find out before a long work whether its results can be written; makes nothing.

    Args:
        folder: Where files will go; neither it nor the folders above need to exist.
        option: Of the command, by which another folder is chosen.

    Raises:
        UserError: it can't be made or written to.
    """
    existing = existing_folder(folder, option)
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(
            f"Can't write to {folder}: {error.strerror or error} in {existing}.",
            f"Choose another folder ({option}), or change the permissions.",
            _action(option),
        ) from error


def existing_folder(folder: Path, option: str = "--workspace") -> Path:
    """The folder, or the nearest one above it that exists; see :func:`check_writable`.

    Raises:
        UserError: that is no folder, or there is none (a drive that is not connected).
    """
    there = next((path for path in (folder, *folder.absolute().parents) if os.path.lexists(path)), None)
    if there is None:
        raise UserError(
            f"Can't write to {folder}: there is no {folder.absolute().anchor}.",
            f"Connect the drive, or choose another folder ({option}).",
            _action(option),
        )
    if not there.is_dir():
        raise UserError(f"Can't write to {folder}: {there} is no folder.", "Choose another folder, or remove it.")
    return there


def _action(option: str) -> Action:
    """What a program says of such a hint; it has an advice of its own for workspaces alone."""
    return "workspace" if option == "--workspace" else ""


def _write_error(path: Path, error: OSError) -> UserError:
    hint = "Check the folder's permissions and the free space."
    return UserError(f"Can't write {path}: {error.strerror or error}.", hint)


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, unreadable or not valid JSON (with line and column).
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.", "Check the path, or run the step that makes this file.") from error
    except json.JSONDecodeError as error:
        hint = "A comma after the last entry of a list or object is not allowed; check also quotes and brackets."
        raise UserError(
            f"{path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}.", hint
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # bytes that are no text, numbers too long, lists too deep
        raise UserError(f"Can't read {path}: {error}.", "Check the file and its permissions.") from error


def write_json(path: Path | str, data: Any, *, sort_keys: bool = False) -> None:
    """Write strict JSON (NaN becomes null), indented by 4; the old file stays until the new one is on the disk."""
    with atomic_path(path, durable=True) as temporary:
        temporary.write_text(json.dumps(strict_json(data), indent=4, sort_keys=sort_keys), encoding="utf-8")


class Record(BaseModel):
    """A frozen record that is one JSON file (or a part of one). Keys it does not know are kept and written back."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    @classmethod
    def from_json(cls, data: Any, source: Path | str) -> Self:
        """Check ``data`` read from ``source``. Raises: ProblemsError: naming each key and value that is wrong."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problems = [
                Problem(
                    f"{'.'.join(map(str, item['loc'])) or 'top level'}: {item['msg']} (got {item['input']!r:.200})."
                )
                for item in error.errors()
            ]
            raise ProblemsError(f"{source} does not have the expected content:", problems) from error

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read and check a file. Raises: UserError: missing, not JSON, or wrong content."""
        return cls.from_json(read_json(path), path)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; optional keys that were never set are left out."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    def save(self, path: Path | str, *, sort_keys: bool = False) -> None:
        """Write the record to a file, atomically."""
        write_json(path, self.to_json(), sort_keys=sort_keys)
