"""Slicer's translation of texts; jobs can also be started and followed by a Python without Slicer."""

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        return text


__all__ = ["_"]
