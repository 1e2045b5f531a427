"""The section "Details" of the Models panel."""

import html
import os
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Models import ModelTexts as texts
from SegAutoConfigGui.Widgets.Tables import fillTable, fitHeight, prepareTable

#: Space around a picture in the panel (pixels).
MARGIN = 24


class ModelDetails:
    """Asks the engine for the details of a model and shows them.

    Args:
        logic: The module's logic.
        ui: The Models panel's widgets.
    """

    def __init__(self, logic: Any, ui: Any) -> None:
        self.logic, self.ui = logic, ui
        self.details: dict[str, Any] = {}
        self._path = ""
        self._pixmap: Any = None
        for table in (ui.foldTable, ui.labelTable):
            prepareTable(table)
        self._resizing = ResizeFilter(ui.detailsSection, self._showPicture)
        ui.foldTable.connect("itemSelectionChanged()", self._onFoldSelected)
        ui.openFolderButton.connect("clicked()", self._openFolder)

    def show(self, model: "dict[str, Any] | None") -> None:
        """Show a model; None: nothing."""
        self._path = str(model["path"]) if model else ""
        self.ui.detailsSection.setVisible(model is not None)
        self.ui.titleEdit.text = str(model["title"]) if model else ""
        self._take({})
        if model is None:
            return
        self.ui.planLabel.text = html.escape(str(model.get("problem") or _("Reading ...")))
        if not model.get("problem"):
            self.logic.request(["info", "--model", self._path], self._onInfo)

    def close(self) -> None:
        """Take no more answers."""
        self._path = ""

    def _onInfo(self, results: dict[str, dict[str, Any]]) -> None:
        details = results.get("info", {}).get("model") or {}
        if self._path and details.get("path") == self._path:  # another one may be selected by now
            self._take(details)

    def _take(self, details: dict[str, Any]) -> None:
        self.details = details
        ui = self.ui
        rows = "".join(
            f"<tr><td>{html.escape(name)}:&nbsp;</td><td>{html.escape(value)}</td></tr>"
            for name, value in texts.planLines(details)
        )
        ui.planLabel.text = f"<table>{rows}</table>" if rows else ""
        folds = texts.foldRows(details)
        ui.foldTable.blockSignals(True)
        fillTable(ui.foldTable, folds)
        ui.foldTable.blockSignals(False)
        ui.foldTable.setVisible(bool(folds))
        fitHeight(ui.foldTable)
        if folds:
            ui.foldTable.selectRow(0)
        self._onFoldSelected()

    def _onFoldSelected(self) -> None:
        ui, folds = self.ui, self.details.get("fold_table") or []
        row = ui.foldTable.currentRow()
        fold = folds[row] if 0 <= row < len(folds) else {}
        rows = texts.labelRows(fold)
        fillTable(ui.labelTable, rows)
        fitHeight(ui.labelTable)
        ui.labelTable.setVisible(bool(rows))
        picture = fold.get("progress_picture")
        self._pixmap = qt.QPixmap(str(picture)) if picture else None
        self._showPicture()

    def _showPicture(self) -> None:
        label, pixmap = self.ui.pictureLabel, self._pixmap
        there = pixmap is not None and not pixmap.isNull()
        label.setVisible(there)
        if there:
            width = max(50, min(pixmap.width(), self.ui.detailsSection.width - MARGIN))
            label.setPixmap(pixmap.scaledToWidth(width, qt.Qt.SmoothTransformation))

    def _openFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(os.fspath(self._path)))


class ResizeFilter(qt.QObject):
    """Calls back when a widget has another size.

    Args:
        widget: The widget.
        onResize: Called without arguments.
    """

    def __init__(self, widget: Any, onResize: Any) -> None:
        super().__init__(widget)
        self._onResize, self._width = onResize, 0
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Let every event pass."""
        if event.type() == qt.QEvent.Resize and watched.width != self._width:
            self._width = watched.width
            self._onResize()
        return False
