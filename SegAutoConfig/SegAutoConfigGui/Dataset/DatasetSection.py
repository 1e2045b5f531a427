"""The Dataset panel's section of the dataset: which one, making it, what its check found, what it holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Dataset.DatasetChoices import (
    FILE_ENDINGS,
    Target,
    capitalized,
    caseOfProblem,
    casesToExport,
    datasetName,
    doneText,
    exportReason,
    nameProblem,
    nextNumber,
    numberOfCases,
    stateIn,
    summary,
)
from SegAutoConfigGui.Dataset.DatasetExport import DatasetExport, Progress
from SegAutoConfigGui.Problems import Cancelled, Problem, UserProblem
from SegAutoConfigGui.Scene.Cases import Case
from SegAutoConfigGui.Scene.Labels import LabelTable
from SegAutoConfigGui.Widgets.Reveal import Revealer
from SegAutoConfigGui.Widgets.Stepper import Stepper

#: Of the list of findings, and of its single line when nothing was found (pixels).
REPORT_HEIGHT, NO_REPORT_HEIGHT = 130, 40


class DatasetSection:
    """Where the cases go.

    Args:
        panel: The DatasetPanel.
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = ui = panel.ui
        self.export: DatasetExport | None = None
        self._stepper: Stepper | None = None
        self._tableOfExport: Any = None
        self._hasFailed = False  # the last export: the message above the tabs says why
        self._exported: DatasetExport | None = None  # the last one that succeeded
        self._known = False  # whether the datasets were read
        self._read: list[Mapping[str, Any]] | None = None  # as they were then
        self._readProblem = ""
        self.reading = False  # whether what the last export made is not read yet
        self._revealer = Revealer()
        ui.datasetBox.connect("activated(int)", self._onChosen)
        ui.numberBox.connect("valueChanged(int)", self._onName)
        ui.nameEdit.connect("textChanged(QString)", self._onName)
        ui.exportButton.connect("clicked()", self.start)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.trainButton.connect("clicked()", self._train)
        ui.reportList.connect("itemClicked(QListWidgetItem*)", self._onFinding)
        ui.reportList.connect("itemActivated(QListWidgetItem*)", self._onFinding)
        self._showResult()
        self._showRunning("")

    # -- which dataset

    @property
    def running(self) -> bool:
        """Whether cases are being put into the dataset."""
        return self._stepper is not None

    @property
    def datasets(self) -> list[Mapping[str, Any]]:
        """Those of the workspace, as last read."""
        logic = self.panel.logic
        return logic.datasets if logic is not None else []

    @property
    def choices(self) -> list[Mapping[str, Any]]:
        """Those to which cases can be added: not those of which there are models only."""
        return [dataset for dataset in self.datasets if dataset["channels"]]

    @property
    def target(self) -> Target:
        """The dataset that is chosen."""
        parameters = self.panel.parameters
        name = parameters.dataset if parameters is not None else ""
        dataset = next((each for each in self.choices if each["dataset"] == name), None)
        if dataset is not None:
            return Target(name, dataset, dataset["file_ending"])
        ending = parameters.datasetFileEnding if parameters is not None else FILE_ENDINGS[0]
        return Target(datasetName(self.ui.numberBox.value, self.ui.nameEdit.text.strip()), None, ending)

    def select(self, name: str) -> None:
        """Choose an existing dataset, also one that is not read yet; empty: a new one."""
        self.panel.parameters.dataset = name
        self.takeDatasets()
        if name and self.target.dataset is None:
            self.readDatasets()

    def readDatasets(self) -> None:
        """Ask the engine which there are."""
        self.panel.logic.refresh(self._onRead, self._onNotRead)

    def _onRead(self) -> None:
        self._known, self._readProblem, self.reading = True, "", False
        before, self._read = self._read, list(self.datasets)
        if before in (None, self._read):
            self.takeDatasets()
        else:
            self.panel.host.notify("datasets")

    def _onNotRead(self, problems: Sequence[Problem]) -> None:
        self._known, self._readProblem, self.reading = False, str(problems[0]), False
        self.takeDatasets()

    def takeDatasets(self) -> None:
        """The datasets may be others."""
        if self.datasets:
            self._known = True
        taken = {dataset["id"] for dataset in self.datasets}
        if self.ui.numberBox.value in taken:
            self.ui.numberBox.value = nextNumber(self.datasets)
        box, names = self.ui.datasetBox, [dataset["dataset"] for dataset in self.choices]
        box.clear()
        box.addItems([_("New dataset"), *names])
        name = self.target.name if self.target.dataset is not None else ""
        box.currentIndex = names.index(name) + 1 if name else 0
        self._useTarget()
        self.panel.refresh()

    def setParameters(self) -> None:
        """Another scene's choices are there."""
        self.takeDatasets()

    def _onChosen(self, index: int) -> None:
        self.panel.parameters.dataset = self.choices[index - 1]["dataset"] if index else ""
        self._forgetResult()
        self._useTarget()
        self.panel.refresh()

    def _onName(self, value: Any) -> None:
        if self.panel.table is not None:
            self.show(self.panel.table.cases())

    def _useTarget(self) -> None:
        """An existing dataset fixes its labels and channels."""
        table, dataset = self.panel.table, self.target.dataset
        if table is None or (dataset is None and self.panel.parameters.dataset and not self._known):
            return
        labels = self.panel.labels
        wanted = LabelTable.fromSegmentations([], dataset) if dataset is not None else LabelTable()
        if _fixedRows(labels) != _fixedRows(wanted):
            labels.setDataset(dataset, table.segmentations())
            self.panel.saveLabels()
        if dataset is not None and table.channelNames != dataset["channels"]:
            table.channelNames = dataset["channels"]

    # -- show

    def show(self, cases: Sequence[Case]) -> None:
        """Show what can be done with these cases."""
        ui, target, parameters = self.ui, self.target, self.panel.parameters
        new, running = target.dataset is None, self._stepper is not None
        for widget in (ui.nameLabel, ui.numberBox, ui.nameEdit):
            widget.setVisible(new)
        ui.formatBox.enabled = new
        ui.formatBox.toolTip = (
            _(".nrrd keeps spacing, origin and directions in double precision; .nii.gz stores the spacing with 32 bits")
            if new
            else _("{dataset} has files of the format {ending}").format(dataset=target.name, ending=target.fileEnding)
        )
        reason = exportReason(cases, target, self._nameError(target), running, self.panel.problems)
        ui.exportButton.text = _("Create &dataset") if new else _("Add to &dataset")
        ui.exportButton.enabled = not reason and parameters is not None
        count = len(casesToExport(cases, target))
        ui.exportButton.toolTip = reason or _("Export {cases} to {dataset} and check it").format(
            cases=numberOfCases(count), dataset=target.name
        )
        if not running:
            ui.statusLabel.text = reason or _("To be exported: {cases}, into {dataset}").format(
                cases=numberOfCases(count, len(cases)), dataset=target.name
            )
            if self._readProblem:
                ui.statusLabel.text = self._readProblem
        ui.setupButton.setVisible(bool(self._readProblem) and not running)

    def _nameError(self, target: Target) -> str:
        if self.reading:
            return _("Reading the datasets ...")
        if target.dataset is not None:
            return str(target.dataset.get("problem") or "")
        if self.panel.parameters is not None and self.panel.parameters.dataset and not self._known:
            return self._readProblem or _("Reading the datasets ...")
        return nameProblem(self.ui.numberBox.value, self.ui.nameEdit.text.strip(), self.datasets)

    def _showRunning(self, text: str) -> None:
        ui, running = self.ui, self._stepper is not None
        ui.cancelButton.setVisible(running)
        ui.progressBar.setVisible(running)
        ui.datasetBox.enabled = not running
        if text:
            ui.statusLabel.text = text

    def _showProgress(self, progress: Progress) -> None:
        bar = self.ui.progressBar
        bar.maximum, bar.value = progress.total, progress.done
        self.ui.statusLabel.text = progress.text
        self.ui.cancelButton.toolTip = (
            _("Leave out the rest of the check; the dataset is made already")
            if self.export is not None and self.export.added
            else _("Stop; the dataset stays as it was")
        )

    # -- export

    def start(self) -> None:
        """Put the cases into the dataset."""
        panel, target = self.panel, self.target
        if self._stepper is not None:
            return
        panel.refresh()
        panel.host.clearMessage()
        cases = panel.table.cases()
        chosen = casesToExport(cases, target)
        ids = {"", *(case.id for case in chosen)}
        problems = [problem for problem in panel.problems if problem.case in ids]
        reason = exportReason(cases, target, self._nameError(target), False)
        if reason or problems:
            self._failed([Problem(reason)] if reason else problems)
            return
        try:
            engine = panel.logic.engine
        except UserProblem as problem:
            self._failed(problem.problems)
            return
        names = panel.table.channelNames
        self.export = DatasetExport(
            engine,
            chosen,
            names,
            panel.labels,
            target,
            resampleChannels=panel.resample,
            emptySegments=panel.table.emptySegments,
        )
        self._tableOfExport, self._exported, self._hasFailed = panel.table, None, False
        self._showResult()
        self._stepper = Stepper(self.export.steps(), self._showProgress, self._ended)
        self._showRunning(_("Checking the cases"))
        self.show(cases)
        self._revealer.show([self.ui.exportButton, self.ui.progressBar, self.ui.statusLabel])

    def cancel(self) -> None:
        """Stop the export at its next step."""
        if self.export is not None and self._stepper is not None:
            self.export.cancel()
            self.ui.statusLabel.text = _("Stopping")

    def stop(self) -> None:
        """The module ends: what is not finished is given up."""
        self._revealer.stop()
        if self._stepper is not None:
            self._stepper.stop()
        self._stepper = None

    def sceneCloses(self) -> None:
        """An export that still needs the scene is given up; a process that works from files goes on."""
        self._forgetResult()
        if self._hasFailed:  # of cases that are gone
            self._hasFailed = False
            self.panel.host.clearMessage()
        if self._stepper is not None and self.export is not None and self.export.needsScene:
            self.stop()
            self._showRunning("")
            self.panel.host.showProblems(
                Problem(_("The export was stopped, because the scene was closed."), _("Nothing was changed."))
            )

    def _ended(self, error: BaseException | None) -> None:
        self._stepper = None
        self._showRunning("")
        if error is None:
            self._succeeded()
        elif isinstance(error, Cancelled):
            self.panel.refresh()
            self.ui.statusLabel.text = _("Canceled; {dataset} is as it was.").format(dataset=self.export.target.name)
        else:
            self._failed(error.problems)

    def _failed(self, problems: Sequence[Problem]) -> None:
        self.panel.refresh()
        self._hasFailed = True
        self.panel.host.showProblems(list(problems), _("Nothing was exported"))
        first = next((problem.case for problem in problems if problem.case), "")
        if first:
            self.panel.caseSection.showById(first)

    def _succeeded(self) -> None:
        panel, export = self.panel, self.export
        self._exported, self.reading = export, True
        if panel.table is not None and panel.table is self._tableOfExport:
            rows = {case.uid for case in panel.table.cases()}
            for case in export.cases:
                if case.uid in rows:
                    panel.table.change(case.uid, state=stateIn(export.target.name), replace=False)
            panel.parameters.dataset = export.target.name
        self._showResult()
        panel.refresh()
        panel.host.showMessage(doneText(export.added, any(wrong for wrong, _each in export.findings), export.verified))
        self._revealer.show([self.ui.exportButton, self.ui.reportList, self.ui.summaryFrame])
        self.readDatasets()

    # -- result

    def _showResult(self) -> None:
        """Summary and report of the last export."""
        ui, export = self.ui, self._exported
        ui.summaryFrame.setVisible(export is not None)
        ui.reportList.setVisible(export is not None)
        ui.reportList.clear()
        if export is None:
            return
        labels = [label.name for label in export.labelTable.trained()]
        folder = export.added.get("folder") or Path(self.panel.logic.settings.workspace)
        ui.summaryLabel.text = summary(export.added, labels, folder)
        style = ui.reportList.style()
        signs = {True: qt.QStyle.SP_MessageBoxCritical, False: qt.QStyle.SP_MessageBoxWarning}
        for isProblem, finding in sorted(export.findings, key=lambda each: not each[0]):
            text = f"{finding.case}: {finding.message}" if finding.case else capitalized(finding.message)
            item = qt.QListWidgetItem(f"{text} {finding.hint}".strip())
            item.setIcon(style.standardIcon(signs[isProblem]))
            item.setData(
                qt.Qt.UserRole, caseOfProblem(finding, [*export.added.get("cases", []), *export.target.caseIds])
            )
            item.setToolTip(finding.details or item.text())
            ui.reportList.addItem(item)
        if not export.findings:
            sound, broken = _("The check found nothing wrong."), _("The check was not finished.")
            item = qt.QListWidgetItem(sound if export.verified else broken)
            item.setIcon(style.standardIcon(qt.QStyle.SP_DialogApplyButton if export.verified else signs[False]))
            ui.reportList.addItem(item)
        ui.reportList.setFixedHeight(REPORT_HEIGHT if export.findings else NO_REPORT_HEIGHT)

    def _forgetResult(self) -> None:
        self._exported = None
        self._showResult()

    def _onFinding(self, item: Any) -> None:
        case = item.data(qt.Qt.UserRole)
        if case and not self.panel.caseSection.showById(case):
            self.panel.contentsSection.select(case)

    def _train(self) -> None:
        self.panel.host.openPanel("Train").selectDataset(self._exported.added["dataset"])


def _fixedRows(labels: LabelTable) -> tuple[Any, ...]:
    """What an existing dataset fixes: name and role of its rows in order, and its regions."""
    rows = [(row.name, row.role) for row in labels.labels if row.fixed]
    return rows, labels.combinations, labels.regionsClassOrder
