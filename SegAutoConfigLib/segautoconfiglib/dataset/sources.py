"""The raw files of cases as they are now, to notice changes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.dataset.dataset import Case, Dataset
from segautoconfiglib.image.files import files_of


def sources_of(case: Case) -> list[list[Any]]:
    """The raw files of a case: [name, bytes, time of the last change (ns)] of each (JSON values).

    Raises:
        UserError: a file is missing.
    """
    files = [path for file in (*case.images, *([case.label] if case.label else [])) for path in files_of(file)]
    try:
        return [[file.name, (status := file.stat()).st_size, status.st_mtime_ns] for file in files]
    except OSError as error:
        raise UserError(f"Can't read {error.filename}: {error.strerror}.", "Check the path and permissions.") from error


def sources_digest(dataset: Dataset) -> str:
    """A short text that is another one when a case or a file is added, removed or changed. Raises: UserError."""
    content = json.dumps([[case.id, sources_of(case)] for case in dataset.cases])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def newest_source_ns(dataset: Dataset) -> int:
    """When a file of the dataset was changed last (ns). Raises: UserError: a file is missing."""
    return max((changed for case in dataset.cases for _, _, changed in sources_of(case)), default=0)
