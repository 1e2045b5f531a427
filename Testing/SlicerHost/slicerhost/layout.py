"""`slicer.app.layoutManager()`: the views of the current layout in the main window.

The layouts themselves (which views, how arranged) come from Slicer's own vtkMRMLLayoutLogic; slice, 3D and plot views
are drawn, layouts with other views raise HostError.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import vtk
from PySide6 import QtGui, QtWidgets

from .strict import HostError, Strict
from .views import SliceView, ThreeDView
from .widgets.plot import Controller, qMRMLPlotWidget

_KINDS = {"vtkMRMLSliceNode": "slice", "vtkMRMLViewNode": "threeD", "vtkMRMLPlotViewNode": "plot"}
_BAR = 18  # pixels


class _Picture(QtWidgets.QWidget):
    """A colored bar with the view's name, below it the view's latest picture."""

    def __init__(self, name: str, color: str, view):
        super().__init__()
        self._view, self._image = view, None
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        bar, self._label = QtWidgets.QLabel(name), QtWidgets.QLabel()
        bar.setStyleSheet(f"background:{color};padding-left:4px")
        bar.setFixedHeight(_BAR)
        self._label.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Ignored)
        layout.addWidget(bar)
        layout.addWidget(self._label)

    def refresh(self) -> None:
        self._view.resize(max(self._label.width, 20), max(self._label.height, 20))
        pixels = self._view.array()
        height, width, _ = pixels.shape
        image = QtGui.QImage(pixels.tobytes(), width, height, width * 3, QtGui.QImage.Format_RGB888)
        self._label.setPixmap(QtGui.QPixmap.fromImage(image))


class _ViewObject(Strict):
    """sliceView() or threeDView() of a view's widget."""

    _what = "view"

    def __init__(self, view):
        self._view = view

    def forceRender(self):
        self._view.render()

    scheduleRender = forceRender

    def resetCamera(self, *_):
        self._view.reset_camera()

    resetFocalPoint = resetCamera

    def mrmlViewNode(self):
        return self._view.node


class _SliceWidget(Strict):
    _what = "sliceWidget()"

    def __init__(self, view):
        self._view = view

    def sliceLogic(self):
        return self._view.logic

    def mrmlSliceNode(self):
        return self._view.node

    def fitSliceToBackground(self):
        self._view.fit()

    def sliceController(self):
        return Controller()

    def sliceView(self):
        return _ViewObject(self._view)


class _ThreeDWidget(Strict):
    _what = "threeDWidget()"

    def __init__(self, view):
        self._view = view

    def mrmlViewNode(self):
        return self._view.node

    def threeDView(self):
        return _ViewObject(self._view)

    def threeDController(self):
        return Controller()


class LayoutManager(Strict):
    """Follows the layout node, which `setLayout`, logics and scenes change."""

    _what = "layoutManager()"

    def __init__(self, area: QtWidgets.QWidget, first_layout: int):
        slicer = sys.modules["slicer"]
        self._views = {"slice": {}, "threeD": {}, "plot": {}}
        self._area, self._content, self._shown, self._pictures = area, None, None, []
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._node = self._logic.GetLayoutNode()
        tag = self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._arrange())
        slicer.app._at_stop.append(lambda: self._node.RemoveObserver(tag))
        self.setLayout(first_layout)

    # ---- layout
    def setLayout(self, number):
        self._node.SetViewArrangement(int(number))

    @property
    def layout(self):
        return self._node.GetViewArrangement()

    @layout.setter
    def layout(self, number):
        self.setLayout(number)

    def layoutLogic(self):
        return self._logic

    def _arrange(self) -> None:
        description = self._node.GetCurrentLayoutDescription()
        if not description or description == self._shown:
            return
        root = ET.fromstring(description)
        unknown = {view.get("class") for view in root.iter("view")} - set(_KINDS)
        if unknown:
            raise HostError(f"layout {self.layout} has views that the host does not emulate: {sorted(unknown)}")
        self._shown, self._pictures = description, []
        content = QtWidgets.QWidget()
        content.setLayout(self._build(root))
        for plot in self._views["plot"].values():  # they outlive the layout that they are in
            if not content.isAncestorOf(plot):
                plot.setParent(None)
        if self._content is not None:
            self._content.setParent(None)
            self._content.deleteLater()
        self._area.layout().addWidget(content)
        content.show()
        self._content = content

    def _build(self, element) -> QtWidgets.QBoxLayout:
        vertical = element.get("type") == "vertical"
        layout = QtWidgets.QVBoxLayout() if vertical else QtWidgets.QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for item in element.findall("item"):
            inner, view = item.find("layout"), item.find("view")
            if inner is not None:
                layout.addLayout(self._build(inner), 1)
            else:
                layout.addWidget(self._view_widget(view), 1)
        return layout

    def _view_widget(self, element) -> QtWidgets.QWidget:
        name, kind = element.get("singletontag"), _KINDS[element.get("class")]
        if name not in self._views[kind]:
            self._views[kind][name] = self._make(kind, name)
        view = self._views[kind][name]
        if kind == "plot":
            return view
        color = next((entry.text for entry in element.iter("property") if entry.get("name") == "viewcolor"), "#8991c8")
        picture = _Picture(name, color, view)
        self._pictures.append(picture)
        return picture

    def _make(self, kind, name):
        if kind != "plot":
            return {"slice": SliceView, "threeD": ThreeDView}[kind](name)
        widget = qMRMLPlotWidget()
        scene = sys.modules["slicer"].mrmlScene
        widget.setMRMLPlotViewNode(scene.GetSingletonNode(name, "vtkMRMLPlotViewNode"))
        return widget

    # ---- views
    def sliceViewNames(self):
        return list(self._views["slice"])

    def sliceWidget(self, name):
        return _SliceWidget(self._views["slice"][name])

    def mrmlSliceLogics(self):
        return sys.modules["slicer"].app.applicationLogic().GetSliceLogics()

    threeDViewCount = property(lambda self: len(self._views["threeD"]))
    plotViewCount = property(lambda self: len(self._views["plot"]))
    tableViewCount = property(lambda self: 0)

    def threeDWidget(self, place):
        return _ThreeDWidget(list(self._views["threeD"].values())[place])

    def plotWidget(self, place):
        """The place-th plot view; None where no layout with a plot was shown yet."""
        plots = list(self._views["plot"].values())
        return plots[place] if place < len(plots) else None

    def resetSliceViews(self):
        for view in self._views["slice"].values():
            view.fit()

    def resetThreeDViews(self):
        for view in self._views["threeD"].values():
            view.reset_camera()

    def refresh(self) -> None:
        """Render the visible views into the main window (Slicer does it by itself, the host only for pictures)."""
        for picture in self._pictures:
            picture.refresh()
