"""The tab with the trained models: import, export, rename, delete, and what is known of each."""

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAutoConfigGui.Jobs.Follower import JobFollower
from SegAutoConfigGui.Models import ModelTexts as texts
from SegAutoConfigGui.Models.ModelDetails import ModelDetails
from SegAutoConfigGui.Panel import Panel
from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Widgets.Dropping import DropFilter
from SegAutoConfigGui.Widgets.Tables import enable, fillTable, prepareTable

ZIP_FILTER = "*.zip"


class ModelsPanel(Panel):
    """The table above, actions below it, details of the selected model at the bottom."""

    name = "Models"

    @property
    def title(self) -> str:
        """The tab's text, translated."""
        return _("Models")

    @property
    def model(self) -> "dict[str, Any] | None":
        """The selected one."""
        row = self.ui.modelTable.currentRow()
        return self._models[row] if 0 <= row < len(self._models) else None

    @property
    def busy(self) -> bool:
        """True while a command of this panel runs."""
        return self._follower is not None

    # -- called by the module

    def setup(self) -> None:
        """Connect widgets; nothing is started."""
        ui = self.ui
        self._models: list[dict[str, Any]] = []
        self._waiting: list[tuple[list[str], str, str]] = []
        self._job: Any = None
        self._follower: JobFollower | None = None
        self._stale = True
        self._engineProblems: list[Problem] = []
        self.details = ModelDetails(self.logic, ui)
        prepareTable(ui.modelTable)
        self._drops = DropFilter(ui.modelTable.viewport(), lambda nodes: None, self.importFiles)
        for button, action in (
            (ui.segmentButton, self.segment),
            (ui.importButton, self.importDialog),
            (ui.exportButton, self.exportDialog),
            (ui.renameButton, self.startRenaming),
            (ui.deleteButton, self.delete),
            (ui.refreshButton, self.refresh),
            (ui.cancelButton, self.cancel),
        ):
            button.connect("clicked()", action)
        for key, action in ((qt.Qt.Key_Delete, self.delete), (qt.Qt.Key_F2, self.startRenaming)):
            shortcut = qt.QShortcut(qt.QKeySequence(key), ui.modelTable)
            shortcut.setContext(qt.Qt.WidgetShortcut)
            shortcut.connect("activated()", action)
        ui.modelTable.connect("itemSelectionChanged()", self._onSelected)
        ui.modelTable.connect("cellDoubleClicked(int,int)", self._onDoubleClick)
        ui.titleEdit.connect("editingFinished()", self.rename)
        self._showModels()

    def enter(self) -> None:
        """The user opens the tab."""
        super().enter()
        if self._stale:
            self.refresh()

    def cleanup(self) -> None:
        """The module ends: so does what runs here."""
        if self._follower is not None:
            self._follower.stop()
        self._follower = self._job = None
        self.details.close()

    def changed(self, topic: str) -> None:
        """Something changed elsewhere: look again when the tab is open next."""
        self._stale = True
        if self.entered:
            self.refresh()

    def refresh(self) -> None:
        """Look again which models there are."""
        self._stale = False
        self.logic.refresh(self._onModels, self._onEngineProblems)

    # -- table

    def _onModels(self) -> None:
        self._engineProblems = []
        self._showModels()

    def _onEngineProblems(self, problems: list[Problem]) -> None:
        self._engineProblems = list(problems)
        self._showState()

    def _showModels(self) -> None:
        """Fill the table, the newest first; the same model stays selected."""
        table, before = self.ui.modelTable, (self.model or {}).get("path")
        self._models = sorted(self.logic.models, key=lambda model: str(model.get("date") or ""), reverse=True)
        table.blockSignals(True)
        rows = [
            (texts.rowText(m), texts.number(m.get("dice")), texts.dateText(m), texts.sizeText(m)) for m in self._models
        ]
        fillTable(table, rows, [texts.tooltip(model) for model in self._models])
        for row, model in enumerate(self._models):
            if model.get("problem"):
                table.item(row, 0).setForeground(qt.QBrush(qt.QColor("#c0392b")))
        paths = [model["path"] for model in self._models]
        table.blockSignals(False)
        table.clearSelection()
        if paths:
            table.setCurrentCell(paths.index(before) if before in paths else 0, 0)
            table.selectRow(table.currentRow())
        self._onSelected()

    def select(self, path: str) -> None:
        """Select a model by its folder."""
        paths = [model["path"] for model in self._models]
        if path in paths:
            self.ui.modelTable.selectRow(paths.index(path))

    def _onSelected(self) -> None:
        self.details.show(self.model)
        self._showState()

    def _showState(self) -> None:
        ui, model = self.ui, self.model
        engine = str(self._engineProblems[0]) if self._engineProblems else ""
        busy = _("Something is being done already.") if self.busy else ""
        none = engine or busy or ("" if model else _("Select a model first."))
        damaged = (
            _("The model is damaged: {problem}").format(problem=model["problem"])
            if model and model.get("problem")
            else ""
        )
        untrained = "" if model is None or model.get("folds") else _("No fold of it is trained to its end yet.")
        enable(ui.segmentButton, none or damaged, _("Open Segment with the selected model"))
        enable(ui.exportButton, none or damaged or untrained, _("Write the selected model to a zip file"))
        enable(ui.renameButton, none or damaged, _("Give the selected model another title (F2)"))
        enable(ui.deleteButton, none, _("Remove the files of the selected model (Delete key)"))
        enable(ui.importButton, engine or busy, _("Take models from zip files, also of nnU-Net"))
        enable(ui.titleEdit, none or damaged, _("The title of the model; press Enter to change it"))
        ui.workFrame.setVisible(self.busy)
        ui.setupButton.setVisible(bool(engine))
        if not self.busy:
            empty = _("There is no model yet. Train one under Train, or import a zip file.")
            self._showStatus(engine or ("" if self._models else empty))

    def _showStatus(self, text: str) -> None:
        self.ui.statusLabel.text = text
        self.ui.statusLabel.setVisible(bool(text))

    # -- actions

    def segment(self) -> None:
        """Open Segment with the selected model."""
        if self.model is not None:
            self.host.openPanel("Segment").selectModel(self.model["path"])

    def _onDoubleClick(self, _row: int, _column: int) -> None:
        if self.ui.segmentButton.enabled:
            self.segment()

    def importDialog(self) -> None:
        """Ask for a zip file and import it."""
        file = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Import a model"), self.logic.settings.lastFolder, ZIP_FILTER
        )
        if file:
            self.importFiles([Path(file)])

    def importFiles(self, files: "list[Path]") -> None:
        """Import zip files, one after the other."""
        others = [file for file in files if file.suffix.lower() != ".zip"]
        if others:
            message = _("{names} can't be imported: models are imported from zip files.")
            names = ", ".join(file.name for file in others)
            self.host.showProblems(Problem(message.format(names=names), _("Pack the model's folder, or export it.")))
            return
        for file in files:
            self.logic.settings.lastFolder = str(file.parent)
            doing = _("Importing {file}").format(file=file.name)
            self._run(["import-model", str(file)], doing, _("{file} was imported.").format(file=file.name))

    def exportDialog(self) -> None:
        """Ask for a file and export the selected model."""
        model = self.model
        if model is None:
            return
        start = Path(self.logic.settings.lastFolder or Path.home()) / f"{_fileName(model['title'])}.zip"
        file = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Export model"), str(start), ZIP_FILTER)
        if not file:
            return
        chosen = Path(file)
        named = chosen if chosen.suffix.lower() == ".zip" else chosen.with_name(chosen.name + ".zip")
        question = _("{file} exists already. Replace it?").format(file=named)
        # the dialog has asked about the name that was typed, not about this one
        if named != chosen and named.exists() and not slicer.util.confirmOkCancelDisplay(question):
            return
        self.exportTo(named)

    def exportTo(self, file: Path) -> None:
        """Export the selected model to a zip file, which is replaced where it exists."""
        self.logic.settings.lastFolder = str(file.parent)
        done = _("{title} was written to {file}.").format(title=self.model["title"], file=file)
        self._run(
            ["export-model", self.model["path"], str(file), "--overwrite"],
            _("Exporting {title}").format(title=self.model["title"]),
            done,
        )

    def startRenaming(self) -> None:
        """Let the user type another title."""
        if self.model is not None and self.ui.renameButton.enabled:
            self.ui.detailsSection.collapsed = False
            self.ui.titleEdit.setFocus()
            self.ui.titleEdit.selectAll()

    def rename(self) -> None:
        """Give the selected model the title that was typed."""
        model, title = self.model, self.ui.titleEdit.text.strip()
        if model is None or self.busy or title == str(model["title"]):
            return
        if not title:
            self.ui.titleEdit.text = model["title"]
            return
        self._run(["rename-model", model["path"], title], _("Renaming"), "")

    def delete(self) -> None:
        """Remove the selected model, after a question."""
        model = self.model
        if model is None or self.busy:
            return
        question = _("Delete the model {title}?\n\nIts folder is removed: {path}")
        if slicer.util.confirmOkCancelDisplay(question.format(title=model["title"], path=model["path"])):
            done = _("{title} was deleted.").format(title=model["title"])
            self._run(["delete-model", model["path"]], _("Deleting {title}").format(title=model["title"]), done)

    # -- commands of the engine

    def _run(self, command: list[str], doing: str, done: str) -> None:
        """Run a command now, or after those that run already."""
        self._waiting.append((command, doing, done))
        if not self.busy:
            self.host.clearMessage()
            self._next()

    def _next(self) -> None:
        command, doing, done = self._waiting.pop(0)
        try:
            self._job = self.logic.engine.start(command, title=doing, temporary=True)
        except UserProblem as problem:
            self._waiting.clear()
            self.host.showProblems(problem.problems)
            return
        self._doing, self._done = doing, done
        self.ui.progressBar.maximum = 0
        self._follower = JobFollower(self._job, self._onEvents, self._onEnd)
        self._follower.start()
        self._showState()
        self._showStatus(doing + " ...")

    def _onEvents(self, _events: list) -> None:
        progress, bar = self._job.progress, self.ui.progressBar
        if progress.get("total"):
            bar.maximum = 1000
            bar.value = round(1000 * (progress.get("done") or 0) / progress["total"])

    def cancel(self) -> None:
        """End what runs; nothing is left behind."""
        self._waiting.clear()
        if self._job is not None:
            self._showStatus(_("Canceling ..."))
            try:
                self._job.stop()
            except UserProblem:
                self._job.kill()

    def _onEnd(self, job: Any) -> None:
        self._follower = self._job = None
        if job.state == job.FINISHED:
            if self._done:
                self.host.showMessage(self._done)
        elif job.state != job.STOPPED:
            self.host.showProblems(job.problems, _("{doing} failed").format(doing=self._doing))
            self.details.show(self.model)
        if self._waiting:
            self._next()
            return
        self._showState()
        self.host.notify("models")
        if not self.entered:
            self.refresh()


def _fileName(title: str) -> str:
    """A title as the name of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_() " else "_" for letter in title).strip() or "model"
