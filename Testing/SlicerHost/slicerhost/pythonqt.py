"""`qt`: PySide6 behaving as PythonQt does inside Slicer.

Reproduced:
  * Qt properties are attributes: `button.enabled = False`, `label.text`; `label.text()` is a TypeError;
  * setX() and isX() stay callable beside the property;
  * `object.connect("clicked(bool)", f)`, `object.disconnect(...)`, `object.clicked.connect(f)`;
  * `object.name` is objectName; `className()`, `delete()`; enum values on instances (`process.Running`);
  * one flat namespace of QtCore, QtGui and QtWidgets;
  * a new attribute on an object of a plain Qt class is refused, on a Python subclass it is not.
Importing this file patches PySide6 in place and registers `qt`; stand-ins are made after that.

Stricter on purpose: a signal that does not exist raises HostError (PythonQt prints to stderr and returns False).
"""

from __future__ import annotations

import enum
import sys
import types

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs
from .strict import HostError

QObject = QtCore.QObject
#: PySide's names that PythonQt does not have; custom signals even crash it.
_PYSIDE_ONLY = ("Signal", "Slot", "Property", "ClassInfo", "QEnum", "QFlag", "SIGNAL", "SLOT")
_raw_connect, _raw_disconnect = QObject.connect, QObject.disconnect
_patched: set[type] = set()
_declared: dict[tuple[type, str], str] = {}


def _install():
    """Patch PySide6 and make the module `qt`."""
    qt = types.ModuleType("qt", __doc__)
    for module in (QtCore, QtGui, QtWidgets):
        vars(qt).update({name: getattr(module, name) for name in dir(module) if not name.startswith("_")})
    classes = {cls for cls in vars(qt).values() if isinstance(cls, type) and issubclass(cls, QObject)}
    derived_first = sorted(classes, key=lambda cls: len(cls.__mro__), reverse=True)
    for cls in derived_first:  # so that getters that are looked up are still methods
        patch_class(cls)
    for cls in derived_first:
        _hook_attributes(cls)
    QObject.className = lambda self: self.metaObject().className()
    QObject.name = property(lambda self: self.property("objectName"), lambda self, value: self.setObjectName(value))
    QObject.delete = QObject.deleteLater
    dialogs.guard(qt)
    for name in _PYSIDE_ONLY:
        vars(qt).pop(name, None)
    qt.__getattr__ = _missing
    sys.modules["qt"] = qt
    return qt


def _missing(name: str):
    raise HostError(f"qt.{name} is not in this host (PySide6 {QtCore.__version__})")


# ---- properties
def patch_class(cls) -> None:
    """Turn the Qt properties that cls itself declares into Python properties."""
    if cls in _patched or "staticMetaObject" not in cls.__dict__:
        return
    _patched.add(cls)
    meta = cls.staticMetaObject
    for place in range(meta.propertyOffset(), meta.propertyCount()):
        declared = meta.property(place)
        name = declared.name()
        if isinstance(cls.__dict__.get(name), property) or (cls.__name__, name) == ("QTimer", "singleShot"):
            continue  # PythonQt, too, keeps QTimer.singleShot the static function
        capital = name[0].upper() + name[1:]
        get = _getter(name, _method(cls, name) or _method(cls, "is" + capital))
        put = _method(cls, "set" + capital)
        writable = put is not None or declared.isWritable()
        setattr(cls, name, property(get, _setter(name, put, declared.typeName() == "bool") if writable else None))


def _lookup(cls, name: str):
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def has_property(cls, name: str) -> bool:
    """Whether a class has this Qt property."""
    return isinstance(_lookup(cls, name), (property, QtCore.Property))


def _method(cls, name: str):
    found = _lookup(cls, name)
    return found if callable(found) and not isinstance(found, (property, type)) else None


def _getter(name: str, method):
    def get(self):
        if method is not None:
            try:
                return method(self)
            except TypeError:  # a method of the same name that needs arguments
                pass
        return self.property(name)

    return get


def _setter(name: str, method, is_bool: bool):
    def put(self, value):
        value = bool(value) if is_bool else value  # PythonQt takes any object's truth value
        if method is not None:
            method(self, value)
        elif not self.setProperty(name, value):
            raise ValueError(f"property {name} of {self.metaObject().className()} does not accept {value!r}")

    return put


# ---- signals
def declare_signal(cls, signature: str, python_name: str) -> None:
    """A C++ signature such as currentNodeChanged(vtkMRMLNode*) that a stand-in serves with a Python signal."""
    _declared[(cls, signature.replace(" ", ""))] = python_name


def _declared_signal(sender, signature: str):
    signature = signature.replace(" ", "")
    names = (_declared.get((cls, signature)) for cls in type(sender).__mro__)
    name = next((name for name in names if name), None)
    return getattr(sender, name) if name else None


def _normalized(sender, signature: str) -> str:
    signature = bytes(QtCore.QMetaObject.normalizedSignature(signature.lstrip("2"))).decode()
    if sender.metaObject().indexOfSignal(signature) < 0:
        raise HostError(f"signal '{signature}' does not exist on {sender.metaObject().className()}")
    return QtCore.SIGNAL(signature)


def _receiver(receiver, slot):
    target = receiver if slot is None else getattr(receiver, slot.split("(")[0].lstrip("12"))
    if not callable(target):
        raise HostError(f"connect: not callable: {target!r}")
    return target


def _connect(self, signal, receiver, slot=None, *_):
    if isinstance(signal, QObject):  # as the static C++ call: connect(sender, signal, receiver)
        return _connect(signal, receiver, slot)
    target, declared = _receiver(receiver, slot), _declared_signal(self, signal)
    if declared is not None:
        declared.connect(target)
        return True
    return bool(_raw_connect(self, _normalized(self, signal), target))


def _disconnect(self, signal, receiver, slot=None, *_):
    target, declared = _receiver(receiver, slot), _declared_signal(self, signal)
    if declared is not None:
        declared.disconnect(target)
        return True
    return bool(_raw_disconnect(self, _normalized(self, signal), target))


# ---- attributes
def _hook_attributes(cls) -> None:
    """PySide finds connect and disconnect before any class attribute: so attribute access itself is hooked."""
    plain_get = cls.__getattribute__

    def get(self, name):
        if name == "connect":
            return types.MethodType(_connect, self)
        if name == "disconnect":
            return types.MethodType(_disconnect, self)
        try:
            return plain_get(self, name)
        except AttributeError:
            value = getattr(type(self), name, None)
            if isinstance(value, enum.Enum):
                return value
            raise

    cls.__getattribute__, cls.__setattr__ = get, _set_attribute


def _set_attribute(self, name: str, value) -> None:
    cls = type(self)
    found = _lookup(cls, name)
    if isinstance(found, QtCore.Property):  # of a stand-in; PySide handles these in C, not as descriptors
        if not self.setProperty(name, list(value) if isinstance(value, tuple) else value):
            raise ValueError(f"property {name} of {cls.__name__} does not accept {value!r}")
    elif found is not None and hasattr(type(found), "__set__"):
        type(found).__set__(found, self, value)
    elif _is_plain(cls, name, value):
        raise HostError(f"{cls.__name__} has no settable property '{name}' (AttributeError under PythonQt, too)")
    else:
        self.__dict__[name] = value


def _is_plain(cls, name: str, value) -> bool:
    """Whether this sets a new attribute on a class that is Qt's own; PySide itself caches bound signals that way."""
    own = cls.__module__.startswith("PySide6") and not name.startswith("_")
    return own and not isinstance(value, QtCore.SignalInstance)


qt = _install()
