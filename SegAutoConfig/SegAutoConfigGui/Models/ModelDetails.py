"""The section "Details" of the Models panel."""

import html
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Models import ModelTexts as texts
from SegAutoConfigGui.Widgets.Tables import enable, fillTable, fitHeight, prepareTable


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
        self._picture = ""
        for table in (ui.foldTable, ui.labelTable):
            prepareTable(table)
        ui.foldTable.connect("itemSelectionChanged()", self._onFoldSelected)
        ui.pictureButton.connect("clicked()", self._showPicture)
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
        self._picture = str(fold.get("progress_picture") or "")
        text = _("Show the losses and Dice of the selected fold's training, epoch by epoch, in the system's viewer")
        enable(ui.pictureButton, "" if self._picture else _("There is no picture of this fold's training."), text)

    def _showPicture(self) -> None:
        _open(self._picture)

    def _openFolder(self) -> None:
        _open(self._path)


def _open(path: str) -> None:
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))
