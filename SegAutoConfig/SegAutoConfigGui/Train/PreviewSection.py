"""The row "Preview on" of the Train panel."""

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Problems import Problem, UserProblem
from SegAutoConfigGui.Setup.Installer import checkInstalled
from SegAutoConfigGui.Train.Preview import Preview, usableCheckpoint
from SegAutoConfigGui.Train.TrainCommand import optionOf, previewDevice
from SegAutoConfigGui.Train.Trainings import Training
from SegAutoConfigGui.Widgets.Tables import enable


class PreviewSection:
    """Chooses a case, starts and cancels.

    Args:
        ui: The panel's widgets.
        logic: The module's logic.
        onProblems: Gets what went wrong.
    """

    def __init__(self, ui, logic, onProblems: Callable[[list[Problem]], Any]) -> None:
        self.ui, self.logic = ui, logic
        self._onProblems = onProblems
        self._training: Training | None = None
        self.preview = Preview(self._showText, self.update, onProblems)
        ui.previewButton.connect("clicked()", self._start)
        ui.previewCancelButton.connect("clicked()", self.preview.cancel)
        self._showText("")

    def show(self, training: "Training | None") -> None:
        """Offer the cases of a training's dataset."""
        self._training = training
        combo = self.ui.caseCombo
        before = combo.currentData
        combo.clear()
        for case, files in ((self._dataset() or {}).get("case_files") or {}).items():
            combo.addItem(_("{case} (test)").format(case=case) if files.get("test") else case, case)
        combo.currentIndex = max(0, combo.findData(before))
        self.update()

    def update(self) -> None:
        """What can be done now."""
        running = self.preview.running
        text = _("Load this case with its truth, and segment it with the network as it is now")
        enable(self.ui.previewButton, _("A preview is being made.") if running else self._reason(), text)
        self.ui.previewCancelButton.setVisible(running)
        self.ui.caseCombo.enabled = not running and self.ui.caseCombo.count > 0

    def close(self) -> None:
        """The module ends."""
        self.preview.close()

    def _dataset(self) -> "dict[str, Any] | None":
        wanted = self._training.dataset if self._training is not None else None
        return next((dataset for dataset in self.logic.datasets if dataset["dataset"] == wanted), None)

    def _reason(self) -> str:
        if self._training is None or self.ui.caseCombo.count == 0:
            return _("The dataset's cases are not there.")
        try:
            usableCheckpoint(self._training.progress.modelFolder, self._training.fold)
        except UserProblem as problem:
            return str(problem)
        return ""

    def _showText(self, text: str) -> None:
        self.ui.previewLabel.text = text
        self.ui.previewLabel.setVisible(bool(text))

    def _start(self) -> None:
        if self.preview.running:
            return
        training, dataset, case = self._training, self._dataset(), self.ui.caseCombo.currentData
        if training is None or dataset is None or not case:
            return
        epochs = len(training.job.metrics)
        name = _("{case} epoch {epoch}").format(case=case, epoch=epochs) if epochs else case
        device = previewDevice(optionOf(training.job.command, "--device", "auto"), training.job)
        folder = training.progress.modelFolder
        try:
            checkInstalled(self.logic.settings, training=True)
            self.preview.start(self.logic.engine, dataset, case, folder, training.fold, device, name)
        except UserProblem as problem:
            self._showText("")
            self._onProblems(problem.problems)
        self.update()
