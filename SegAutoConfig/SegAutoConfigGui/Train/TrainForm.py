"""The section "New training" of the Train panel: its widgets and the choices that they show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SegAutoConfigGui.Train.TrainCommand import (
    CONFIGURATIONS,
    FOLDS,
    PLANNERS,
    TIMES,
    EarlierTraining,
    TrainChoices,
    cpuNote,
    datasetLine,
    earlierTraining,
)
from SegAutoConfigGui.Widgets.Devices import fillDevices
from SegAutoConfigGui.Widgets.Tables import enable

#: Choice -> name of the scene's parameter; the device belongs to the computer.
PARAMETERS = {
    "dataset": "trainDataset",
    "timed": "trainTimed",
    "minutes": "trainMinutes",
    "epochs": "trainEpochs",
    "configuration": "trainConfiguration",
    "fold": "trainFold",
    "planner": "trainPlanner",
    "memoryTarget": "trainMemoryTarget",
    "startFrom": "trainStartFrom",
}


#: In the list of times: a number of epochs is chosen instead.
BY_EPOCHS = -1


class TrainForm:
    """Shows and takes the choices.

    Args:
        ui: The panel's widgets.
        onChange: Called after each choice of the user.

    Attributes:
        choices: What is chosen.
        datasets: That can be chosen, by name.
        models: That a training can start from.
        devices: That `doctor` found, by name; empty before.
        earlier: What the chosen fold holds from before.
    """

    def __init__(self, ui, onChange: Callable[[], Any]) -> None:
        self.ui = ui
        self.choices = TrainChoices()
        self.datasets: dict[str, Mapping[str, Any]] = {}
        self.models: list[Mapping[str, Any]] = []
        self.devices: dict[str, Mapping[str, Any]] = {}
        self.earlier: EarlierTraining | None = None
        self._onChange = onChange
        self._showing = False
        self._customTime = False
        self._nothing = _("Looking for datasets ...")
        planned = (ui.configurationCombo, ui.plannerCombo, ui.memorySpinBox)
        self._planned = [(widget, widget.toolTip) for widget in planned]
        self._fillFixed()
        for combo in (*self._combos.values(), ui.timeCombo, ui.lengthCombo, ui.earlierCombo):
            combo.connect("activated(int)", self._userChose)
        for box in (ui.minutesSpinBox, ui.epochsSpinBox):
            box.connect("valueChanged(int)", self._userChose)
        ui.memorySpinBox.connect("valueChanged(double)", self._userChose)

    @property
    def dataset(self) -> "Mapping[str, Any] | None":
        """The chosen one as `info` lists it; None where there is none."""
        return self.datasets.get(self.choices.dataset)

    def load(self, parameters) -> None:
        """Take the choices of a scene."""
        values = {choice: getattr(parameters, name) for choice, name in PARAMETERS.items()}
        self.choices = replace(self.choices, **values)
        self.show()

    def save(self, parameters) -> None:
        """Write the choices into a scene."""
        for choice, name in PARAMETERS.items():
            value = getattr(self.choices, choice)
            if getattr(parameters, name) != value:
                setattr(parameters, name, value)

    def choose(self, **values: Any) -> None:
        """Set choices, as the user would."""
        self.choices = replace(self.choices, **values)
        self.show()
        self._onChange()

    def setEntries(
        self, datasets: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]], nothing: str
    ) -> None:
        """Take what there is in the workspace.

        Args:
            datasets: As `info` lists them.
            models: Likewise.
            nothing: Is shown where there is no dataset.
        """
        self._nothing = nothing
        self.datasets = {str(dataset["dataset"]): dataset for dataset in datasets}
        self.models = list(models)
        if self.datasets and self.choices.dataset not in self.datasets:
            self.choices = replace(self.choices, dataset=list(self.datasets)[-1])
        self.show()

    def showNothing(self, nothing: str) -> None:
        """What is shown where there is no dataset; empty where another widget says why."""
        self._nothing = nothing
        self.show()

    def setDevices(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Take the devices of this computer."""
        self.devices = {str(device["device"]): device for device in devices}
        self.show()

    # -- choices to widgets

    def show(self) -> None:
        """Bring all widgets up to date."""
        self._showing = True
        try:
            self._showDatasets()
            self._showLength()
            _select(self.ui.configurationCombo, self.choices.configuration)
            _select(self.ui.foldCombo, self.choices.fold)
            _select(self.ui.plannerCombo, self.choices.planner)
            self.ui.memorySpinBox.value = self.choices.memoryTarget
            self._showDevices()
            self._showModels()
            self._showEarlier()
        finally:
            self._showing = False

    def _fillFixed(self) -> None:
        for minutes in TIMES:
            self.ui.timeCombo.addItem(_timeText(minutes), minutes)
        self.ui.lengthCombo.addItem(_("time above"), True)
        self.ui.lengthCombo.addItem(_("epochs"), False)
        names = {"": _("automatic"), "2d": _("2d (slices)")}
        for name in CONFIGURATIONS:
            self.ui.configurationCombo.addItem(names.get(name, name), name)
        for fold in FOLDS:
            self.ui.foldCombo.addItem(_("all (none held out)") if fold == "all" else fold, fold)
        texts = {
            "default": _("default"),
            "resenc_m": _("residual encoder M (8 GB)"),
            "resenc_l": _("residual encoder L (24 GB)"),
            "resenc_xl": _("residual encoder XL (40 GB)"),
        }
        for planner in PLANNERS:
            self.ui.plannerCombo.addItem(texts[planner], planner)

    def _showDatasets(self) -> None:
        combo = self.ui.datasetCombo
        names = list(self.datasets)
        combo.clear()
        for name in names:
            combo.addItem(name, name)
        _select(combo, self.choices.dataset)
        combo.enabled = bool(names)
        dataset = self.dataset
        if dataset is None:
            self.ui.datasetLabel.text = self._nothing
        else:
            self.ui.datasetLabel.text = str(dataset.get("problem") or "") or datasetLine(dataset)
        self.ui.datasetLabel.setVisible(bool(self.ui.datasetLabel.text))

    def _showLength(self) -> None:
        timed, minutes = self.choices.timed, self.choices.minutes
        preset = not timed or (minutes in TIMES and not self._customTime)
        if self.ui.timeCombo.count > len(TIMES):
            self.ui.timeCombo.removeItem(len(TIMES))
        _select(self.ui.timeCombo, minutes if preset else 0)
        self.ui.minutesSpinBox.value = minutes
        self.ui.minutesSpinBox.setVisible(not preset)
        if not timed:
            text = _("{number} epochs (see Advanced)").format(number=self.choices.epochs)
            self.ui.timeCombo.addItem(text, BY_EPOCHS)
            _select(self.ui.timeCombo, BY_EPOCHS)
        _select(self.ui.lengthCombo, timed)
        self.ui.epochsSpinBox.value = self.choices.epochs
        self.ui.epochsSpinBox.setVisible(not timed)

    def _showDevices(self) -> None:
        fillDevices(self.ui.deviceCombo, list(self.devices.values()), self.choices.device)
        self.ui.noteLabel.text = cpuNote(self.devices, self.choices)
        self.ui.noteLabel.setVisible(bool(self.ui.noteLabel.text))

    def _showModels(self) -> None:
        combo, chosen = self.ui.startFromCombo, self.choices.startFrom
        combo.clear()
        combo.addItem(_("random weights"), "")
        for model in self.models:
            if (model.get("folds") and not model.get("problem")) or model["path"] == chosen:
                combo.addItem(str(model.get("title") or model["path"]), str(model["path"]))
        if combo.findData(chosen) < 0:  # not in this workspace, or not read yet
            combo.addItem(Path(chosen).name, chosen)
        _select(combo, self.choices.startFrom)
        for widget, text in self._planned:
            enable(widget, _("The plan of the model is used.") if self.choices.startFrom else "", text)

    def _showEarlier(self) -> None:
        self.earlier = earlier = earlierTraining(self.models, self.choices, self.devices)
        combo = self.ui.earlierCombo
        self.ui.earlierFrame.setVisible(earlier is not None)
        if earlier is None:
            return
        combo.clear()
        if earlier.finished:
            dice = "" if earlier.dice is None else " " + _("(Dice {dice:.3f})").format(dice=earlier.dice)
            text = _("Fold {fold} is trained already{dice}. To keep it, choose another fold under Advanced.")
            self.ui.earlierLabel.text = text.format(fold=self.choices.fold, dice=dice)
        else:
            text = _("Fold {fold} was trained before and not finished.")
            self.ui.earlierLabel.text = text.format(fold=self.choices.fold)
            combo.addItem(_("Resume it"), False)
        combo.addItem(_("Start over (deletes it)"), True)
        if earlier.finished:
            self.choices = replace(self.choices, overwrite=True)
        _select(combo, self.choices.overwrite)

    # -- widgets to choices

    @property
    def _combos(self) -> dict[str, Any]:
        ui = self.ui
        return {
            "dataset": ui.datasetCombo,
            "configuration": ui.configurationCombo,
            "fold": ui.foldCombo,
            "device": ui.deviceCombo,
            "planner": ui.plannerCombo,
            "startFrom": ui.startFromCombo,
        }

    def _userChose(self, *unused) -> None:
        if self._showing:
            return
        ui, before = self.ui, self.choices
        values = {name: combo.currentData for name, combo in self._combos.items() if combo.currentIndex >= 0}
        preset, timed = ui.timeCombo.currentData, bool(ui.lengthCombo.currentData)
        if preset != BY_EPOCHS:
            self._customTime = preset == 0
            values["minutes"] = ui.minutesSpinBox.value if self._customTime else preset
        if timed == before.timed:  # a time chosen instead of epochs
            timed = preset != BY_EPOCHS
        values["timed"] = timed
        values["epochs"] = ui.epochsSpinBox.value
        values["memoryTarget"] = ui.memorySpinBox.value
        values["overwrite"] = bool(ui.earlierCombo.currentData) if self.earlier is not None else False
        chosen = replace(before, **values)
        if _where(chosen) != _where(before):  # another fold or model: its earlier training is another one
            chosen = replace(chosen, overwrite=False)
        self.choices = chosen
        self.show()
        self._onChange()


def _where(choices: TrainChoices) -> tuple:
    """What decides which model and fold are trained."""
    return tuple(getattr(choices, field.name) for field in fields(choices) if field.name not in ("overwrite", "epochs"))


def _timeText(minutes: int) -> str:
    if minutes == 0:
        return _("other")
    if minutes == 600:
        return _("overnight (10 hours)")
    if minutes < 60:
        return _("{minutes} minutes").format(minutes=minutes)
    return _("1 hour") if minutes == 60 else _("{hours} hours").format(hours=minutes // 60)


def _select(combo, value: Any) -> None:
    """Choose the entry with this data; none where there is none."""
    combo.currentIndex = combo.findData(value)
