"""Names that stand for code, imported only when they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from segautoconfiglib.base.errors import UserError


def _as_it_is(name: str, target: Any) -> Any:
    return target


class Registry:
    """Maps a name to an object, or to ``"module:attribute"``; the module is imported on :meth:`get`.

    Args:
        what: What the names stand for, for error messages ("network", "loss").
        targets: The names known from the start.
        make: ``make(name, ...)`` turns what :meth:`register` is given into the object.
    """

    def __init__(self, what: str, targets: Mapping[str, Any], make: Callable[..., Any] = _as_it_is) -> None:
        self.what = what
        self._targets = dict(targets)
        self._make = make

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def register(self, name: str, *given: Any, **options: Any) -> None:
        """Add a name (a plug-in's part). Raises: UserError: it is taken."""
        if name in self._targets:
            raise UserError(f"The {self.what} {name!r} exists already.", "Give yours another name.")
        self._targets[name] = self._make(name, *given, **options)

    def remove(self, name: str) -> None:
        """Forget a name that was registered."""
        del self._targets[name]

    def get(self, name: str) -> Any:
        """The object behind ``name``. Raises: UserError: naming the known names."""
        if name not in self._targets:
            known = ", ".join(sorted(self._targets)) or "none"
            raise UserError(
                f"Unknown {self.what} {name!r}.",
                f"Known: {known}. If it is of a plug-in, name that: --plugin FILE.",
                "plugin",
            )
        target = self._targets[name]
        return imported(target) if isinstance(target, str) else target


def imported(target: str) -> Any:
    """The object that ``"module:attribute"`` stands for."""
    module, attribute = target.split(":")
    return getattr(import_module(module), attribute)
