"""The plot view and its frame in the layout."""

from __future__ import annotations

from PySide6 import QtGui, QtWidgets

from ..plotting import ChartPainter
from ..strict import Strict
from .nodes import qMRMLWidget


class Controller(Strict):
    """The bar above a view: can be hidden, nothing else."""

    _what = "view controller"

    def setVisible(self, visible):
        pass


class qMRMLPlotView(qMRMLWidget):
    """Draws the chart of its plot view node anew whenever it is painted."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None
        self.setMinimumSize(60, 60)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)

    def mrmlPlotViewNode(self):
        return self._node

    def setMRMLPlotViewNode(self, node):
        self._node = node
        self.update()

    def fitToContent(self):
        self.update()

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        chart = self._node.GetPlotChartNode() if self._node is not None else None
        if chart is not None:
            ChartPainter(painter, self.rect, chart).paint()
        else:
            painter.fillRect(self.rect, QtGui.QColor("white"))
        painter.end()


class qMRMLPlotWidget(qMRMLWidget):
    def __init__(self, parent=None):
        super().__init__(parent)
        self._view = qMRMLPlotView()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def plotView(self):
        return self._view

    def plotController(self):
        return Controller()

    def mrmlPlotViewNode(self):
        return self._view.mrmlPlotViewNode()

    def setMRMLPlotViewNode(self, node):
        self._view.setMRMLPlotViewNode(node)


CLASSES = (qMRMLPlotView, qMRMLPlotWidget)
