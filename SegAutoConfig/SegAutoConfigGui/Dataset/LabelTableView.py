"""The table of labels as a widget: number, color, name, role, in how many cases it was found."""

from collections.abc import Callable, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Dataset.CaseTableView import LEAST_ROWS, MOST_ROWS
from SegAutoConfigGui.Scene.Labels import AREA, IGNORE, LABEL, OUT, Label, LabelTable
from SegAutoConfigGui.Widgets.TableItems import putItem, selectedRows, selectRows
from SegAutoConfigGui.Widgets.Tables import fitHeight

NUMBER, COLOR, NAME, ROLE, FOUND = range(5)


class LabelTableView:
    """Shows a LabelTable in a QTableWidget; what the user does is reported, and shown when `show` is called again.

    Args:
        table: The QTableWidget.
        onSelected: Called without arguments when other rows are selected.
        onRenamed: Gets a label's name and its new name.
        onRole: Gets a label's name and its role.
        onColor: Gets a label's name and its color (red, green, blue, 0..1).
    """

    def __init__(
        self,
        table: Any,
        *,
        onSelected: Callable[[], None],
        onRenamed: Callable[[str, str], None],
        onRole: Callable[[str, str], None],
        onColor: Callable[[str, tuple[float, float, float]], None],
    ) -> None:
        self.table = table
        self._onSelected = onSelected
        self._onRenamed = onRenamed
        self._onRole = onRole
        self._onColor = onColor
        self.roles = {LABEL: _("Label"), OUT: _("Left out"), IGNORE: _("Ignore"), AREA: _("Annotated area")}
        headers = [_("No."), "", _("Name"), _("Role"), _("Cases")]
        table.columnCount = len(headers)
        table.setHorizontalHeaderLabels(headers)
        header = table.horizontalHeader()
        header.setMinimumSectionSize(24)
        for column in (NUMBER, ROLE, FOUND):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(COLOR, qt.QHeaderView.Fixed)
        table.setColumnWidth(COLOR, 34)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        table.horizontalHeaderItem(NUMBER).setToolTip(
            _("Number in the dataset's label maps; regions have none, since every overlap gets a number of its own")
        )
        table.horizontalHeaderItem(FOUND).setToolTip(_("In how many of the cases it was found"))
        table.connect("itemChanged(QTableWidgetItem*)", self._changed)
        table.connect("itemSelectionChanged()", onSelected)

    def show(self, labelTable: LabelTable, found: Mapping[str, int], cases: int) -> None:
        """Fill the table; the selection stays.

        Args:
            labelTable: The labels.
            found: In how many cases each was found.
            cases: Their number.
        """
        selected = set(self.selected())
        blocked = self.table.blockSignals(True)
        self.table.rowCount = len(labelTable.labels)
        for row, label in enumerate(labelTable.labels):
            value = labelTable.numberInFiles(label)
            count = _("{found} of {cases}").format(found=found.get(label.name, 0), cases=cases)
            putItem(self.table, row, NUMBER, str(value or "—"))
            putItem(self.table, row, NAME, label.name, _toolTip(label), not label.fixed).setData(
                qt.Qt.UserRole, label.name
            )
            putItem(self.table, row, FOUND, count)
            putItem(self.table, row, COLOR, "")
            putItem(self.table, row, ROLE, "")
            self._setColor(row, label)
            self._setRole(row, label)
        self._select(selected)
        fitHeight(self.table, MOST_ROWS, LEAST_ROWS)
        self.table.blockSignals(blocked)

    def selected(self) -> list[str]:
        """The names of the selected rows, from top to bottom."""
        return [self._name(row) for row in selectedRows(self.table)]

    def select(self, names: set[str]) -> None:
        """Select rows by the names of their labels."""
        blocked = self.table.blockSignals(True)
        self._select(names)
        self.table.blockSignals(blocked)
        self._onSelected()

    def _select(self, names: set[str]) -> None:
        selectRows(self.table, NAME, lambda row: self._name(row) in names)

    def _name(self, row: int) -> str:
        return self.table.item(row, NAME).data(qt.Qt.UserRole)

    def _setColor(self, row: int, label: Label) -> None:
        button = self.table.cellWidget(row, COLOR)
        if button is None:
            button = ctk.ctkColorPickerButton()
            button.displayColorName = False
            button.toolTip = _("Color of the label")
            self.table.setCellWidget(row, COLOR, button)
            button.connect("colorChanged(QColor)", lambda color: self._colored(button))
        blocked = button.blockSignals(True)
        button.color = qt.QColor.fromRgbF(*label.color)
        button.accessibleName = _("Color of {label}").format(label=label.name)
        button.blockSignals(blocked)

    def _setRole(self, row: int, label: Label) -> None:
        box = self.table.cellWidget(row, ROLE)
        if box is None:
            box = qt.QComboBox()
            box.frame = False
            box.addItems(list(self.roles.values()))
            box.focusPolicy = qt.Qt.StrongFocus
            self.table.setCellWidget(row, ROLE, box)
            box.connect("activated(int)", lambda index: self._roleChosen(box, index))
        box.currentIndex = list(self.roles).index(label.role)
        box.enabled = not label.fixed
        box.toolTip = _("The dataset has this label already") if label.fixed else _roleToolTip()
        box.accessibleName = _("Role of {label}").format(label=label.name)

    def _nameBeside(self, widget: Any, column: int) -> str:
        rows = range(self.table.rowCount)
        row = next(row for row in rows if self.table.cellWidget(row, column) is widget)
        return self._name(row)

    def _colored(self, button: Any) -> None:
        color = button.color
        self._onColor(self._nameBeside(button, COLOR), (color.redF(), color.greenF(), color.blueF()))

    def _roleChosen(self, box: Any, index: int) -> None:
        self._onRole(self._nameBeside(box, ROLE), list(self.roles)[index])

    def _changed(self, item: Any) -> None:
        if item.column() == NAME:
            self._onRenamed(item.data(qt.Qt.UserRole), item.text())


def _toolTip(label: Label) -> str:
    lines = [_("Segments: {names}").format(names=", ".join(label.sources))] if label.sources else []
    lines.append(
        _("A label of the dataset; it stays as it is") if label.fixed else _("Double-click to change the name")
    )
    return "\n".join(lines)


def _roleToolTip() -> str:
    return _(
        "Label: a structure to be learned.\nLeft out: becomes background.\nIgnore: these voxels are not used in "
        "training.\nAnnotated area: all voxels outside of it are not used in training."
    )
