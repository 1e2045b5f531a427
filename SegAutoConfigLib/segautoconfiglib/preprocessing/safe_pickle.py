"""Reading pickle files that may come from elsewhere: plain data and numpy arrays, nothing that runs code."""

from __future__ import annotations

import importlib
import io
import pickle
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


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:  # numpy 1
            return getattr(importlib.import_module(module.replace("numpy._core.", "numpy.core.")), name)


def load_pickle(file: Path) -> Any:
    """Read a pickle file.

    Raises:
        UserError: missing, damaged, or not plain data.
    """
    try:
        return _RestrictedUnpickler(io.BytesIO(file.read_bytes())).load()
    except OSError as error:
        raise UserError(f"Can't read {file}: {error.strerror or error}.", "Check the path and permissions.") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file} is refused: {error}.", "It is damaged or may run foreign code. Preprocess the dataset again."
        ) from error
    except (EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError, ImportError) as error:
        raise UserError(
            f"{file} is damaged ({type(error).__name__}: {error}).", "Remove it and preprocess the dataset again."
        ) from error
