"""The table of cases as a widget: rows, signs, what is edited in place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Widgets.Dropping import DropFilter
from SegAutoConfigGui.Widgets.TableItems import putItem, selectedRows, selectRows
from SegAutoConfigGui.Widgets.Tables import fitHeight

SIGN, NAME, VOLUMES, SEGMENTATION, TEST, REPLACE = range(6)
#: Rows that a table of the panel shows at most, and has room for at least.
MOST_ROWS, LEAST_ROWS = 9, 3
#: Stands where no node is chosen.
NOTHING = "—"


@dataclass(frozen=True)
class RowState:
    """What a row's sign says.

    Attributes:
        icon: "ok", "problem", "warning", "added" (it is in the dataset already) or empty (not known yet).
        text: The tooltip.
        exists: The dataset has a case of this name.
    """

    icon: str
    text: str
    exists: bool = False


class CaseTableView:
    """Shows cases in a QTableWidget; what the user does is reported, and shown when `show` is called again.

    Args:
        table: The QTableWidget.
        onSelected: Called without arguments when other rows are selected.
        onShow: Gets a uid: the row was double-clicked.
        onRenamed: Gets uid and text.
        onChecked: Gets uid, "test" or "replace", and whether it is checked.
        onDelete: Called without arguments: the Delete key.
        onNodes: Gets nodes that were dropped.
        onFiles: Gets paths that were dropped.
    """

    def __init__(
        self,
        table: Any,
        *,
        onSelected: Callable[[], None],
        onShow: Callable[[str], None],
        onRenamed: Callable[[str, str], None],
        onChecked: Callable[[str, str, bool], None],
        onDelete: Callable[[], None],
        onNodes: Callable[[list[Any]], None],
        onFiles: Callable[[list[Any]], None],
    ) -> None:
        self.table = table
        self._onSelected = onSelected
        self._onRenamed = onRenamed
        self._onChecked = onChecked
        self._onShow = onShow
        self._icons = _icons(table)
        headers = ["", _("Case"), _("Volume"), _("Segments"), _("Test"), _("Replace")]
        table.columnCount = len(headers)
        table.setHorizontalHeaderLabels(headers)
        header = table.horizontalHeader()
        for column in (NAME, VOLUMES, SEGMENTATION):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        for column in (SIGN, TEST, REPLACE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setMinimumSectionSize(22)
        table.horizontalHeaderItem(TEST).setToolTip(_("Kept out of training, for a test afterwards"))
        table.horizontalHeaderItem(REPLACE).setToolTip(_("Replaces the case of the same name in the dataset"))
        table.connect("itemChanged(QTableWidgetItem*)", self._changed)
        table.connect("itemSelectionChanged()", onSelected)
        table.connect("itemDoubleClicked(QTableWidgetItem*)", self._doubleClicked)
        self._delete = qt.QShortcut(qt.QKeySequence("Del"), table)
        self._delete.setContext(qt.Qt.WidgetShortcut)
        self._delete.connect("activated()", onDelete)
        self._drops = DropFilter(table.viewport(), onNodes, onFiles)

    def show(self, cases: Sequence[Case], states: Mapping[str, RowState]) -> None:
        """Fill the table; the selection stays.

        Args:
            cases: The rows.
            states: By uid.
        """
        selected = set(self.selected())
        blocked = self.table.blockSignals(True)
        self.table.rowCount = len(cases)
        for row, case in enumerate(cases):
            self._fill(row, case, states[case.uid])
        self.table.setColumnHidden(REPLACE, not any(state.exists for state in states.values()))
        self._select(selected)
        fitHeight(self.table, MOST_ROWS, LEAST_ROWS)
        self.table.blockSignals(blocked)

    def selected(self) -> list[str]:
        """The uids of the selected rows, from top to bottom."""
        return [self._uid(row) for row in selectedRows(self.table)]

    def select(self, uids: Iterable[str]) -> None:
        """Select rows; reported like a selection by the user."""
        blocked = self.table.blockSignals(True)
        self._select(set(uids))
        self.table.blockSignals(blocked)
        self._onSelected()

    def _select(self, uids: set[str]) -> None:
        selectRows(self.table, NAME, lambda row: self._uid(row) in uids)

    def _uid(self, row: int) -> str:
        return self.table.item(row, SIGN).data(qt.Qt.UserRole)

    def _fill(self, row: int, case: Case, state: RowState) -> None:
        volumes = [volume.GetName() if volume is not None else NOTHING for volume in case.volumes]
        segmentation = case.segmentation.GetName() if case.segmentation is not None else NOTHING
        sign = putItem(self.table, row, SIGN, "", state.text)
        sign.setIcon(self._icons.get(state.icon, qt.QIcon()))
        sign.setData(qt.Qt.UserRole, case.uid)
        sign.setData(qt.Qt.AccessibleTextRole, state.text)
        putItem(self.table, row, NAME, case.id, _("Double-click to change the name"), editable=True)
        putItem(self.table, row, VOLUMES, _volumesText(volumes), "\n".join(volumes))
        putItem(self.table, row, SEGMENTATION, segmentation, segmentation)
        self._box(row, TEST, case.test, True)
        self._box(row, REPLACE, case.replace, state.exists)

    def _box(self, row: int, column: int, checked: bool, usable: bool) -> None:
        item = putItem(self.table, row, column, "", "" if usable else _("The dataset has no case of this name"))
        flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable
        item.setFlags(flags | qt.Qt.ItemIsEnabled if usable else flags)
        item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)

    def _changed(self, item: Any) -> None:
        uid = self._uid(item.row())
        if item.column() == NAME:
            self._onRenamed(uid, item.text())
        elif item.column() in (TEST, REPLACE):
            field = "test" if item.column() == TEST else "replace"
            self._onChecked(uid, field, item.checkState() == qt.Qt.Checked)

    def _doubleClicked(self, item: Any) -> None:
        if item.column() != NAME:
            self._onShow(self._uid(item.row()))


def _volumesText(names: Sequence[str]) -> str:
    """The name of a single volume; of several channels how many there are."""
    if len(names) < 2:
        return "".join(names)
    chosen = sum(name != NOTHING for name in names)
    text = _("{count} volumes") if chosen == len(names) else _("{chosen} of {count} volumes")
    return text.format(chosen=chosen, count=len(names))


def _icons(widget: Any) -> dict[str, Any]:
    """Slicer's own signs for the states of a row, in the same colors where the row is selected."""
    style, signs = widget.style(), qt.QStyle
    names = {
        "ok": signs.SP_DialogApplyButton,
        "problem": signs.SP_MessageBoxCritical,
        "warning": signs.SP_MessageBoxWarning,
        "added": signs.SP_DialogSaveButton,
    }
    size, icons = style.pixelMetric(qt.QStyle.PM_SmallIconSize), {}
    for name, standard in names.items():
        icons[name], picture = qt.QIcon(), style.standardIcon(standard).pixmap(size, size)
        for mode in (qt.QIcon.Normal, qt.QIcon.Selected):
            icons[name].addPixmap(picture, mode)
    return icons
