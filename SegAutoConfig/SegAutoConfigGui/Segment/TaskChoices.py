"""The widgets in which a task of TotalSegmentator is chosen: which, how fine, and which of its structures."""

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Segment.Tasks import DEFAULT, bestMode, isReady, modeText, sortedTasks, taskModel, taskText
from SegAutoConfigGui.Segment.Tasks import taskTooltip as tooltip

#: Entries of the list that says which structures are wanted.
ALL, SOME = 0, 1


class TaskChoices:
    """Shows and takes the choices.

    Args:
        ui: The Segment panel's widgets.
        onChange: Called when the user chooses something else.
    """

    def __init__(self, ui: Any, onChange: Callable[[], None]) -> None:
        self.ui = ui
        self._onChange = onChange
        self._rows: dict[str, Any] = {}
        self._task, self._mode = "", ""  # as chosen by the user; empty: nothing yet
        self._checked: set[str] = set()
        self._visible = False
        ui.structuresCombo.addItem(_("all"))
        ui.structuresCombo.addItem(_("only some"))
        ui.taskCombo.connect("activated(int)", self._onTask)
        ui.modeCombo.connect("activated(int)", self._onMode)
        ui.structuresCombo.connect("activated(int)", self._onStructures)
        ui.structuresList.connect("itemChanged(QListWidgetItem*)", self._onChecked)
        ui.structuresSearch.connect("textChanged(QString)", self._search)
        self._show()

    @property
    def row(self) -> Any:
        """The engine's of the chosen task; None where there is none."""
        return self._rows.get(self.ui.taskCombo.itemData(self.ui.taskCombo.currentIndex))

    @property
    def model(self) -> "dict[str, Any] | None":
        """The chosen task as a model."""
        row = self.row
        if row is None:
            return None
        mode = self.ui.modeCombo.itemData(self.ui.modeCombo.currentIndex) or DEFAULT
        some = self.ui.structuresCombo.currentIndex == SOME
        return taskModel(row, mode, sorted(self._checked) if some else None)

    def take(self, rows: Sequence[Any]) -> None:
        """Offer tasks, those that can be run first."""
        self._rows = {str(row["name"]): row for row in sortedTasks(rows)}
        combo = self.ui.taskCombo
        combo.clear()
        for name, row in self._rows.items():
            if combo.count and isReady(self._rows[combo.itemData(combo.count - 1)]) and not isReady(row):
                combo.insertSeparator(combo.count)
            combo.addItem(taskText(row), name)
            combo.setItemData(combo.count - 1, tooltip(row), qt.Qt.ToolTipRole)
        combo.currentIndex = max(0, combo.findData(self._task)) if self._rows else -1
        self._showTask()

    def setVisible(self, visible: bool) -> None:
        """Show or hide all of it."""
        self._visible = visible
        self._show()

    def load(self, parameters: Any) -> None:
        """Take the choices of a scene."""
        self._task, self._mode = parameters.segmentTask, parameters.segmentTaskMode
        self._checked = set(parameters.segmentStructures.split())
        self.ui.structuresCombo.currentIndex = SOME if parameters.segmentSomeStructures else ALL
        self.ui.taskCombo.currentIndex = max(0, self.ui.taskCombo.findData(self._task)) if self._rows else -1
        self._showTask()

    def save(self, parameters: Any) -> None:
        """Write the choices into a scene."""
        parameters.segmentTask, parameters.segmentTaskMode = self._task, self._mode
        parameters.segmentStructures = " ".join(sorted(self._checked))
        parameters.segmentSomeStructures = self.ui.structuresCombo.currentIndex == SOME

    def choose(self, task: str, mode: str = "", structures: "Sequence[str] | None" = None) -> None:
        """Choose a task, as the user would."""
        self._task, self._mode = task, mode
        self._checked = set(structures or ())
        self.ui.structuresCombo.currentIndex = ALL if structures is None else SOME
        self.ui.taskCombo.currentIndex = self.ui.taskCombo.findData(task)
        self._showTask()
        self._onChange()

    # -- widgets

    def _showTask(self) -> None:
        """Fill the lists that belong to the task."""
        row, combo = self.row, self.ui.modeCombo
        combo.clear()
        for entry in row["modes"] if row is not None else []:
            combo.addItem(modeText(entry), entry["mode"])
        if row is not None:
            known = combo.findData(self._mode) if self._mode else -1
            combo.currentIndex = known if known >= 0 else combo.findData(bestMode(row))
        self._fillStructures()
        self._show()

    def _fillStructures(self) -> None:
        names = [name for name, value in self.row["labels"].items() if value] if self.row is not None else []
        widget = self.ui.structuresList
        widget.blockSignals(True)
        widget.clear()
        for name in sorted(names, key=lambda name: (name not in self._checked, name)):
            item = qt.QListWidgetItem(name)
            item.setCheckState(qt.Qt.Checked if name in self._checked else qt.Qt.Unchecked)
            widget.addItem(item)
        widget.blockSignals(False)
        self._search()

    def _show(self) -> None:
        """Show what there is to choose."""
        ui, row = self.ui, self.row if self._visible else None
        some = row is not None and row["subset"]
        for shown, widgets in (
            (self._visible, (ui.taskLabel, ui.taskCombo)),
            (row is not None and len(row["modes"]) > 1, (ui.modeLabel, ui.modeCombo)),
            (some, (ui.structuresLabel, ui.structuresCombo)),
            (some and ui.structuresCombo.currentIndex == SOME, (ui.structuresFrame,)),
        ):
            for widget in widgets:
                widget.setVisible(bool(shown))
        if some:
            names = {name for name, value in row["labels"].items() if value}
            ui.structuresCombo.setItemText(ALL, _("all ({count})").format(count=len(names)))
            ui.structuresCombo.setItemText(SOME, _("only some ({count})").format(count=len(names & self._checked)))

    def _search(self, *_args: Any) -> None:
        """Show the structures whose names have all words of the search line."""
        widget, words = self.ui.structuresList, self.ui.structuresSearch.text.lower().split()
        for place in range(widget.count):
            item = widget.item(place)
            item.setHidden(not all(word in item.text().lower() for word in words))

    # -- the user chooses

    def _onTask(self, _index: int) -> None:
        self._task, self._mode = str(self.row["name"]) if self.row is not None else "", ""
        self._showTask()
        self._onChange()

    def _onMode(self, _index: int) -> None:
        self._mode = self.ui.modeCombo.itemData(self.ui.modeCombo.currentIndex) or ""
        self._onChange()

    def _onStructures(self, _index: int) -> None:
        self._show()
        self._onChange()

    def _onChecked(self, item: Any) -> None:
        names = {item.text()}
        self._checked = self._checked | names if item.checkState() == qt.Qt.Checked else self._checked - names
        self._show()
        self._onChange()
