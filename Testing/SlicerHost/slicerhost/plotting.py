"""Draws a vtkMRMLPlotChartNode with QPainter: lines, points, axes, titles, legend; no bars, no logarithmic axes."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from PySide6 import QtCore, QtGui
from PySide6.QtCore import Qt

from .strict import HostError

GRID, TEXT = QtGui.QColor(215, 215, 215), QtGui.QColor(40, 40, 40)
_PENS = (Qt.NoPen, Qt.SolidLine, Qt.DashLine, Qt.DotLine, Qt.DashDotLine, Qt.DashDotDotLine)  # by LineStyle...


@dataclasses.dataclass
class Series:
    """One curve, as its node and its table say."""

    name: str
    x: np.ndarray
    y: np.ndarray
    color: QtGui.QColor
    pen: Qt.PenStyle
    width: float
    marker: float  # diameter; 0: none


def read_series(chart) -> list[Series]:
    """The chart's series that have a table with the columns they name."""
    nodes = [chart.GetNthPlotSeriesNode(place) for place in range(chart.GetNumberOfPlotSeriesNodes())]
    return [series for series in map(_series, filter(None, nodes)) if series is not None]


def _series(node) -> Series | None:
    if node.GetPlotType() not in (node.PlotTypeLine, node.PlotTypeScatter):
        raise HostError(f"plots of type {node.GetPlotTypeAsString(node.GetPlotType())} are not emulated")
    y = _column(node.GetTableNode(), node.GetYColumnName())
    x = _column(node.GetTableNode(), node.GetXColumnName()) if node.IsXColumnRequired() else None
    if y is None or (x is None and node.IsXColumnRequired()):
        return None
    return Series(
        name=node.GetName() or "",
        x=np.arange(len(y), dtype=float) if x is None else x,
        y=y,
        color=QtGui.QColor.fromRgbF(*node.GetColor()),
        pen=_PENS[node.GetLineStyle()],
        width=node.GetLineWidth(),
        marker=0.0 if node.GetMarkerStyle() == node.MarkerStyleNone else node.GetMarkerSize(),
    )


def _column(table_node, name) -> np.ndarray | None:
    column = table_node.GetTable().GetColumnByName(name) if table_node is not None and name else None
    if column is None:
        return None
    return np.array([column.GetVariantValue(row).ToDouble() for row in range(column.GetNumberOfTuples())])


def axis_range(values: list[np.ndarray], automatic: bool, fixed) -> tuple[float, float]:
    """Smallest and largest finite value, or the range that the chart fixes."""
    if not automatic:
        return float(fixed[0]), float(fixed[1])
    every = np.concatenate([*values, np.empty(0)])
    every = every[np.isfinite(every)]
    low, high = (every.min(), every.max()) if every.size else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between low and high."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


class ChartPainter:
    """Paints one chart into a rectangle."""

    def __init__(self, painter: QtGui.QPainter, rect: QtCore.QRect, chart):
        if chart.GetXAxisLogScale() or chart.GetYAxisLogScale():
            raise HostError("logarithmic plot axes are not emulated")
        self._painter, self._chart, self._series = painter, chart, read_series(chart)
        x_fixed, y_fixed = chart.GetXAxisRange(), chart.GetYAxisRange()
        self._x = axis_range([series.x for series in self._series], chart.GetXAxisRangeAuto(), x_fixed)
        self._y = axis_range([series.y for series in self._series], chart.GetYAxisRangeAuto(), y_fixed)
        self._outer, self._inner = rect, rect.adjusted(64, 30, -14, -44)

    def paint(self) -> None:
        painter = self._painter
        painter.fillRect(self._outer, Qt.white)
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        self._axes()
        painter.save()
        painter.setClipRect(self._inner)
        for series in self._series:
            self._curve(series)
        painter.restore()
        self._titles()
        if self._chart.GetLegendVisibility():
            self._legend()

    def _point(self, x: float, y: float) -> QtCore.QPointF:
        inner = self._inner
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return QtCore.QPointF(inner.left() + across * inner.width(), inner.bottom() - up * inner.height())

    def _axes(self) -> None:
        painter, inner = self._painter, self._inner
        for value in ticks(*self._x):
            at = self._point(value, self._y[0]).x()
            self._line(at, inner.top(), at, inner.bottom())
            painter.drawText(QtCore.QRectF(at - 40, inner.bottom() + 3, 80, 16), Qt.AlignHCenter, f"{value:g}")
        for value in ticks(*self._y):
            at = self._point(self._x[0], value).y()
            self._line(inner.left(), at, inner.right(), at)
            box = QtCore.QRectF(inner.left() - 50, at - 9, 46, 18)
            painter.drawText(box, Qt.AlignRight | Qt.AlignVCenter, f"{value:g}")
        painter.setPen(TEXT)
        painter.drawRect(inner)

    def _line(self, x1, y1, x2, y2) -> None:
        if self._chart.GetGridVisibility():
            self._painter.setPen(GRID)
            self._painter.drawLine(QtCore.QPointF(x1, y1), QtCore.QPointF(x2, y2))
        self._painter.setPen(TEXT)

    def _curve(self, series: Series) -> None:
        painter = self._painter
        points = [self._point(x, y) if np.isfinite(x + y) else None for x, y in zip(series.x, series.y, strict=True)]
        painter.setPen(QtGui.QPen(series.color, series.width, series.pen))
        for first, second in itertools.pairwise(points):
            if first is not None and second is not None:  # NaN: a gap
                painter.drawLine(first, second)
        painter.setPen(series.color)
        painter.setBrush(series.color)
        for point in filter(None, points if series.marker else ()):
            painter.drawEllipse(point, series.marker / 2, series.marker / 2)
        painter.setBrush(Qt.NoBrush)

    def _titles(self) -> None:
        painter, outer, chart = self._painter, self._outer, self._chart
        painter.setPen(TEXT)
        if chart.GetTitleVisibility() and chart.GetTitle():
            box = QtCore.QRect(outer.left(), outer.top() + 6, outer.width(), 20)
            painter.drawText(box, Qt.AlignCenter, chart.GetTitle())
        if chart.GetXAxisTitleVisibility() and chart.GetXAxisTitle():
            box = QtCore.QRect(self._inner.left(), outer.bottom() - 22, self._inner.width(), 18)
            painter.drawText(box, Qt.AlignCenter, chart.GetXAxisTitle())
        if chart.GetYAxisTitleVisibility() and chart.GetYAxisTitle():
            painter.save()
            painter.translate(outer.left() + 4, self._inner.bottom())
            painter.rotate(-90)
            painter.drawText(QtCore.QRect(0, 0, self._inner.height(), 18), Qt.AlignCenter, chart.GetYAxisTitle())
            painter.restore()

    def _legend(self) -> None:
        painter, row = self._painter, 16
        width = max((painter.fontMetrics().horizontalAdvance(series.name) for series in self._series), default=0) + 40
        box = QtCore.QRect(self._inner.right() - width - 6, self._inner.top() + 6, width, row * len(self._series) + 6)
        painter.fillRect(box, QtGui.QColor(255, 255, 255, 220))
        for place, series in enumerate(self._series):
            middle = box.top() + 3 + row * place + row // 2
            painter.setPen(QtGui.QPen(series.color, max(series.width, 2.0), series.pen))
            painter.drawLine(box.left() + 4, middle, box.left() + 26, middle)
            painter.setPen(TEXT)
            painter.drawText(QtCore.QRect(box.left() + 32, middle - row // 2, width, row), Qt.AlignVCenter, series.name)
