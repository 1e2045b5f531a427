"""Who reads the preprocessed cases of a folder: nothing in it may be changed meanwhile."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.lock import alone, is_taken

ENDING = ".reading"


@contextmanager
def in_use(folder: Path, reader: str) -> Iterator[None]:
    """Inside the block the cases of a folder are read; `readers` says so to other processes.

    Args:
        folder: Of the cases; a file beside it is the sign, where one can be written.
        reader: Who reads, for people.
    """
    sign = folder.with_name(f".{folder.name}.{os.getpid()}.{reader}{ENDING}")
    with ExitStack() as stack:
        with suppress(UserError):  # nobody can change a folder that can't be written to
            stack.enter_context(alone(sign, f"Reading {folder}", patience_s=0))
        yield


def readers(folder: Path) -> list[str]:
    """Who reads the cases of a folder just now, sorted."""
    signs = folder.parent.glob(f".{glob.escape(folder.name)}.*{ENDING}")
    return sorted(
        sign.name.removesuffix(ENDING).removeprefix(f".{folder.name}.").partition(".")[2]
        for sign in signs
        if is_taken(sign)
    )
