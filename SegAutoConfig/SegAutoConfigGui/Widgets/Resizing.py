"""What depends on a widget's size is done again when that changes."""

from collections.abc import Callable
from typing import Any

import qt


class ResizeFilter(qt.QObject):
    """Calls back when a widget has another width.

    Args:
        widget: The widget.
        onResize: Called without arguments.
    """

    def __init__(self, widget: Any, onResize: Callable[[], None]) -> None:
        super().__init__(widget)
        self._onResize, self._width = onResize, 0
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Let every event pass."""
        if event.type() == qt.QEvent.Resize and watched.width != self._width:
            self._width = watched.width
            self._onResize()
        return False
