"""Stand-in for slicer.parameterNodeWrapper: binding parameters to widgets.

As Slicer's connectors, these match the exact widget class and overwrite ranges, entries and node types of the .ui file.
"""

from __future__ import annotations

import enum
import pathlib
import sys

import vtk

from .parameterchecks import Choice, Decimals, SingleStep

PROPERTY = "SlicerParameterName"
_WHOLE = ("QSpinBox", "QSlider")
_SLIDERS = ("QSlider", "ctkSliderWidget")
_FRACTIONS = ("QDoubleSpinBox", "ctkSliderWidget", "ctkDoubleSpinBox")
_CHECKS = ("QCheckBox", "QPushButton")


class Connections:
    """The widgets that one wrapper is connected to."""

    def __init__(self, wrapper, members):
        self._wrapper, self._members, self._groups, self._busy, self._next = wrapper, members, {}, False, 0

    def connect_gui(self, gui) -> int:
        """All widgets of a panel (or of childWidgetVariables) that name a parameter."""
        if hasattr(gui, "findChildren"):
            widgets = gui.findChildren(sys.modules["qt"].QWidget)
        else:
            widgets = [widget for widget in vars(gui).values() if hasattr(widget, "property")]
        named = {widget.property(PROPERTY): widget for widget in widgets}
        return self.connect({name: widget for name, widget in named.items() if name})

    def connect(self, mapping) -> int:
        rows = [self._connect_one(name, widget) for name, widget in mapping.items()]

        def modified(_caller, _event):
            if self._busy:
                return
            self._busy = True
            try:
                for name, write, _, _ in rows:
                    write(getattr(self._wrapper, name))
            finally:
                self._busy = False

        tag, self._next = self._next, self._next + 1
        self._groups[tag] = rows, self._wrapper.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, modified)
        return tag

    def _connect_one(self, name, widget):
        if name not in self._members:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        read, write, signal = connector(widget, self._members[name])
        write(getattr(self._wrapper, name))

        def changed(*_):
            if not self._busy:
                setattr(self._wrapper, name, read())

        signal.connect(changed)
        return name, write, signal, changed

    def disconnect(self, tag) -> None:
        rows, observer = self._groups.pop(tag, ((), None))
        for _, _, signal, changed in rows:
            signal.disconnect(changed)
        if observer is not None:
            self._wrapper.parameterNode.RemoveObserver(observer)


def connector(widget, member):
    """(read, write, signal of a change) for this widget and this parameter."""
    kind = widget.className()
    for fits, make in (
        (_fits_node, _node), (_fits_path, _path), (_fits_check, _check), (_fits_number, _number),
        (_fits_choice, _choice), (_fits_text, _text),
    ):  # fmt: skip
        if not member.is_list and fits(kind, member.type):
            return make(widget, member)
    raise RuntimeError(f"Unable to create GUI connector from {member.type} to {kind}")


def _fits_node(kind, type_):
    return kind == "qMRMLNodeComboBox" and issubclass(type_, sys.modules["slicer"].vtkMRMLNode)


def _node(widget, member):
    widget.nodeTypes = [member.type.__name__]
    return widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged


def _fits_path(kind, type_):
    return kind in ("ctkPathLineEdit", "ctkDirectoryButton") and issubclass(type_, pathlib.PurePath)


def _path(widget, member):
    name = "currentPath" if widget.className() == "ctkPathLineEdit" else "directory"
    signal = getattr(widget, name + "Changed")
    return lambda: member.type(getattr(widget, name)), lambda value: setattr(widget, name, str(value)), signal


def _fits_check(kind, type_):
    return kind in _CHECKS and type_ is bool


def _check(widget, member):
    if widget.className() == "QPushButton":
        widget.checkable = True
    return lambda: widget.checked, lambda value: setattr(widget, "checked", bool(value)), widget.toggled


def _fits_number(kind, type_):
    return (type_ is int and kind in _WHOLE) or (type_ in (int, float) and kind in _FRACTIONS)


def _number(widget, member):
    _set_range(widget, member)
    return lambda: member.type(widget.value), lambda value: setattr(widget, "value", value), widget.valueChanged


def _set_range(widget, member):
    """From the annotations, else as wide as can be; a slider needs annotations."""
    low = high = None
    for annotation in member.annotations:
        low, high = getattr(annotation, "minimum", low), getattr(annotation, "maximum", high)
    if widget.className() in _SLIDERS and (low is None or high is None):
        raise RuntimeError(f"{member.name}: a slider needs WithinRange, or Minimum and Maximum")
    whole = widget.className() in _WHOLE
    widget.minimum = low if low is not None else -(2**31) if whole else float("-inf")
    widget.maximum = high if high is not None else 2**31 - 1 if whole else float("inf")
    for annotation in member.annotations:
        if isinstance(annotation, SingleStep):
            widget.singleStep = annotation.value
        if isinstance(annotation, Decimals) and not whole:
            widget.decimals = annotation.value
    if member.type is int and not whole:
        widget.decimals = 0


def _fits_choice(kind, type_):
    return kind in ("QComboBox", "ctkComboBox") and (issubclass(type_, enum.Enum) or type_ in (int, float, str, bool))


def _choice(widget, member):
    if issubclass(member.type, enum.Enum):
        values = list(member.type)
        labels = [value.label() if hasattr(value, "label") else value.name for value in values]
    else:
        values = next((list(entry.choices) for entry in member.annotations if isinstance(entry, Choice)), None)
        if values is None:
            raise RuntimeError(f"{member.name}: a combo box needs the Choice annotation")
        labels = [str(value) for value in values]
    widget.clear()
    widget.addItems(labels)
    return (
        lambda: values[widget.currentIndex],
        lambda value: setattr(widget, "currentIndex", values.index(value)),
        widget.currentIndexChanged,
    )


def _fits_text(kind, type_):
    return kind in ("QLineEdit", "QTextEdit", "QPlainTextEdit") and type_ is str


def _text(widget, member):
    if widget.className() == "QLineEdit":
        read, put = (lambda: widget.text), widget.setText
    else:
        read, put = widget.toPlainText, widget.setPlainText
    return read, lambda value: put(value) if read() != value else None, widget.textChanged
