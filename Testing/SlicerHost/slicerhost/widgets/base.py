"""Qt properties of the stand-ins."""

from __future__ import annotations

from PySide6.QtCore import Property

STRINGS = "QStringList"


def qt_properties(**declared) -> dict:
    """Qt properties kept on the Python side, each with its setName() slot.

    Used in a class body, because PySide reads properties when the class is made: `vars().update(qt_properties(...))`.

    Args:
        declared: name = (type, default) or (type, default, name of the method to call after a change).
    """
    out = {}
    for name, (kind, default, *after) in declared.items():
        get, put = _accessors("_property_" + name, kind, default, after[0] if after else None)
        out[name], out["set" + name[0].upper() + name[1:]] = Property(kind, get, put), put
    return out


def _accessors(key, kind, default, after):
    def get(self):
        value = self.__dict__.get(key, default)
        return tuple(value) if kind == STRINGS else value  # PythonQt turns a QStringList into a tuple

    def put(self, value):
        self.__dict__[key] = value
        if after:
            getattr(self, after)()

    return get, put
