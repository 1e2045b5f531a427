"""What tests do beside clicking: wait, drop, measure."""

from __future__ import annotations

import sys
import time
import warnings


def wait(condition, timeout=30.0) -> float:
    """Turn the event loop until condition() is true; returns the seconds it took, raises TimeoutError."""
    app, begin = sys.modules["slicer"].app, time.monotonic()
    while not condition():
        app.processEvents()
        if time.monotonic() - begin > timeout:
            raise TimeoutError(f"condition not met in {timeout} s")
        time.sleep(0.005)
    return time.monotonic() - begin


class UiStall:
    """The longest gap between two turns of the event loop: `with UiStall() as stall: ...`; stall.longest (s)."""

    def __enter__(self):
        import qt

        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)
        return self

    def _tick(self):
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now

    def __exit__(self, *_):
        self._tick()
        self._timer.stop()


def drop(widget, mime, position=None) -> bool:
    """Drag `mime` (see subject_hierarchy.drag_mime) onto a widget and let go; returns whether it was accepted.

    Args:
        widget: what lies under the mouse; as in Qt the first of it and its parents that accepts drops gets the events.
        mime: a qt.QMimeData.
        position: (x, y) in the widget; None: its middle.
    """
    import qt

    viewport = getattr(widget, "viewport", None)
    target = viewport() if callable(viewport) else widget
    point = qt.QPoint(*position) if position is not None else target.rect.center()
    while target is not None and not target.acceptDrops:
        point, target = target.mapToParent(point), target.parentWidget()
    if target is None:
        return False
    given = (qt.Qt.CopyAction | qt.Qt.MoveAction, mime, qt.Qt.LeftButton, qt.Qt.NoModifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Qt 6.12 has other constructors, 6.8 has these
        before = qt.QDragEnterEvent(point, *given), qt.QDragMoveEvent(point, *given)
    for event in before:
        qt.QApplication.sendEvent(target, event)
        if not event.isAccepted():
            qt.QApplication.sendEvent(target, qt.QDragLeaveEvent())
            return False
    event = qt.QDropEvent(qt.QPointF(point), *given)
    qt.QApplication.sendEvent(target, event)
    return event.isAccepted()
