"""Small things that several panels do with tables and buttons."""

from collections.abc import Sequence
from typing import Any

import qt

#: A header is taken to be no higher than this (pixels): before a table's first layout its header tells a wrong height.
HEADER_HEIGHT = 40


def prepareTable(table: Any, stretched: int = 0) -> None:
    """Columns as wide as their texts, one takes the rest, so that no table is wider than the panel.

    Args:
        table: A QTableWidget.
        stretched: Number of the column that takes the rest; its texts are elided.
    """
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)


def fillTable(table: Any, rows: Sequence[Sequence[str]], tooltips: Sequence[str] = ()) -> None:
    """Put texts into a table.

    Args:
        table: A QTableWidget with as many columns as the rows have.
        rows: The texts.
        tooltips: One for each row.
    """
    table.setRowCount(len(rows))
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            item = qt.QTableWidgetItem(value)
            if tooltips:
                item.setToolTip(tooltips[row])
            table.setItem(row, column, item)
    table.resizeRowsToContents()


def fitHeight(table: Any, most: int = 6, least: int = 0) -> None:
    """Make a table as high as its rows, within limits; further rows are scrolled to.

    Args:
        table: A QTableWidget.
        most: Rows that it shows at most.
        least: Rows that it has room for at least.
    """
    rows = min(most, table.rowCount)
    height = sum(table.rowHeight(row) for row in range(rows))
    height += max(0, least - rows) * table.verticalHeader().defaultSectionSize
    table.setFixedHeight(min(HEADER_HEIGHT, table.horizontalHeader().height) + height + 2 * table.frameWidth)


def enable(button: Any, reason: str, text: str) -> None:
    """Enable a button, or say in its tooltip why it is not.

    Args:
        button: Any widget.
        reason: Why it can't be used; empty: it can.
        text: Its tooltip otherwise.
    """
    button.enabled = not reason
    button.toolTip = reason or text
