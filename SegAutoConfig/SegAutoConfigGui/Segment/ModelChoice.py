"""The list of models of the Segment panel: the user's own ones, and TotalSegmentator's tasks as its last entry."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAutoConfigGui.Models import ModelTexts
from SegAutoConfigGui.Segment import Tasks
from SegAutoConfigGui.Segment.TaskChoices import TaskChoices
from SegAutoConfigGui.Segment.Tasks import TOTALSEGMENTATOR


class ModelChoice:
    """Shows what there is to segment with, and takes the choice.

    Args:
        logic: The module's, with the lists.
        ui: The Segment panel's widgets.
        onChange: Called when something else is chosen, by the user or because lists have changed.

    Attributes:
        tasks: The choices below the entry "TotalSegmentator".
    """

    def __init__(self, logic: Any, ui: Any, onChange: Callable[[], None]) -> None:
        self.logic, self.ui = logic, ui
        self._onChange = onChange
        self._wanted = ""  # chosen by another panel, also before it is listed
        self._parameters: Any = None
        self.tasks = TaskChoices(ui, self._onTask)
        ui.modelCombo.connect("activated(int)", self._onChosen)

    @property
    def path(self) -> str:
        """Of the chosen entry; empty for none."""
        return str(self.ui.modelCombo.itemData(self.ui.modelCombo.currentIndex) or "")

    @property
    def model(self) -> "dict[str, Any] | None":
        """The chosen model as the engine's `info` describes it, or the chosen task as one."""
        if self.path == TOTALSEGMENTATOR:
            return self.tasks.model
        return next((model for model in self.logic.models if model["path"] == self.path), None)

    def setParameters(self, parameters: Any) -> None:
        """Take the choices of another scene; None: there is none."""
        self._parameters = parameters
        if parameters is not None:
            self.tasks.load(parameters)
            self.take()

    def select(self, path: str) -> bool:
        """Choose a model by its folder; returns whether it is listed already."""
        self._wanted = str(path)
        self.take()
        return self.path == self._wanted

    def selectTask(self, task: str, mode: str = "", structures: Any = None) -> None:
        """Choose a task, as the user would."""
        self.select(TOTALSEGMENTATOR)
        self.tasks.choose(task, mode, structures)

    def take(self) -> None:
        """Fill the list; choose the wanted, the scene's, or the newest model, else TotalSegmentator if it is ready."""
        models = sorted(self.logic.models, key=lambda model: str(model.get("date") or ""), reverse=True)
        combo, before = self.ui.modelCombo, self.path
        combo.clear()
        for model in models:
            combo.addItem(str(model["title"]), model["path"])
            combo.setItemData(combo.count - 1, ModelTexts.tooltip(model), qt.Qt.ToolTipRole)
        if self.logic.tasks:
            if models:
                combo.insertSeparator(combo.count)
            combo.addItem(_("TotalSegmentator"), TOTALSEGMENTATOR)
            text = _("Tasks of TotalSegmentator: structures of the whole body in CT and MR images")
            combo.setItemData(combo.count - 1, text, qt.Qt.ToolTipRole)
        self.tasks.take(self.logic.tasks)
        combo.currentIndex = self._indexOf(models, before)
        combo.enabled = combo.count > 0
        if self._wanted and self.path == self._wanted:
            self._save()
        self._show()

    def _indexOf(self, models: "list[dict[str, Any]]", before: str) -> int:
        find = self.ui.modelCombo.findData
        ofScene = self._parameters.model if self._parameters is not None else ""
        own = "" if before == TOTALSEGMENTATOR else before  # it is chosen where there is nothing else, or by the user
        usable = [model["path"] for model in models if not model.get("problem")]
        ready = [TOTALSEGMENTATOR] if any(map(Tasks.isReady, self.logic.tasks)) else []
        listed = [path for path in (self._wanted, ofScene, own, *usable, *ready) if path and find(path) >= 0]
        return find(listed[0]) if listed else 0 if models else -1

    def _onChosen(self, _index: int = 0) -> None:
        self._wanted = ""
        self._save()
        self._show()

    def _onTask(self) -> None:
        self._save()
        self._show()

    def _save(self) -> None:
        if self._parameters is not None:
            self._parameters.model = self.path
            self.tasks.save(self._parameters)

    def _show(self) -> None:
        self.tasks.setVisible(self.path == TOTALSEGMENTATOR)
        self._onChange()

    def infoText(self) -> str:
        """What is said of the chosen model; empty for none."""
        model = self.model
        if model is None:
            return ""
        return Tasks.infoText(model) if "task" in model else ModelTexts.infoText(model)
