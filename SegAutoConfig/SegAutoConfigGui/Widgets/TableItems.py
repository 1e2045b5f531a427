"""What the tables of cases and of labels have in common."""

from collections.abc import Callable
from typing import Any

import qt


def putItem(table: Any, row: int, column: int, text: str, toolTip: str = "", editable: bool = False) -> Any:
    """Set a cell, which is made where there is none; returns its item."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(toolTip)
    flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
    item.setFlags(flags | qt.Qt.ItemIsEditable if editable else flags)
    return item


def selectedRows(table: Any) -> list[int]:
    """The numbers of the selected rows, from top to bottom."""
    return sorted(index.row() for index in table.selectionModel().selectedRows())


def selectRows(table: Any, column: int, isWanted: Callable[[int], bool]) -> None:
    """Select rows and bring the last one into view; the cell in ``column`` becomes the current one."""
    model, flags = table.selectionModel(), qt.QItemSelectionModel
    table.clearSelection()
    for row in filter(isWanted, range(table.rowCount)):
        index = table.model().index(row, column)
        model.setCurrentIndex(index, flags.NoUpdate)
        model.select(index, flags.Select | flags.Rows)
        table.scrollTo(index)
