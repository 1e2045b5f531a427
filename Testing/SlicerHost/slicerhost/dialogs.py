"""Blocking dialogs in a test: answered from a list, never shown."""

from __future__ import annotations

import contextlib
import sys

from .strict import HostError

#: Tests append answers here, in the order in which the dialogs will open. An answer is what the call returns
#: (`qt.QMessageBox.Yes`, a path ...), or a function that is given the dialog (or the arguments of a static call) and
#: returns it.
modal_answers: list = []

_CLASSES = ("QDialog", "QMessageBox", "QMenu", "QFileDialog", "QInputDialog", "QColorDialog", "QDrag")
_STATIC = (
    "question", "information", "warning", "critical", "getOpenFileName", "getOpenFileNames", "getExistingDirectory",
    "getSaveFileName", "getText", "getItem", "getInt", "getDouble", "getMultiLineText", "getColor",
)  # fmt: skip


class ModalCalled(HostError):
    """A blocking dialog was opened with nobody to answer it."""


@contextlib.contextmanager
def dialogs_shown():
    """Inside, Slicer is not in testing mode: `slicer.util`'s message boxes ask `modal_answers`, none is skipped."""
    app = sys.modules["slicer"].app
    before, app._testing = app._testing, False
    try:
        yield modal_answers
    finally:
        app._testing = before


def _take(what: str, *given):
    if not modal_answers:
        raise ModalCalled(f"{what} would block: append an answer to slicerhost.modal_answers")
    answer = modal_answers.pop(0)
    return answer(*given) if callable(answer) else answer


def _describe(dialog) -> str:
    text = dialog.property("text") or dialog.property("windowTitle") if hasattr(dialog, "property") else ""
    return f"{type(dialog).__name__}.exec_ {text or ''!r}"


def _exec(self, *_arguments):
    chosen = _take(_describe(self), self)
    if hasattr(chosen, "trigger"):  # of a menu
        chosen.trigger()
    return chosen


def guard(qt) -> None:
    """Replace what would open a modal loop in the classes of `qt`."""
    for name in _CLASSES:
        cls = getattr(qt, name)
        cls.exec_ = cls.exec = _exec
        for static in _STATIC:
            if static in cls.__dict__:
                setattr(cls, static, staticmethod(_static(f"{name}.{static}")))


def _static(what: str):
    def ask(*arguments, **_options):
        return _take(f"{what}{tuple(a for a in arguments if isinstance(a, str))}", *arguments)

    return ask
