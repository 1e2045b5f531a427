"""Names that stand for code, imported only when they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from segautoconfiglib.base.errors import UserError


class Registry:
    """Maps a name to ``"module:attribute"``; the module is imported on :meth:`get`.

    Args:
        what: What the names stand for, for error messages ("network", "loss").
        targets: The names known from the start.
    """

    def __init__(self, what: str, targets: Mapping[str, str]) -> None:
        self.what = what
        self._targets = dict(targets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __contains__(self, name: str) -> bool:
        return name in self._targets

    def register(self, name: str, target: str) -> None:
        """Add a name (a plug-in's part)."""
        self._targets[name] = target

    def get(self, name: str) -> Any:
        """The object behind ``name``. Raises: UserError: naming the known names."""
        if name not in self._targets:
            raise UserError(f"Unknown {self.what} {name!r}.", f"Known: {', '.join(sorted(self._targets))}.")
        module, attribute = self._targets[name].split(":")
        return getattr(import_module(module), attribute)
