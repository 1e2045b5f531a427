"""The curves of a training in Slicer's plot view: one table, a chart of Dice and a chart of losses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from SegAutoConfigGui.Train.TrainProgress import structures

DICE, LOSS = "dice", "loss"
#: Of the lines, in turn: easy to tell apart, also without red and green (Okabe and Ito).
COLORS = (
    (0.0, 0.45, 0.7),
    (0.84, 0.37, 0.0),
    (0.0, 0.62, 0.45),
    (0.8, 0.47, 0.65),
    (0.9, 0.62, 0.0),
    (0.34, 0.71, 0.91),
)
BLACK = (0.1, 0.1, 0.1)
#: Ends of the axis of few epochs: a chart of one's own range has ticks at whole epochs, a fitted one at 1.2, 1.4 ...
SHORT_AXES = (10, 20)


class Curves:
    """Nodes are made when the curves are shown, and updated in place until the scene loses them.

    Args:
        title: Of the charts: the training.
        names: Of the structures, in the order of the Dice values.
        colors: Of structures, by name, where they are known.
    """

    def __init__(self, title: str, names: Sequence[str], colors: "Mapping[str, Sequence[float]] | None" = None) -> None:
        self.title = title
        self._names = list(names)
        self._colors = dict(colors or {})
        self._rows: list[Mapping[str, Any]] = []
        self._columns: list[str] = []
        self._written: list[Mapping[str, Any]] = []
        self._table = None
        self._series: list[Any] = []
        self._charts: dict[str, Any] = {}
        self._wanted = ""

    @property
    def shown(self) -> str:
        """`DICE` or `LOSS` once a chart was shown, else empty."""
        return self._wanted

    def show(self, quantity: str) -> None:
        """Switch to a layout with a plot view, and show a chart there.

        Args:
            quantity: `DICE` or `LOSS`.
        """
        self._wanted = quantity
        self._refresh()
        slicer.modules.plots.logic().ShowChartInLayout(self._charts[quantity])

    def update(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the rows of all epochs; what is on display follows.

        Args:
            rows: Of the job: epoch, train_loss, val_loss, mean_dice, dice.
        """
        self._rows = list(rows)
        if slicer.mrmlScene.IsClosing():
            return
        if self._wanted and not self._isThere:  # the scene is another one: nothing comes into it unasked
            self.remove()
        if self._wanted:
            self._refresh()

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        for node in [*self._charts.values(), *self._series, self._table]:
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self._table, self._series, self._charts, self._wanted = None, [], {}, ""

    # -- nodes

    @property
    def _isThere(self) -> bool:
        nodes = [self._table, *self._series, *self._charts.values()]
        return len(nodes) > 1 and all(node is not None and slicer.mrmlScene.IsNodePresent(node) for node in nodes)

    def _refresh(self) -> None:
        """Make what is missing and write what is new."""
        columns = self._columnNames()
        if not self._isThere or columns != self._columns:
            wanted = self._wanted
            self.remove()
            self._wanted, self._columns, self._written = wanted, columns, []
            self._makeTable()
            self._makeCharts()
        self._showAxis()
        self._write()

    def _columnNames(self) -> list[str]:
        """Columns behind epoch, losses and mean Dice; a name that occurs there already is told apart."""
        count = max((len(row.get("dice") or []) for row in self._rows), default=len(self._names))
        taken = {*self._fixedColumns()}
        result = []
        for name in structures(self._names, count):
            while name in taken:
                name += "'"
            taken.add(name)
            result.append(name)
        return result

    @staticmethod
    def _fixedColumns() -> list[str]:
        return [_("Epoch"), _("Training"), _("Validation"), _("Mean")]

    def _makeTable(self) -> None:
        self._table = self._added("vtkMRMLTableNode", _("{title} curves").format(title=self.title), hidden=True)
        table = self._table.GetTable()
        for name in [*self._fixedColumns(), *self._columns]:
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            table.AddColumn(column)

    def _makeCharts(self) -> None:
        epoch, training, validation, mean = self._fixedColumns()
        texts = {DICE: _("{title}: Dice"), LOSS: _("{title}: loss")}
        lines = {
            DICE: [(mean, BLACK), *((name, self._color(name, place)) for place, name in enumerate(self._columns))],
            LOSS: [(training, COLORS[0]), (validation, COLORS[1])],
        }
        for quantity, text in texts.items():
            chart = self._added("vtkMRMLPlotChartNode", text.format(title=self.title))
            chart.SetTitle(text.format(title=self.title))
            chart.SetXAxisTitle(epoch)
            chart.SetYAxisTitle(_("Dice") if quantity == DICE else _("Loss"))
            chart.SetTitleFontSize(14)
            if quantity == DICE:
                chart.SetYAxisRangeAuto(False)
                chart.SetYAxisRange(0.0, 1.0)
            for name, color in lines[quantity]:
                chart.AddAndObservePlotSeriesNodeID(self._addSeries(name, color, thick=name == mean).GetID())
            self._charts[quantity] = chart

    def _addSeries(self, name: str, color: Sequence[float], thick: bool):
        series = self._added("vtkMRMLPlotSeriesNode", name, hidden=True, unique=False)
        series.SetAndObserveTableNodeID(self._table.GetID())
        series.SetXColumnName(self._fixedColumns()[0])
        series.SetYColumnName(name)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetMarkerStyle(series.MarkerStyleCircle)
        series.SetMarkerSize(4)
        series.SetLineWidth(3 if thick else 2)
        series.SetColor(*color)
        self._series.append(series)
        return series

    def _color(self, name: str, place: int) -> Sequence[float]:
        return self._colors.get(name) or COLORS[place % len(COLORS)]

    def _added(self, className: str, name: str, hidden: bool = False, unique: bool = True):
        scene = slicer.mrmlScene
        node = scene.CreateNodeByClass(className)
        node.UnRegister(None)
        node.SetName(scene.GenerateUniqueName(name) if unique else name)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(hidden)
        return scene.AddNode(node)

    # -- values

    def _showAxis(self) -> None:
        """All epochs on the axis; a chart has no other say about where its ticks are."""
        last = max((int(row.get("epoch") or 0) + 1 for row in self._rows), default=0)
        end = next((end for end in SHORT_AXES if last <= end), None)
        for chart in self._charts.values():
            chart.SetXAxisRangeAuto(end is None)
            if end is not None:
                chart.SetXAxisRange(0.0, float(end))

    def _write(self) -> None:
        """Write the rows that differ from what the table holds; usually one at the end."""
        same = 0
        for old, new in zip(self._written, self._rows, strict=False):
            if old is not new and old != new:
                break
            same += 1
        if same == len(self._rows) == len(self._written):
            return
        table = self._table.GetTable()
        modified = self._table.StartModify()
        values = [self._values(row) for row in self._rows[same:]]
        for index in range(table.GetNumberOfColumns()):
            column = table.GetColumn(index)
            column.SetNumberOfValues(len(self._rows))
            for offset, row in enumerate(values):
                column.SetValue(same + offset, row[index])
            column.Modified()
        table.Modified()
        self._table.Modified()
        self._table.EndModify(modified)
        self._written = list(self._rows)

    def _values(self, row: Mapping[str, Any]) -> list[float]:
        dice = list(row.get("dice") or [])
        dice += [None] * (len(self._columns) - len(dice))
        fixed = [int(row.get("epoch") or 0) + 1, row.get("train_loss"), row.get("val_loss"), row.get("mean_dice")]
        return [math.nan if value is None else float(value) for value in [*fixed, *dice[: len(self._columns)]]]
