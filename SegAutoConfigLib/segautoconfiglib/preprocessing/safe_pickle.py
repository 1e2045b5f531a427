"""Reading pickle files that may come from elsewhere: plain data and numpy arrays, nothing that runs code."""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segautoconfiglib.base.errors import UserError

#: What a pickle may name besides plain Python data. numpy 1 called ``numpy._core`` ``numpy.core``.
ALLOWED = {
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "_codecs": {"encode"},
    "collections": {"OrderedDict"},
}

#: What `pickle` raises for a damaged file besides its own error.
DAMAGE = (
    *(EOFError, ValueError, LookupError, AttributeError, TypeError, ImportError),
    *(ArithmeticError, MemoryError, RecursionError),  # for lengths, counts and depths that can't be
)


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes, stand_ins: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._stand_ins:
            return self._stand_ins[module, name]
        module = module.replace("numpy.core.", "numpy._core.")
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:  # numpy 1
            return getattr(importlib.import_module(module.replace("numpy._core.", "numpy.core.")), name)


def load_pickle(
    file: Path, *, stand_ins: Mapping[tuple[str, str], Any] | None = None, remedy: str = "Preprocess the dataset again."
) -> Any:
    """Read a pickle file.

    Args:
        file: Of any origin.
        stand_ins: (module, name) that the file may name besides, and the value that is put in its place; nothing is
            imported for it.
        remedy: For the user, if the file can't be used.

    Raises:
        UserError: missing, damaged, or not plain data.
    """
    try:
        return _RestrictedUnpickler(file.read_bytes(), stand_ins or {}).load()
    except OSError as error:
        raise UserError(f"Can't read {file}: {error.strerror or error}.", "Check the path and permissions.") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{file} is refused: {error}.", f"It is damaged or may run foreign code. {remedy}") from error
    except DAMAGE as error:
        raise UserError(f"{file} is damaged ({type(error).__name__}: {error}).", remedy) from error
