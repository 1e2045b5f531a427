"""One place that says what is missing: whatever is not emulated raises HostError with its name."""

from __future__ import annotations


class HostError(AttributeError, RuntimeError):
    """Something that real Slicer has and this host does not emulate."""


class Strict:
    """Base of the host's objects: an unknown attribute is named instead of silently doing nothing."""

    _what = "object"

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        raise HostError(f"the host does not emulate {self._what}.{name}")
