"""The Dataset panel's list of what an existing dataset holds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Dataset.DatasetCases import loadDatasetCase
from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Scene.Folders import FilePair
from SegAutoConfigGui.Widgets.Tables import enable


class ContentsSection:
    """The cases of the chosen dataset: to be loaded, to be taken out.

    Args:
        panel: The DatasetPanel.
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = ui = panel.ui
        self._listed: Mapping[str, Any] = {}  # what the list shows
        ui.contentsList.connect("itemSelectionChanged()", self._showButtons)
        ui.loadCasesButton.connect("clicked()", self.loadSelected)
        ui.deleteCasesButton.connect("clicked()", self.deleteSelected)
        self._delete = qt.QShortcut(qt.QKeySequence("Del"), ui.contentsList)
        self._delete.setContext(qt.Qt.WidgetShortcut)
        self._delete.connect("activated()", self.deleteSelected)

    def show(self) -> None:
        """Show the cases of the chosen dataset."""
        ui, dataset = self.ui, self.panel.target.dataset
        ui.contentsGroup.setVisible(dataset is not None)
        ids = sorted(self.panel.target.caseIds)
        files = dataset["case_files"] if dataset is not None else {}
        if files != self._listed:
            self._listed = files
            ui.contentsList.clear()
            for id in ids:
                test = _("{case} (test)") if dataset["case_files"][id]["test"] else "{case}"
                item = qt.QListWidgetItem(test.format(case=id))
                item.setData(qt.Qt.UserRole, id)
                ui.contentsList.addItem(item)
        ui.contentsGroup.text = _("Cases of this dataset ({count})").format(count=len(ids))
        self._showButtons()

    def _showButtons(self) -> None:
        chosen = bool(self.selected())
        reason = "" if chosen else _("Select cases in the list first")
        if chosen and self.panel.datasetSection.running:
            reason = _("An export is running.")
        for button, text in (
            (self.ui.loadCasesButton, _("Load the selected cases, to correct them; adding them again replaces them")),
            (self.ui.deleteCasesButton, _("Take the selected cases out of the dataset (Delete key)")),
        ):
            enable(button, reason, text)

    def selected(self) -> list[str]:
        """The names of the selected cases."""
        return [item.data(qt.Qt.UserRole) for item in self.ui.contentsList.selectedItems()]

    def loadSelected(self) -> None:
        """Load the selected cases of the dataset into the scene, and make rows of them."""
        dataset = self.panel.target.dataset
        if dataset is None:
            return
        rows = {case.id: case.uid for case in self.panel.table.cases()}
        tasks = []
        for id in self.selected():
            if id in rows:  # it is in the scene already
                self.panel.table.change(rows[id], replace=True)
                self.panel.refresh()
                self.panel.caseSection.showById(id)
                continue
            files = dataset["case_files"][id]
            pair = FilePair(id, tuple(map(Path, files["images"])), Path(files["labels"]) if files["labels"] else None)
            tasks.append((pair, self._loader(pair, dataset, bool(files["test"]))))
        self.panel.caseSection.load(tasks)

    def _loader(self, pair: FilePair, dataset: Mapping[str, Any], test: bool) -> Callable[[], Case]:
        def load() -> Case:
            volumes, segmentation = loadDatasetCase(pair, dataset)
            return self.panel.table.add(volumes, segmentation, pair.id, test=test, replace=True)

        return load

    def deleteSelected(self) -> None:
        """Remove the selected cases from the dataset, after a question."""
        ids, dataset = self.selected(), self.panel.target.dataset
        if not ids or dataset is None or self.panel.datasetSection.running:
            return
        question = _("Take these cases out of {dataset}? Their files are moved to its folder “removed”.\n\n{cases}")
        if not slicer.util.confirmOkCancelDisplay(question.format(dataset=dataset["dataset"], cases=", ".join(ids))):
            return
        self.panel.logic.request(
            ["remove-cases", dataset["dataset"], *ids],
            lambda results: self.panel.datasetSection.readDatasets(),
            self.panel.host.showProblems,
        )

    def select(self, case: str) -> None:
        """Open the list and select a case in it."""
        self.ui.contentsGroup.collapsed = False
        for row in range(self.ui.contentsList.count):
            item = self.ui.contentsList.item(row)
            item.setSelected(item.data(qt.Qt.UserRole) == case)
