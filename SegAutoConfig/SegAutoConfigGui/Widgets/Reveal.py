"""Bringing a widget into view."""

from collections.abc import Sequence
from typing import Any

import qt

#: Until the widgets that were shown or hidden just before have found their places (milliseconds).
LAYOUT_MS = 50


class Revealer:
    """Scrolls the area in which widgets lie, so that they are seen; does nothing where they lie in none."""

    def __init__(self) -> None:
        self._widgets: list[Any] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(LAYOUT_MS)
        self._timer.connect("timeout()", self._reveal)

    def show(self, widgets: Sequence[Any]) -> None:
        """Bring these widgets into view soon; where there is no room for all, the last ones."""
        self._widgets = list(widgets)
        self._timer.start()

    def stop(self) -> None:
        """The widgets may go."""
        self._timer.stop()
        self._widgets = []

    def _reveal(self) -> None:
        for widget in self._widgets:
            area = _areaOf(widget)
            if area is not None and widget.isVisible():
                area.ensureWidgetVisible(widget)
        self._widgets = []


def _areaOf(widget: Any) -> Any:
    """The scroll area around a widget, or None."""
    parent = widget.parentWidget()
    while parent is not None and not hasattr(parent, "ensureWidgetVisible"):
        parent = parent.parentWidget()
    return parent
